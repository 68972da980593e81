"""Two implementations of the rules, the simulator and the SQL models, put side by side on many small worlds at once.

Building the models costs half a second however little is in them. So a batch of worlds shares one warehouse, each with ids and e-mails of its
own, and all of them sync at the same moments.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import duckdb

from assets.models.build import build_models
from assets.models.sqlfile import CheckFile
from assets.policy import KNOB_VALUES, Policy, read_policy
from assets.warehouse.file import prepare
from assets.warehouse.ledger import begin_run, close_run, summarise_run
from assets.warehouse.policy_tables import write_policy
from sandbox.events import LIST, Event, Play
from sandbox.fields import HUBSPOT_TYPES, MAPPING, SALESFORCE_TYPES
from sandbox.integration import poll
from sandbox.portal import OPT_OUT, OWNER, FieldRule, PortalSettings
from sandbox.rules import InvalidState
from sandbox.users import IMPORTER, INTEGRATION_USER, OWNERS, PERSON
from sandbox.world import HubSpotContact, SalesforceRecord, Switch, Tracking, World, field_value, id18, iso_text, normalise

ROOT = Path(__file__).parent.parent
START = datetime(2026, 3, 1, 8, tzinfo=UTC)
ROUND = timedelta(days=1)
FIELD_RULES: dict[str, FieldRule] = {"jobtitle": "always_salesforce", "phone": "prefer_salesforce", "fax": "two_way", "mobilephone": "none"}
USERS = (PERSON, OWNERS[0], OWNERS[1], IMPORTER)
CONTACTS = {"c1": "ann@", "c2": "bob@", "c3": "cem@"}


@dataclass(frozen=True)
class Step:
    """An event before it has a world: minutes after the one before, and the e-mail by its name instead of an address."""

    minutes: int
    act: str
    who: str
    other: str = ""
    name: str = ""
    value: str = ""


Tale = Sequence[Sequence[Step]]  # of each world: what happens before its first sync, before its second, …


def policies() -> list[dict[str, Any]]:
    """The policies to compare under: every combination of the knobs that decide a first binding or a lost one, every combination of those that
    decide a switch, each with every combination of the two that bear on both."""
    values = KNOB_VALUES
    first = list(product(values["first_sync"], values["create_object"], values["on_lead_deleted"], values["on_contact_deleted"]))
    switch = list(product(values["follow_up"], values["recency"], (INTEGRATION_USER, None), values["blank_on_switch"], values["opt_out"]))
    found = []
    for secondary, list_id in product((False, True), (None, LIST)):
        for number in range(max(len(first), len(switch))):
            # side by side: every combination of the one kind, and every one of the other; those that are fewer come again
            first_sync, create_object, on_lead_deleted, on_contact_deleted = first[number % len(first)]
            follow_up, recency, user, blank_on_switch, opt_out = switch[number % len(switch)]
            found.append({
                "first_sync": first_sync, "create_object": create_object, "on_lead_deleted": on_lead_deleted, "on_contact_deleted": on_contact_deleted,
                "follow_up": follow_up, "recency": recency, "integration_user_id": user, "blank_on_switch": blank_on_switch, "opt_out": opt_out,
                "secondary_email_matches": secondary, "inclusion_list_id": list_id,
            })  # fmt: skip
    return found


def settings_for(knobs: dict[str, Any]) -> PortalSettings:
    """The simulator's settings that say the same as a policy."""
    same = {name: value for name, value in knobs.items() if name != "integration_user_id"}
    return PortalSettings(
        **same, field_rules=FIELD_RULES, integration_user_touch="ignore" if knobs["integration_user_id"] else "count",
    )  # fmt: skip


def policy_for(knobs: dict[str, Any], field_rules: Mapping[str, FieldRule]) -> Policy:
    """The default list, and the fields of the sandbox's own."""
    own = read_policy(ROOT / "sandbox" / "bindwatch.toml").mapped
    mapping = tuple(entry.model_copy(update={"rule": field_rules.get(entry.hubspot, entry.rule)}) for entry in own)
    return Policy.model_validate({"policy": knobs}).model_copy(update={"mapping": mapping})


