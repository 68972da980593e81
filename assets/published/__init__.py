"""From facts to readers: the snapshot, and what is worked out from it. Nothing here knows the warehouse."""
