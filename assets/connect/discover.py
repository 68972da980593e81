"""What a sample tells: the SQL files of this package, one after the other, over a database in memory. No row of it passes through Python but the answers."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from assets.connect.sample import CALLS, CONTACTS, Sample, Sampler
from assets.models.build import build_models
from assets.policy import ALSO_STANDARD, DEFAULT_MAPPING, OBJECTS, Policy
from assets.pull.described import of_hubspot, of_salesforce
from assets.pull.hubspot_portal import Portal
from assets.pull.salesforce_org import Org
from assets.sql import SQL_FOLDER
from assets.warehouse.file import prepare
from assets.warehouse.ledger import begin_run
from assets.warehouse.policy_tables import write_policy

log = logging.getLogger("bindwatch.pull")
_SQL = Path(__file__).parent / "sql"
_FEW = 200  # contacts
Row = dict[str, Any]


@dataclass
class Discovery:
    """What was found out. kind: native, middleware, none or unknown, with the ids that say so; mapping and knobs: rows of found.mapping and found.knob;
    lists: ids of those that may be the inclusion list; written: on how many contacts the integration wrote a property, and in how many pairs it is filled.
    """

    kind: str
    cases: int
    mapping: list[Row] = field(default_factory=list)
    knobs: dict[str, Row] = field(default_factory=dict)
    lists: list[str] = field(default_factory=list)
    written: dict[str, tuple[int, int]] = field(default_factory=dict)
    carried: set[str] = field(default_factory=set)  # properties of which some value may have come to Salesforce by the integration
    unmatched: list[str] = field(default_factory=list)  # properties that the integration writes, and no field fits
    is_shared: bool = False  # somebody works as the integration user
    is_refused: bool = False  # not all fields of the records were shown: what was not seen there may be mapped all the same
    contacts: int = 0
    pairs: int = 0
    not_seen: list[str] = field(default_factory=list)


@contextmanager
def sampled(
    org: Org, portal: Portal, described: dict[str, dict[str, dict[str, Any]]], contacts: int = CONTACTS, calls: int = CALLS, before: tuple[int, int] = (0, 0)
) -> Iterator[Sample]:
    """A sample of contacts, for as long as the context lasts: it is personal data. before: calls to Salesforce and to HubSpot that do not count."""
    with TemporaryDirectory(prefix="bindwatch-") as folder:
        sample = Sample(Path(folder), described, portal.properties())
        Sampler(org, portal, sample, contacts, calls, before).take()
        yield sample


def discover(sample: Sample, as_of: datetime | None = None) -> Discovery:
    """Finds out how the portal is set up. as_of: what the CRMs' clocks say."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'; set preserve_insertion_order = false")
        if sample.contacts <= _FEW:
            connection.execute("set threads = 1")  # half the time: there is little to share out
        prepare(connection)
        write_policy(connection, Policy(), "https://org", [])
        begin_run(connection, "sample", datetime.now(UTC))
        moment = (as_of or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)
        connection.execute("set variable clock = ?::timestamp", [moment])
        connection.execute("set variable folder = ?", [str(sample.folder)])
        _describe(connection, sample)
        for name in ("1_sample", "2_integration"):
            _run(connection, name)
        ((kind, cases),) = connection.execute("select kind, cases from found.integration").fetchall()
        found = Discovery(kind, cases, contacts=sample.contacts, not_seen=list(sample.not_seen), is_refused=sample.is_refused or sample.is_short)
        if kind in ("middleware", "none"):
            return found
        connection.execute("delete from main.field_mapping")
        _run(connection, "3_candidates")
        connection.execute((SQL_FOLDER / "core" / "values" / "mapped_field.sql").read_text("utf-8"))
        for name in ("4_mapping", "5_rules"):
            _run(connection, name)
        _backtest(connection)
        _run(connection, "6_knobs")
        found.mapping = _rows(connection, "from found.mapping order by property")
        found.knobs = {row.pop("knob"): row for row in _rows(connection, "from found.knob")}
        found.lists = [row["list_id"] for row in _rows(connection, "from found.inclusion_list order by place limit 3")]
        found.written = {row["property"]: (row["contacts"], row["filled"]) for row in _rows(connection, "from found.candidate")}
        found.carried = {row["property"] for row in _rows(connection, "select distinct property from found.match where by_integration > 0")}
        found.unmatched = [
            row["property"] for row in _rows(connection, "from found.candidate anti join found.mapping using (property) where versions > 0 order by property")
        ]
        found.is_shared = any(row["is_shared"] for row in _rows(connection, "from found.integration_user"))
        ((found.pairs,),) = connection.execute("select count(*) from sample.pair").fetchall()
    return found


def _describe(connection: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    """What both CRMs say of their fields, as the tables that the models read."""
    fields, labels = [], []
    for object_type, known in sample.described.items():
        for name, entry in known.items():
            described = of_salesforce(entry, is_related="." in name)
            fields.append({"object_type": object_type, "field": name, "type": described.type, "is_writable": described.is_writable, "labels": described.labels})
            labels.append({"object_type": object_type, "field": name, "label": str(entry.get("label") or "")})
    properties = []
    for name, entry in sample.properties.items():
        told = of_hubspot(entry)
        properties.append({"property": name, "type": told.type, "field_type": told.field_type, "labels": told.labels})
        labels.append({"object_type": "contact", "field": name, "label": str(entry.get("label") or "")})
    standard = [
        {"property": one.hubspot, "object_type": object_type, "field": one.field_of(object_type)}
        for one in (*DEFAULT_MAPPING, *ALSO_STANDARD) for object_type in OBJECTS if one.field_of(object_type)
    ]  # fmt: skip
    connection.execute("create schema connect")
    for table, shape, rows in (
        ("raw.salesforce_field", "object_type varchar, field varchar, type varchar, is_writable boolean, labels map(varchar, varchar)", fields),
        ("raw.hubspot_property", "property varchar, type varchar, field_type varchar, labels map(varchar, varchar)", properties),
        ("connect.label", "object_type varchar, field varchar, label varchar", labels),
        ("connect.standard_mapping", "property varchar, object_type varchar, field varchar", standard),
    ):
        path = sample.folder / f"{table}.ndjson"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        columns = ", ".join(f"{name}: '{kind}'" for name, kind in (column.split(" ", 1) for column in _columns(shape)))
        connection.execute(f"create table if not exists {table} ({shape})")
        if rows:
            connection.execute(f"insert into {table} by name from read_json(?, format = 'newline_delimited', columns = {{{columns}}})", [str(path)])


def _columns(shape: str) -> list[str]:
    return shape.replace("map(varchar, varchar)", "map").replace(", ", "\n").replace("map", "map(varchar, varchar)").splitlines()


def _backtest(connection: duckdb.DuckDBPyConnection) -> None:
    """Scores every policy on the id history of the sample, with the models that `bindwatch backtest` rests on."""
    connection.execute("delete from main.field_mapping; delete from raw.salesforce_field; delete from raw.hubspot_property")
    connection.execute("update main.policy set integration_user_id = (select user_id from found.integration_user)")
    connection.execute((_SQL / "backtest.sql").read_text("utf-8"))
    build_models(connection, [], until=["core.policy_prediction"])


def _run(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    connection.execute((_SQL / f"{name}.sql").read_text("utf-8"))


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    relation = connection.execute(query)
    names = [column[0] for column in relation.description or []]
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
