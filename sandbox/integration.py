"""When the integration acts: polls, triggers that wait, replays of an event log, and every outcome where the rules leave several open.

What it does then is in rules.py.
"""

import copy
from datetime import datetime

from sandbox.portal import PortalSettings
from sandbox.rulebook import rule
from sandbox.rules import (
    InvalidState,
    delete_comes_first,
    due_at,
    is_in_segment,
    is_trigger,
    matching_emails,
    meet_record,
    switch_to_winner,
    sync_contact,
    take_up_delete,
    winner_of_merge,
    wins_race,
)  # fmt: skip
from sandbox.world import Choices, Happening, SalesforceRecord, World

MAX_OUTCOMES = 4096


def poll(world: World, settings: PortalSettings) -> None:
    """One poll: every trigger since the last one takes effect.

    Raises InvalidState at the end, after everybody else has synced, where two contacts are bound to one record.
    """
    if waits_for_calls(world):
        return
    happenings, world.happenings = in_order(world.happenings), []
    world.heard.clear()
    waiting: dict[str, bool] = {}  # contact id → may sync outside the inclusion list, too
    left_list = {happening.id for happening in happenings if happening.kind == "left_list"}
    for happening in happenings:
        for contact_id, also_outside in _take_up(world, settings, happening).items():
            waiting[contact_id] = also_outside or waiting.get(contact_id, False)
    invalid = []
    for contact_id, also_outside in waiting.items():
        contact = world.contacts.get(contact_id)
        if contact is None or contact.archived_at is not None:
            continue
        races = contact_id in left_list and not is_in_segment(world, settings, contact) and wins_race(world, contact)
        try:
            sync_contact(world, settings, contact, also_outside or races)
        except InvalidState as error:
            invalid.append(str(error))
    if invalid:
        raise InvalidState("; ".join(sorted(set(invalid))))


def _take_up(world: World, settings: PortalSettings, happening: Happening) -> dict[str, bool]:
    """Deletions take effect at once; for everything else, the contacts that must sync."""
    if happening.kind in ("contact", "entered_list"):
        return {happening.id: False}
    if happening.kind == "left_list":
        return {}
    record = world.records[happening.id]
    match happening.kind:
        case "deleted":
            if record.is_deleted:
                take_up_delete(world, settings, record)
            return {}
        case "merged":
            return _take_up_merge(world, settings, record, happening)
        case "created" | "undeleted":
            return _concerned(world, settings, record) | (meet_record(world, settings, record) if record.is_live else {})
        case "converted":
            into = world.records[happening.other_id or ""]
            met = meet_record(world, settings, into) if into.is_live and not world.contacts_bound_to(record.id) else {}
            return _concerned(world, settings, record) | _concerned(world, settings, into) | met
        case _:
            if not is_trigger(world, settings, record, happening):
                return {}
            is_new_to_hubspot = record.is_live and "Email" in happening.fields and not world.contacts_bound_to(record.id)
            return _concerned(world, settings, record) | (meet_record(world, settings, record) if is_new_to_hubspot else {})


def _take_up_merge(world: World, settings: PortalSettings, loser: SalesforceRecord, happening: Happening) -> dict[str, bool]:
    winner = winner_of_merge(world, happening)
    concerned = _concerned(world, settings, winner) if winner else {}
    if not loser.is_deleted:  # undeleted before the poll
        return concerned
    if delete_comes_first(world, settings, happening):
        take_up_delete(world, settings, loser)
        return concerned
    if winner is not None:
        switch_to_winner(world, settings, loser, winner)
    take_up_delete(world, settings, loser)
    return concerned


def _concerned(world: World, settings: PortalSettings, record: SalesforceRecord) -> dict[str, bool]:
    """The contacts bound to a record, and those that its e-mail leads to."""
    contacts = world.contacts_bound_to(record.id)
    if record.is_live and record.is_visible:
        holders = (world.contact_with_email(record.email), world.contact_with_additional_email(record.email))
        contacts += [contact for contact in holders if contact is not None and record.email in matching_emails(settings, contact)]
    return dict.fromkeys((contact.id for contact in contacts), False)


@rule(49)
def waits_for_calls(world: World) -> bool:
    """While the allocation of API calls is used up, triggers wait."""
    return world.calls_return_at is not None and world.now < world.calls_return_at


@rule(50)
def in_order(happenings: list[Happening]) -> list[Happening]:
    """Events with one time come in the order of their kind and id, so that a replay gives the same state.
    events.is_order_sensitive says where another order would give another one."""
    return sorted(happenings, key=lambda happening: (happening.at, happening.kind in ("contact", "entered_list", "left_list"), happening.id))


def catch_up(world: World, settings: PortalSettings, until: datetime) -> None:
    """Lets the clock run, with a poll whenever a trigger is due.

    Raises InvalidState at the end, as poll does.
    """
    invalid = []
    while world.happenings:
        due = min(due_at(happening) for happening in world.happenings)
        if world.calls_return_at is not None:
            due = max(due, world.calls_return_at)
        if due > until:
            break
        world.now = max(world.now, due)
        try:
            poll(world, settings)
        except InvalidState as error:
            invalid.append(str(error))
    world.now = max(world.now, until)
    if invalid:
        raise InvalidState("; ".join(sorted(set(invalid))))


def possible_outcomes(world: World, settings: PortalSettings) -> list[World]:
    """Every world that one poll may lead to; the given one is not changed. One, where the rules leave nothing open."""
    outcomes: list[World] = []
    scripts: list[tuple[int, ...]] = [()]
    while scripts:
        script = scripts.pop()
        trial = copy.deepcopy(world)
        trial.choices = Choices(script)
        poll(trial, settings)
        outcomes.append(trial)
        if len(outcomes) > MAX_OUTCOMES:
            raise ValueError(f"more than {MAX_OUTCOMES} outcomes")
        taken = trial.choices.taken
        for place in range(len(script), len(taken)):
            options = trial.choices.asked[place][2]
            scripts += [(*taken[:place], other) for other in range(1, len(options))]
    return outcomes