@dataclass
class Disagreement:
    """What the two implementations say differently, in which world."""

    world: int
    what: str
    diary: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([*self.diary, f"→ {self.what}"])


class Pulled:
    """A warehouse into which worlds are pulled, and the models built on it."""

    def __init__(
        self, knobs: dict[str, Any], field_rules: Mapping[str, FieldRule], checks: Sequence[CheckFile] = (), is_tracked: bool = False
    ) -> None:  # fmt: skip
        """is_tracked: Salesforce shows its field history."""
        self.is_tracked = is_tracked
        self.policy = policy_for(knobs, field_rules)
        self.checks = checks
        self.connection = duckdb.connect()
        self.connection.execute("set timezone = 'UTC'; set threads = 1")
        prepare(self.connection)
        self.connection.executemany("insert into raw.salesforce_field values (?, ?, ?, ?, null)", _described_fields())
        self.connection.executemany("insert into raw.hubspot_property values (?, ?, ?, null)", _described_properties())
        self.pull_no = self.run_no = 0

    def pull(self, worlds: Sequence[World], at: datetime) -> "Pulled":
        """Loads what an integration user sees of each world, builds every model, and ends the run."""
        self.load(worlds, at)
        write_policy(self.connection, self.policy, "https://org.example", [check.as_row for check in self.checks])
        build_models(self.connection, self.checks)
        close_run(self.connection, summarise_run(self.connection, "fail", [], []))
        return self

    def load(self, worlds: Sequence[World], at: datetime) -> None:
        """Begins a run, and loads what an integration user sees of each world. No world: the pulls bring nothing."""
        self.run_no += 1
        run_id = f"run {self.run_no}"
        begin_run(self.connection, run_id, at)
        for source, name in (("salesforce", "Lead"), ("salesforce", "Contact"), ("hubspot", "contact"), ("hubspot", "contact_archived")):
            self.pull_no += 1
            self.connection.execute(
                """insert into raw.pull by name select
                    $no as pull_no, 'pull ' || $no as pull_id, $run as run_id, $source as source, $object as object, 'full' as mode, 'x' as request_hash,
                    $at as started_at, $at as finished_at, $at as watermark_to, 1 as landed_rows, 1 as new_versions, true as complete""",
                {"no": self.pull_no, "run": run_id, "source": source, "object": name, "at": at.replace(tzinfo=None)},
            )
        if not worlds:
            return
        for pull_no, object_type in enumerate(("Lead", "Contact"), self.pull_no - 2):
            rows = [_record_row(world, r) for world in worlds for r in world.records.values() if r.type == object_type and r.is_visible]
            self._insert(f"raw.salesforce_{object_type.lower()}", [row | {"pull_no": pull_no} for row in rows])
        contacts = [contact for world in worlds for contact in world.contacts.values()]
        self._insert("raw.hubspot_contact", [_contact_row(contact) for contact in contacts])
        self._insert("raw.hubspot_property_version", [row for contact in contacts for row in _history_rows(contact)])
        if self.is_tracked:
            self.connection.execute("delete from raw.salesforce_field_history")
            seen = [record for world in worlds for record in world.records.values() if record.is_visible]
            self._insert("raw.salesforce_field_history", [row for record in seen for row in _change_rows(record)])
            self._insert("raw.salesforce_history_read", [{"record_id": record.id, "object_type": record.type} for record in seen])
        self.connection.execute("delete from raw.hubspot_list_member")
        self._insert("raw.hubspot_list_member", [{"contact_id": member} for world in worlds for member in world.lists.get(LIST, [])])

    def rows(self, table: str) -> list[dict[str, Any]]:
        relation = self.connection.execute(f"from {table}")
        names = [column[0] for column in relation.description or []]
        found = [dict(zip(names, values, strict=True)) for values in relation.fetchall()]
        for row in found:
            if "switched_at" in row:
                row["switched_at"] = row["switched_at"].replace(tzinfo=UTC)
        return found

    def by_contact(self, table: str) -> dict[str, list[dict[str, Any]]]:
        grouped: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows(table):
            grouped.setdefault(row["hubspot_contact_id"], []).append(row)
        return grouped

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        columns = dict(self.connection.execute(f"select column_name, column_type from (describe {table})").fetchall())
        types = {name: kind for name, kind in columns.items() if name in rows[0]}
        rest = {name: value for name, value in {"pull_no": str(self.pull_no), "content_hash": "0"}.items() if name in columns.keys() - types.keys()}
        self.connection.execute(
            f"""insert into {table} ({", ".join([*types, *rest])})
                select {", ".join([*(f"row.{name}" for name in types), *rest.values()])}
                from (select unnest(from_json($1, '{json.dumps([types])}')) as row)""",
            [json.dumps(rows)],
        )


