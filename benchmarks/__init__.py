"""Measures what Bindwatch takes, on made-up data: `make bench`, `make bench-large`."""
