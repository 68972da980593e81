"""Versions: raw keeps every state of a record that ever came, and adds a state only when it is a new one."""

import duckdb

from assets.pull.landing import LandedPull
from assets.pull.reading import HISTORY, Reader, stage
from assets.sql import count, transaction
from assets.warehouse.history import load_history, stage_entries
from assets.warehouse.presence import load_presence
from assets.warehouse.set_aside import load_asides
from assets.warehouse.shrinkage import Floor
from assets.warehouse.watermark import LoadResult, can_be_loaded, next_pull_no, note_pull


def load_versions(
    connection: duckdb.DuckDBPyConnection, pull: LandedPull, table: str, key: str, stamp: str, reader: Reader, tracked: str, floor: Floor,
    with_history: bool = False,
) -> LoadResult:  # fmt: skip
    """Adds what is new to a raw table.

    reader: its query has the table's columns but the last two; with_history: and the history that came with each, in `history`; tracked: the object whose
    presence the pull speaks about. Raises Shrunken when a pull of everything is not believed.
    """
    manifest = pull.manifest
    if not can_be_loaded(connection, pull):
        return LoadResult(manifest.rows, 0)
    history = f", cast(null as {HISTORY}) as history" if with_history else ""
    stage(connection, pull, f"create or replace temp table incoming as select * exclude (content_hash, pull_no){history} from {table} limit 0", reader)
    if with_history:
        stage_entries(connection)
    # a record that moved while we paged comes twice: the later state counts
    connection.execute(
        f"""delete from incoming where rowid in (
                select rowid from (
                    select rowid, row_number() over (partition by {key} order by {stamp} desc nulls last) as place
                    from incoming where {key} in (select {key} from incoming group by {key} having count(*) > 1)
                ) where place > 1)"""
    )
    with transaction(connection):
        pull_no = next_pull_no(connection)
        connection.execute(
            f"""insert into {table} by name
                select incoming.*, {pull_no} as pull_no from (select *, hash(v) as content_hash from incoming as v) as incoming
                left join (
                    select {key}, max_by(content_hash, pull_no) as content_hash from {table} where {key} in (select {key} from incoming) group by {key}
                ) as latest
                    on latest.{key} = incoming.{key} and latest.content_hash = incoming.content_hash
                where latest.{key} is null"""
        )
        new_versions = count(connection, f"select count(*) from {table} where pull_no = {pull_no}")
        # the list of archived contacts names them all, and says nothing about the others
        names_all = manifest.mode == "full" and manifest.object == tracked
        load_presence(connection, key, table, key, pull, pull_no, tracked, names_all, floor)
        load_asides(connection, pull, key, pull_no, tracked, names_all)
        highest = connection.execute(f"select max(main.utc({stamp})) from incoming").fetchone()
        result = LoadResult(pull.rows, new_versions)
        note_pull(connection, pull, result, highest[0] if highest else None)
        if with_history:
            load_history(connection)
        connection.execute("drop table incoming")
    return result
