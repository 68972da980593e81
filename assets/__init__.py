"""What exists: the data Bindwatch pulls, builds and publishes. One noun per asset."""
