"""What a run knows, and what it cannot know: per source and object, how far the pull reached, and what stayed unseen."""

from typing import Any

import duckdb

from assets.warehouse.identity import read_identity

_PULLS = """
    with compared as (
        select replace(object, '_ids', '') as object, max_by(coalesce(crm_time, started_at), pull_no) as compared_at
        from raw.pull
        where complete and mode in ('full', 'ids')
        group by all
    )
    select
        pull.source,
        pull.object,
        pull.mode,
        strftime(pull.watermark_from, '%Y-%m-%dT%H:%M:%SZ') as "from",
        strftime(coalesce(pull.crm_time, pull.started_at), '%Y-%m-%dT%H:%M:%SZ') as "to",
        strftime(pull.watermark_to, '%Y-%m-%dT%H:%M:%SZ') as latest_stamp,
        pull.landed_rows as rows,
        pull.new_versions,
        greatest(date_diff('second', pull.started_at, cast(now() as timestamp)), 0) as lag_seconds,
        pull.complete,
        pull.problem,
        strftime(compared.compared_at, '%Y-%m-%dT%H:%M:%SZ') as compared_at,
        coalesce(pull.not_seen, []) as not_seen
    from raw.pull as pull
    left join compared on compared.object = pull.object
    where pull.run_id = (select run_id from main.current_run)
    order by pull.pull_no"""

# Field history is read of records that need it: a run in which none does knows no more of it than the last one that read some.
_HISTORIES = """
    select replace(object, 'History', '') as object, max_by(coalesce(not_seen, []), pull_no) as not_seen, bool_or(run.run_id is not null) as is_of_this_run
    from raw.pull as pull
    left join main.current_run as run on run.run_id = pull.run_id
    where object in ('LeadHistory', 'ContactHistory') and complete
    group by object"""

# What changes without telling is found by comparing all ids; these objects are compared by full runs only.
_COMPARED = ("Lead", "Contact", "contact")


def read_coverage(connection: duckdb.DuckDBPyConnection) -> dict[str, list[dict[str, Any]]]:
    """The pulls of the run that is going on, by source ("salesforce", "hubspot").

    Each has: object; mode (full, incremental, ids); from (modified stamps asked for, null: everything); to (the CRM's clock when the pull began: what
    changed until then is in it); latest_stamp; rows; new_versions; lag_seconds (how long ago it began); complete; problem; compared_at (when all ids
    were compared last); not_seen (in words). Times are UTC.
    """
    identified = read_identity(connection)
    of_histories = {name: not_seen for name, not_seen, is_of_this_run in connection.execute(_HISTORIES).fetchall() if not is_of_this_run}
    relation = connection.execute(_PULLS)
    names = [column[0] for column in relation.description or []]
    coverage: dict[str, list[dict[str, Any]]] = {"salesforce": [], "hubspot": []}
    for values in relation.fetchall():
        pull = dict(zip(names, values, strict=True))
        if pull["object"] in _COMPARED and pull["mode"] == "incremental" and pull["compared_at"] != pull["to"]:
            since = f" since {pull['compared_at'][:10]}" if pull["compared_at"] else ""
            pull["not_seen"].append(f"what vanished{since}: only a full run compares all ids")
        pull["not_seen"] += of_histories.get(pull["object"], [])
        source = pull.pop("source")
        if source not in identified:
            pull["not_seen"].append(f"whether this is the {'org' if source == 'salesforce' else 'portal'} that the home belongs to: it does not tell its id")
        coverage[source].append(pull)
    return coverage


def unseen_histories(connection: duckdb.DuckDBPyConnection) -> str | None:
    """How many bindings have no readable history, in words; None when all have one. Needs the models of this run."""
    row = connection.execute("select count(*) from review.violation where check_name = 'history_missing'").fetchone()
    count = int(row[0]) if row else 0
    return f"the id history of {count:,} bound contacts" if count else None
