"""What both APIs refuse, and what that means: one table, and the one place that looks into it.

The words of an API may quote a record or name a user, so they are shown only where the table does not know them, and never what stands between quotes.
"""

import re
from dataclasses import dataclass
from typing import Literal

from assets.pull.retries import Again

Crm = Literal["Salesforce", "HubSpot"]
# passing: the same call is made again within the run's patience; lasting: it would be refused again; setting: so, until somebody changes a setting.
Kind = Literal["passing", "lasting", "setting"]


@dataclass(frozen=True)
class Known:
    """A row: a refusal whose status is one of these (none: any), whose code is one of these (empty: any) and whose message fits a pattern.

    remedy: what it means and what to do, in whole sentences. {scope} is the scope that the call needs.
    """

    crm: Crm
    statuses: tuple[int, ...]
    codes: str
    pattern: str
    kind: Kind
    remedy: str

    @property
    def is_general(self) -> bool:
        """It knows the status and nothing else."""
        return not self.codes and not self.pattern

    def fits(self, crm: Crm, status: int | None, code: str, message: str) -> bool:
        return (
            crm == self.crm
            and (not self.statuses or status in self.statuses)
            and (not self.codes or code in self.codes.split())
            and (not self.pattern or re.search(self.pattern, message, re.IGNORECASE) is not None)
        )


_STAYS = "What has arrived stays."
_NOT_WELL = f"is not well for the moment, or what stands before it: look at its status page, then run again. {_STAYS}"
_TOO_LONG = "A server or a proxy between takes no request that long: let it allow 8,000 characters for a URL and 16,000 for the headers."
_GATEWAYS = (500, 502, 503, 504, 520, 521, 522, 523, 524)
_TOKEN = (
    "The access token has expired or belongs to another org: give a new SALESFORCE_ACCESS_TOKEN, or none and client credentials or a JWT instead, "
    "which are renewed."
)
_KEY = (
    "HUBSPOT_ACCESS_TOKEN is wrong, or was rotated or deleted: copy the Service Key again "
    "(HubSpot: Development → Keys → Service keys, or Settings → Integrations → Service Keys)."
)
_ACCESS = "Give the integration user API Enabled and read access to the object, and check the org's API limits."
_NO_FIELD = (
    "A field of the query is not there any more, or the integration user may not see it: was it removed or hidden during the pull? Run again, "
    "which names the field."
)

