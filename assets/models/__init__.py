"""From raw to facts: a SQL file is a table is an asset."""
