"""The Dagster assets of the raw layer: what was pulled from each CRM. Each CRM is one step, resumable on its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import dagster as dg
import duckdb

from assets.connect.look import take_look
from assets.dagster.keys import OWNERS, key, named
from assets.dagster.session import Crms, Session
from assets.ingest.bring import Ingest
from assets.ingest.hubspot_pulls import ingest_contacts, ingest_histories, ingest_owners
from assets.ingest.salesforce_pulls import ingest_field_history, ingest_object, ingest_users
from assets.policy import OBJECTS
from assets.progress import doing
from assets.pull.landing import LandedPull
from assets.sql import count_rows
from assets.warehouse.coverage import read_coverage
from assets.warehouse.portal_look import is_look_due, note_look, note_no_look

SOURCES = [
    dg.AssetSpec(key(f"{crm}.{name}"), group_name=named("1_crm"), kinds={crm}, tags={"layer": "crm"}, description=description)
    for crm, name, description in (
        ("salesforce", "Lead", "Leads in Salesforce, read through Bulk API 2.0."),
        ("salesforce", "Contact", "Contacts in Salesforce, read through Bulk API 2.0."),
        ("salesforce", "User", "Users of Salesforce: who created or changed records."),
        ("hubspot", "owner", "Owners of records in HubSpot, with those who have left."),
        ("hubspot", "contact", "Contacts in HubSpot with their property history."),
    )
]


# A run with this tag begins a pull again, so often at most, when a CRM does not answer. Schedules set it: nobody waits for them.
RETRIES_TAG = "bindwatch/pull_retries"

# A pull that is this old is worth a look. Evaluated by Dagster's daemon.
_FRESH = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=3), fail_window=timedelta(hours=26))


def _retries_left(context: dg.AssetExecutionContext) -> int:
    allowed = int(context.run.tags.get(RETRIES_TAG, "0"))
    return allowed - int(context.retry_number)


class PullOptions(dg.Config):
    full: bool = False
    """Compare all ids and stamps with what is known: only that finds records that vanished."""


def _spec(name: str, sources: str, description: str, is_extra: bool = False) -> dg.AssetSpec:
    """is_extra: a run may do without it."""
    return dg.AssetSpec(
        key(f"raw.{name}"),
        deps=[key(source) for source in sources.split()],
        group_name=named("2_raw"),
        kinds={"duckdb"},
        owners=OWNERS,
        tags={"layer": "raw"},
        skippable=True,
        description=description,
        freshness_policy=None if is_extra else _FRESH,
    )


@dg.multi_asset(
    name="salesforce",
    specs=[
        _spec("salesforce_lead", "salesforce.Lead", "Every version of every Lead ever pulled, as text; deleted, merged and converted ones included."),
        _spec("salesforce_contact", "salesforce.Contact", "Every version of every Contact ever pulled, as text; deleted and merged ones included."),
        _spec("salesforce_user", "salesforce.User", "Users of the org, each as named last.", is_extra=True),
    ],
)
def salesforce_records(context: dg.AssetExecutionContext, config: PullOptions, session: dg.ResourceParam[Session]) -> Iterator[dg.MaterializeResult[None]]:
    """Pulls Leads, Contacts and users. The first pull is full, later ones take what changed."""
    with session.step(context, _retries_left(context)) as connection:
        connections = session.connections
        doing("Salesforce was being pulled", kept=None)
        crms = session.crms(connection, context.run_id)
        with session.warehouse.landing(connections.policy) as landing:
            ingest = Ingest(connection, landing, connections.policy, config.full)
            for name in OBJECTS:  # of an object that is not synced the table is there and empty, so that what rests on it is built
                pulls = ingest_object(crms.org, ingest, name, crms.fields[name]) if name in crms.fields else []
                yield _result(connection, f"raw.salesforce_{name.lower()}", _covered(connection, pulls))
            yield _result(connection, "raw.salesforce_user", _covered(connection, [ingest_users(crms.org, ingest)]))


@dg.multi_asset(
    name="hubspot",
    specs=[
        _spec("hubspot_contact", "hubspot.contact", "Every version of every HubSpot contact ever pulled, live and archived, as text."),
        _spec("hubspot_owner", "hubspot.owner", "Owners of records in HubSpot, each as named last, with those who have left.", is_extra=True),
    ],
)
def hubspot_contacts(context: dg.AssetExecutionContext, config: PullOptions, session: dg.ResourceParam[Session]) -> Iterator[dg.MaterializeResult[None]]:
    """Pulls contacts, with the history of their ids and e-mails. The first pull is full, later ones take what changed; archived contacts always come
    whole.
    """
    with _portal(context, config, session) as (crms, ingest):
        pulls = ingest_contacts(crms.portal, ingest, crms.properties)
        yield _result(ingest.connection, "raw.hubspot_contact", _covered(ingest.connection, pulls))
        yield _result(ingest.connection, "raw.hubspot_owner", _covered(ingest.connection, ingest_owners(crms.portal, ingest)))


@dg.multi_asset(
    name="histories",
    specs=[
        # begun by the step hubspot, with the ids and e-mails; whole, and so told, when this step is done
        _spec("hubspot_property_version", "hubspot.contact raw.hubspot_contact raw.salesforce_lead raw.salesforce_contact", "Every entry of the property "
              "history that Bindwatch needs: the two Salesforce ids, the e-mail, and, where a binding changed or may change, the mapped properties; where it "
              "changed, the sync time, too."),
        _spec("salesforce_field_history", "salesforce.Lead salesforce.Contact raw.hubspot_contact raw.salesforce_lead raw.salesforce_contact", "Every change "
              "of a tracked field, of records that took part in a change of a binding, of rivals and of merge losers. Read when both CRMs were pulled.",
              is_extra=True),
        dg.AssetSpec(
            key("raw.hubspot_history_read"),
            deps=[key("raw.hubspot_contact"), key("raw.salesforce_lead"), key("raw.salesforce_contact")],
            group_name=named("2_raw"), kinds={"duckdb"}, owners=OWNERS, tags={"layer": "raw"}, skippable=True,
            description="One row: a contact whose history of mapped properties was read, because its binding changed or its e-mail has several records in "
            "Salesforce. Read when both CRMs were pulled; the entries are in raw/hubspot_property_version.",
        ),
        _spec("portal_setting", "salesforce.Lead salesforce.Contact hubspot.contact", "One row: a setting of the policy, and what a small sample says of it. "
              "Asked for by full runs alone.", is_extra=True),
    ],
)  # fmt: skip
def mapped_histories(context: dg.AssetExecutionContext, config: PullOptions, session: dg.ResourceParam[Session]) -> Iterator[dg.MaterializeResult[None]]:
    """Pulls the history of mapped properties where it is needed and was not read since the contact changed, and of Salesforce's fields likewise. A full run
    asks both CRMs how the portal is set up, too.
    """
    with _portal(context, config, session) as (crms, ingest):
        pulls = ingest_histories(crms.portal, ingest, crms.properties)
        yield _result(ingest.connection, "raw.hubspot_property_version", read_coverage(ingest.connection)["hubspot"])
        yield _result(ingest.connection, "raw.hubspot_history_read", _covered(ingest.connection, pulls))
        changes = ingest_field_history(crms.org, ingest, crms.fields)
        yield _result(ingest.connection, "raw.salesforce_field_history", _covered(ingest.connection, changes))
        if is_look_due(ingest.connection):
            doing("the settings were being looked at")
            look = take_look(crms.org, crms.portal, ingest.policy)
            if look.problem is None:
                note_look(ingest.connection, look.taken_at, look.kind, look.contacts, [asdict(one) for one in look.settings])
            else:
                note_no_look(ingest.connection, look.source, look.problem)
        yield _result(ingest.connection, "raw.portal_setting", [])


@contextmanager
def _portal(context: dg.AssetExecutionContext, config: PullOptions, session: Session) -> Iterator[tuple[Crms, Ingest]]:
    """A step that pulls from HubSpot: the way in, and where its pulls go."""
    with session.step(context, _retries_left(context)) as connection:
        connections = session.connections
        doing("HubSpot was being pulled", kept=None)
        crms = session.crms(connection, context.run_id)
        with session.warehouse.landing(connections.policy) as landing:
            yield crms, Ingest(connection, landing, connections.policy, config.full)


def _covered(connection: duckdb.DuckDBPyConnection, pulls: list[LandedPull]) -> list[dict[str, Any]]:
    """What the run knows by these pulls."""
    objects = {pull.manifest.object for pull in pulls}
    return [pull for source in read_coverage(connection).values() for pull in source if pull["object"] in objects]


def _result(connection: duckdb.DuckDBPyConnection, table: str, covered: list[dict[str, Any]]) -> dg.MaterializeResult[None]:
    """What the pulls of a table brought, and what they could not see."""
    rows = count_rows(connection, table)
    if not covered:  # nothing needed to be pulled
        return dg.MaterializeResult(asset_key=key(table), metadata={"dagster/row_count": rows, "dagster/table_name": table, "rows": 0})
    main = covered[0]
    not_seen = list(dict.fromkeys(text for pull in covered for text in pull["not_seen"]))
    columns = ("object", "mode", "from", "to", "rows", "new_versions", "lag_seconds", "complete", "problem")
    return dg.MaterializeResult(
        asset_key=key(table),
        metadata={
            "dagster/row_count": rows,
            "dagster/table_name": table,
            "mode": main["mode"],
            "from": main["from"] or "the beginning",
            "to": main["to"],
            "rows": sum(pull["rows"] for pull in covered),
            "new versions": sum(pull["new_versions"] for pull in covered),
            "lag in seconds": main["lag_seconds"],
            "complete": all(pull["complete"] for pull in covered),
            "not seen": "; ".join(not_seen) or "nothing known",
            "pulls": dg.MetadataValue.table([dg.TableRecord({column: pull[column] for column in columns}) for pull in covered]),
        },
    )
