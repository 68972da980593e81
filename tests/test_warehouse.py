"""Landing and loading: pages on disk become versions in raw, each once."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.problems import WarehouseProblem
from assets.pull.described import Described
from assets.pull.landing import LandedPull, Landing
from assets.pull.salvage import write_csv
from assets.warehouse.file import SCHEMA_VERSION, Warehouse, limit_memory, prepare, with_all_memory
from assets.warehouse.ledger import begin_run
from assets.warehouse.load_hubspot import load_hubspot_contacts, load_list_members
from assets.warehouse.load_salesforce import compare_salesforce_ids, load_salesforce
from assets.warehouse.watermark import loaded_pulls, watermark
from tests.crm import lead_id

COLUMNS = ["Id", "Email", "SystemModstamp", "IsDeleted", "Title"]


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path / "landing", timedelta(hours=1))


@pytest.fixture
def connection(tmp_path: Path) -> Any:
    with Warehouse(tmp_path).connect() as connection:
        begin_run(connection, "run 1", datetime.now(UTC))
        yield connection


def leads(landing: Landing, connection: duckdb.DuckDBPyConnection, *rows: tuple[str, ...], mode: Any = "full", expected: int | None = None) -> LandedPull:
    """A finished pull of Leads with one page."""
    pull = landing.open("salesforce", "Lead", mode, {"asked": "x"}, loaded_pulls(connection))
    lines = [",".join(f'"{value}"' for value in row) for row in (tuple(COLUMNS), *rows)]
    pull.write_page(("\n".join(lines) + "\n").encode(), ".csv", len(rows), {})
    pull.finish(len(rows) if expected is None else expected)
    return pull


def row(number: int, stamp: str = "2026-03-01T00:00:00.000Z", title: str = "CEO") -> tuple[str, ...]:
    return lead_id(number), f"p{number}@example.com", stamp, "false", title


def load(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> int:
    return load_salesforce(connection, pull, "Lead", COLUMNS, {"Title": Described("string")}).new_versions


def versions(connection: duckdb.DuckDBPyConnection) -> list[Any]:
    return connection.execute("select fields['Title'] from raw.salesforce_lead order by pull_no, record_id").fetchall()


def test_loading_the_same_pull_twice_changes_nothing(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    pull = leads(landing, connection, row(1), row(2))
    assert (load(connection, pull), load(connection, pull)) == (2, 0)
    assert connection.execute("select count(*) from raw.pull").fetchone() == (1,)


def test_an_unchanged_record_is_no_new_version_and_a_changed_one_keeps_the_old(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    load(connection, leads(landing, connection, row(1), row(2)))
    assert load(connection, leads(landing, connection, row(1, title="CTO"), row(2))) == 1
    assert load(connection, leads(landing, connection, row(1), row(2))) == 1  # back again is a version, too
    assert versions(connection) == [("CEO",), ("CEO",), ("CTO",), ("CEO",)]


def test_a_record_that_comes_twice_in_one_pull_is_loaded_in_its_later_state(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    later = "2026-03-02T00:00:00.000Z"
    assert load(connection, leads(landing, connection, row(1, later, "CTO"), row(1))) == 1
    assert versions(connection) == [("CTO",)]


def test_an_incomplete_pull_is_noted_and_not_loaded(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    pull = leads(landing, connection, row(1), expected=2)
    assert load(connection, pull) == 0
    assert versions(connection) == []
    assert connection.execute("select complete, problem from raw.pull").fetchone() == (False, "the API announced 2 rows, 1 arrived")
    assert watermark(connection, "salesforce", "Lead") is None


def test_the_watermark_is_the_latest_stamp_seen_and_never_goes_back(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    load(connection, leads(landing, connection, row(1, "2026-03-05T00:00:00.000Z")))
    load(connection, leads(landing, connection, row(2, "2026-03-04T00:00:00.000Z"), mode="incremental"))
    found = watermark(connection, "salesforce", "Lead")
    assert found is not None
    assert found[0] == datetime(2026, 3, 5)


def test_15_and_18_characters_are_one_record(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    short = (lead_id(1)[:15], *row(1)[1:])
    load(connection, leads(landing, connection, row(1)))
    load(connection, leads(landing, connection, short))
    assert connection.execute("select count(distinct record_id) from raw.salesforce_lead").fetchone() == (1,)


def test_without_the_field_name_a_person_is_called_by_its_parts(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    pull = landing.open("salesforce", "Lead", "full", {"asked": "x"}, set())
    pull.write_page(f'"Id","FirstName","LastName"\n"{lead_id(1)}","Ann","Lee"\n"{lead_id(2)}","",""\n'.encode(), ".csv", 2, {})
    pull.finish(2)
    load_salesforce(connection, pull, "Lead", ["Id", "FirstName", "LastName"], {"FirstName": Described("string")})
    assert connection.execute("select name from raw.salesforce_lead order by record_id").fetchall() == [("Ann Lee",), (None,)]


def test_an_interrupted_pull_is_gone_on_with_only_when_it_asks_the_same_and_is_fresh(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    begun = landing.open("hubspot", "contact", "full", {"asked": "x"}, set())
    begun.write_page(b"{}", ".json", 1, {"after": "7"})
    begun.sync()
    again = landing.open("hubspot", "contact", "full", {"asked": "x"}, set())
    assert (again.manifest.pull_id, again.cursor, again.rows) == (begun.manifest.pull_id, {"after": "7"}, 1)
    assert landing.open("hubspot", "contact", "full", {"asked": "y"}, set()).manifest.pull_id != begun.manifest.pull_id


@pytest.mark.parametrize(("hours_since_last_page", "is_gone_on_with"), [(0.9, True), (1.1, False)])
def test_a_pull_is_gone_on_with_for_a_while_after_its_last_page_however_long_ago_it_began(
    landing: Landing, hours_since_last_page: float, is_gone_on_with: bool
) -> None:
    begun = landing.open("hubspot", "contact", "full", {"asked": "x"}, set())
    begun.write_page(b"{}", ".json", 1, {"after": "7"})
    begun.sync()
    begun.manifest.started_at -= timedelta(hours=30)
    begun.save()
    note = json.loads((begun.folder / "pages.jsonl").read_text())
    note["at"] = (datetime.now(UTC) - timedelta(hours=hours_since_last_page)).isoformat()
    (begun.folder / "pages.jsonl").write_text(json.dumps(note) + "\n")
    again = landing.open("hubspot", "contact", "full", {"asked": "x"}, set())
    assert (again.manifest.pull_id == begun.manifest.pull_id) is is_gone_on_with


def test_a_complete_pull_that_was_not_loaded_is_taken_up_and_a_loaded_one_is_not(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    done = leads(landing, connection, row(1))
    for _ in range(2):  # it ended, and nothing is asked again, however often runs end before it is loaded
        taken_up = landing.open("salesforce", "Lead", "full", {"asked": "x"}, set())
        assert (taken_up.manifest.pull_id, taken_up.is_finished, taken_up.rows) == (done.manifest.pull_id, True, 1)
    load(connection, done)
    assert landing.open("salesforce", "Lead", "full", {"asked": "x"}, loaded_pulls(connection)).manifest.pull_id != done.manifest.pull_id


def test_who_was_created_after_a_list_began_is_not_missing_from_it(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    load(connection, leads(landing, connection, row(1), row(2)))
    listed = landing.open("salesforce", "Lead_ids", "ids", {"asked": "x"}, set())
    listed.write_page(f'"Id","SystemModstamp"\n"{lead_id(1)}","{row(1)[2]}"\n'.encode(), ".csv", 1, {})
    listed.finish(1)
    load(connection, leads(landing, connection, row(3), mode="incremental"))  # by a run that takes up the list of one that was killed
    compare_salesforce_ids(connection, listed, "Lead", ["Id", "SystemModstamp"], {})
    assert connection.execute("select id, present from raw.presence").fetchall() == [(lead_id(2), False)]


def test_a_complete_pull_that_lost_a_page_is_gone_on_with(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    done = leads(landing, connection, row(1))
    (done.folder / "page-000001.csv").unlink()
    taken_up = landing.open("salesforce", "Lead", "full", {"asked": "x"}, set())
    assert (taken_up.manifest.pull_id, taken_up.is_finished, taken_up.rows) == (done.manifest.pull_id, False, 0)


def test_old_loaded_pages_are_pruned_and_fresh_or_unloaded_ones_stay(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    loaded, unloaded = leads(landing, connection, row(1)), None
    load(connection, loaded)
    unloaded = leads(landing, connection, row(2))
    for pull in (loaded, unloaded):
        pull.manifest.started_at -= timedelta(days=8)
        pull.save()
    landing.prune(loaded_pulls(connection), timedelta(days=7))
    assert not loaded.folder.exists()
    assert unloaded.folder.exists()


@pytest.mark.parametrize("content", ["", "{", "\0\0\0"])
def test_an_old_pull_whose_manifest_was_damaged_is_set_aside_and_ends_no_run(landing: Landing, connection: duckdb.DuckDBPyConnection, content: str) -> None:
    """It was loaded long ago, so nobody asks for it any more; only the tidying up at the end of a run meets it."""
    pull = landing.open("hubspot", "contact_history", "incremental", {"asked": "x"}, set())
    pull.finish(None)
    (pull.folder / "manifest.json").write_text(content)
    landing.prune(set(), timedelta(days=7))
    (aside,) = pull.folder.parent.iterdir()
    assert ".unusable-" in aside.name
    landing.prune(set(), timedelta(days=7))
    assert aside.exists()
    landing.prune(set(), timedelta(0))
    assert not aside.exists()


def test_hubspot_values_of_any_type_land_as_text(landing: Landing, connection: duckdb.DuckDBPyConnection) -> None:
    pull = landing.open("hubspot", "contact", "full", {"asked": "x"}, set())
    properties = {"hs_merged_object_ids": 5, "score": 1.5, "flag": True, "nothing": None, "big": "x" * 200_000}
    contact = {
        "id": "1", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z", "archived": False,
        "properties": {**properties, "unasked": "left out"},
        "propertiesWithHistory": {"email": [{"value": 7, "timestamp": "2026-01-01T00:00:00Z", "sourceType": "API"}], "empty": []},
    }  # fmt: skip
    pull.write_page(json.dumps({"results": [contact]}).encode(), ".json", 1, {})
    pull.finish(None)
    load_hubspot_contacts(connection, pull, list(properties))
    (loaded,) = connection.execute("select properties from raw.hubspot_contact").fetchone() or ()
    assert {name: value if value is None else value[:5] for name, value in loaded.items()} == {
        "hs_merged_object_ids": "5", "score": "1.5", "flag": "true", "nothing": None, "big": "xxxxx",
    }  # fmt: skip
    assert connection.execute("select value from raw.hubspot_property_version").fetchall() == [("7",)]


def test_many_records_of_a_page_that_cannot_be_used_are_set_aside_at_once(
    landing: Landing, connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[int] = []

    def write(path: Path, columns: list[str], rows: list[list[str]]) -> None:
        files.append(len(rows))
        write_csv(path, columns, rows)

    monkeypatch.setattr("assets.pull.reading.write_csv", write)
    pull = leads(landing, connection, *(row(number, stamp="yesterday" if number % 3 else row(number)[2]) for number in range(300)), ("too", "short"))
    assert load(connection, pull) == 100
    reasons = connection.execute("select reason, count(*) from raw.set_aside group by reason order by reason").fetchall()
    assert reasons == [("columns", 1), ("modified_stamp", 200)]
    assert connection.execute("select count(*) from raw.set_aside as aside join raw.salesforce_lead as lead on aside.id = lead.record_id").fetchone() == (0,)
    assert files == [300, 100, 200]  # and not one file for each, which takes minutes where thousands are bad


@pytest.mark.parametrize("member", [["1"], "1", None, {}])
def test_a_member_of_the_list_that_is_none_costs_no_other(landing: Landing, connection: duckdb.DuckDBPyConnection, member: Any) -> None:
    pull = landing.open("hubspot", "inclusion_list", "full", {"asked": "7"}, set())
    pull.write_page(json.dumps({"results": [{"recordId": "101"}, member]}).encode(), ".json", 2, {})
    pull.finish(2)
    load_list_members(connection, pull)
    assert connection.execute("select contact_id from raw.hubspot_list_member").fetchall() == [("101",)]


def test_what_takes_more_memory_than_it_may_have_begins_again_with_all_of_the_machine(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets.warehouse.file.MEMORY", 200 * 10**6)
    limits = []

    def limit() -> Any:
        return (connection.execute("select parse_formatted_bytes(current_setting('memory_limit'))").fetchone() or (0,))[0]

    def work() -> str:
        limits.append(limit())
        if len(limits) == 1:
            raise duckdb.OutOfMemoryException("failed to pin block")
        return "done"

    assert with_all_memory(connection, work) == "done"
    assert limits[1] > limits[0] > limit()  # and then so much no longer
    assert limit() <= 200 * 10**6


def test_memory_that_is_in_use_when_the_limit_comes_back_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.warehouse.file.MEMORY", 10**6)
    connection = duckdb.connect()
    connection.execute("set temp_directory = ''; create table built as from range(500_000)")
    limit_memory(connection)
    assert connection.execute("select count(*) from built").fetchone() == (500_000,)


def test_what_had_all_memory_of_a_small_machine_does_not_begin_again(connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.warehouse.file.MEMORY", 10**15)
    limit_memory(connection)
    attempts = []

    def work() -> None:
        attempts.append(1)
        raise duckdb.OutOfMemoryException("failed to pin block")

    with pytest.raises(duckdb.OutOfMemoryException):
        with_all_memory(connection, work)
    assert len(attempts) == 1


def test_a_warehouse_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with Warehouse(tmp_path).connect() as connection:
        connection.execute("update main.schema_version set version = 99")
    with pytest.raises(WarehouseProblem, match="newer Bindwatch"), Warehouse(tmp_path).connect():
        pass


def test_a_warehouse_of_schema_1_is_brought_to_this_one_and_keeps_its_memory(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as old:
        old.execute((Path(__file__).parent / "data" / "warehouse_schema_1.sql").read_text())
        old.execute("create table main.schema_version (version integer not null); insert into main.schema_version values (1)")
        old.execute(
            """insert into main.ledger by name
               select 'f1' as fingerprint, 'bindings' as suite, 'bound_record_unknown' as check_name, 'block' as severity, '101' as hubspot_contact_id,
                      timestamp '2026-01-01' as first_seen_at, timestamp '2026-01-02' as last_seen_at"""
        )
        old.execute(
            """insert into raw.salesforce_lead by name
               select id as record_id, id, map() as fields, 0 as content_hash, 1 as pull_no
               from (values ('00Q5e000001AbcdEAC'), ('00Q5e000001AbcdXXX')) as t(id)"""
        )
    for _ in range(2):
        with Warehouse(tmp_path).connect() as connection:
            assert connection.execute("select max(version) from main.schema_version").fetchone() == (SCHEMA_VERSION,)
            (row,) = connection.execute("select status, open_since, length(subject) from main.ledger").fetchall()
            assert row == ("open", datetime(2026, 1, 1), 32)
            malformed = connection.execute("select id_is_malformed from raw.salesforce_lead order by id").fetchall()
            assert malformed == [(False,), (True,)]
            new = duckdb.connect()
            prepare(new)
            assert columns_of(connection) == columns_of(new)


def test_predictions_of_schema_8_say_the_same_by_the_values_of_the_knobs() -> None:
    connection = duckdb.connect()
    prepare(connection)
    for name in ("first_by", "newest_by"):
        connection.execute(f"alter table main.prediction drop column {name}")
    for column in ("oldest_id varchar", "oldest_contact_first_id varchar", "newest_by_modstamp varchar[]", "newest_by_modified varchar[]"):
        connection.execute(f"alter table main.prediction add column {column}")
    connection.execute("update main.schema_version set version = 8")
    connection.execute(
        """insert into main.prediction
           select 'run', now()::timestamp, contact_id, null, 'keep', null, 30, 'observed', 'high', [], a, b, c, d
           from (values ('1', 'old', 'contact', ['x', 'y'], ['z']), ('2', null, null, null, null)) as t(contact_id, a, b, c, d)"""
    )
    prepare(connection)
    stored = connection.execute("select first_by, newest_by from main.prediction order by hubspot_contact_id").fetchall()
    first = {"oldest_created": "old", "contact_first": "contact", "unknown": None}
    assert stored == [(first, {"system_modstamp": ["x", "y"], "last_modified_date": ["z"]}), (None, None)]


def columns_of(connection: duckdb.DuckDBPyConnection) -> set[tuple[str, ...]]:
    query = "select table_schema, table_name, column_name, data_type from information_schema.columns where table_schema in ('main', 'raw')"
    return set(connection.execute(query).fetchall())
