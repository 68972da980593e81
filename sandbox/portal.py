"""How the portal is set up, and how the integration answers what its documentation leaves open: every knob of the simulator.

The first part are the knobs of bindwatch.toml, under the same names. The second part are questions that Bindwatch does not ask its
users, because nobody could answer them: here they can be tried. A knob on "unknown" makes the simulator return every outcome.

Four knobs are HubSpot's and Salesforce's own, and stand where they take effect: which values win a HubSpot merge and whether it makes a new id
(World.merge_contacts), which of two ids counts (HubSpotContact.id_precedence), and what the integration user can see
(SalesforceRecord.is_visible). Person accounts are Contacts; nothing else is known about them.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from sandbox.fields import MAPPING

FieldRule = Literal["prefer_salesforce", "always_salesforce", "two_way", "none"]
_RULE: FieldRule = "prefer_salesforce"  # of a field whose rule nobody named


@dataclass(frozen=True)
class PortalSettings:
    """The knobs. The defaults are the portal that `bindwatch sandbox` plays; sandbox/bindwatch.toml is the policy that fits it."""

    first_sync: Literal["oldest_created", "contact_first", "unknown"] = "oldest_created"
    follow_up: Literal["most_recent", "sticky"] = "most_recent"
    recency: Literal["system_modstamp", "last_modified_date", "last_mapped_change"] = "system_modstamp"
    create_object: Literal["lead", "contact", "none"] = "lead"
    on_lead_deleted: Literal["keep", "delete"] = "keep"
    on_contact_deleted: Literal["keep", "delete"] = "delete"
    secondary_email_matches: bool = False
    blank_on_switch: Literal["keep", "clear"] = "keep"
    opt_out: Literal["sticky", "as_mapped"] = "sticky"  # rule 26a
    inclusion_list_id: str | None = None
    field_rules: Mapping[str, FieldRule] = field(default_factory=dict)  # by HubSpot property; not named: prefer_salesforce

    salesforce_creates: Literal["all", "leads_only", "none"] = "all"  # which new records make a HubSpot contact (rules 8 to 10, 31)
    switch_trigger: Literal["any_change", "mapped_change"] = "any_change"  # rule 12
    integration_user_touch: Literal["ignore", "count"] = "ignore"  # rule 14
    email_rule: Literal["prefer_salesforce", "two_way"] = "prefer_salesforce"  # rules 19 and 45
    email_collision: Literal["rebind", "error", "unknown"] = "rebind"  # rule 20
    converted_lead_candidate: bool = False  # is a converted Lead still found by its e-mail?
    conversion_follows: Literal["id", "email", "unknown"] = "id"  # rule 30
    delete_needs_segment: bool = True  # rule 21: are deletions outside the inclusion list ignored?
    delete_permission: Literal["granted", "missing", "unknown"] = "granted"  # rule 34
    marks_deleted: bool = True  # rule 33: does salesforcedeleted become true?
    merge_event_order: Literal["delete_first", "update_first", "unknown"] = "delete_first"  # rule 36
    rematch_after_loss: Literal["by_email", "none"] = "by_email"  # rule 33
    archive_deletes_record: bool = False  # rule 39
    restored_contact_binding: Literal["previous", "none"] = "previous"  # rule 39
    gdpr_deleted_return: Literal["blocked", "recreated", "unknown"] = "blocked"  # rule 40
    duplicate_rule: Literal["off", "alert", "block"] = "off"  # rule 46
    sends_allow_save: bool = False  # rule 46: passes an alert, never a block
    refused_fields: frozenset[str] = frozenset()  # rule 47: Salesforce fields whose values a validation rule refuses
    refusal_stops: Literal["whole_record", "field"] = "whole_record"  # rule 47

    def field_rule(self, name: str) -> FieldRule:
        return "two_way" if name == OWNER else self.field_rules.get(name, _RULE)


OWNER = "salesforceownerid"  # the mapping of owners is two-way, whatever is shown (rule 26)
OPT_OUT = "hs_email_optout"


def read_portal(path: Path) -> PortalSettings:
    """A portal that behaves as the policy in a bindwatch.toml says. Knobs that the file does not name have that file's defaults."""
    policy: dict[str, Any] = tomllib.loads(path.read_text("utf-8-sig"))
    knobs = {"on_contact_deleted": "keep"} | policy.get("policy", {})
    names = {entry.name for entry in fields(PortalSettings)}
    unmapped: dict[str, FieldRule] = {} if knobs.get("mapping_defaults", True) else dict.fromkeys(MAPPING, "none")
    written = {entry["hubspot"]: entry.get("rule", _RULE) for entry in policy.get("mapping", [])}
    if "Lead" not in knobs.get("objects", ["Lead"]):
        knobs = {"create_object": "contact"} | knobs
    return PortalSettings(
        **{name: value for name, value in knobs.items() if name in names},
        integration_user_touch="ignore" if knobs.get("integration_user_id") else "count",
        field_rules={name: rule for name, rule in {**unmapped, **written}.items() if rule != _RULE},
    )
