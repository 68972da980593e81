"""Suite `portal`: does the integration work, and as the policy says?"""

from dataclasses import asdict
from typing import Any

import pytest

from assets.connect.compare import Setting
from assets.warehouse.portal_look import note_look
from tests.crm import Crm, day, lead_id, one

AGREED = Setting("mapping.jobtitle.rule", "two_way", "two_way", True, 12, 0, is_contradiction=False)
OTHERWISE = Setting("mapping.jobtitle.rule", "two_way", "prefer_salesforce", True, 17, 1, is_contradiction=True)


def looked(crm: Crm, *settings: Setting, at: float = 30) -> None:
    """This run is a full one, and its sample says so."""
    note_look(crm.connection, day(at), "native", 100, [asdict(one) for one in settings])


def drifted() -> Crm:
    crm = Crm()
    looked(crm, OTHERWISE)
    crm.end_run(day(31))
    looked(crm, OTHERWISE, at=31)
    return crm


def test_policy_drift_needs_two_full_runs_in_a_row() -> None:
    crm = Crm()
    looked(crm, OTHERWISE)
    assert crm.findings("policy_drift") == []
    crm.end_run(day(31))
    assert crm.findings("policy_drift") == [], "an increment sees nothing new"
    looked(crm, OTHERWISE, at=31)
    finding = one(crm, "policy_drift")
    assert (finding["severity"], finding["harm"], finding["urgency"]) == ("warn", "drift", "later")
    for text in ("jobtitle", "two_way", "prefer_salesforce", "17"):
        assert text in finding["reason"] and text in finding["reason_de"]
    assert "connect --write" in finding["action"]


def test_policy_drift_stands_until_a_full_run_sees_it_otherwise() -> None:
    crm = drifted()
    crm.end_run(day(32))
    before = one(crm, "policy_drift")
    crm.end_run(day(33))
    looked(crm, OTHERWISE, at=33)
    assert one(crm, "policy_drift")["fingerprint"] == before["fingerprint"], "more cases make no other finding"
    crm.end_run(day(34))
    looked(crm, AGREED, at=34)
    assert crm.findings("policy_drift") == []


def test_policy_drift_is_one_finding_for_each_setting() -> None:
    settings = (
        OTHERWISE,
        Setting("integration_user_id", None, "0055e000000Int1AAC", True, 40, 0, is_contradiction=True),
        Setting("mapping.shoe_size__c", None, "Shoe_Size__c", True, 60, 0, is_contradiction=True),
        Setting("mapping.fax", "Fax", None, True, 0, 31, is_contradiction=True),
        Setting("mapping.city", "Lead: City; Contact: MailingCity", "Lead: City; Contact: OtherCity", True, 44, 0, is_contradiction=True),
        Setting("opt_out", "sticky", None, False, 2, 1, is_contradiction=False),
    )
    crm = Crm()
    looked(crm, *settings)
    crm.end_run(day(31))
    looked(crm, *settings, at=31)
    reasons = [row["reason"] for row in crm.findings("policy_drift")]
    assert len(reasons) == 5
    for text in ("not set", "Shoe_Size__c", "31 contacts", "OtherCity"):
        assert len([reason for reason in reasons if text in reason]) == 1, text


def test_what_an_unproven_run_saw_confirms_nothing() -> None:
    crm = Crm()
    looked(crm, OTHERWISE)
    crm.end_run(day(31), verdict="unproven")
    assert crm.build("policy_drift").rows("core.portal_setting") == []
    looked(crm, OTHERWISE, at=31)
    assert crm.findings("policy_drift") == []


def test_in_increments_the_last_full_runs_settings_stay() -> None:
    crm = drifted()
    rows = crm.build("policy_drift").rows("core.portal_setting")
    assert [(row["setting"], row["is_repeated"], row["looked_at"]) for row in rows] == [(OTHERWISE.setting, True, day(31))]
    crm.end_run(day(32))
    crm.end_run(day(33))
    assert crm.build("policy_drift").rows("core.portal_setting") == rows


def kept_by(*sources: tuple[str, int]) -> Crm:
    """Live contacts, each with an id that such a source wrote last."""
    crm, number = Crm(), 0
    for source, contacts in sources:
        for _ in range(contacts):
            number += 1
            crm.contact(str(number), bound=lead_id(number), since=None, email=f"p{number}@example.com")
            crm.history(str(number), "salesforceleadid", (day(1), lead_id(number), "SALESFORCE"), (day(2), lead_id(number), source))
    return crm


def test_not_native_fires_where_others_write_the_ids() -> None:
    finding = one(kept_by(("INTEGRATION", 20)), "not_native")
    assert (finding["severity"], finding["harm"], finding["urgency"], finding["deadline_at"]) == ("block", "cut_off", "now", None)
    assert "20 of 20" in finding["reason"] and "INTEGRATION" in finding["reason_de"]


@pytest.mark.parametrize(
    "sources",
    [
        [("INTEGRATION", 19)],  # too few to tell
        [("IMPORT", 15), ("SALESFORCE", 15)],  # half is not more than half
        [("SALESFORCE", 5), ("MERGE_CONTACTS", 10), ("MIGRATION", 10)],
    ],
)
def test_not_native_leaves_a_portal_alone_that_the_integration_keeps(sources: Any) -> None:
    assert kept_by(*sources).findings("not_native") == []
