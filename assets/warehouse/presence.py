"""Which records are there: full pulls name all ids, so what one misses has vanished, and what comes again is back."""

import duckdb

from assets.pull.landing import UNNAMED, LandedPull
from assets.pull.reading import Reader, stage
from assets.sql import transaction
from assets.warehouse.watermark import LoadResult, can_be_loaded, next_pull_no, note_pull


def load_presence(connection: duckdb.DuckDBPyConnection, incoming_key: str, table: str, key: str, pull_no: int, tracked: str, names_all: bool) -> None:
    """Notes ids that are back, and, where the pull names all ids there are, those known before that it misses. Who was set aside is there."""
    here = f"(select {incoming_key} as id from incoming union all select id from aside)"
    connection.execute(
        f"""insert into raw.presence
            select object, id, {pull_no}, true
            from (select object, id, max_by(present, pull_no) as present from raw.presence where object = ? group by object, id) as seen
            where not present and exists (select 1 from {here} as here where here.id = seen.id)""",
        [tracked],
    )
    if names_all:
        connection.execute(
            f"""insert into raw.presence
                select ?, known.{key}, {pull_no}, false
                from (select distinct {key} from {table} where pull_no < {pull_no}) as known
                left join (select id, max_by(present, pull_no) as present from raw.presence where object = ? group by id) as seen on seen.id = known.{key}
                where not exists (select 1 from {here} as here where here.id = known.{key}) and coalesce(seen.present, true)""",
            [tracked, tracked],
        )


def compare_ids(
    connection: duckdb.DuckDBPyConnection, pull: LandedPull, shape: str, reader: "Reader", table: str, key: str, tracked: str, query: str
) -> tuple[LoadResult, list[str]]:
    """query: for the ids in `incoming` (columns `shape`) that are new or differ."""
    if not can_be_loaded(connection, pull):
        return LoadResult(pull.rows, 0), []
    stage(connection, pull, f"create or replace temp table incoming ({shape})", reader)
    with transaction(connection):
        pull_no = next_pull_no(connection)
        load_presence(connection, "id", table, key, pull_no, tracked, names_all=True)
        # whoever has an id was asked for above, or is now; what had none came again, or is gone
        unnamed = f"starts_with(id, '{UNNAMED}')"
        connection.execute(f"delete from raw.set_aside where object = ? and {unnamed}", [tracked])
        connection.execute(f"insert into raw.set_aside by name select ? as object, *, {pull_no} as pull_no from aside where {unnamed}", [tracked])
        differing = connection.execute(query).fetchall()
        result = LoadResult(pull.rows, 0)
        note_pull(connection, pull, result, None)
        return result, [row[0] for row in differing]