@dataclass
class Batch:
    """Worlds that share a warehouse and a policy."""

    knobs: dict[str, Any]
    tales: Sequence[Tale]
    tracking: Tracking = "none"
    disagreements: list[Disagreement] = field(default_factory=list)
    compared: dict[str, int] = field(default_factory=dict)

    def run(self) -> "Batch":
        self.settings = settings_for(self.knobs)
        # every world keeps its histories: what is true is read there, also where the models do not see them
        self.plays = [Play(World(START, number * 10_000, "all"), self.settings) for number in range(len(self.tales))]
        self.pulled = Pulled(self.knobs, FIELD_RULES, is_tracked=self.tracking == "all")
        self.emails_pulled: dict[str, set[str | None]] = {}
        self.touched: dict[str, list[tuple[datetime, str]]] = {}  # of each record: when somebody else than the integration changed it, and who
        self.merged: dict[str, list[tuple[datetime, str | None]]] = {}  # into what a record was merged since when; None: into nothing any more
        rounds = max((len(tale) for tale in self.tales), default=0)
        for number in range(rounds):
            self._play_round(number)
            self._build(number)
            self._compare_switches()
            self._sync()
        self._build(rounds)
        self._compare_switches()
        self._compare_sources()
        return self

    def _build(self, number: int) -> None:
        for play in self.plays:
            for record in play.world.records.values():
                self.emails_pulled.setdefault(record.id, set()).add(record.email)
            for contact in play.world.contacts.values():
                self.emails_pulled.setdefault(contact.id, set()).update(contact.additional_emails)
        self.pulled.pull([play.world for play in self.plays], START + number * ROUND + timedelta(hours=23))

    # ── playing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _play_round(self, number: int) -> None:
        """All worlds end a round at the same moment, with some triggers still waiting for the next poll."""
        for world_no, (play, tale) in enumerate(zip(self.plays, self.tales, strict=True)):
            at = START + number * ROUND
            for place, step in enumerate(tale[number] if number < len(tale) else []):
                play.by = USERS[(place * 7 + world_no) % len(USERS)]
                at += timedelta(minutes=step.minutes)
                value = step.value.replace("@", f"@w{world_no}.example")
                before = {record.id: record.stamps for record in play.world.records.values()}
                play.act(Event(at, step.act, step.who, step.other, step.name, value))
                self._note_changes(play.world, before)
            play.world.now = max(play.world.now, at)

    def _note_changes(self, world: World, before: Mapping[str, Any]) -> None:
        for record in world.records.values():
            if record.modified_by != INTEGRATION_USER and record.modified_at == world.now and before.get(record.id) != record.stamps:
                self.touched.setdefault(record.id, []).append((world.now, record.modified_by))
            known = self.merged.setdefault(record.id, [])
            if record.master_id != (known[-1][1] if known else None):
                known.append((world.now, record.master_id))

    def _sync(self) -> None:
        """Everybody syncs: docs/prediction.md says what holds after that. Compares each contact with what was predicted and forecast for it."""
        predictions = self.pulled.by_contact("core.binding")
        forecasts = self.pulled.by_contact("core.overwrite")
        for world_no, play in enumerate(self.plays):
            world = play.world
            world.now += timedelta(minutes=1)
            before = {contact.id: _values(contact) for contact in world.contacts.values()}
            records_before = {record.id: dict(record.fields) for record in world.records.values()}
            bound_before = {contact.id: contact.bound_id for contact in world.contacts.values()}
            live = [contact for contact in world.contacts.values() if contact.archived_at is None]
            shared = {contact.id for contact in live if len(world.contacts_bound_to(contact.bound_id or "")) > 1}
            world.choices.asked.clear()
            first_switch = len(world.switches)
            for contact in live:
                world.touch_contact(contact)
            play.diary.append(f"{world.now:%d %H:%M} everybody syncs")
            try:
                poll(world, self.settings)
            except InvalidState as error:
                play.diary.append(f"the integration stops at two contacts bound to one record: {error}")
            made = {switch.contact_id: switch for switch in world.switches[first_switch:]}
            for contact in live:
                if contact.id in shared or any(len(world.contacts_bound_to(i)) > 1 for i in (contact.bound_id, bound_before[contact.id]) if i):
                    continue  # rule 48: the simulator does not choose
                row = predictions.get(contact.id, [{}])[0]
                told = self._compare_binding(world, contact, row, bound_before[contact.id])
                if told is None and row["prediction"] == "switch" and row["rule"] == 11:
                    told = self._compare_overwrites(world, contact, made[contact.id], before, records_before, forecasts)
                if told is not None:
                    self.disagreements.append(Disagreement(world_no, told, list(play.diary)))

    def _compare_binding(self, world: World, contact: HubSpotContact, row: dict[str, Any], bound_before: str | None) -> str | None:
        prediction = row.get("prediction")
        self._count(f"prediction {prediction}")
        now = None if contact.archived_at else contact.bound_id
        asked = [options for number, about, options in world.choices.asked if about == contact.id and number in (7, 17)]
        told = f"contact {contact.id}: SQL predicts {prediction} {row.get('predicted_id') or ''} (rule {row.get('rule')}), the simulator has it "
        told += f"{'archived' if contact.archived_at else f'bound to {now}'} (before: {bound_before})"
        match prediction:
            case "keep" | "bind" | "switch":
                agrees = not asked and now is not None and now == (row["predicted_id"] or bound_before)
            case "ambiguous":
                agrees = bool(asked) and set(asked[0]) <= set(row["candidate_ids"])
            case "create_lead" | "create_contact":
                created = world.records.get(now or "")
                agrees = created is not None and created.created_at == world.now and created.type == prediction.removeprefix("create_").title()
            case "none" if row["rule"] == 21 and bound_before is None and now is not None:
                # a new record binds an unbound contact outside the list too (rule 8); docs/prediction.md does not look that far
                self._count("bound outside the list by rule 8")
                return None
            case "none":
                lost = world.records.get(bound_before or "")
                agrees = contact.archived_at is not None or (now == bound_before and (lost is None or not lost.is_live))
            case _:
                agrees = False
        return None if agrees else told

    def _compare_overwrites(
        self, world: World, contact: HubSpotContact, switch: Switch, before: dict[str, dict[str, str]],
        records_before: dict[str, dict[str, str | None]], forecasts: dict[str, list[dict[str, Any]]],
    ) -> str | None:  # fmt: skip
        """The values that really changed, as the effects that were forecast."""
        record = world.records[switch.to_id]
        if record.email != contact.email and record.email not in contact.additional_emails:
            return None
        rows = forecasts.get(contact.id, [])
        expected = {(row["property"], row["effect"]) for row in rows if row["rival_id"] == switch.to_id}
        place = 0 if record.type == "Lead" else 1
        really = set()
        for name, names in MAPPING.items():
            old, new = before[contact.id].get(name, ""), contact.value(name)
            if name in {mapping.hubspot for mapping in self.pulled.policy.mapped} and old.strip() != new.strip():
                # an opt-out of somebody who said nothing is no gap that is filled
                is_loss = bool(old) or (name == OPT_OUT and new.lower() == "true")
                really.add((name, "clear" if not new else "overwrite" if is_loss else "fill"))
            field_name = names[place]
            if field_name and name != OWNER and record.fields.get(field_name) != records_before[record.id].get(field_name):
                really.add((name, "backfill"))
        self._count("forecast")
        return None if really == expected else f"contact {contact.id}: the switch to {switch.to_id} changed {sorted(really)}, forecast was {sorted(expected)}"

    def _compare_switches(self) -> None:
        """The history as the models read it, and the simulator's log: the same changes at the same times, with the same causes."""
        found = self.pulled.by_contact("core.switch_event")
        overwritten = self.pulled.by_contact("core.overwritten_value")
        for world_no, play in enumerate(self.plays):
            world = play.world
            for contact in world.contacts.values():
                if contact.merged_ids:
                    continue  # two histories in one
                log = [switch for switch in world.switches if switch.contact_id == contact.id and not _by_hand(contact, switch.at)]
                rows = [row for row in found.get(contact.id, []) if not _by_hand(contact, row["switched_at"])]
                expected = {(switch.at, switch.from_id, switch.to_id, len(switch.overwritten) if switch.from_id else 0) for switch in log}
                told = {(row["switched_at"], row["from_id"], row["to_id"], row["overwritten_count"]) for row in rows}
                self._count("switch", len(expected))
                if told != expected:
                    what = f"contact {contact.id}: SQL's switches are {_lines(told)}, the simulator's {_lines(expected)}"
                    self.disagreements.append(Disagreement(world_no, what, list(play.diary)))
                causes = {row["switched_at"]: row["cause"] for row in rows}
                for switch in log:
                    cause = self._cause(world, contact, switch)
                    if causes.get(switch.at, cause) != cause:
                        what = f"contact {contact.id} at {switch.at:%d %H:%M}: SQL says {causes[switch.at]}, the simulator {cause}"
                        self.disagreements.append(Disagreement(world_no, what, list(play.diary)))
                values = {(row["switched_at"], row["property"]): (row["value_before"], row["value_after"] or "") for row in overwritten.get(contact.id, [])}
                really = {(s.at, name): pair for s in log if s.from_id for name, pair in s.overwritten.items()}
                if {key: value for key, value in values.items() if not _by_hand(contact, key[0])} != really:
                    what = f"contact {contact.id}: SQL reads the overwritten values {values}, the simulator wrote {really}"
                    self.disagreements.append(Disagreement(world_no, what, list(play.diary)))

    def _cause(self, world: World, contact: HubSpotContact, switch: Switch) -> str:
        """docs/prediction.md names causes by how the two records were related then, the simulator knows the rule that it followed."""
        old = world.records.get(switch.from_id or "")
        if switch.from_id is None:
            return "first_binding"
        if old is not None and old.converted_contact_id and self._led_to(old.converted_contact_id, switch.to_id, switch.at):
            return "lead_conversion"
        if old is not None and old.id != switch.to_id and self._led_to(old.id, switch.to_id, switch.at):
            return "salesforce_merge"
        had = ({normalise(version.value) for version in contact.history["email"]} | self.emails_pulled[contact.id]) - {None}
        both = all(had & self.emails_pulled.get(record_id, set()) for record_id in (switch.from_id, switch.to_id))
        return "duplicate_switch" if both else "unexplained"

    def _led_to(self, record_id: str | None, target: str, at: datetime) -> bool:
        """Was the one record merged into the other by then, directly or through others?"""
        seen: set[str] = set()
        while record_id is not None and record_id not in seen:
            if record_id == target:
                return True
            seen.add(record_id)
            record_id = next((master for since, master in reversed(self.merged.get(record_id, [])) if since <= at), None)
        return False

    def _compare_sources(self) -> None:
        """By whom a contact jumped, and where its values came from: who is named did it, what is called typed was, and nothing typed is put back."""
        events = {(row["hubspot_contact_id"], row["switched_at"]): row for row in self.pulled.rows("core.switch_event")}
        sources = {(row["hubspot_contact_id"], row["switched_at"], row["property"]): row for row in self.pulled.rows("core.value_source")}
        plan = {(row["hubspot_contact_id"], row["property"]): row for row in self.pulled.rows("core.restorable_value")}
        for world_no, play in enumerate(self.plays):
            world = play.world
            for switch in world.switches:
                contact = world.contacts.get(switch.contact_id)
                event = events.get((switch.contact_id, switch.at))
                if contact is None or event is None or switch.from_id is None or contact.merged_ids or _by_hand(contact, switch.at):
                    continue
                record = world.records[switch.to_id]
                since = _settled_at(contact, switch.at)
                touches = [by for at, by in self.touched.get(record.id, []) if since is not None and since < at <= switch.at]
                self._count("jump")
                people = [c for c in record.history if since is not None and since < c.at <= switch.at and c.by != INTEGRATION_USER]
                left_a_trace = bool(people) or (since is not None and record.created_at > since and record.created_by != INTEGRATION_USER)
                self._count(f"jump by somebody {'named' if event['by_user_id'] else 'not named'}", int(left_a_trace))
                told = f"contact {contact.id} jumped to {record.id} at {switch.at:%d %H:%M:%S}, settled at {since}: "
                if event["by_user_id"] is not None:
                    self._count("jump named")
                    # an edit that changes no field leaves no trace in the field history: the name is of who changed one last, or of who touched it last
                    changers = [change.by for change in people] or [record.created_by]
                    named = {id18(by) for by in [*touches[-1:], changers[-1]]} if touches else set()
                    if event["by_user_id"] not in named:
                        self._disagree(world_no, f"{told}SQL names {event['by_user_id']} ({event['by']}), it was {sorted(named)}")
                for name, (_, after) in switch.overwritten.items():
                    source = sources.get((contact.id, switch.at, name))
                    field_name = MAPPING[name][0 if record.type == "Lead" else 1]
                    if source is None or since is None:
                        continue
                    tracked_name = "Owner" if field_name == "OwnerId" else field_name
                    # another notation of the same value corrects nothing
                    changes = [c for c in people if c.field == tracked_name and (c.old or "").strip() != (c.new or "").strip()]
                    was_typed = bool(changes) and record.created_at <= since
                    is_foreign = not changes and record.created_at <= since and field_name not in ("Account.Name", None)
                    self._count(f"{'typed' if was_typed else 'foreign' if is_foreign else 'other'} told {source['source']}")
                    # without the field history, a change that no run saw before the last sync reads as one after it (pulls are a day apart)
                    reads_as_typed = (
                        self.tracking == "none"
                        and since is not None
                        and any(c.field == tracked_name and since - timedelta(days=1) < c.at <= since for c in record.history)
                    )
                    if (source["source"] == "foreign" and was_typed) or (source["source"] == "typed" and is_foreign and not reads_as_typed):
                        self._disagree(world_no, f"{told}{name} became {after!r}: SQL says {source['source']}, the changes since are {changes}")
                    if source["by_user_id"] is not None and source["by_user_id"] not in [id18(change.by) for change in changes]:
                        self._disagree(world_no, f"{told}{name} was typed by {source['by_user_id']}, says SQL; the changes since are {changes}")
                    row = plan.get((contact.id, name))
                    is_last = row is not None and row["last_switched_at"].replace(tzinfo=UTC) == switch.at
                    if is_foreign and is_last and contact.value(name) == after:
                        self._count(f"foreign and still there, plan: {row['status'] if row else 'no row'}")
                    if row is not None and is_last and was_typed and row["status"] == "restore":
                        self._disagree(world_no, f"{told}{name} became {after!r}, which somebody had typed, and {row['value_before']!r} would be put back")
            for (contact_id, name), row in plan.items():
                contact = world.contacts.get(contact_id)
                if contact is None or row["status"] != "restore":
                    continue
                # what is put back is a value that the contact had without a switch having brought it
                made = [switch.at for switch in world.switches if switch.contact_id == contact_id and switch.from_id and switch.rule not in (5, 29)]
                own = [v for v in contact.history[name] if v.value == row["value_before"] and not (v.source == "SALESFORCE" and v.at in made)]
                if not own:
                    self._disagree(world_no, f"contact {contact_id}: {row['value_before']!r} would be put back as {name}, which a switch brought")

    def _disagree(self, world_no: int, what: str) -> None:
        self.disagreements.append(Disagreement(world_no, what, list(self.plays[world_no].diary)))

    def _count(self, what: str, times: int = 1) -> None:
        self.compared[what] = self.compared.get(what, 0) + times


