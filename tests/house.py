"""What the house is made of, as a file: `make docs` writes it, and a test says when it changed."""

import json
from pathlib import Path

from assets.dagster.modelled import read_schema
from assets.models.lineage import column_lineage, is_query
from assets.models.sqlfile import check_files, model_files
from assets.sql import SQL_FOLDER
from tests.crm import Crm

KNOWN = Path(__file__).parent / "house.json"


def describe_house() -> dict[str, list[str]]:
    """assets: their keys; columns from no column: constants and counts, as far as their tables are queries."""
    from pipelines.definitions import defs

    schema = read_schema(Crm().build().connection)
    files = model_files(SQL_FOLDER, check_files(Path(__file__).parent.parent / "expectations"))
    queries = [file for file in files if is_query(file)]
    return {
        "assets": sorted("/".join(key.path) for key in defs.resolve_asset_graph().get_all_asset_keys()),
        "columns from no column": sorted(
            f"{file.table}.{column}" for file in queries for column, sources in column_lineage(file, schema).items() if not sources
        ),
    }


if __name__ == "__main__":
    KNOWN.write_text(json.dumps(describe_house(), indent=1) + "\n", "utf-8")
