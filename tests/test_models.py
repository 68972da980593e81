"""The models: what a switch would overwrite, how a binding changed, what became of merges, and whose history is whose."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.policy import Policy
from assets.published.publish import publish_tables
from tests.crm import ANN, Crm, contact_id, day, duplicates, lead_id

BOUND, RIVAL, K = lead_id(1), lead_id(2), contact_id(3)


# ── what a switch would change ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rule", "blank_on_switch", "hubspot", "salesforce", "effect"),
    [
        ("prefer_salesforce", "keep", "CEO", "Buyer", "overwrite"),
        ("always_salesforce", "keep", "CEO", "Buyer", "overwrite"),
        ("two_way", "keep", "CEO", "Buyer", "overwrite"),
        ("none", "keep", "CEO", "Buyer", None),
        ("prefer_salesforce", "keep", "CEO", "", "backfill"),
        ("prefer_salesforce", "clear", "CEO", "", "backfill"),
        ("always_salesforce", "keep", "CEO", None, None),
        ("always_salesforce", "clear", "CEO", "\u00a0", "clear"),
        ("two_way", "keep", "CEO", "", None),
        ("two_way", "clear", "CEO", "", "clear"),
        ("none", "clear", "CEO", "", None),
        ("prefer_salesforce", "keep", " ", "Buyer", "fill"),
        ("none", "keep", "", "Buyer", None),
        ("prefer_salesforce", "keep", "CEO", " CEO\u200b", None),
        ("prefer_salesforce", "keep", "CEO", "ceo", "overwrite"),
        ("prefer_salesforce", "clear", "", "", None),
    ],
)
def test_the_effect_of_a_switch_on_a_field(rule: str, blank_on_switch: str, hubspot: str, salesforce: str | None, effect: str | None) -> None:
    crm = Crm()
    crm.policy = Policy.model_validate(
        {"policy": {"blank_on_switch": blank_on_switch}, "mapping": [{"hubspot": "jobtitle", "salesforce": "Title", "rule": rule}]}
    )
    crm.lead(1)
    crm.lead(2, fields={"Title": salesforce})
    crm.contact(bound=BOUND, properties={"jobtitle": hubspot})
    assert [row["effect"] for row in crm.build().rows("core.overwrite")] == ([effect] if effect else [])


@pytest.mark.parametrize(
    ("field_type", "hubspot", "salesforce", "same"),
    [
        ("boolean", "true", "True", True), ("boolean", "1", "true", True), ("boolean", "0", "false", True), ("boolean", "true", "false", False),
        ("double", "5", "5.0", True), ("currency", "5", "6", False), ("string", "5", "5.0", False), ("int", "x", "5", False),
    ],
)  # fmt: skip
def test_booleans_and_numbers_compare_by_value(field_type: str, hubspot: str, salesforce: str, same: bool) -> None:
    crm = Crm()
    crm.policy = Policy.model_validate({"mapping": [{"hubspot": "score", "salesforce": "Score__c"}]})
    crm.connection.execute("insert into raw.salesforce_field values ('Lead', 'Score__c', ?, true, null)", [field_type])
    crm.lead(1)
    crm.lead(2, fields={"Score__c": salesforce})
    crm.contact(bound=BOUND, properties={"score": hubspot})
    assert (crm.build().rows("core.overwrite") == []) == same


def test_a_field_may_be_mapped_differently_on_lead_and_contact_or_on_one_only() -> None:
    crm = Crm()
    mapping = [
        {"hubspot": "city", "salesforce": {"lead": "City", "contact": "MailingCity"}},
        {"hubspot": "website", "salesforce": {"lead": "Website"}},
    ]
    crm.policy = Policy.model_validate({"mapping": mapping})
    crm.lead(1)
    crm.lead(2, fields={"City": "Wien", "Website": "w"})
    crm.salesforce_contact(3, fields={"MailingCity": "Bonn", "City": "ignored", "Website": "ignored"})
    crm.contact(bound=BOUND, properties={"city": "Berlin", "website": "x"})
    found = {(row["rival_id"], row["property"], row["salesforce_value"]) for row in crm.build().rows("core.overwrite")}
    assert found == {(RIVAL, "city", "Wien"), (RIVAL, "website", "w"), (K, "city", "Bonn")}


def test_rivals_of_an_unbound_contact_are_those_that_are_not_predicted() -> None:
    crm = Crm()
    crm.lead(1, created=day(1))
    crm.lead(2, created=day(2))
    crm.contact()
    assert [row["rival_id"] for row in crm.build().rows("core.rival")] == [RIVAL]


def test_the_cluster_and_its_members() -> None:
    crm = Crm()
    crm.lead(1, created=day(2), modified=day(9))
    crm.lead(2, created=day(1), modified=day(9))
    crm.salesforce_contact(3, created=day(3), modified=day(4))
    crm.lead(4, email="alone@example.com")
    crm.contact(bound=BOUND)
    (cluster,) = crm.build().rows("core.duplicate_cluster")
    expected = {
        "email": ANN, "lead_count": 2, "contact_count": 1, "size": 3, "oldest_id": RIVAL, "newest_id": BOUND, "hubspot_contact_id": "101", "bound_id": BOUND,
    }  # fmt: skip
    assert cluster | expected == cluster
    members = {row["record_id"]: (row["oldest_rank"], row["recency_rank"], row["is_bound"], row["is_predicted"]) for row in crm.rows("core.cluster_member")}
    assert members == {RIVAL: (1, 1, False, False), BOUND: (2, 1, True, True), K: (3, 3, False, False)}


# ── how bindings changed ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def causes(crm: Crm) -> list[tuple[Any, ...]]:
    return [
        (row["from_id"], row["to_id"], row["cause"])
        for row in crm.build().rows("select * from core.switch_event order by switched_at, to_id")
    ]  # fmt: skip


def test_a_first_binding_a_duplicate_switch_and_the_way_back() -> None:
    crm = Crm()
    crm.lead(1)
    crm.lead(2)
    crm.contact(bound=BOUND, since=None)
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(3), RIVAL), (day(4), BOUND))
    assert causes(crm) == [(None, BOUND, "first_binding"), (BOUND, RIVAL, "duplicate_switch"), (RIVAL, BOUND, "duplicate_switch")]
    assert crm.rows("core.hubspot_contact")[0]["bound_since"] == day(4)


def test_a_conversion_written_in_two_steps_is_one_change() -> None:
    seconds = 1 / 86_400
    for cleared, written in ((day(5), day(5)), (day(5), day(5 + 2 * seconds)), (day(5 + 2 * seconds), day(5))):
        crm = Crm()
        crm.lead(1, converted_to=K)
        crm.salesforce_contact(3)
        crm.contact(bound=K, since=None)
        crm.history("101", "salesforceleadid", (day(2), BOUND), (cleared, ""))
        crm.history("101", "salesforcecontactid", (written, K))
        assert causes(crm) == [(None, BOUND, "first_binding"), (BOUND, K, "lead_conversion")]


def test_an_id_cleared_and_set_again_much_later_is_two_changes() -> None:
    crm = Crm()
    crm.lead(1)
    crm.contact(bound=BOUND, since=None)
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(3), ""), (day(4), BOUND))
    assert causes(crm) == [(None, BOUND, "first_binding"), (BOUND, None, "cleared"), (None, BOUND, "first_binding")]


def test_a_switch_follows_a_merge_also_along_a_chain() -> None:
    crm = Crm()
    crm.lead(1, merged_into=RIVAL)
    crm.lead(2, merged_into=lead_id(4))
    crm.lead(4)
    crm.contact(bound=lead_id(4), since=None)
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(3), RIVAL), (day(4), lead_id(4)))
    assert [cause for *_, cause in causes(crm)] == ["first_binding", "salesforce_merge", "salesforce_merge"]


def test_a_switch_to_a_record_that_never_had_the_email_is_unexplained() -> None:
    crm = Crm()
    crm.lead(1)
    crm.lead(2, email="else@example.com")
    crm.contact(bound=RIVAL, since=None)
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(3), RIVAL))
    assert causes(crm)[-1][-1] == "unexplained"


def test_a_record_that_had_the_email_once_explains_a_switch() -> None:
    crm = Crm()
    crm.lead(1)
    crm.lead(2)
    crm.contact(bound=RIVAL, since=None)
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(3), RIVAL))
    crm.later()
    crm.lead(2, email="changed@example.com", modified=day(20))
    assert causes(crm)[-1][-1] == "duplicate_switch"


def test_15_and_18_characters_of_one_id_are_no_switch() -> None:
    crm = Crm()
    crm.lead(1)
    crm.contact(bound=BOUND, since=None)
    crm.history("101", "salesforceleadid", (day(2), BOUND[:15]), (day(3), BOUND))
    assert causes(crm) == [(None, BOUND, "first_binding")]


# ── what past switches replaced ──────────────────────────────────────────────────────────────────────────────────────────────────


def switched(*versions: tuple[Any, ...]) -> list[dict[str, Any]]:
    """A switch on day 5; versions of the job title around it."""
    crm = Crm()
    crm.lead(1)
    crm.lead(2)
    crm.contact(bound=RIVAL, since=None)
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(5), RIVAL))
    crm.history("101", "jobtitle", *versions)
    return crm.build().rows("core.overwritten_value")


def test_a_value_replaced_by_the_sync_of_the_switch_is_kept_for_a_restore() -> None:
    (row,) = switched((day(3), "CEO", "FORM"), (day(5) + (day(2) - day(1)) / 86_400 * 4, "Buyer"))
    assert (row["property"], row["value_before"], row["value_after"], row["source_before"], row["switched_at"]) == ("jobtitle", "CEO", "Buyer", "FORM", day(5))


@pytest.mark.parametrize(
    "versions",
    [
        ((day(3), "CEO", "FORM"), (day(5.001), "Buyer")),  # 86 s later
        ((day(3), "CEO", "FORM"), (day(5), "Buyer", "FORM")),  # not written by the integration
        ((day(3), "", "FORM"), (day(5), "Buyer")),  # there was nothing to lose
        ((day(3), "CEO ", "FORM"), (day(5), "CEO")),  # the same value
        ((day(5), "Buyer"),),  # the first value ever
    ],
)
def test_a_version_that_the_switch_did_not_lose_is_no_overwritten_value(versions: tuple[tuple[Any, ...], ...]) -> None:
    assert switched(*versions) == []


def test_a_first_binding_overwrites_nothing_by_definition() -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1), since=day(5))
    crm.history("101", "jobtitle", (day(3), "CEO", "FORM"), (day(5), "Buyer"))
    assert crm.build().rows("core.overwritten_value") == []


# ── what became of merges ────────────────────────────────────────────────────────────────────────────────────────────────────────


def outcome_of_merge(now_bound: str | None, **contact: Any) -> dict[str, Any]:
    """The bound Lead was merged into the rival on day 20; what is the contact bound to on day 30?"""
    crm = Crm()
    crm.lead(2, modified=day(20))
    crm.lead(4)
    crm.lead(1, merged_into=RIVAL, modified=day(20))
    crm.contact(bound=now_bound, since=None, **contact)
    crm.history("101", "salesforceleadid", (day(2), BOUND))
    if now_bound != BOUND:
        crm.history("101", "salesforceleadid", (day(20.01), now_bound or ""))
    (row,) = crm.build().rows("core.merge_event")
    return row


def test_the_outcomes_of_a_merge_of_a_bound_record() -> None:
    assert outcome_of_merge(RIVAL)["outcome"] == "rebound"
    assert outcome_of_merge(lead_id(4))["outcome"] == "moved"
    assert outcome_of_merge(BOUND)["outcome"] == "sync_broken"
    assert outcome_of_merge(None)["outcome"] == "sync_broken"
    assert outcome_of_merge(BOUND, archived_at=day(21))["outcome"] == "contact_deleted"
    row = outcome_of_merge(BOUND, archived_at=day(19))
    assert (row["outcome"], row["hubspot_contact_id"], row["loser_was_bound"]) == ("safe", None, False)


def test_merged_at_is_the_stamp_at_which_the_loser_was_first_seen_merged() -> None:
    crm = Crm()
    crm.lead(2)
    crm.lead(1, merged_into=RIVAL, modified=day(20))
    crm.later()
    crm.lead(1, merged_into=RIVAL, modified=day(25))
    (row,) = crm.build().rows("core.merge_event")
    assert (row["merged_at"], row["survivor_id"], row["winner_id"]) == (day(20), RIVAL, RIVAL)


def test_a_contact_bound_to_the_loser_long_before_the_merge_is_not_concerned() -> None:
    crm = Crm()
    crm.lead(2)
    crm.lead(4)
    crm.lead(1, merged_into=RIVAL, modified=day(20))
    crm.contact(bound=lead_id(4), since=None)
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(10), lead_id(4)))
    (row,) = crm.build().rows("core.merge_event")
    assert row["outcome"] == "safe"


# ── HubSpot merges ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_contact_merged_away_leads_to_the_one_it_became_also_along_a_chain() -> None:
    crm = Crm()
    crm.contact("101")
    crm.contact("102", email="b@example.com")
    crm.contact("201", merged_ids="101;102", email="c@example.com")
    crm.contact("301", merged_ids="201;101;102;301")
    states = {row["contact_id"]: (row["state"], row["merged_into_id"]) for row in crm.build().rows("core.hubspot_contact")}
    assert states == {"101": ("merged", "301"), "102": ("merged", "301"), "201": ("merged", "301"), "301": ("live", None)}


def test_the_history_of_a_merged_contact_belongs_to_the_survivor() -> None:
    crm = Crm()
    crm.lead(1)
    crm.contact("101", bound=BOUND, since=day(2))
    crm.contact("201", bound=BOUND, since=None, merged_ids="101;102")
    assert causes(crm) == [(None, BOUND, "first_binding")]
    assert crm.rows("core.switch_event")[0]["hubspot_contact_id"] == "201"
    assert [row["hubspot_contact_id"] for row in crm.rows("core.binding")] == ["201"]


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_latest_pull_of_a_record_counts() -> None:
    crm = Crm()
    crm.lead(1, modified=day(5))
    crm.later()
    crm.lead(1, modified=day(6), email="new@example.com")
    (row,) = crm.build().rows("core.salesforce_person")
    assert (row["email"], row["modified_at"]) == ("new@example.com", day(6))


def test_a_lead_and_a_contact_become_people_with_all_columns_of_the_contract() -> None:
    crm = Crm()
    crm.lead(1)
    expected = {
        "record_id": BOUND, "object_type": "Lead", "display_name": "Ann Lee", "email_raw": ANN, "email": ANN, "created_at": day(1), "modified_at": day(1),
        "last_modified_at": day(1), "last_modified_by_id": "0055e000000Usr1", "owner_id": "0055e000000Own1", "account_id": None, "state": "live",
        "merged_into_id": None, "survivor_id": None, "converted_contact_id": None,
    }  # fmt: skip
    (row,) = crm.build().rows("core.salesforce_person")
    assert {key: row[key] for key in expected if not key.endswith("_id") or key == "record_id"} == {
        key: value for key, value in expected.items() if not key.endswith("_id") or key == "record_id"
    }
    assert len(row["owner_id"]) == 18


def test_a_record_is_linked_to_whoever_is_bound_to_it_or_could_be() -> None:
    crm = duplicates()
    crm.contact(bound=BOUND)
    crm.lead(3, email="bob@example.com", deleted=True)
    crm.contact("102", bound=lead_id(3), email="bob@example.com")
    crm.contact("103", email="eve@example.com")  # nobody's
    links = {(row["record_id"], row["hubspot_contact_id"], row["email"]) for row in crm.build().rows("core.link")}
    assert links == {(BOUND, "101", ANN), (RIVAL, "101", ANN), (lead_id(3), "102", "bob@example.com")}


def test_links_are_published_in_the_order_of_the_records(tmp_path: Path) -> None:
    connection = Crm().build().connection
    connection.execute("insert into core.link select printf('%018d', hash(range) % 1000000), range, null from range(300000)")
    folder = publish_tables(connection, tmp_path, {}, {"run_id": "r"})
    rows = duckdb.execute("select record_id from read_parquet(?)", [str(folder / "link.parquet")]).fetchall()
    assert rows == sorted(rows)


def test_a_snapshot_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """It is begun again with more memory, and half a snapshot of a large portal is gigabytes."""
    connection = duckdb.connect()
    with pytest.raises(duckdb.Error):  # the tables are not there
        publish_tables(connection, tmp_path, {}, {})
    assert list((tmp_path / "published").iterdir()) == []
