"""Which records are there: full pulls name all ids, so what one misses has vanished, and what comes again is back."""

from datetime import datetime

import duckdb

from assets.moments import naive
from assets.pull.landing import UNNAMED, LandedPull
from assets.pull.reading import Reader, stage
from assets.sql import transaction
from assets.warehouse.shrinkage import Floor
from assets.warehouse.watermark import LoadResult, can_be_loaded, next_pull_no, note_pull

# Who was live by the last version that came. What a CRM says of its end (deleted, archived, merged) explains why a list does not have it.
_RECORDS = "select record_id as id from {table} group by record_id having not coalesce(main.is_true(max_by(is_deleted, pull_no)), false)"
_LIVE = {
    "raw.salesforce_lead": _RECORDS.format(table="raw.salesforce_lead"),
    "raw.salesforce_contact": _RECORDS.format(table="raw.salesforce_contact"),
    "raw.hubspot_contact": """
        select id from raw.hubspot_contact group by id having not max_by(archived, pull_no)
        except
        select unnest(string_split(properties['hs_merged_object_ids'], ';')) from raw.hubspot_contact where properties['hs_merged_object_ids'] <> ''""",
}


def load_presence(
    connection: duckdb.DuckDBPyConnection, incoming_key: str, table: str, key: str, pull: LandedPull, pull_no: int, tracked: str, names_all: bool, floor: Floor
) -> None:
    """Notes ids that are back, and, where the pull names all ids there are, those known before that it misses. Who was set aside is there.

    Known before is what came with a pull that had begun by then: a list that one run began and a later one loads misses what was created in between.
    Raises Shrunken when so many are missing that the pull is not believed.
    """
    here = f"(select {incoming_key} as id from incoming union all select id from aside)"
    connection.execute(
        f"""insert into raw.presence
            select object, id, {pull_no}, true
            from (select object, id, max_by(present, pull_no) as present from raw.presence where object = ? group by object, id) as seen
            where not present and exists (select 1 from {here} as here where here.id = seen.id)""",
        [tracked],
    )
    if names_all:
        before = f"(select {key} from {table} where pull_no in (select pull_no from raw.pull where started_at <= $began))"
        began = naive(pull.manifest.started_at)
        known, missing = _count_missing(connection, here, table, before, began, tracked)
        floor.hold(connection, tracked, known, missing)
        connection.execute(
            f"""insert into raw.presence
                select $tracked, known.{key}, {pull_no}, false
                from (select distinct {key} from {before}) as known
                left join (select id, max_by(present, pull_no) as present from raw.presence where object = $tracked group by id) as seen
                    on seen.id = known.{key}
                where not exists (select 1 from {here} as here where here.id = known.{key}) and coalesce(seen.present, true)""",
            {"tracked": tracked, "began": began},
        )


def _count_missing(connection: duckdb.DuckDBPyConnection, here: str, table: str, before: str, began: datetime, tracked: str) -> tuple[int, int]:
    """How many live records are known from earlier pulls, and how many of them are not `here`."""
    row = connection.execute(
        f"""with seen as (select id, max_by(present, pull_no) as present from raw.presence where object = $tracked group by id),
                 known as (
                     select live.id from ({_LIVE[table]}) as live
                     left join seen on seen.id = live.id
                     where coalesce(seen.present, true) and live.id in {before}
                 )
            select count(*), count(*) filter (where here.id is null)
            from known left join (select distinct id from {here} as named) as here on here.id = known.id""",
        {"tracked": tracked, "began": began},
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def compare_ids(
    connection: duckdb.DuckDBPyConnection, pull: LandedPull, shape: str, reader: "Reader", table: str, key: str, tracked: str, query: str, floor: Floor
) -> tuple[LoadResult, list[str]]:
    """query: for the ids in `incoming` (columns `shape`) that are new or differ. Raises Shrunken when the list is not believed."""
    if not can_be_loaded(connection, pull):
        return LoadResult(pull.rows, 0), []
    stage(connection, pull, f"create or replace temp table incoming ({shape})", reader)
    with transaction(connection):
        pull_no = next_pull_no(connection)
        load_presence(connection, "id", table, key, pull, pull_no, tracked, names_all=True, floor=floor)
        # whoever has an id was asked for above, or is now; what had none came again, or is gone
        unnamed = f"starts_with(id, '{UNNAMED}')"
        connection.execute(f"delete from raw.set_aside where object = ? and {unnamed}", [tracked])
        connection.execute(f"insert into raw.set_aside by name select ? as object, *, {pull_no} as pull_no from aside where {unnamed}", [tracked])
        differing = connection.execute(query).fetchall()
        result = LoadResult(pull.rows, 0)
        note_pull(connection, pull, result, None)
        return result, [row[0] for row in differing]