def shorten(knobs: dict[str, Any], tale: Tale) -> Disagreement:
    """Takes steps away from a tale on which the two disagree, many at first, for as long as they still do. Returns what is left in words."""
    found = Batch(knobs, [tale]).run().disagreements[0]
    size = max(1, sum(len(steps) for steps in tale) // 2)
    while size:
        place = 0
        while place < sum(len(steps) for steps in tale):
            shorter = _without(tale, range(place, place + size))
            still = Batch(knobs, [shorter]).run().disagreements
            if still:
                tale, found = shorter, still[0]
            else:
                place += size
        size //= 2
    return found


def _without(tale: Tale, places: range) -> Tale:
    """The tale without some of its steps, counted through all rounds; rounds that are empty at the end go, too."""
    shorter, first = [], 0
    for steps in tale:
        shorter.append([step for number, step in enumerate(steps, first) if number not in places])
        first += len(steps)
    while shorter and not shorter[-1]:
        shorter.pop()
    return shorter


def _settled_at(contact: HubSpotContact, at: datetime) -> datetime | None:
    """What a record held then, the contact's last sync before `at` knew."""
    told = [version.at for version in contact.history.get("salesforcelastsynctime", []) if version.at < at - timedelta(seconds=5)]
    return min(told[-1], at - timedelta(minutes=20)) if told else None


def _change_rows(record: SalesforceRecord) -> list[dict[str, Any]]:
    return [
        {"history_id": change.id, "record_id": record.id, "object_type": record.type, "field": change.field, "changed_at": iso_text(change.at),
         "changed_by_id": id18(change.by), "old_value": change.old, "new_value": change.new, "pull": "pull"}
        for change in record.history
    ]  # fmt: skip


def _described_fields() -> list[list[Any]]:
    """What describe tells of the mapped fields: object, name, type, whether somebody may write it."""
    sides = (("Lead", 0), ("Contact", 1))
    return [
        [name, field, SALESFORCE_TYPES[name].get(field, "string"), "." not in field]
        for name, place in sides for names in MAPPING.values() if (field := names[place]) is not None
    ]  # fmt: skip


def _described_properties() -> list[list[Any]]:
    """What HubSpot tells of the mapped properties: name, type, form field."""
    described = {name: HUBSPOT_TYPES.get(name, {"type": "string", "fieldType": "text"}) for name in MAPPING}
    return [[name, one["type"], one["fieldType"]] for name, one in described.items()]


def _record_row(world: World, record: SalesforceRecord) -> dict[str, Any]:
    names = [names[0 if record.type == "Lead" else 1] for names in MAPPING.values()]
    return {
        "record_id": record.id, "id": record.id, "system_modstamp": iso_text(record.modified_at), "created_date": iso_text(record.created_at),
        "last_modified_date": iso_text(record.last_modified_at), "last_modified_by_id": record.modified_by, "created_by_id": record.created_by,
        "owner_id": record.owner_id,
        "email": record.fields.get("Email"), "is_deleted": str(record.is_deleted).lower(), "master_record_id": record.master_id,
        "is_converted": str(record.converted_contact_id is not None).lower(), "converted_contact_id": record.converted_contact_id,
        "fields": {name: field_value(world, record, name) for name in names if name},
    }  # fmt: skip


def _contact_row(contact: HubSpotContact) -> dict[str, Any]:
    return {
        "id": contact.id, "created_at": iso_text(contact.created_at), "updated_at": iso_text(contact.modified_at), "archived": contact.archived_at is not None,
        "archived_at": iso_text(contact.archived_at) if contact.archived_at else None,
        "properties": {**_values(contact), "hs_merged_object_ids": ";".join(contact.merged_ids), "lastmodifieddate": iso_text(contact.modified_at)},
    }  # fmt: skip


def _history_rows(contact: HubSpotContact) -> list[dict[str, Any]]:
    return [
        {"contact_id": contact.id, "property": name, "value": v.value, "changed_at": iso_text(v.at), "source_type": v.source, "source_id": None}
        for name, versions in contact.history.items() for v in versions
    ]  # fmt: skip


def _values(contact: HubSpotContact) -> dict[str, str]:
    return {name: contact.value(name) for name in contact.history}


def _by_hand(contact: HubSpotContact, at: datetime) -> bool:
    """Was the id written by somebody else than the integration?"""
    ids = ("salesforceleadid", "salesforcecontactid")
    return any(version.at == at and version.source != "SALESFORCE" for name in ids for version in contact.history.get(name, []))


def _lines(rows: set[tuple[Any, ...]]) -> str:
    return "; ".join(f"{at:%d %H:%M:%S} {a} → {b} ({count} overwritten)" for at, a, b, count in sorted(rows, key=str)) or "none"
