"""What happens in the sandbox's two CRMs: a past that fills them, and days that pass. The same seed tells the same story."""

import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from sandbox.fields import DEMO_FIELDS, Fields
from sandbox.integration import catch_up, poll
from sandbox.people import NASTY, Person
from sandbox.portal import PortalSettings
from sandbox.rules import InvalidState
from sandbox.users import IMPORTER, OWNERS
from sandbox.world import HubSpotContact, SalesforceRecord, Tracking, World, id18, normalise

_PEOPLE_A_CARD = 1300  # for each card of a day that gets its e-mail
_CARDS_LAST = 10  # days


class Story:
    """A world, the integration's settings, and the dice that decide what people do."""

    def __init__(
        self, people: Iterable[Person], seed: int, until: datetime, settings: PortalSettings | None = None, tracking: Tracking = "none",
        fields: Fields = DEMO_FIELDS,
    ) -> None:  # fmt: skip
        self.settings = settings or PortalSettings()
        self.seed = seed
        self.dice = random.Random(f"{seed} past")
        self.opt_outs = random.Random(f"{seed} opt-outs")
        self.by_form: list[Person] = []  # whom HubSpot knows by what they wrote into a form
        self.cards: list[tuple[SalesforceRecord, str]] = []  # Leads without an e-mail, each with the one that somebody will find out
        self.days_told = 0
        people = sorted(people, key=lambda person: (person.first_seen, person.email))
        self.world = World(people[0].first_seen if people else until, tracking=tracking, fields=fields)
        self.size = len(people)
        self._tell_past(people, until)

    # ── the past ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _tell_past(self, people: list[Person], until: datetime) -> None:
        plan: list[tuple[datetime, int, Callable[[], object]]] = []
        for number, person in enumerate(people):
            plan.append((person.first_seen, number, lambda person=person: self._person_appears(person)))  # type: ignore[misc]
            if person.email and self.dice.random() < 0.05:
                later = person.first_seen + timedelta(days=self.dice.uniform(1, 15))
                plan.append((min(later, until - timedelta(days=1)), number, lambda person=person: self._duplicate_appears(person)))  # type: ignore[misc]
                if self.opt_outs.random() < 0.4:
                    plan.append((later + timedelta(days=3), number, lambda person=person: self._one_record_opts_out(person)))  # type: ignore[misc]
                    plan.append((later + timedelta(days=4), number, lambda person=person: self._other_record_is_edited(person)))  # type: ignore[misc]
                    plan.append((later + timedelta(days=5), number, lambda person=person: self._person_subscribes_again(person)))  # type: ignore[misc]
                if self.dice.random() < 0.3:
                    plan.append((later + timedelta(days=2), number, lambda person=person: self._contact_is_removed(person)))  # type: ignore[misc]
                    plan.append((later + timedelta(days=9), number, lambda person=person: self._person_returns(person)))  # type: ignore[misc]
        for number, (first, last, email) in enumerate(NASTY if people else []):
            moment = until - timedelta(days=5, minutes=-number)
            plan.append((moment, number, lambda values=(first, last, email): self._nasty_person_appears(*values)))  # type: ignore[misc]
        for moment, _, act in sorted(plan, key=lambda entry: entry[:2]):
            if moment < until:
                self._let_time_pass_until(moment)
                act()
        self._let_time_pass_until(until)
        for cluster in self._clusters()[:: max(1, len(self._clusters()) // 5)]:
            contact = self.world.contact_with_email(cluster[0].email)
            if contact is not None:
                self.world.archive_contact(contact)  # somebody deleted the contact by hand: a duplicate nobody depends on
        self._cards_are_entered()
        poll(self.world, self.settings)

    def _cards_are_entered(self) -> None:
        """The cards of a fair, in a large portal: Leads without an e-mail, which change nothing in HubSpot (rule 2)."""
        wanted = self.size // _PEOPLE_A_CARD * _CARDS_LAST
        for person in random.Random(f"{self.seed} cards").sample(self.by_form, len(self.by_form)):
            contact, alone = self.world.contact_with_email(normalise(person.email)), self.world.live_records(normalise(person.email))
            if len(self.cards) == wanted:
                return
            if person.title and contact is not None and [record.id for record in alone] == [contact.bound_id]:
                card = {"FirstName": person.first_name, "LastName": person.last_name, "Company": person.company, "Title": "Visitor", "LeadSource": "Trade Show"}
                self.cards.append((self.world.create_record("Lead", {**card, "Phone": person.phone or None}, by=id18(IMPORTER)), person.email))

    def _person_appears(self, person: Person) -> None:
        dice = self.dice.random()
        if dice < 0.1 and person.email:
            self.by_form.append(person)
            self.world.create_contact({"firstname": person.first_name, "lastname": person.last_name, "email": person.email, "jobtitle": person.title}, "FORM")
        else:
            self._create_record("Contact" if dice < 0.4 else "Lead", person)

    def _duplicate_appears(self, person: Person) -> None:
        """The same person entered again by somebody else: another title, a phone number missing, now and then nothing different."""
        exact = self.dice.random() < 0.2
        object_type = "Contact" if self.dice.random() < 0.5 else "Lead"
        if exact:
            self._create_record(object_type, person)
            return
        changes: dict[str, str | None] = {"Title": self.dice.choice(["Consultant", "Owner", None]), "Phone": self.dice.choice(["+49 89 1234567", None])}
        self._create_record(object_type, person, owner=OWNERS[1], changes=changes)

    def _contact_is_removed(self, person: Person) -> None:
        if contact := self.world.contact_with_email(normalise(person.email)):
            self.world.archive_contact(contact)

    def _person_returns(self, person: Person) -> None:
        """A form brings the person back: a first sync, with several records to choose from."""
        if self.world.contact_with_email(normalise(person.email)) is None:
            self.world.create_contact({"firstname": person.first_name, "lastname": person.last_name, "email": person.email}, "FORM")

    def _one_record_opts_out(self, person: Person) -> None:
        """Somebody ticks the opt-out on the newest record alone; HubSpot takes it over for good."""
        if (found := self.world.live_records(normalise(person.email))) and len(found) > 1:
            self.world.edit_record(max(found, key=lambda record: record.created_at), {"HasOptedOutOfEmail": "true"})

    def _other_record_is_edited(self, person: Person) -> None:
        """The binding jumps back to a record that knows nothing of the opt-out."""
        if others := [record for record in self.world.live_records(normalise(person.email)) if record.fields.get("HasOptedOutOfEmail") != "true"]:
            self.world.edit_record(others[0], {"Phone": "+49 89 7654321"})

    def _person_subscribes_again(self, person: Person) -> None:
        """By HubSpot's own form, the only way back. The record that still says no is not asked until the binding jumps there again."""
        contact = self.world.contact_with_email(normalise(person.email))
        if contact is not None and contact.value("hs_email_optout") == "true":
            self.world.write(contact, {"hs_email_optout": "false"}, "FORM")

    def _nasty_person_appears(self, first: str, last: str, email: str) -> None:
        self.world.create_record(
            "Lead", {"FirstName": first, "LastName": last, "Email": email, "Company": 'Nasty, "Values" & Co', "Street": "1 Main St\nFloor 2"}
        )

    def _create_record(self, object_type: str, person: Person, owner: str = OWNERS[0], changes: dict[str, str | None] | None = None) -> SalesforceRecord:
        fields: dict[str, str | None] = {
            "FirstName": person.first_name, "LastName": person.last_name, "Email": person.email or None, "Salutation": person.salutation or None,
            "Title": person.title or None, "Phone": person.phone or None, "MobilePhone": person.mobile or None, "LeadSource": person.lead_source or None,
            "HasOptedOutOfEmail": "true" if person.has_opted_out else None,
        }  # fmt: skip
        if object_type == "Lead":
            fields |= {
                "Company": person.company, "City": person.city or None, "PostalCode": person.postal_code or None, "Country": person.country or None,
                "Industry": person.industry or None, "AnnualRevenue": person.revenue or None, "NumberOfEmployees": person.employees or None,
                "Rating": person.rating or None, "Status": person.status or None,
            }  # fmt: skip
            return self.world.create_record("Lead", fields | (changes or {}), owner_id=id18(owner))
        fields |= {"MailingCity": person.city or None, "MailingPostalCode": person.postal_code or None, "MailingCountry": person.country or None}
        account = self.world.create_account(person.company)
        return self.world.create_record("Contact", fields | (changes or {}), owner_id=id18(owner), account_id=account)

    def _let_time_pass_until(self, moment: datetime) -> None:
        with suppress(InvalidState):  # contacts that share a record stay as they are; Bindwatch reports them
            catch_up(self.world, self.settings, moment)
        self.world.now = max(self.world.now, moment)

    # ── days that pass ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def advance(self, days: float) -> None:
        """Lets days pass, with people at work and the integration polling; ends a minute after people did things it has not seen yet."""
        end = self.world.now + timedelta(days=days)
        plan = []
        for day in range(max(1, round(days))):
            self.dice = random.Random(f"{self.seed} day {self.days_told + day}")
            start = end - timedelta(days=days) + timedelta(days=day)
            for act, times in self._daily_plan():
                plan += [(start + timedelta(seconds=self.dice.randrange(60, 72_000)), number, act) for number in range(times)]
        self.days_told += max(1, round(days))
        for moment, _, act in sorted(plan, key=lambda entry: (entry[0], entry[1])):
            if moment < end - timedelta(hours=2):
                self._let_time_pass_until(moment)
                act()
        self._let_time_pass_until(end - timedelta(hours=2))
        self._cards_are_completed(max(1, round(days)))
        self._let_time_pass_until(end - timedelta(minutes=10))
        self._unseen_acts()
        self.world.now = end

    def _cards_are_completed(self, days: int) -> None:
        """Somebody adds the e-mails to cards of a fair: second records of people whom a form told more of, and the contacts jump to them."""
        for _ in range(min(days * (self.size // _PEOPLE_A_CARD), len(self.cards))):
            record, email = self.cards.pop()
            self.world.now += timedelta(minutes=1)
            self.world.edit_record(record, {"Email": email})

    def _daily_plan(self) -> list[tuple[Callable[[], None], int]]:
        def about(one_in: int) -> int:
            return max(1, self.size // one_in) if self.size else 0

        return [
            (self.edit_record, about(150)), (self.edit_contact, about(300)), (self.edit_duplicate, about(1500)), (self.touch_duplicate, about(1500)),
            (self.submit_form, about(400)), (self.convert_lead, about(1500)), (self.convert_into_existing, about(3000)),
            (self.merge_into_bound, about(2500)), (self.merge_away_from_bound, about(2500)), (self.delete_bound_record, about(2500)),
            (self.merge_contacts, about(4000)), (self.enter_duplicate, about(2000)),
        ]  # fmt: skip

    def edit_record(self) -> None:
        if record := self._any_live_record():
            self.world.edit_record(record, {"Phone": f"+49 40 {self.dice.randrange(10**6, 10**7)}"})

    def edit_contact(self) -> None:
        """Somebody works in HubSpot; the next sync puts Salesforce's value back, or fills its blank."""
        if contacts := self._some_contacts(1):
            self.world.write(contacts[0], {"mobilephone": f"+49 170 {self.dice.randrange(10**6, 10**7)}"}, "CRM_UI")

    def edit_duplicate(self) -> None:
        """Somebody edits a record that its contact is not bound to: the binding will jump."""
        if found := self._bound_cluster():
            _, _, rivals = found
            self.world.edit_record(self.dice.choice(rivals), {"Title": self.dice.choice(["Partner", "Director", "Student"])})

    def opt_out_duplicate(self) -> None:
        """Somebody ticks the opt-out on a record that its contact is not bound to: the binding will jump, and opt the person out for good."""
        for cluster in self._shuffled_clusters():
            contact = self.world.contact_with_email(cluster[0].email)
            if contact is None or contact.value("hs_email_optout") == "true" or contact.bound_id not in {record.id for record in cluster}:
                continue
            rival = next(record for record in cluster if record.id != contact.bound_id)
            self.world.edit_record(rival, {"HasOptedOutOfEmail": "true"})
            return

    def touch_duplicate(self) -> None:
        """Automation rewrites a record that its contact is not bound to: only SystemModstamp moves."""
        if found := self._bound_cluster():
            self.world.touch_record(self.dice.choice(found[2]))

    def enter_duplicate(self) -> None:
        if (record := self._any_live_record()) and record.email:
            fields: dict[str, str | None] = {
                "FirstName": record.fields.get("FirstName"),
                "LastName": record.fields.get("LastName"),
                "Email": record.fields["Email"],
                "Company": "Entered twice",
                "Title": "Unknown",
            }
            self.world.create_record("Lead", fields, by=id18(IMPORTER))

    def submit_form(self) -> None:
        number = self.dice.randrange(10**6)
        self.world.create_contact({"firstname": "Form", "lastname": f"Visitor {number}", "email": f"visitor{number}@web.example"}, "FORM")

    def convert_lead(self) -> None:
        leads = [record for record in self._sample() if record.type == "Lead"]
        if leads:
            self.world.convert_lead(self.dice.choice(leads))

    def convert_into_existing(self) -> None:
        for cluster in self._shuffled_clusters():
            leads, contacts = [r for r in cluster if r.type == "Lead"], [r for r in cluster if r.type == "Contact"]
            if leads and contacts:
                self.world.convert_lead(leads[0], contacts[0])
                return

    def merge_into_bound(self) -> None:
        if found := self._bound_cluster(same_type=True):
            _, bound, rivals = found
            self.world.merge_records(bound, rivals[:1])

    def merge_away_from_bound(self) -> None:
        """The wrong way round: the bound record loses."""
        if found := self._bound_cluster(same_type=True):
            _, bound, rivals = found
            self.world.merge_records(rivals[0], [bound])

    def delete_bound_record(self) -> None:
        records = [record for record in self._sample() if self.world.contacts_bound_to(record.id)]
        if records:
            self.world.delete_record(self.dice.choice(records))

    def merge_contacts(self) -> None:
        contacts = self._some_contacts(2)
        if len(contacts) == 2:
            self.world.merge_contacts(contacts[0], contacts[1])

    def _unseen_acts(self) -> None:
        """Done in the last minutes, before the next poll: what the integration is about to act on, and what people did by hand."""
        world, dice = self.world, self.dice
        for _ in range(max(1, self.size // 1500) if self.size else 0):
            self.edit_duplicate()
        for email in [cluster[0].email for cluster in self._shuffled_clusters() if world.contact_with_email(cluster[0].email) is None][:2]:
            world.create_contact({"email": email or "", "firstname": "Back", "lastname": "Again"}, "FORM")
        contacts = self._some_contacts(8)
        if len(contacts) < 8:
            return
        twice, other, short, damaged, unknown, both, lost, stray = contacts
        world.write(twice, {"salesforceleadid": other.bound_id or "", "salesforcecontactid": ""}, "IMPORT")
        own = "salesforcecontactid" if (short.bound_id or "").startswith("003") else "salesforceleadid"
        world.write(short, {own: (short.bound_id or "")[:15]}, "IMPORT")  # 15 characters are correct
        world.write(damaged, {"salesforceleadid": (damaged.bound_id or "")[:17], "salesforcecontactid": ""}, "IMPORT")
        world.write(unknown, {"salesforceleadid": id18("00Q9z00000Gone1"), "salesforcecontactid": ""}, "IMPORT")
        world.write(both, {"salesforcecontactid": id18("0039z00000Gone1")}, "IMPORT")
        world.write(lost, {"salesforceleadid": "", "salesforcecontactid": ""}, "CRM_UI")
        record = world.records.get(stray.bound_id or "")
        if record is not None and record.is_live:
            before, world.now = world.now, world.now - timedelta(hours=1)
            world.edit_record(record, {"Email": f"someone.else{dice.randrange(10**6)}@acme.example"})
            world.now = before
        self.opt_out_duplicate()
        by_hand = {contact.id for contact in contacts}
        world.happenings = [happening for happening in world.happenings if happening.id not in by_hand]

    # ── picking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _clusters(self) -> list[list[SalesforceRecord]]:
        emails: dict[str, int] = {}
        for record in self.world.records.values():
            if record.is_live and record.email:
                emails[record.email] = emails.get(record.email, 0) + 1
        return [self.world.live_records(email) for email, count in sorted(emails.items()) if count > 1]

    def _shuffled_clusters(self) -> list[list[SalesforceRecord]]:
        clusters = self._clusters()
        self.dice.shuffle(clusters)
        return clusters

    def _bound_cluster(self, same_type: bool = False) -> tuple[HubSpotContact, SalesforceRecord, list[SalesforceRecord]] | None:
        """A contact, the live record it is bound to, and the live duplicates of that record."""
        for cluster in self._shuffled_clusters():
            contact = self.world.contact_with_email(cluster[0].email)
            bound = self.world.records.get(contact.bound_id or "") if contact else None
            if contact is not None and bound in cluster and bound is not None:
                rivals = [record for record in cluster if record is not bound and (not same_type or record.type == bound.type)]
                if rivals:
                    return contact, bound, rivals
        return None

    def _sample(self) -> list[SalesforceRecord]:
        ids = sorted(self.world.records.keys() - {card.id for card, _ in self.cards})  # nobody works on those
        return [record for record_id in self.dice.sample(ids, min(200, len(ids))) if (record := self.world.records[record_id]).is_live]

    def _any_live_record(self) -> SalesforceRecord | None:
        sample = self._sample()
        return sample[0] if sample else None

    def _some_contacts(self, count: int) -> list[HubSpotContact]:
        ids = sorted(self.world.contacts, key=int)
        contacts = [self.world.contacts[contact_id] for contact_id in self.dice.sample(ids, min(count * 20, len(ids)))]
        return [contact for contact in contacts if contact.archived_at is None and contact.bound_id and contact.email][:count]
