"""What the pages say about cases: why one stands where it stands, and what its page shows beside its findings."""

from datetime import datetime
from typing import Any

from markupsafe import Markup

from assets.published.worklist import Filter
from assets.sql import among
from review import words
from review.cases import CaseFilter
from review.choosing import MISSING
from review.desk_data import Snapshot, with_names
from review.finding import sentences
from review.language import Language
from review.run_book import read_steps

IN_AN_HOUR = 12  # cases: five minutes each


def place_of(case: dict[str, Any], language: Language) -> str:
    """Why a case stands where it stands, in words, as of `at`: its clock ages while the snapshot stays."""
    said = [_clock(case, language)]
    if case["harm"] != "none" and case["severity"] != "unproven":
        said.append(language.text(words.HARM[case["harm"]]))
    return "; ".join(said)


def _clock(case: dict[str, Any], language: Language) -> str:
    at: datetime = case["at"]
    deadline: datetime | None = case["deadline_at"]
    if case["status"] == "waived":
        until = case["waived_until"]
        return language.text(words.PLACE["waived"]) + (f" {language.text(words.UNTIL)} {language.day(until)}" if until else "")
    if case["severity"] == "unproven":
        return language.text(words.PLACE["unproven"])
    kind = words.PLACE_OF.get(case["deadline_check"] or "", "deadline")
    if case["deadline_check"] == "merged_into_unbound":  # with its contact, or not
        kind = "restore" if case["harm"] == "deleted" else "undelete"
    if deadline is not None and kind == "jump":
        return language.text(words.PLACE["jump"], time=language.span(deadline - at)) if deadline > at else language.text(words.PLACE["jump_any_moment"])
    if deadline is not None and deadline > at:
        return language.text(words.PLACE[kind], day=language.day(deadline))
    return language.text(words.PLACE[case["urgency"]])


MOST_DECISIONS = 8  # of others, on the first page


def changed_since(snapshot: Snapshot, moment: datetime, user: str | None) -> dict[str, Any]:
    """What changed since somebody was here last: findings that came, and that were resolved; the latest decisions of others, a click about a person once."""
    (found,) = snapshot.query(
        """select count(*) filter (where open_since > $moment and status in ('open', 'acknowledged')) as came,
                  count(*) filter (where resolved_at > $moment) as went
           from worklist""",
        {"moment": moment},
    )
    clicks: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in reversed(snapshot.worklist.decisions):
        if row["decided_at"] <= moment:
            break
        if row["decided_by"] != user and not row["is_undone"]:
            clicks.setdefault((row["decided_at"], row["decided_by"], row["action"]), {**row, "about": []})["about"].append(row["fingerprint"])
    latest = list(clicks.values())[:MOST_DECISIONS]
    for click in latest:
        cases = snapshot.cases.of_findings(click["about"])
        named = {cases.get(name, name) for name in click["about"]}
        click["cases"] = snapshot.cases.find(CaseFilter(ids=tuple(named)), 3)
        click["number"] = len(named)
    return {"moment": moment, **found, "clicks": latest, "decisions": len(clicks)}


def read_case(snapshot: Snapshot, case: dict[str, Any], language: Language) -> dict[str, Any]:
    """What a case holds: findings, the most urgent first; steps, what to do in order, as sentences; advice, the run-book, unless its duplicates are waived;
    lost, the values that jumps took and that are not there again, each with what can be done about it (status); has_lost, whether jumps took any.
    """
    findings = with_names(snapshot, snapshot.worklist.find(Filter(statuses=(), fingerprints=tuple(case["fingerprints"]))))
    (published,) = snapshot.query("select lost_values from near.case_detail where case_id = ?", [case["case_id"]])
    duplicates = [finding for finding in findings if finding["suite"] == "duplicates"]
    # whoever waived them had a reason not to merge
    is_left = bool(duplicates) and all(finding["status"] == "waived" for finding in duplicates)
    advice = [] if is_left else read_steps(snapshot.worklist, case["email"])
    taken = [value["property"] for value in published["lost_values"]]
    lost = snapshot.query(
        f"""select property, value_before, value_now, status from near.restorable_value
            where hubspot_contact_id in {among(case["hubspot_contact_ids"])} and property in {among(taken)} and status not in ('back', 'accepted')
            order by status not in {among(MISSING)}, status, property"""
    ) if taken else []  # fmt: skip
    return {"findings": findings, "steps": _steps(findings, advice, bool(taken), language), "advice": advice, "lost": lost, "has_lost": bool(taken)}


def _steps(findings: list[dict[str, Any]], advice: list[dict[str, Any]], has_lost: bool, language: Language) -> list[str | Markup]:
    """One list: what its findings ask for apart from the run-book, in their order, then the run-book. has_lost: what to put back is said value by value."""
    book = [language.of_finding(step, "reason") for step in advice]
    apart: list[str] = []
    for finding in findings:
        is_said = (advice and finding["suite"] == "duplicates") or (has_lost and finding["check_name"] == "switch_happened")
        if finding["status"] != "waived" and not is_said:
            apart += sentences(language.of_finding(finding, "action").removesuffix(book[0] if book else "\0"))
    return list(dict.fromkeys([*apart, *book]))


def subject_of(findings: list[dict[str, Any]], case: dict[str, Any]) -> dict[str, Any]:
    """All findings of a case as if they were one, to set side by side whom they name."""
    first = next((finding for finding in findings if finding["hubspot_contact_id"]), findings[0])
    named = [finding[name] for finding in findings for name in ("salesforce_id",) if finding[name]]
    rivals = [rival for finding in findings for rival in finding["rival_ids"]]
    fields = [name for finding in findings for name in finding["fields_at_risk"]]
    contact_id = first["hubspot_contact_id"] or next(iter(case["hubspot_contact_ids"]), None)
    return {
        **first, "hubspot_contact_id": contact_id, "salesforce_id": first["salesforce_id"] or (named[0] if named else None),
        "rival_ids": list(dict.fromkeys([*rivals, *named])), "fields_at_risk": list(dict.fromkeys(fields)),
    }  # fmt: skip
