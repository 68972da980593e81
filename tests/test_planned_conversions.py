"""A plan that wants a Lead and a Contact to be one, carried out in the simulator as conversions: nobody loses a value, is cut off or ends beside another."""

from collections import Counter
from itertools import groupby, product

import pytest

from assets.published.contract import TABLES
from assets.published.merge_check import ANSWERS_SQL
from assets.published.merge_plan import load_merge_plan
from tests.agreement import FIELD_RULES, Pulled, policies, settings_for
from tests.test_agreement import worlds
from tests.test_run_book import Portal


def pairs_of(portal: Portal) -> list[tuple[str, str]]:
    """A Contact and Leads with its e-mail."""
    live = [record for record in portal.world.records.values() if record.is_live and record.is_visible and record.email]
    pairs = [(one, lead) for one, lead in product(live, live) if one.type == "Contact" and lead.type == "Lead" and one.email == lead.email]
    first = {lead.id: contact.id for contact, lead in reversed(pairs)}
    return sorted((contact, lead) for lead, contact in first.items())


def check_conversions(policy: int, number: int) -> Counter[str]:
    knobs = policies()[policy]
    portals = [Portal(world_no, tale, settings_for(knobs)) for world_no, tale in enumerate(worlds(policy, number))]
    pulled = Pulled(knobs, FIELD_RULES)
    plans = {world_no: pairs for world_no, portal in enumerate(portals) if not portal.is_invalid and (pairs := pairs_of(portal))}
    for world_no, pairs in plans.items():
        load_merge_plan(pulled.connection, f"w{world_no}", [(row_no, *pair) for row_no, pair in enumerate(pairs, 1)])
    pulled.pull([portal.world for portal in portals], max(portal.world.now for portal in portals))
    pulled.connection.execute("create schema published")
    for name, table in TABLES.items():
        if pulled.connection.execute("select 1 from duckdb_tables() where schema_name || '.' || table_name = ?", [table]).fetchone():
            pulled.connection.execute(f"create view published.{name} as from {table}")
    pulled.connection.execute(ANSWERS_SQL.read_text("utf-8"))
    converted, entered = pulled.rows("main.converted"), pulled.rows("main.entered")
    seen = Counter(row["reason"] or "converted" for row in converted)
    for world_no, pairs in plans.items():
        portal, wanted = portals[world_no], {lead for _, lead in pairs}
        mine = [row for row in converted if row["lead_id"] in wanted and row["reason"] is None]
        if not mine:
            continue
        bound, values = portal.bound(), portal.values()
        mine.sort(key=lambda row: (row["contact_id"], not row["is_bound"], row["lead_id"]))
        for contact_id, rows in groupby(mine, key=lambda row: row["contact_id"]):
            contact = portal.world.records[contact_id]
            for is_before in (True, False):
                if not is_before:
                    for row in rows:
                        portal.world.convert_lead(portal.world.records[row["lead_id"]], contact)
                    portal.wait()
                fields = {row["salesforce_field"]: row["value"] for row in entered if row["contact_id"] == contact_id and row["is_before"] == is_before}
                if fields:
                    portal.world.edit_record(contact, fields)
            portal.wait()
        happened = harm(portal, bound, values)
        assert not happened, "\n".join([f"Under {knobs}, world {world_no}:", *portal.play.diary, *map(str, mine), f"happened: {happened}"])
    return seen


def harm(portal: Portal, bound: dict[str, str], values: dict[str, dict[str, str]]) -> set[str]:
    """What went wrong with contacts that were well before. Nobody can enter the name of an account in a Contact (docs/prediction.md)."""
    found = set()
    for contact_id in bound:
        contact = portal.world.contacts[contact_id]
        record = portal.world.records.get(contact.bound_id or "")
        if contact.archived_at is not None:
            found.add(f"{contact_id} deleted")
        elif record is None or not record.is_live:
            found.add(f"{contact_id} cut off")
        elif len(portal.world.contacts_bound_to(record.id)) > 1:
            found.add(f"{contact_id} beside another")
        found |= {f"{name} of {contact_id}: {value} lost" for name, value in values[contact_id].items()
                  if value and value != contact.value(name).strip() and name != "company"}  # fmt: skip
    return found


@pytest.mark.parametrize("policy", range(0, len(policies()), 24))
def test_conversions_of_a_plan_cost_no_contact_anything(policy: int) -> None:
    seen = check_conversions(policy, 30)
    assert seen["converted"] > 0