# The first row that fits counts.
CATALOGUE = [
    # ── Salesforce: REQUEST_LIMIT_EXCEEDED says three things ──
    Known("Salesforce", (), "REQUEST_LIMIT_EXCEEDED", "TotalRequests|24.hour|per day|daily", "lasting",
          f"The org's API calls of these 24 hours are used up: run again later. {_STAYS}"),
    Known("Salesforce", (), "REQUEST_LIMIT_EXCEEDED", "Concurrent|LongTxn|LongRunning", "passing",
          f"Too many long calls of others are under way in the org at once: run again, best at another time of the day. {_STAYS}"),
    Known("Salesforce", (), "REQUEST_LIMIT_EXCEEDED", "bulk|batch|job", "lasting",
          f"The org's bulk jobs of these 24 hours are used up: run again later. {_STAYS}"),
    Known("Salesforce", (), "REQUEST_LIMIT_EXCEEDED", "", "passing",
          f"The org has reached one of its limits: Setup → System Overview shows which. Run again later. {_STAYS}"),
    Known("Salesforce", (), "EXCEEDED_QUOTA LIMIT_EXCEEDED ExceededQuota API_LIMIT_EXCEEDED", "", "lasting",
          "The org's bulk jobs of these 24 hours, or its storage for their results, are used up: look at Setup → Bulk Data Load Jobs, and run again later."),
    # ── Salesforce: passing ──
    Known("Salesforce", (), "UNABLE_TO_LOCK_ROW", "", "passing", f"Somebody else is writing what was asked for, for long: run again. {_STAYS}"),
    Known("Salesforce", (), "QUERY_TIMEOUT QUERY_TIME_OUT", "", "passing",
          f"The org takes too long for this query: run again when less is going on there. {_STAYS}"),
    Known("Salesforce", (), "SERVER_UNAVAILABLE UNKNOWN_EXCEPTION server_error temporarily_unavailable unknown_error", "", "passing", f"The org {_NOT_WELL}"),
    Known("Salesforce", (), "TXN_SECURITY_METERING_ERROR", "", "passing",
          f"The org's transaction security policies take too long to let the call through: run again; if it stays so, ask who looks after them. {_STAYS}"),
    Known("Salesforce", (), "JOB_NOT_COMPLETE", "", "passing", f"A bulk job says that it is complete and that it is not: run again. {_STAYS}"),
    # ── Salesforce: a setting ──
    Known("Salesforce", (), "INVALID_SESSION_ID INVALID_AUTH_HEADER", "", "setting", _TOKEN),
    Known("Salesforce", (), "API_DISABLED_FOR_ORG API_CURRENTLY_DISABLED", "", "setting",
          "The org, or this user, has no API: the edition must include it, and the integration user needs API Enabled in its permission set."),
    Known("Salesforce", (), "INSUFFICIENT_ACCESS INSUFFICIENT_ACCESS_OR_READONLY INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY FUNCTIONALITY_NOT_ENABLED", "",
          "setting", "The integration user may not do this: give it API Enabled, and read access with View All Records to Lead, Contact and Account."),
    Known("Salesforce", (), "INVALID_FIELD INVALID_FIELD_FOR_INSERT_UPDATE", "", "setting", _NO_FIELD),
    Known("Salesforce", (), "INVALID_TYPE", "", "setting", "The integration user does not see the object any more: give it read access."),
    Known("Salesforce", (), "INVALID_OPERATION_WITH_EXPIRED_PASSWORD PASSWORD_LOCKOUT", "", "setting",
          "The password of the integration user has expired: set a new one, or let it never expire."),
    Known("Salesforce", (), "LOGIN_DURING_RESTRICTED_DOMAIN LOGIN_DURING_RESTRICTED_TIME", "", "setting",
          "The integration user may not log in from this address, or at this time: change the login IP ranges and hours of its profile."),
    # ── Salesforce: lasting ──
    Known("Salesforce", (), "MALFORMED_QUERY QUERY_TOO_COMPLICATED", "", "lasting",
          "The org does not take the query: is a mapped field a formula over many others? Take it out of [[mapping]] in bindwatch.toml; else report it."),
    Known("Salesforce", (), "OPERATION_TOO_LARGE", "", "lasting",
          "The org would have to look at too many rows to see which of them the integration user may see: give it View All Records."),
    # ── Salesforce: by the status alone ──
    Known("Salesforce", (408, 420, 423, 429), "", "", "passing", f"The org answers too many calls, or is busy: run again later. {_STAYS}"),
    Known("Salesforce", _GATEWAYS, "", "", "passing", f"The org {_NOT_WELL}"),
    Known("Salesforce", (413, 414, 431), "", "", "lasting", _TOO_LONG),
    Known("Salesforce", (400,), "", "", "lasting", "The integration user may lack access to a field of the query; see the reason."),
    Known("Salesforce", (401,), "", "", "setting", _TOKEN),
    Known("Salesforce", (403,), "", "", "setting", _ACCESS),
    Known("Salesforce", (404,), "", "", "setting",
          "The object or the API is not there for this user: check SALESFORCE_INSTANCE_URL and the user's permissions."),
    # ── HubSpot ──
    Known("HubSpot", (), "MISSING_SCOPES", "", "setting", "The Service Key lacks the scope {scope}: add it to the key, which stays the same."),
    Known("HubSpot", (), "INVALID_AUTHENTICATION EXPIRED_AUTHENTICATION", "", "setting", _KEY),
    Known("HubSpot", (429,), "", "daily", "lasting", f"The portal's calls of this day are used up: run again tomorrow. {_STAYS}"),
    Known("HubSpot", (429,), "", "secondly|rolling", "passing", f"Other apps use up the portal's rate limit: run again when they are done. {_STAYS}"),
    Known("HubSpot", (477,), "", "", "passing", f"HubSpot is moving the portal to another data centre, which takes up to a day: run again tomorrow. {_STAYS}"),
    Known("HubSpot", (408, 420, 423, 429), "", "", "passing", f"The portal answers too many calls, or holds what was asked for: run again later. {_STAYS}"),
    Known("HubSpot", tuple(range(500, 600)), "", "", "passing", f"HubSpot {_NOT_WELL}"),
    Known("HubSpot", (413, 414, 431), "", "", "lasting", _TOO_LONG),
    Known("HubSpot", (401,), "", "", "setting", _KEY),
    Known("HubSpot", (403,), "", "", "setting",
          "The Service Key lacks the scope {scope}: add it to the key, which stays the same. If it has it, the reason is another one: see the words."),
    Known("HubSpot", (), "OBJECT_NOT_FOUND", "", "setting", "It is not there: check HUBSPOT_BASE_URL and policy.inclusion_list_id."),
    Known("HubSpot", (404,), "", "", "setting", "It is not there: check HUBSPOT_BASE_URL and policy.inclusion_list_id."),
]  # fmt: skip
_OTHERWISE = "Run again later; if it stays so, report it."


class Refusal(Exception):
    """An API said no. code: its own word (NOT_FOUND, MISSING_SCOPES …); message: its sentence; status: None where it was told inside an answer."""

    def __init__(self, crm: Crm, status: int | None, code: str, message: str = "") -> None:
        self.status, self.code, self.message = status, code, message
        self.known = next((row for row in CATALOGUE if row.fits(crm, status, code, message)), None)
        super().__init__(self.words)

    @property
    def is_passing(self) -> bool:
        return self.known is not None and self.known.kind == "passing"

    @property
    def words(self) -> str:
        """Status and code, and the API's own sentence where the table does not know what they mean."""
        is_told = self.known is None or (self.known.is_general and not self.is_passing)
        told = without_quotes(self.message) if is_told else ""
        return " ".join(str(part) for part in (self.status, self.code, told) if part)

    @property
    def remedy(self) -> str:
        return self.known.remedy if self.known else _OTHERWISE

    def again(self, host: str, wait: float | None) -> Again:
        """The same, as something to try again. wait: seconds that the API asked for."""
        return Again(f"{host} answered {self.words}", wait, remedy=self.remedy, code=self.code)


_QUOTE = "[\"'`“”„‟‘’‚‹›«»]"
# From the first to the last: what is quoted may hold quotes. Inside a word none begins (O'Brien).
_QUOTED = re.compile(rf"(?<!\w){_QUOTE}.*{_QUOTE}(?!\w)|(?<!\w){_QUOTE}.*$")


def without_quotes(text: object) -> str:
    """A message in one line, with … for everything between quotes and everything with an @."""
    line = _QUOTED.sub("…", " ".join(str(text).split()))
    return re.sub(r"\S*[@＠]\S*", "…", line)[:300]
