"""Who works in the two CRMs: users of Salesforce, some of whom have left, and the owners that HubSpot knows."""

from dataclasses import dataclass
from datetime import UTC, datetime

INTEGRATION_USER = "0055e000000Int1"
PERSON = "0055e000000Usr1"
AUTOMATION = "0055e000000Bot1"
OWNERS = ("0055e000000Own1", "0055e000000Own2")
IMPORTER = "0055e000000Imp1"


@dataclass(frozen=True, slots=True)
class User:
    """A user of Salesforce. id: 15 characters; type: Standard for people and for whoever logs in as one, else what it is."""

    id: str
    first_name: str
    last_name: str
    is_active: bool = True
    type: str = "Standard"
    modified_at: datetime = datetime(2020, 1, 1, tzinfo=UTC)

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}"

    @property
    def email(self) -> str:
        return f"{self.first_name}.{self.last_name}@users.example".lower()


@dataclass(frozen=True, slots=True)
class HubSpotOwner:
    """Somebody whom HubSpot's records may belong to. user_id: none of somebody who has left."""

    id: str
    email: str
    first_name: str
    last_name: str
    user_id: int | None = None
    is_archived: bool = False


USERS = (
    User(INTEGRATION_USER, "HubSpot", "Integration"), User(PERSON, "Paula", "Person"), User(AUTOMATION, "Automated", "Process", type="AutomatedProcess"),
    User(OWNERS[0], "Olga", "Owner"), User(OWNERS[1], "Otto", "Owner"), User(IMPORTER, "Ida", "Import", is_active=False),
)  # fmt: skip
HUBSPOT_OWNERS = (
    HubSpotOwner("1", "olga.owner@users.example", "Olga", "Owner", 11), HubSpotOwner("2", "otto.owner@users.example", "Otto", "Owner", 12),
    HubSpotOwner("3", "ida.import@users.example", "Ida", "Import", is_archived=True),
)  # fmt: skip


def somebody(user_id: str, at: datetime) -> User:
    """A user of whom nothing is known but the id: whoever did something in an org is one of its users."""
    return User(user_id[:15], "User", user_id[11:15], modified_at=at)
