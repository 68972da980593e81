"""What the keys can reach in both CRMs, as whom, and what is missing: for `bindwatch doctor` and `bindwatch connect`. Nothing is changed there."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from assets.connect.sample import describe_all
from assets.dagster.session import Connections
from assets.policy import OBJECTS
from assets.problems import PullProblem
from assets.pull.hubspot_portal import Portal
from assets.pull.salesforce import required_fields
from assets.pull.salesforce_org import API_VERSION, Org

A = TypeVar("A")

# What a text for the administrator asks for, by what is missing.
_ASK_HUBSPOT = (
    "Please add the scope {what} to our Service Key (HubSpot: Development → Keys → Service keys, or Settings → Integrations → Service Keys). "
    "The key stays the same. Bindwatch only reads."
)
_ASK_SALESFORCE = (
    "Please give the user {user} read access to {what}, with View All Records, in its permission set (Setup → Permission Sets → Object Settings). "
    "Bindwatch only reads."
)


@dataclass
class OrgView:
    """An org as the integration user sees it. rows: live records by object; missing: what cannot be seen, needed: of it, what nothing can do without."""

    org: Org
    user: str | None = None
    described: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)

    @property
    def letters(self) -> list[str]:
        return [_ASK_SALESFORCE.format(user=self.user or "that Bindwatch uses", what=what) for what in self.missing]


@dataclass
class PortalView:
    """A portal as the key sees it."""

    portal: Portal
    id: str | None = None
    properties: dict[str, dict[str, Any]] = field(default_factory=dict)
    contacts: int | None = None
    missing: list[str] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)

    @property
    def letters(self) -> list[str]:
        return [_ASK_HUBSPOT.format(what=what) for what in self.missing if what.startswith("crm.")]


def open_org(connections: Connections, patience: float | None = None, timeout: float | None = None) -> Org:
    """The org, once it let us in. patience, timeout: seconds, where they are not those of a run. Raises PullProblem."""
    access = connections.salesforce
    return Org(replace(access, patience_seconds=patience or access.patience_seconds, timeout_seconds=timeout or access.timeout_seconds))


def open_portal(connections: Connections, patience: float | None = None, timeout: float | None = None) -> Portal:
    access = connections.hubspot
    access = replace(access, patience_seconds=patience or access.patience_seconds, timeout_seconds=timeout or access.timeout_seconds)
    return Portal(access, connections.policy.pull)


def look_at_org(connections: Connections) -> OrgView:
    """Who we are in Salesforce, and what can be seen there. Raises PullProblem when it does not let us in."""
    view = OrgView(open_org(connections))
    view.user = view.org.read_user()
    view.described = describe_all(view.org)
    for name in OBJECTS:
        if name not in view.described:
            if name in connections.policy.policy.objects:
                view.missing.append(name)
            continue
        lacking = [f"{name}.{one}" for one in required_fields(name) if one not in view.described[name]]
        view.missing += lacking
        view.needed += lacking
        view.rows[name] = view.org.count(name)
    if "Contact" in view.missing:
        view.needed.append("Contact")
    return view


def look_at_portal(connections: Connections) -> PortalView:
    """What the key can see in HubSpot. Raises PullProblem when it does not let us in."""
    view = PortalView(open_portal(connections))
    closed = view.portal.closed_ways(None)
    view.missing = list(view.portal.scopes_missing)
    view.needed = list(view.missing)
    if not closed:
        view.id = view.portal.read_id()
        view.properties = view.portal.properties()
        view.contacts = view.portal.count()
        view.portal.owners_page(False, None)
        view.missing = list(view.portal.scopes_missing)
    return view


def or_problem(look: Callable[[], A]) -> tuple[A | None, PullProblem | None]:
    """What a look gave, or why it could not be taken: whoever has to mend one CRM hears of the other, too."""
    try:
        return look(), None
    except PullProblem as problem:
        return None, problem


def age_of_version(version: str) -> str:
    """What is to be said of a version of Salesforce's API."""
    newest = f"version {version} of its API"
    if float(version) < float(API_VERSION):
        return f"{newest}, which is older than Bindwatch's {API_VERSION}"
    return newest


def first_pull(view: OrgView, portal: PortalView) -> tuple[int, int, float]:
    """What a first pull takes: calls to HubSpot, calls to Salesforce, and minutes."""
    contacts = portal.contacts or 0
    to_hubspot = -(-contacts // 50) + 20
    to_salesforce = 20 + sum(10 + rows // 50_000 for rows in view.rows.values())
    seconds = max(to_hubspot / 19, to_hubspot * max(portal.portal.answer_seconds, 0.08) / 4) + sum(view.rows.values()) / 5_000 + 30
    return to_hubspot, to_salesforce, seconds / 60
