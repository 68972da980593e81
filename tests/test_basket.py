"""A basket's files, carried out as they stand: what was chosen is there, nobody jumps, nothing that was typed is lost, what no file holds is counted."""

import csv
import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hubspot import HubSpot
from hubspot.crm.contacts import BatchInputSimplePublicObjectBatchInput
from simple_salesforce.api import Salesforce

from assets.published import basket_files
from assets.published.basket_files import Choice
from assets.published.contract import TABLES
from assets.published.decisions import Decision, DecisionStore
from assets.published.snapshot import open_snapshot
from assets.published.worklist import Filter, Worklist
from expectations.gate import checks
from sandbox.server import SandboxServer
from sandbox.users import INTEGRATION_USER
from tests import live
from tests.agreement import FIELD_RULES, Pulled, policies, settings_for
from tests.crm import BOUND, RIVAL, Crm, contact_id, day, duplicates
from tests.test_agreement import worlds
from tests.test_causes import TOM, watched
from tests.test_restore import Damage, jumped
from tests.test_restored_worlds import DamagedPortal


def published(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The tables as readers of a snapshot see them."""
    connection.execute("create schema if not exists published")
    for name, table in TABLES.items():
        connection.execute(f"create or replace view published.{name} as from {table}")
    return connection


def rows_of(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The files of a basket, as a program reads them."""
    return {str(path.relative_to(folder)): list(csv.DictReader(path.open(encoding="utf-8", newline=""))) for path in sorted(folder.rglob("*.csv"))}


@cache
def built(world: Callable[[], Crm]) -> duckdb.DuckDBPyConnection:
    """A world that several tests fill a basket from."""
    return published(world().build().connection)


def files(world: Callable[[], Crm], folder: Path, *choices: Choice) -> dict[str, list[dict[str, str]]]:
    snapshot = built(world).cursor()  # what is filled in is the test's own
    basket_files.fill(snapshot, choices)
    basket_files.write(snapshot, folder)
    return rows_of(folder)


def case_of(world: Callable[[], Crm]) -> str:
    ((case_id,),) = built(world).execute("select case_id from published.person_case").fetchall()
    return str(case_id)


def back(value: str = "CEO", seen: str | None = "Buyer") -> Choice:
    return Choice(case_of(jumped), "101", "jobtitle", value, seen)


def reasons(found: dict[str, list[dict[str, str]]]) -> list[str]:
    return [row["reason"] for row in found[basket_files.LEFT_OUT] if row["what"] != "finding"]


# ── one thing at a time ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_value_goes_into_the_bound_record_first_and_then_into_the_contact(tmp_path: Path) -> None:
    found = files(jumped, tmp_path, back())
    assert found["1-salesforce-leads.csv"] == [{"Id": RIVAL, "Title": "CEO"}]
    assert found["3-hubspot-contacts.csv"] == [{"Record ID": "101", "jobtitle": "CEO"}]
    assert reasons(found) == []


def test_what_stands_there_now_is_kept_to_roll_back(tmp_path: Path) -> None:
    found = files(jumped, tmp_path, back())
    assert found["before/1-salesforce-leads.csv"] == [{"Id": RIVAL, "Title": "Buyer"}]
    assert found["before/3-hubspot-contacts.csv"] == [{"Record ID": "101", "jobtitle": "Buyer"}]


def test_a_value_that_changed_since_it_was_chosen_is_said_and_not_written_over(tmp_path: Path) -> None:
    found = files(jumped, tmp_path, back(seen="Clerk"))
    assert list(found) == [basket_files.EVIDENCE, basket_files.LEFT_OUT]
    assert reasons(found) == ["changed_since"]


def test_what_is_there_by_now_is_done(tmp_path: Path) -> None:
    snapshot = built(jumped).cursor()
    basket_files.fill(snapshot, [back(value="Buyer")])
    figures = basket_files.count(snapshot)
    assert (figures["values"], figures["done"], figures["left_out"]) == (0, 1, {})


def test_of_a_contact_that_is_gone_nothing_is_written(tmp_path: Path) -> None:

    def gone() -> Crm:
        crm = jumped()
        crm.end_run()
        crm.contact(bound=RIVAL, since=None, synced=day(20), archived_at=day(29), properties={"jobtitle": "Buyer"})
        return crm

    assert reasons(files(gone, tmp_path, back())) == ["no_case"]


def test_an_owner_that_no_record_can_be_told_is_counted(tmp_path: Path) -> None:
    """Two Leads wait for the contact's first binding."""

    def unbound() -> Crm:
        crm = Crm()
        crm.lead(1, modified=day(5))
        crm.lead(2, modified=day(3))
        crm.contact(bound=None)
        return crm

    found = files(unbound, tmp_path, Choice(case_of(unbound), "101", "salesforceownerid", "0055e000000Own2", None))
    assert reasons(found) == ["not_bound"]


def test_the_steps_of_a_case_are_merges_into_the_bound_record(tmp_path: Path) -> None:
    found = files(duplicates, tmp_path, Choice(case_of(duplicates)))
    assert found["6-salesforce-merges.csv"] == [{"object_type": "Lead", "master_id": BOUND, "loser_id_1": RIVAL, "loser_id_2": ""}]


def lead_and_contact(of_lead: dict[str, str], of_contact: dict[str, str], of_hubspot: dict[str, str]) -> Crm:
    """The contact is bound to a Lead, and a Contact with the same e-mail has another value."""
    crm = Crm()
    crm.lead(1, fields=of_lead, modified=day(5))
    crm.salesforce_contact(7, fields=of_contact, account="0015e000000Acc1", modified=day(3))
    crm.contact(bound=BOUND, properties=of_hubspot)
    return crm


def converting() -> Crm:
    return lead_and_contact({"Title": "CEO"}, {"Title": "Clerk"}, {"jobtitle": "CEO"})


def test_a_bound_lead_is_converted_and_the_right_values_follow(tmp_path: Path) -> None:
    found = files(converting, tmp_path, Choice(case_of(converting)))
    (conversion,) = found["4-salesforce-conversions.csv"]
    assert (conversion["Lead Id"], conversion["Contact Id"], conversion["Do Not Create Opportunity"]) == (BOUND, contact_id(7), "true")
    assert conversion["Account Id"].startswith("0015e000000Acc1")
    assert found["5-salesforce-contacts-after-conversion.csv"] == [{"Id": contact_id(7), "Title": "CEO"}]


def test_a_value_chosen_for_a_contact_whose_lead_is_converted_goes_into_the_contact_that_stays(tmp_path: Path) -> None:
    case = case_of(converting)
    found = files(converting, tmp_path, Choice(case), Choice(case, "101", "jobtitle", "Founder", "CEO"))
    assert found["5-salesforce-contacts-after-conversion.csv"] == [{"Id": contact_id(7), "Title": "Founder"}]
    assert "1-salesforce-leads.csv" not in found


def test_where_something_is_entered_beside_the_bound_record_that_one_is_saved_again(tmp_path: Path) -> None:
    """Consent is entered before a conversion, in a file of its own, and makes the Contact the newest record."""

    def opted_in() -> Crm:
        return lead_and_contact({"HasOptedOutOfEmail": "false"}, {"HasOptedOutOfEmail": "true"}, {"hs_email_optout": "false"})

    found = files(opted_in, tmp_path, Choice(case_of(opted_in)))
    assert found["1-salesforce-contacts-consent.csv"] == [{"Id": contact_id(7), "HasOptedOutOfEmail": "false"}]
    assert found["2-salesforce-save-again-leads.csv"] == [{"Id": BOUND, "LastName": "Lee"}]


def test_consent_stands_in_no_file_with_other_values(tmp_path: Path) -> None:
    """What a person agreed to is never entered with a hundred job titles."""
    case = case_of(jumped)
    found = files(jumped, tmp_path, Choice(case, "101", "jobtitle", "CEO", "Buyer"), Choice(case, "101", "hs_email_optout", "true"))
    assert [name for name, rows in found.items() if "HasOptedOutOfEmail" in rows[0] or "hs_email_optout" in rows[0]] != []
    for name, rows in found.items():
        fields = {"HasOptedOutOfEmail", "hs_email_optout"} & rows[0].keys()
        assert bool(fields) == name.endswith("-consent.csv"), name
        assert not fields or len(rows[0]) == 2, "consent alone"


def test_steps_that_people_must_decide_are_left_out_with_what_waits_for_them(tmp_path: Path) -> None:

    def shared_address() -> Crm:
        crm = Crm()
        crm.lead(1, fields={"FirstName": "Ann", "LastName": "Lee"}, name="Ann Lee", modified=day(5))
        crm.lead(2, fields={"FirstName": "Bob", "LastName": "Roth"}, name="Bob Roth", modified=day(3))
        crm.contact(bound=BOUND)
        return crm

    found = files(shared_address, tmp_path, Choice(case_of(shared_address)))
    assert list(found) == [basket_files.EVIDENCE, basket_files.LEFT_OUT]
    assert set(reasons(found)) <= {"decision", "waits"}
    assert "decision" in reasons(found)


def test_findings_that_stay_open_all_the_same_are_named(tmp_path: Path) -> None:
    def edited() -> Crm:
        return watched({"modified": day(30.1), "by": TOM, "fields": {"Title": "Buyer", "Fax": "1"}})

    found = files(edited, tmp_path, Choice(case_of(edited)))
    remaining = {(row["name"], row["reason"]) for row in found[basket_files.LEFT_OUT] if row["what"] == "finding"}
    assert ("switch_happened", "not_chosen") in remaining
    assert not any(name in ("unsafe_duplicate", "switchable_duplicate", "latent_duplicate") for name, _ in remaining)


def test_checks_that_give_the_run_book_as_advice_are_ended_by_its_steps() -> None:
    """The list in basket.sql is the one of checks that ask for core.first_step; of these, three are about more than duplicates."""
    asking = {file.name for file in checks() if "core.first_step" in file.text}
    sql = (Path(basket_files.__file__).parent / "basket.sql").read_text("utf-8")
    listed = {name for name in asking if f"'{name}'" in sql.partition("answered as (")[2].partition(")")[0]}
    assert asking - listed == {"switch_happened", "mislinked_email"}


def test_a_case_that_ended_is_counted(tmp_path: Path) -> None:
    assert reasons(files(duplicates, tmp_path, Choice("0123456789abcdef"))) == ["no_case"]


# ── carried out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class BasketPortal(DamagedPortal):
    def carry_out(self, found: dict[str, list[dict[str, str]]]) -> None:
        """One file after the other, each to its end; the integration syncs in between."""
        for name, rows in found.items():
            mine = [row for row in rows if self._is_mine(row)]
            if name.startswith(("1-", "2-", "5-")):
                for row in mine:
                    changes: dict[str, str | None] = {field: value for field, value in row.items() if field != "Id" and value}
                    self.world.edit_record(self.world.records[row["Id"]], changes)
            elif name.startswith("3-"):
                for row in mine:
                    self.world.write(
                        self.world.contacts[row["Record ID"]], {field: value for field, value in row.items() if field != "Record ID" and value}, "IMPORT"
                    )
            elif name.startswith("4-"):
                for row in mine:
                    self.world.convert_lead(self.world.records[row["Lead Id"]], self.world.records[row["Contact Id"]])
            elif name.startswith("6-"):
                for row in mine:
                    losers = [self.world.records[row[loser]] for loser in ("loser_id_1", "loser_id_2") if row[loser]]
                    self.world.merge_records(self.world.records[row["master_id"]], losers)
            if name.startswith("1-"):
                continue  # the files with the number 2 follow at once
            self.wait()
        self.wait()

    def _is_mine(self, row: dict[str, str]) -> bool:
        own = row.get("Id") or row.get("Lead Id") or row.get("master_id")
        return own in self.world.records if own else row.get("Record ID") in self.world.contacts


def everything(snapshot: duckdb.DuckDBPyConnection) -> list[Choice]:
    """Every step and every value that a restore would put back, with the value that is there now."""
    cases = [Choice(row[0]) for row in snapshot.execute("select case_id from published.person_case order by rank").fetchall()]
    values = snapshot.execute(
        """select person.case_id, value.hubspot_contact_id, value.property, value.value_before, value.value_now
           from published.restorable_value as value
           inner join published.person_case as person on list_contains(person.hubspot_contact_ids, value.hubspot_contact_id)
           where value.status = 'restore' order by all"""
    ).fetchall()
    return cases + [Choice(*row) for row in values]


def check_nothing_is_dropped(snapshot: duckdb.DuckDBPyConnection) -> None:
    """What was chosen is in a file, is so already, or is counted as left out; what the files hold, somebody chose, or the run-book says it."""
    dropped = snapshot.execute(
        """select hubspot_contact_id, property from basket_choice where property is not null
           except (select hubspot_contact_id, property from basket_value union all select hubspot_contact_id, property from basket_done
                   union all select hubspot_contact_id, name from basket_left_out where what = 'value')"""
    ).fetchall()
    assert dropped == [], f"chosen, and neither in a file nor counted: {dropped[:5]}"
    steps = snapshot.execute(
        """select book, step from basket_advice
           except (select book, step from basket_step
                   union all select advice.book, advice.step from basket_advice as advice
                   inner join basket_left_out as left_out on left_out.case_id = advice.case_id and left_out.step = advice.step)"""
    ).fetchall()
    assert steps == [], f"steps that are neither in a file nor counted: {steps[:5]}"
    unasked = snapshot.execute(
        """select hubspot_contact_id, property from basket_value where source = 'chosen'
           except select hubspot_contact_id, property from basket_choice"""
    ).fetchall()
    assert unasked == [], f"in a file, and nobody chose it: {unasked[:5]}"


def check_basket(policy: int, number: int, folder: Path) -> Counter[str]:
    knobs = policies()[policy]
    portals = [BasketPortal(world_no, tale, settings_for(knobs)) for world_no, tale in enumerate(worlds(policy, number))]
    chances = [random.Random(policy * 1000 + world_no) for world_no in range(len(portals))]
    pulled = Pulled(knobs, FIELD_RULES, checks())
    for portal, chance in zip(portals, chances, strict=True):
        portal.prepare(chance)
    pulled.pull([portal.world for portal in portals], max(portal.world.now for portal in portals))
    for portal, chance in zip(portals, chances, strict=True):
        portal.damage(chance)
    pulled.pull([portal.world for portal in portals], max(portal.world.now for portal in portals))
    snapshot = published(pulled.connection)
    chosen = everything(snapshot)
    basket_files.fill(snapshot, chosen)
    figures = basket_files.write(snapshot, folder)
    check_nothing_is_dropped(snapshot)
    found = rows_of(folder)
    left_out = {row["case_id"] for row in found[basket_files.LEFT_OUT]}  # or something of it stays open, as is said beforehand
    seen = Counter({f"left out: {reason}": times for reason, times in figures["left_out"].items()})
    seen.update({name: figures[name] for name in ("values", "conversions", "merges", "done", "accepted", "remaining")})
    taken = {choice.case_id for choice in chosen} - left_out
    snapshot.execute("insert into main.decision select fingerprint, 'accepted', null, null from basket_accepted")
    values = snapshot.execute("select hubspot_contact_id, property, value from basket_value where source = 'chosen'").fetchall()
    for world_no, portal in enumerate(portals):
        if portal.is_invalid:
            continue
        bound, before = portal.bound(), portal.values()
        portal.carry_out(found)
        told = "\n".join([f"Under {knobs}, world {world_no}:", *portal.play.diary])
        chosen_here = {(one, name): value.strip() for one, name, value in values if one in portal.world.contacts}
        for own_id, record_id in bound.items():
            contact = portal.world.contacts[own_id]
            assert contact.archived_at is None, f"contact {own_id} was deleted\n{told}"
            expected = portal.world.records[record_id].converted_contact_id or record_id
            assert contact.bound_id == expected, f"contact {own_id} is bound to {contact.bound_id}, not to {expected}\n{told}"
            of_account = {"company"} if expected != record_id else set()
            for name, value in before[own_id].items():
                wanted = chosen_here.get((own_id, name), value)
                if wanted and name not in of_account:
                    assert contact.value(name).strip() == wanted, f"contact {own_id}: {name} is {contact.value(name)!r}, not {wanted!r}\n{told}"
    pulled.pull([portal.world for portal in portals], max(portal.world.now for portal in portals))
    still = snapshot.execute(
        """select finding.check_name, count(distinct person.case_id)
           from published.person_case as person inner join published.finding as finding on list_contains(person.fingerprints, finding.fingerprint)
           where list_contains($1, person.case_id) group by all""",
        [sorted(taken)],
    ).fetchall()
    seen.update({f"still: {check}": times for check, times in still})
    seen["cases"] = len(taken)
    return seen


@pytest.mark.parametrize("policy", range(5, len(policies()), 48))
def test_a_basket_of_everything_puts_back_what_was_lost_and_moves_no_binding(policy: int, tmp_path: Path) -> None:
    seen = check_basket(policy, 60, tmp_path)
    assert seen["values"] + seen["conversions"] + seen["merges"] > 10
    assert not [name for name in seen if name.startswith("still: ")], seen


# ── through both CRMs' own interfaces ────────────────────────────────────────────────────────────────────────────────────────────


class Tools:
    """What a steward imports the files with: a data loader, HubSpot's import, tools that convert and merge by Salesforce's SOAP calls."""

    def __init__(self, server: SandboxServer) -> None:
        self.environment = server.environment
        self.session = server.salesforce.issue_token()
        self.salesforce = Salesforce(instance_url=self.environment["SALESFORCE_INSTANCE_URL"], session_id=self.session, version="64.0")
        self.salesforce.session.verify = self.environment["SSL_CERT_FILE"]
        self.hubspot = HubSpot(access_token=self.environment["HUBSPOT_ACCESS_TOKEN"], host=self.environment["HUBSPOT_BASE_URL"])

    def carry_out(self, found: dict[str, list[dict[str, str]]], wait: Callable[[], None]) -> None:
        for name, rows in found.items():
            if name.startswith(("1-", "2-", "5-")):
                for row in rows:
                    records: Any = self.salesforce.Lead if row["Id"].startswith("00Q") else self.salesforce.Contact
                    records.update(row["Id"], {field: value for field, value in row.items() if field != "Id" and value})
            elif name.startswith("3-"):
                inputs = [{"id": row["Record ID"], "properties": {key: value for key, value in row.items() if key != "Record ID" and value}} for row in rows]
                self.hubspot.crm.contacts.batch_api.update(BatchInputSimplePublicObjectBatchInput(inputs=inputs))
            elif name.startswith("4-"):
                self.soap("convertLead", "leadConverts", [
                    {"accountId": row["Account Id"], "contactId": row["Contact Id"], "convertedStatus": "Qualified",
                     "doNotCreateOpportunity": row["Do Not Create Opportunity"], "leadId": row["Lead Id"]} for row in rows
                ])  # fmt: skip
            elif name.startswith("6-"):
                self.soap("merge", "request", [
                    {"masterRecord": f"<type>{row['object_type']}</type><Id>{row['master_id']}</Id>",
                     "recordToMergeIds": [row["loser_id_1"], row["loser_id_2"]]} for row in rows
                ])  # fmt: skip
            if not name.startswith("1-"):
                wait()

    def soap(self, call: str, element: str, requests: list[dict[str, Any]]) -> str:
        """Each request as the guide of the SOAP API has it. Raises AssertionError where Salesforce refuses one."""
        body = ""
        for request in requests:
            fields = [(name, one) for name, values in request.items() for one in (values if isinstance(values, list) else [values]) if one]
            body += f"<{element}>{''.join(f'<{name}>{value}</{name}>' for name, value in fields)}</{element}>"
        envelope = (
            '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com"><soapenv:Header><SessionHeader>'
            f"<sessionId>{self.session}</sessionId></SessionHeader></soapenv:Header><soapenv:Body><{call}>{body}</{call}></soapenv:Body></soapenv:Envelope>"
        )
        url = f"{self.environment['SALESFORCE_INSTANCE_URL']}/services/Soap/u/64.0"
        answer = self.salesforce.session.post(url, data=envelope.encode(), verify=self.environment["SSL_CERT_FILE"])
        assert answer.status_code == 200, answer.text
        assert "<success>false</success>" not in answer.text, answer.text
        return str(answer.text)


def test_salesforce_refuses_a_merge_of_two_objects_and_without_a_session(tmp_path: Path) -> None:
    damage = Damage(1)
    contact = damage.world.create_record("Contact", {"LastName": "Lee"})
    with live.served(damage.story, tmp_path) as server:
        tools = Tools(server)
        wrong = [{"masterRecord": f"<type>Contact</type><Id>{contact.id}</Id>", "recordToMergeIds": damage.rivals[0].id}]
        with pytest.raises(AssertionError, match="INVALID_CROSS_REFERENCE_KEY"):
            tools.soap("merge", "request", wrong)
        tools.session = "another"
        with pytest.raises(AssertionError, match="INVALID_SESSION_ID"):
            tools.soap("merge", "request", wrong)


@pytest.mark.filterwarnings("ignore")
def test_a_basket_carried_out_over_http_leaves_nothing_of_its_cases_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody jumped to a rival; every second person is a Contact as well, into which the Leads are converted."""
    damage, home = Damage(8), tmp_path / "home"
    for number in range(0, 8, 2):
        fields: dict[str, str | None] = {"FirstName": "Ann", "LastName": f"Lee {number}", "Email": f"p{number}@example.com", "Title": f"Third {number}"}
        damage.world.create_record("Contact", fields, account_id=damage.world.create_account("Acme"), by=INTEGRATION_USER)
    damage.wait()
    run = live.runner(monkeypatch, home)
    with live.served(damage.story, tmp_path / "sandbox") as server:
        run(server)
        bound = {contact.id: contact.bound_id for contact in damage.contacts}
        for rival in damage.rivals:
            if rival.is_live:
                damage.world.edit_record(rival, {"Fax": "1"})
        damage.wait()
        assert all(contact.bound_id != bound[contact.id] for contact in damage.contacts), "everybody jumped"
        run(server)
        snapshot = open_snapshot(home)
        chosen = everything(snapshot)
        basket_files.fill(snapshot, chosen)
        figures = basket_files.write(snapshot, tmp_path / "basket")
        assert figures["left_out"] == {}
        assert (figures["values"], figures["conversions"] > 0, figures["merges"] > 0) == (24, True, True)
        found = rows_of(tmp_path / "basket")
        Tools(server).carry_out({name: rows for name, rows in found.items() if name[0].isdigit()}, damage.wait)
        store = DecisionStore(home)
        accepted = Filter(fingerprints=tuple(row[0] for row in snapshot.execute("select fingerprint from basket_accepted").fetchall()))
        store.record([Decision("accept", "Ann", finding, reason="one person") for finding in Worklist(home, store).find(accepted)])
        damage.wait()
        assert damage.values() == damage.before
        run(server)
        left = live.published(home, "person_case")
        assert [case["case_id"] for case in left if case["case_id"] in {choice.case_id for choice in chosen}] == [], left
