"""What Bindwatch is called in a Dagster instance, which may serve others, too: every key and name begins with the prefix of the policy.

A company has assets of its own, such as salesforce/Lead, and a second Bindwatch has the same ones as the first. Dagster would take two of one key for
one asset.
"""

import os
from pathlib import Path

import dagster as dg

from assets.policy import Dagster, read_dagster_section
from assets.process import tidy_environment


def dagster_section() -> Dagster:
    """The section [dagster] of the policy, or its defaults: the code location loads whatever is wrong with the file, and the pull then says what is."""
    tidy_environment()
    return read_dagster_section(Path(os.environ.get("BINDWATCH_CONFIG") or "bindwatch.toml"))


PREFIX = dagster_section().prefix  # of this process: Dagster reads definitions once

OWNERS = ["team:data-quality"]  # of every asset but those in the CRMs

# What a run says of itself. Of an instance that serves others, Bindwatch touches the runs alone that say its own home (pipelines/dagster_runs.py).
HOME_TAG = "bindwatch/home"
PREFIX_TAG = "bindwatch/prefix"
VERDICT_TAG = "bindwatch/verdict"
REFUSED_TAG = "bindwatch/refused"  # why a run did not begin, because somebody else was at work in the home: no failure


def named(name: str, prefix: str = PREFIX) -> str:
    """The name of a job, a schedule, a sensor or a group."""
    return f"{prefix}_{name}"


def key(table: str) -> dg.AssetKey:
    """The key of the asset that is a table, as schema.name."""
    return dg.AssetKey([PREFIX, *table.split(".")])


GUARDED_RUN = "guarded_run"
JOB = named(GUARDED_RUN)
