"""A world for a few records: people act, an hour passes between acts, and the integration polls when a test says so."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.integration import poll
from sandbox.portal import PortalSettings
from sandbox.world import HubSpotContact, SalesforceRecord, World

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
ANN = "ann@example.com"


class Portal:
    """Both CRMs and the integration, set up as the keyword arguments say."""

    def __init__(self, **settings: Any) -> None:
        self.world, self.settings = World(START), PortalSettings(**settings)

    def pass_time(self, **time: float) -> None:
        self.world.now += timedelta(**(time or {"hours": 1}))

    def lead(self, email: str | None = ANN, **fields: str | None) -> SalesforceRecord:
        self.pass_time()
        return self.world.create_record("Lead", {"LastName": "Lee", "Email": email, **fields})

    def salesforce_contact(self, email: str | None = ANN, **fields: str | None) -> SalesforceRecord:
        self.pass_time()
        return self.world.create_record("Contact", {"LastName": "Lee", "Email": email, **fields}, account_id=self.world.create_account("Acme"))

    def contact(self, email: str = ANN, **properties: str) -> HubSpotContact:
        """A HubSpot contact, made by a form."""
        self.pass_time()
        return self.world.create_contact({"lastname": "Lee", "email": email, **properties}, "FORM")

    def bound_contact(self, email: str = ANN, **fields: str | None) -> tuple[HubSpotContact, SalesforceRecord]:
        """A Lead, and the contact that the integration made of it."""
        lead = self.lead(email, **fields)
        self.poll()
        contact = self.of(email)
        assert contact.bound_id == lead.id
        return contact, lead

    def edit(self, record: SalesforceRecord, **fields: str | None) -> None:
        self.pass_time()
        self.world.edit_record(record, fields)

    def edit_contact(self, contact: HubSpotContact, **properties: str) -> None:
        self.pass_time()
        self.world.write(contact, properties, "CRM_UI")

    def poll(self) -> None:
        self.pass_time(minutes=15)
        poll(self.world, self.settings)

    def of(self, email: str = ANN) -> HubSpotContact:
        """The live contact with that e-mail."""
        contact = self.world.contact_with_email(email)
        assert contact is not None
        return contact

    @property
    def errors(self) -> list[str]:
        return [error.name for error in self.world.errors]
