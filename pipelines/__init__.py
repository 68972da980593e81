"""When and where things run: settings, Dagster definitions, the command line."""
