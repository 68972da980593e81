"""What docs/prediction.md and docs/checks.md say of a switch, in plain Python, written from those pages alone: who the rivals of a contact are, what a switch
to one of them changes, who looks like somebody else, what is found, and how urgent it is.

It shares nothing with the SQL: no macro, no table, no constant. Sets, a few values at a time; nobody runs it on real data.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

HARMS = ["deleted", "mixed_people", "cut_off", "consent", "overwritten", "spread", "drift", "none"]
SWITCH_CHECKS = {"unsafe_duplicate", "switchable_duplicate", "switch_imminent", "consent_at_risk", "opt_out_imminent"}
QUARTER, MONTH = timedelta(minutes=15), timedelta(days=30)


@dataclass(frozen=True)
class Field:
    """A mapped field: by the object its Salesforce field; kind as both CRMs describe it."""

    property: str
    lead: str | None
    contact: str | None
    kind: str
    rule: str = "prefer_salesforce"
    consent: Any = None  # "opted_out", "opted_in", or (granted, denied)
    writable: frozenset[str] = frozenset({"Lead", "Contact"})
    hubspot_labels: dict[str, str] = field(default_factory=dict, hash=False)
    salesforce_labels: dict[str, str] = field(default_factory=dict, hash=False)

    def of(self, object_type: str) -> str | None:
        return self.lead if object_type == "Lead" else self.contact


@dataclass
class Record:
    id: str
    email: str | None
    name: str
    created: datetime
    modified: datetime
    by: str
    owner: str
    fields: dict[str, str | None]
    state: str = "live"  # live, deleted, merged, converted
    goes_to: str | None = None  # merged into, converted to

    @property
    def type(self) -> str:
        return "Lead" if self.id.startswith("00Q") else "Contact"


@dataclass
class Contact:
    id: str
    email: str | None
    additional: list[str]
    name: str
    bound: str | None
    bound_since: datetime | None
    synced: datetime | None
    properties: dict[str, str | None]
    listed: bool = True


@dataclass
class Portal:
    knobs: dict[str, Any]
    fields: list[Field]
    records: dict[str, Record]
    contacts: list[Contact]
    as_of: datetime

    def candidates(self, h: Contact) -> list[Record]:
        if not h.email:
            return []
        wanted = {h.email} | (set(h.additional) if self.knobs["secondary_email_matches"] else set())
        return sorted((s for s in self.records.values() if s.state == "live" and s.email in wanted), key=lambda s: (s.created, s.id))

    @cached_property
    def clusters(self) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for s in self.records.values():
            if s.state == "live" and s.email:
                found.setdefault(s.email, []).append(s)
        return {email: members for email, members in found.items() if len(members) > 1}

    def live_bound(self, h: Contact) -> Record | None:
        s = self.records.get(h.bound or "")
        return s if s is not None and s.state == "live" else None

    def prediction(self, h: Contact) -> tuple[str, str | None, int]:
        """Branches 1 to 5: prediction, predicted record, rule."""
        b, found = self.live_bound(h), self.candidates(h)
        if not h.email:
            return ("keep", b.id, 1) if b else ("none", None, 1)
        if self.knobs["inclusion_list_id"] and not h.listed:
            return ("keep", h.bound, 21) if h.bound else ("none", None, 21)
        if b:
            others = any(s.id != b.id for s in found)
            if self.knobs["follow_up"] == "sticky":
                return "keep", b.id, 11 if others else 15
            since = h.synced or h.bound_since
            pending = [s for s in {s.id: s for s in [*found, b]}.values() if since is None or s.modified > since]
            pending = [s for s in pending if s.by != self.knobs["integration_user_id"]]
            if not pending:
                return "keep", b.id, 15
            top = max(s.modified for s in pending)
            newest = [s for s in pending if s.modified == top]
            if len(newest) > 1:
                return "ambiguous", None, 17
            return ("keep", b.id, 15) if newest[0].id == b.id else ("switch", newest[0].id, 11)
        lost = self.records.get(h.bound or "")
        if lost is not None and lost.state == "converted":
            end = self.records.get(lost.goes_to or "")
            while end is not None and end.state == "merged":
                end = self.records.get(end.goes_to or "")
            if end is not None and end.state == "live":
                return "switch", end.id, 29
        if lost is not None and lost.state in ("deleted", "merged") and self.knobs[f"on_{lost.type.lower()}_deleted"] == "delete":
            return "none", None, 33
        if not found:
            made = self.knobs["create_object"]
            return "none" if made == "none" else f"create_{made}", None, 33 if h.bound else 6
        rule = 33 if h.bound else 5 if len(found) == 1 else 7
        if len(found) == 1:
            return "bind", found[0].id, rule
        first_sync = self.knobs["first_sync"]
        if first_sync == "unknown":
            return "ambiguous", None, rule
        contacts = [s for s in found if s.type == "Contact"]
        return "bind", (contacts[0] if first_sync == "contact_first" and contacts else found[0]).id, rule

    def rivals(self, h: Contact) -> list[Record]:
        prediction, predicted, _ = self.prediction(h)
        outside = self.knobs["inclusion_list_id"] and not h.listed
        if self.knobs["follow_up"] == "sticky" or outside or prediction == "none":
            return []
        b = self.live_bound(h)
        return [s for s in self.candidates(h) if s.id != (b.id if b else predicted)]

    def stranger(self, h: Contact, r: Record) -> bool:
        b = self.live_bound(h)
        return look_different(b.name if b else h.name, r.name, r.email, self.knobs["role_mailboxes"])

    def effects(self, h: Contact, r: Record) -> dict[str, str]:
        """What a switch to r does, by property."""
        found = ((f, effect(f, r.type, h.properties.get(f.property), r.fields.get(f.of(r.type) or ""), self.knobs)) for f in self.fields if f.of(r.type))
        return {f.property: done for f, done in found if done}


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

WHITE = "".join(chr(c) for c in range(0x3001) if chr(c).isspace()) + "\u200b\u200c\u200d\u2060\ufeff"


def is_blank(value: str | None) -> bool:
    return value is None or not value.strip(WHITE)


def plain(value: str) -> str:
    text = unicodedata.normalize("NFC", value).replace("\r\n", "\n").replace("\r", "\n")
    return re.sub("[\u00a0\u202f\u2007]", " ", text).strip(WHITE)


def truth(value: str | None) -> bool | None:
    """Blank is false; None: it says neither."""
    return False if is_blank(value) else {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(plain(value or "").lower())


def number(value: str) -> Decimal | None:
    try:
        read = Decimal(plain(value))
    except InvalidOperation:
        return None
    if not read.is_finite() or len(read.normalize().as_tuple().digits) > 38:
        return None
    return read


def moment(value: str) -> datetime | None:
    text = plain(value)
    if re.fullmatch(r"-?\d+", text):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(text))
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(Z|[+-]\d\d:?\d\d)", text)
    if not match:
        return None
    zone = match[3].replace("Z", "+0000").replace(":", "")
    return datetime.strptime(f"{match[1]}.{(match[2] or '0').ljust(6, '0')}{zone}", "%Y-%m-%dT%H:%M:%S.%f%z").astimezone(UTC)


def day_of(value: str) -> date | None:
    text = plain(value)
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            return None
    at = moment(text)
    return at.date() if at and (at.hour, at.minute, at.second, at.microsecond) == (0, 0, 0, 0) else None


def phone(value: str) -> str | None:
    text = plain(value)
    digits = re.sub(r"\D", "", text)
    if len(digits) < 4:
        return None
    return digits[2:] if digits.startswith("00") else digits


def id_of_18(value: str) -> str | None:
    text = plain(value)
    if not re.fullmatch(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?", text):
        return None
    ends = "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[sum(c.isupper() << i for i, c in enumerate(text[at : at + 5]))] for at in (0, 5, 10))
    return text[:15] + ends if len(text) == 15 or text[15:].upper() == ends else None


READERS = {"phone": phone, "number": number, "date": day_of, "datetime": moment, "id": id_of_18, "boolean": truth}


def same(f: Field, hv: str, rv: str) -> bool:
    """Are two values of this field the same? Neither is blank, but for booleans."""
    if f.kind in READERS:
        one, other = READERS[f.kind](hv), READERS[f.kind](rv)
        return plain(hv) == plain(rv) if one is None or other is None else one == other
    if f.kind == "employees":
        span = re.fullmatch(r"(\d+)\s*-\s*(\d+)|(\d+)\+", plain(hv))
        read = number(rv)
        if span and read is not None:
            return read >= int(span[3]) if span[3] else int(span[1]) <= read <= int(span[2])
        one, other = number(hv), number(rv)
        return plain(hv) == plain(rv) if one is None or other is None else one == other

    def one_choice(a: str, b: str) -> bool:
        return a == b or f.hubspot_labels.get(a) == b or f.salesforce_labels.get(b) == a

    if f.kind == "picklist":
        return one_choice(plain(hv), plain(rv))
    if f.kind == "multipicklist":
        ones, others = ({plain(part) for part in value.split(";") if not is_blank(part)} for value in (hv, rv))
        return all(any(one_choice(a, b) for b in others) for a in ones) and all(any(one_choice(a, b) for a in ones) for b in others)
    return plain(hv) == plain(rv)


# ── a switch ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def stance(f: Field, value: str | None) -> str:
    """What a consent field says: agreed, denied, blank, or unknown (to the policy)."""
    if isinstance(f.consent, tuple):
        granted, denied = f.consent
        text = plain(value or "")
        return "blank" if is_blank(value) else "agreed" if text in granted else "denied" if text in denied else "unknown"
    told = truth(value)
    if told is None:
        return "unknown"
    if is_blank(value):
        return "blank"
    return "agreed" if told == (f.consent == "opted_in") else "denied"


def effect(f: Field, object_type: str, hv: str | None, rv: str | None, knobs: dict[str, Any]) -> str | None:
    if f.rule == "none":
        return None
    if f.property == "hs_email_optout" and knobs["opt_out"] == "sticky":
        return "overwrite" if truth(rv) is True and truth(hv) is not True else None
    hv_blank, rv_blank = is_blank(hv), is_blank(rv)
    if hv_blank and rv_blank:
        return None
    if f.kind == "boolean" and truth(hv) is truth(rv) is not None:
        return None
    if rv_blank:
        if f.rule == "prefer_salesforce":
            return "backfill" if object_type in f.writable else None
        return "clear" if knobs["blank_on_switch"] == "clear" else None
    if hv_blank:
        if f.consent == "opted_out":
            return "overwrite" if stance(f, rv) == "denied" else "fill"
        return "overwrite" if f.consent and stance(f, rv) == "agreed" else "fill"
    return None if same(f, hv or "", rv or "") else "overwrite"


def consent_harm(f: Field, hv: str | None, rv: str | None, done: str | None, knobs: dict[str, Any]) -> bool:
    """Would somebody be written to who has not agreed?"""
    if not f.consent or done not in ("overwrite", "clear", "fill") or (f.property == "hs_email_optout" and knobs["opt_out"] == "sticky"):
        return False
    before, after = stance(f, hv), stance(f, None if done == "clear" else rv)
    if after == "unknown":
        return True
    if f.consent == "opted_out":  # whoever is not opted out may be written to
        return before in ("denied", "unknown") and after in ("agreed", "blank")
    return before in ("denied", "blank", "unknown") and after == "agreed"


def words(name: str) -> set[str]:
    folded = "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c)).casefold()
    return set(re.findall(r"[^\W_]+", folded))


def scripts(name: str) -> set[str]:
    return {unicodedata.name(c).split()[0] for c in unicodedata.normalize("NFD", name) if c.isalpha()}


def look_different(one: str, other: str, email: str | None, roles: list[str]) -> bool:
    if not words(one) or not words(other):
        return False
    if (email or "").partition("@")[0] in roles:
        return words(one) != words(other)
    return bool(scripts(one) & scripts(other)) and not words(one) & words(other)


# ── findings ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Found:
    check: str
    contact: str
    severity: str
    rivals: frozenset[str]
    lost: frozenset[str]
    weight: int  # of what would be lost; one for each rival comes on top
    harm: str
    deadline: datetime | None
    urgency: str


def findings(portal: Portal) -> list[Found]:
    """What switches, clusters and addresses give rise to. A finding that names no contact is named by the e-mail."""
    of_contacts = [found for h in portal.contacts for found in [*findings_of(portal, h), *findings_of_addresses(portal, h)]]
    return of_contacts + [found for email in portal.clusters for found in findings_of_cluster(portal, email, of_contacts)]


def findings_of(portal: Portal, h: Contact) -> list[Found]:
    knobs, as_of = portal.knobs, portal.as_of
    rivals = portal.rivals(h)
    prediction, predicted, rule = portal.prediction(h)
    jumps = prediction == "switch" and rule == 11
    by_rival = {r.id: portal.effects(h, r) for r in rivals}
    fields = {f.property: f for f in portal.fields}
    found: list[Found] = []

    def note(check: str, severity: str, about: list[Record], lost: set[str], own: list[tuple[str, bool]]) -> None:
        """own: the rows of the table of harms that fit, with: does it have the deadline of a switch?"""
        rows = [*own]
        if check in ("unsafe_duplicate", "switchable_duplicate", "switch_imminent") and any(portal.stranger(h, r) for r in about):
            rows.insert(0, ("mixed_people", rows[0][1]))
        harm, due = rows[0]
        deadline = portal.records[str(predicted)].modified + QUARTER if jumps and due else None
        edited = any(as_of - MONTH <= r.modified <= as_of and r.by != knobs["integration_user_id"] for r in about)
        if (check in SWITCH_CHECKS and jumps) or (deadline and as_of <= deadline <= as_of + timedelta(hours=24)):
            urgency = "now"
        elif harm == "mixed_people" or (check in SWITCH_CHECKS and edited):
            urgency = "soon"
        else:
            urgency = "later"
        weight = sum(10 if fields[p].consent else 5 if p == "salesforceownerid" else 1 for p in lost)
        found.append(Found(check, h.id, severity, frozenset(r.id for r in about), frozenset(lost), weight, harm, deadline, urgency))

    def lost_to(these: list[Record]) -> set[str]:
        return {p for r in these for p, done in by_rival[r.id].items() if done in ("overwrite", "clear")}

    def consent_first(lost: set[str], *rest: tuple[str, bool]) -> list[tuple[str, bool]]:
        return [*([("consent", True)] if any(fields[p].consent for p in lost) else []), *rest]

    if rivals:
        lost = lost_to(rivals)
        spread = [r for r in rivals if "backfill" in by_rival[r.id].values()]
        if lost or any(portal.stranger(h, r) for r in spread):
            note("unsafe_duplicate", "block", rivals, lost, consent_first(lost, ("overwritten", True)))
        elif spread:
            note("unsafe_duplicate", "warn", rivals, lost, [("spread", False)])
        else:
            note("switchable_duplicate", "warn", rivals, lost, [("none", False)])
    if jumps:
        target = [r for r in rivals if r.id == predicted]
        note("switch_imminent", "block", target, lost_to(target), consent_first(lost_to(target), ("overwritten", True)))

    if portal.live_bound(h):
        likely = [r for r in rivals if (jumps and r.id == predicted) or r.modified >= as_of - MONTH]
        risky: dict[str, set[str]] = {}
        out: list[Record] = []
        for r in likely:
            for f in portal.fields:
                if not f.of(r.type):
                    continue
                done = by_rival[r.id].get(f.property)
                if consent_harm(f, h.properties.get(f.property), r.fields.get(f.of(r.type) or ""), done, knobs):
                    risky.setdefault(r.id, set()).add(f.property)
                if f.property == "hs_email_optout" and knobs["opt_out"] == "sticky" and done == "overwrite":
                    out.append(r)
        if risky:
            note("consent_at_risk", "block", [r for r in likely if r.id in risky], set().union(*risky.values()), [("consent", True)])
        if out:
            note("opt_out_imminent", "block", out, {"hs_email_optout"}, [("consent", True)])

    optout = fields.get("hs_email_optout")
    if optout and optout.rule != "none" and h.email and truth(h.properties.get("hs_email_optout")) is not True:
        denied = [
            s for s in portal.records.values()
            if s.state == "live" and s.email == h.email and truth(s.fields.get(optout.of(s.type) or "")) is True
            and max([s.modified, *([h.bound_since] if h.bound_since else [])]) < as_of - timedelta(minutes=knobs["settle_minutes"])
        ]  # fmt: skip
        if denied:
            note("consent_conflict", "block", denied, {"hs_email_optout"}, [("consent", True)])
    return found


def findings_of_addresses(portal: Portal, h: Contact) -> list[Found]:
    """An unbound contact with several records to choose from; a contact bound to the record of somebody else's address. (All stamps are older than the
    settle time here but for the record's own.)"""
    found: list[Found] = []
    own = portal.clusters.get(h.email or "", [])
    if h.bound is None and own and (h.listed or not portal.knobs["inclusion_list_id"]):
        severity = "block" if len({s.owner for s in own}) > 1 else "warn"
        found.append(Found("ambiguous_first_binding", h.id, severity, frozenset(s.id for s in own), frozenset(), 0, "drift", None, "later"))
    b = portal.live_bound(h)
    settled = portal.as_of - timedelta(minutes=portal.knobs["settle_minutes"])
    if b and b.email and h.email and b.email not in (h.email, *h.additional) and b.modified < settled:
        found.append(Found("mislinked_email", h.id, "block", frozenset(), frozenset(), 0, "mixed_people", None, "soon"))
    return found


