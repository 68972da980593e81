"""Who needs a history is asked about those alone whom pulls touched since all were read, and the answer is that of asking about everybody."""

from collections import Counter

import pytest

from assets.models.build import build_models
from assets.warehouse.authors import records_without_history
from assets.warehouse.history import HUBSPOT_READ, SALESFORCE_READ, all_read_until, contacts_without_history, note_all_read
from assets.warehouse.policy_tables import write_policy
from expectations.gate import checks
from tests.crm import ANN, Crm, day, lead_id
from tests.test_slice import Home, Worlds

STAGING = ["staging.hubspot_contact", "staging.salesforce_record"]


def check_that_the_touched_tell_all(policy: int, number: int, seed: int) -> Counter[str]:
    """Plays worlds, reads after each day what is needed, and builds after most. Returns how many histories were needed on later days, by the CRM."""
    played = Worlds(policy, number, seed)
    home = Home(played.knobs, is_tracked=False)
    connection, matches = home.connection, True  # the wider question
    found: Counter[str] = Counter()
    while played.go_on:
        home.bring(played.live_a_day(), played.now)
        read_by = home.pulled.pull_no
        contacts_until, records_until = (all_read_until(connection, read, matches) for read in (HUBSPOT_READ, SALESFORCE_READ))
        contacts = contacts_without_history(connection, matches, contacts_until)
        assert contacts == contacts_without_history(connection, matches)
        records = records_without_history(connection, matches, records_until)
        assert records == records_without_history(connection, matches)
        connection.execute(f"insert into {HUBSPOT_READ} select unnest($1::varchar[]), $2", [[*contacts.switched, *contacts.others], read_by])
        for name, ids in records.items():
            connection.execute(f"insert into {SALESFORCE_READ} select unnest($1::varchar[]), $2, $3", [ids, name, read_by])
        for read in (HUBSPOT_READ, SALESFORCE_READ):
            note_all_read(connection, read, matches)
        if contacts_until is not None:
            found.update(hubspot=len(contacts.switched) + len(contacts.others), salesforce=sum(map(len, records.values())))
        if played.random.random() < 0.7:  # a run may fail after its pulls
            write_policy(connection, home.pulled.policy, "https://org.example", [check.as_row for check in checks()])
            build_models(connection, [], until=STAGING)
    return found


def test_the_touched_tell_whose_history_is_needed() -> None:
    assert min(check_that_the_touched_tell_all(77, number=6, seed=1).values()) > 5


@pytest.mark.slow
@pytest.mark.parametrize("policy", [0, 20, 41, 77, 100, 140])
@pytest.mark.parametrize("seed", range(3))
def test_in_many_worlds_the_touched_tell_whose_history_is_needed(policy: int, seed: int) -> None:
    assert min(check_that_the_touched_tell_all(policy, number=30, seed=seed).values()) > 20


def test_a_record_that_comes_later_is_in_question_by_an_additional_address() -> None:
    crm = Crm()
    crm.contact("101", bound=crm.lead(1, email=ANN), email=ANN, additional="x@x.example;ann@new.example")
    until = _known_so_far(crm, "101")
    rival = crm.lead(2, email="ann@new.example")
    assert _needed(crm, until) == (["101"], [rival])


def test_a_record_is_in_question_when_a_contact_gets_its_e_mail_as_an_additional_address() -> None:
    crm = Crm()
    bound, rival = crm.lead(1, email=ANN), crm.lead(2, email="ann@new.example")
    crm.contact("101", bound=bound, email=ANN)
    until = _known_so_far(crm)
    crm.contact("101", bound=bound, email=ANN, additional="ann@new.example")
    assert _needed(crm, until) == (["101"], [rival])


def test_a_record_that_comes_later_is_in_question_by_an_id_that_a_contact_carried_before() -> None:
    crm = Crm()
    bound = crm.lead(1, email=ANN)
    crm.contact("101", bound=bound, email=ANN)
    crm.history("101", "salesforceleadid", (day(3), lead_id(2)))
    crm.tracked(bound)
    until = _known_so_far(crm)
    carried = crm.lead(2, email="other@example.com")
    assert _needed(crm, until) == ([], [carried])


def _known_so_far(crm: Crm, *unread: str) -> int:
    """All that is needed was read, of others than these contacts. What is added from now on comes with a later pull."""
    connection = crm.build().connection
    build_models(connection, [], until=STAGING)
    connection.execute(f"insert into {HUBSPOT_READ} select distinct id, pull_no from raw.hubspot_contact where not list_contains(?, id)", [list(unread)])
    until = max(row[0] for row in connection.execute("select max(pull_no) from raw.pull").fetchall())
    crm.later()
    return int(until)


def _needed(crm: Crm, until: int) -> tuple[list[str], list[str]]:
    """Contacts and Leads, as those tell who were touched since. Held against what all tell."""
    connection = crm.build().connection
    contacts, records = contacts_without_history(connection, True, until), records_without_history(connection, True, until)
    assert (contacts, records) == (contacts_without_history(connection, True), records_without_history(connection, True))
    return [*contacts.switched, *contacts.others], records["Lead"]
