"""The gate: what Great Expectations says becomes one of three outcomes, and one verdict."""

import json
import sys
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from assets.dagster.certified_binding import red
from assets.policy import Policy
from assets.warehouse.file import limit_memory, with_all_memory
from expectations import asset_checks, gate
from expectations.asset_checks import judge
from expectations.gate import Outcome, State
from tests.crm import Crm, lead_id

pytestmark = pytest.mark.filterwarnings("ignore")


def outcome(state: State, severity: str = "block") -> Outcome:
    return Outcome("suite", "check", ("core", "binding"), state, severity)


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([], "pass"),
        ([outcome("holds")], "pass"),
        ([outcome("violated", "warn")], "pass"),
        ([outcome("violated", "block"), outcome("holds")], "fail"),
        ([outcome("violated", "block"), outcome("not_evaluated")], "unproven"),
        ([outcome("violated", "unproven"), outcome("violated", "block")], "unproven"),
    ],
)
def test_what_could_not_be_proven_outweighs_what_failed(outcomes: list[Outcome], verdict: str) -> None:
    assert judge(outcomes) == verdict


def test_dagster_shows_a_red_gate_as_one_sentence(tmp_path: Path) -> None:
    try:
        raise red("fail", ["unsafe_duplicate"], tmp_path)
    except dg.Failure as failure:
        assert failure.allow_retries is False
        assert serializable_error_info_from_exc_info(sys.exc_info()).to_string().strip() == str(failure)
        assert str(failure) == "The gate is red: unsafe_duplicate. No bindings were ever certified."


def test_a_check_that_lacked_memory_is_judged_again_with_more(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Outcome("suite", "check", ("core", "binding"), "not_evaluated", "unproven", problem="(_duckdb.OutOfMemoryException) Out of Memory Error: failed")
    attempts = [[outcome("holds"), lacking], [outcome("holds")]]
    monkeypatch.setattr(asset_checks, "evaluate", lambda *_: attempts.pop(0))
    monkeypatch.setattr("assets.warehouse.file.MEMORY", 10**8)
    connection = duckdb.connect()
    limit_memory(connection)
    assert with_all_memory(connection, lambda: asset_checks._evaluate(connection, Policy())) == [outcome("holds")]


def evaluated(crm: Crm, check: str, policy: Policy | None = None) -> Outcome:
    crm.build()
    (found,) = (outcome for outcome in gate.evaluate(crm.connection, policy or crm.policy) if outcome.name == check)
    return found


def test_one_blocking_finding_among_hundreds_of_warnings_blocks() -> None:
    crm = Crm()
    for number in range(1, 301):
        email = f"p{number}@example.com"
        crm.lead(2 * number, email=email)
        crm.lead(2 * number + 1, email=email, **({"owner": "0055e000000Own2"} if number == 300 else {}))
        crm.contact(str(number), email=email)
    found = evaluated(crm, "ambiguous_first_binding")
    assert (found.state, found.severity, found.findings, found.blocks) == ("violated", "block", 300, True)
    assert found.examples[0]["hubspot_contact_id"] == "300"
    assert len(found.examples) == gate.EXAMPLES


def test_a_check_holds_up_to_the_findings_that_the_policy_allows() -> None:
    crm = Crm()
    crm.contact("101", lead_id=lead_id(98))
    crm.contact("102", lead_id=lead_id(99), email="b@example.com")
    for most, state in ((1, "violated"), (2, "holds")):
        policy = Policy.model_validate({"checks": {"bound_record_unknown": {"max_findings": most}}})
        assert evaluated(crm, "bound_record_unknown", policy).state == state


def test_a_check_that_is_off_has_no_outcome() -> None:
    crm = Crm().build()
    policy = Policy.model_validate({"checks": {"latent_duplicate": {"severity": "off"}}})
    assert "latent_duplicate" not in {outcome.name for outcome in gate.evaluate(crm.connection, policy)}


def test_a_table_that_breaks_its_suite_is_violated_with_examples() -> None:
    crm = Crm()
    crm.lead(1)
    crm.connection.execute("insert into raw.salesforce_lead select * from raw.salesforce_lead")
    found = evaluated(crm, "salesforce_lead_version_unique")
    assert (found.state, found.severity) == ("violated", "block")
    assert found.findings > 0


def test_an_unknown_expectation_type_is_no_silent_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = {"table": "core.binding", "severity": "block", "check": "typo"}
    suite = json.dumps({"name": "core", "expectations": [{"type": "expect_typo", "kwargs": {}, "meta": meta, "description": ""}]})
    (tmp_path / "core.json").write_text(suite)
    monkeypatch.setattr(gate, "TABLE_SUITES", tmp_path)
    with pytest.raises(ValueError, match="does not know every expectation type"):
        gate.evaluate(Crm().build().connection, Policy())


def test_an_email_typed_into_an_id_property_is_not_carried_on() -> None:
    crm = Crm()
    crm.contact(lead_id="someone@example.com")
    (finding,) = crm.findings("id_malformed")
    assert "@" not in finding["reason"]
