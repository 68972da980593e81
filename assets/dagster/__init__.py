"""The steps of a run, as Dagster assets. Nothing else below assets knows Dagster."""
