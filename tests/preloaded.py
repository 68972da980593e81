"""What a command needs of libraries, imported once for all that are forked from here. Nothing of it is looked at again by the garbage collector: in each
fork that would take a fifth of a small run.
"""

import gc

import duckdb_engine  # noqa: F401
import fsspec  # type: ignore[import-untyped]  # noqa: F401
import upath  # noqa: F401

from assets.models import lineage  # noqa: F401
from assets.published import forecast  # noqa: F401
from expectations.gate import import_great_expectations
from pipelines import cli, definitions, ending, guarded_run, terminal  # noqa: F401
from tests import memory_instance  # noqa: F401

import_great_expectations()
gc.collect()
gc.freeze()
