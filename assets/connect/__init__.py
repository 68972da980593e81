"""What both CRMs tell of how this portal is set up: a sample of bound contacts, read into a database of its own, and SQL that finds out. Reads alone."""