def risk_of(portal: Portal, email: str, found: list[Found]) -> str:
    ids = {s.id for s in portal.clusters[email]}
    concerned = [h for h in portal.contacts if h.email == email] or [h for h in portal.contacts if ids & {r.id for r in portal.rivals(h)}]
    told = {f.check for f in found if f.contact in {h.id for h in concerned}}
    return "unsafe" if "unsafe_duplicate" in told else "switchable" if "switchable_duplicate" in told else "latent"


def findings_of_cluster(portal: Portal, email: str, of_contacts: list[Found]) -> list[Found]:
    members = portal.clusters[email]
    found: list[Found] = []
    ids, roles = frozenset(s.id for s in members), portal.knobs["role_mailboxes"]
    pairs = [(a, b) for at, a in enumerate(members) for b in members[at + 1 :]]
    differ = any(look_different(a.name, b.name, email, roles) for a, b in pairs)
    if differ and (email.partition("@")[0] in roles or not any(words(a.name) & words(b.name) for a, b in pairs)):
        found.append(Found("shared_mailbox", email, "warn", ids, frozenset(), 0, "mixed_people", None, "soon"))
    if not any(h.email == email for h in portal.contacts) and risk_of(portal, email, of_contacts) == "latent":
        found.append(Found("latent_duplicate", email, "warn", ids, frozenset(), 0, "none", None, "later"))
    return found


def place_in_the_worklist(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["severity"] != "unproven", ["now", "soon", "later"].index(row["urgency"]), ["unproven", "block", "warn"].index(row["severity"]),
        HARMS.index(row["harm"]), row["deadline_at"] is None, row["deadline_at"] or datetime.max, -row["blast_radius"], row["first_seen_at"],
        row["fingerprint"],
    )  # fmt: skip
