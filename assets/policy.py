"""The policy: how this portal's integration is set up, which field maps where, how strict each check is.

Read from `bindwatch.toml` (it holds no secret), handed to the SQL models as the tables `policy`, `field_mapping` and `check_policy`.
Every knob has a safe default. Where the default rests on a source, docs/integration.md names it.
"""

import codecs
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from assets.problems import ConfigurationProblem

MappingRule = Literal["prefer_salesforce", "always_salesforce", "two_way", "none"]
ConsentKind = Literal["opted_out", "opted_in", "listed"]
ObjectType = Literal["Lead", "Contact"]
OBJECTS: tuple[ObjectType, ...] = ("Lead", "Contact")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Knobs(Section):
    """How the integration of this portal behaves. The defaults are those of the project's founding source."""

    first_sync: Literal["oldest_created", "contact_first", "unknown"] = Field(
        "oldest_created", description="Which of several records a first sync takes. HubSpot documents no order; practitioners see the oldest (rule 7)."
    )
    follow_up: Literal["most_recent", "sticky"] = Field(
        "most_recent", description="Does the binding jump to the duplicate updated last (HubSpot since 2017), or stay (one page of 2016)? (rule 11)"
    )
    recency: Literal["system_modstamp", "last_modified_date"] = Field(
        "system_modstamp", description='Which stamp "updated last" means. Not documented; Salesforce\'s own replication uses SystemModstamp.'
    )
    integration_user_id: str | None = Field(
        None, description="Salesforce user the integration writes as. Its own edits then count as no reason to jump (rule 14)."
    )
    settle_minutes: int = Field(20, ge=0, description="How long a mismatch may last before it counts: HubSpot polls every 15 minutes, plus slack (rule 16).")
    objects: tuple[ObjectType, ...] = Field(
        ("Lead", "Contact"), description='The objects that the integration syncs. ["Contact"] for an org without Leads; Contact cannot be left out.'
    )
    create_object: Literal["lead", "contact", "none"] = Field(
        "lead",
        description="What the integration creates in Salesforce for a contact without a match (rule 6). Without Leads: contact, where nothing is written.",
    )
    on_lead_deleted: Literal["keep", "delete"] = Field("keep", description="What happens to the HubSpot contact when its Lead is deleted (rules 33, 34).")
    on_contact_deleted: Literal["keep", "delete"] = Field(
        "keep", description="What happens to the HubSpot contact when its Salesforce Contact is deleted (rules 33, 34)."
    )
    secondary_email_matches: bool = Field(False, description="Do a contact's additional e-mails match too? Sources say no (rule 43).")
    blank_on_switch: Literal["keep", "clear"] = Field(
        "keep", description="Does a blank Salesforce field empty HubSpot's on a switch? The field rules leave it open."
    )
    opt_out: Literal["sticky", "as_mapped"] = Field(
        "sticky", description="Does hs_email_optout only ever opt out, as HubSpot's pages say, or follow Salesforce both ways? (rule 26a)"
    )
    mapping_defaults: bool = Field(
        True, description="Do the entries under [[mapping]] add to the default list, or replace its entry of the same property? Without, they are all there is."
    )
    inclusion_list_id: str | None = Field(None, description="HubSpot list that limits what syncs, when the portal uses one (rule 21).")
    # 50, 1 % and 10 are assumed: so many nobody deletes, merges or edits by hand between two runs, and a tool, an import or a flow soon does (F7).
    mass_change_records: int = Field(50, ge=0, description="How many Salesforce records may be deleted or merged between two runs (F7).")
    mass_change_percent: float = Field(1, ge=0, le=100, description="The same as a share of the live records; the larger of the two counts.")
    mass_archived_contacts: int = Field(10, ge=0, description="How many contacts the integration may archive between two runs.")
    placeholder_emails: tuple[str, ...] = Field(
        ("noemail@noemail.com", "none@none.com", "test@test.com", "na@na.com"), description="E-mails that stand for none."
    )
    role_mailboxes: tuple[str, ...] = Field(
        ("info", "sales", "office", "contact", "hello", "support", "admin", "team", "billing", "hr", "jobs"),
        description="Local parts of mailboxes that several people share.",
    )

    @model_validator(mode="before")
    @classmethod
    def an_org_without_leads_creates_contacts(cls, given: object) -> object:
        if isinstance(given, dict) and "create_object" not in given and "Lead" not in (given.get("objects") or ["Lead"]):
            return {**given, "create_object": "contact"}
        return given

    @field_validator("objects")
    @classmethod
    def contacts_are_among_them(cls, value: tuple[ObjectType, ...]) -> tuple[ObjectType, ...]:
        if "Contact" not in value or len(value) > len(set(value)):
            raise ValueError('["Lead", "Contact"], or ["Contact"] for an org without Leads; every org has Contacts, and a converted Lead becomes one')
        return tuple(name for name in OBJECTS if name in value)

    @field_validator("create_object")
    @classmethod
    def what_is_created_is_synced(cls, value: str, others: ValidationInfo) -> str:
        if value == "lead" and "Lead" not in others.data.get("objects", OBJECTS):
            raise ValueError('"lead" cannot be created where policy.objects has no Lead: write "contact" or "none", or leave the line out')
        return value


# The values of every knob that has a list of them.
KNOB_VALUES: dict[str, tuple[str, ...]] = {
    name: get_args(field.annotation) for name, field in Knobs.model_fields.items() if get_origin(field.annotation) is Literal
}


class ConsentValues(Section):
    """What the values of a pick list say about consent. A value that is in neither list says nothing known."""

    granted: tuple[str, ...] = Field(min_length=1, description="The person may be written to.")
    denied: tuple[str, ...] = Field((), description="The person may not be written to.")

    @model_validator(mode="after")
    def each_value_says_one_thing(self) -> "ConsentValues":
        if twice := sorted(set(self.granted) & set(self.denied)):
            raise ValueError(f"granted and denied at once: {', '.join(twice)}")
        return self


class Mapping(Section):
    """One mapped field: a HubSpot property and its Salesforce field, which may differ between Lead and Contact."""

    class ByObject(Section):
        lead: str | None = None
        contact: str | None = None

    hubspot: str
    salesforce: str | ByObject
    rule: MappingRule = "prefer_salesforce"
    consent: bool | Literal["opted_out", "opted_in"] | ConsentValues = Field(
        False, description="How the field says whether the person may be written to: true means no (opted_out, or true), true means yes (opted_in), or lists."
    )

    @property
    def consent_kind(self) -> ConsentKind | None:
        if isinstance(self.consent, ConsentValues):
            return "listed"
        return "opted_out" if self.consent is True else self.consent or None

    @field_validator("hubspot")
    @classmethod
    def owner_has_one_name(cls, value: str) -> str:
        return OWNER if value == "hubspot_owner_id" else value

    @field_validator("consent", mode="before")
    @classmethod
    def consent_says_which_way(cls, value: Any) -> Any:
        if not isinstance(value, bool | dict | ConsentValues) and value not in ("opted_out", "opted_in"):  # "yes" would leave open whose
            raise ValueError('it is "opted_out" (true means no), "opted_in" (true means yes), or { granted = ["…"], denied = ["…"] }')
        return value

    @field_validator("salesforce")
    @classmethod
    def one_side_is_named(cls, value: str | ByObject) -> str | ByObject:
        names = [value] if isinstance(value, str) else [name for name in (value.lead, value.contact) if name is not None]
        if not names:
            raise ValueError("name the Salesforce field of the Lead, of the Contact, or of both")
        for name in names:
            # field names become part of a SOQL query
            if not all(part.isidentifier() for part in name.split(".")):
                raise ValueError(f"{name!r} is no Salesforce field name")
        return value

    @model_validator(mode="after")
    def owner_is_a_user(self) -> "Mapping":
        if self.hubspot == OWNER and {self.field_of("Lead"), self.field_of("Contact")} - {"OwnerId", None}:
            raise ValueError(f'the owner ({OWNER}, hubspot_owner_id) is compared by Salesforce user: salesforce = "OwnerId"')
        return self

    def field_of(self, object_type: str) -> str | None:
        """API name of the Salesforce field on "Lead" or "Contact"; None where the object has none."""
        if isinstance(self.salesforce, str):
            return self.salesforce
        return self.salesforce.lead if object_type == "Lead" else self.salesforce.contact


OWNER = "salesforceownerid"  # HubSpot's hubspot_owner_id means the same, but is no id of Salesforce
# Mapped in every portal, and never compared: the e-mail is the key, and the account follows the record.
NEVER_COMPARED = {"email": "the key by which records are found", "salesforceaccountid": "the account, which follows the record"}

# HubSpot property: field of both objects, or of (Lead, Contact); the order is that in which people see them.
_DEFAULT_FIELDS: dict[str, str | tuple[str, str | None]] = {
    "firstname": "FirstName", "lastname": "LastName", "salutation": "Salutation", "phone": "Phone", "mobilephone": "MobilePhone", "fax": "Fax",
    "jobtitle": "Title", "company": ("Company", "Account.Name"), "address": ("Street", "MailingStreet"), "city": ("City", "MailingCity"),
    "state": ("State", "MailingState"), "zip": ("PostalCode", "MailingPostalCode"), "country": ("Country", "MailingCountry"), "website": ("Website", None),
    "industry": ("Industry", None), "annualrevenue": ("AnnualRevenue", None), "numemployees": ("NumberOfEmployees", None), "leadsource": "LeadSource",
    "rating": ("Rating", None), "leadstatus": ("Status", None), OWNER: "OwnerId", "hs_email_optout": "HasOptedOutOfEmail",
}  # fmt: skip
DEFAULT_MAPPING = tuple(
    Mapping(
        hubspot=hubspot, salesforce=names if isinstance(names, str) else Mapping.ByObject(lead=names[0], contact=names[1]),
        rule="two_way" if hubspot == OWNER else "prefer_salesforce", consent=hubspot == "hs_email_optout",
    )
    for hubspot, names in _DEFAULT_FIELDS.items()
)  # fmt: skip

# Mapped in every portal besides those, and not compared, or under a name that is not certain (docs/connecting.md).
ALSO_STANDARD = (
    Mapping(hubspot="email", salesforce="Email"), Mapping(hubspot="salesforceaccountid", salesforce=Mapping.ByObject(contact="AccountId")),
)  # fmt: skip


class CheckSetting(Section):
    """How strict one check is. Without a severity, the check's own applies."""

    severity: Literal["block", "warn", "off"] | None = None
    max_findings: int = Field(0, ge=0, description="The check holds up to this many open findings.")


class Gate(Section):
    fail_on: Literal["all", "new"] = Field("all", description="Does every blocking finding fail the run, or only one that the last proven run did not know?")


class Privacy(Section):
    mask_emails: bool = Field(True, description="Show e-mails as a***@example.com wherever a person looks.")
    readers_group: str | None = Field(
        None,
        description="Unix group that may read published/ and certified/, and take lists with whole e-mails from the desk. Without one, only Bindwatch's own "
        "user can.",
    )


class Pull(Section):
    salesforce_overlap_minutes: int = Field(10, ge=0, description="How far an increment reaches back before the last stamp seen.")
    hubspot_overlap_minutes: int = Field(60, ge=0, description="The same for HubSpot, whose search index lags behind its writes.")
    rest_rows: int = Field(10_000, ge=0, description="A Salesforce increment of up to this many records comes by REST, a larger one by a bulk job.")
    bulk_job_minutes: float = Field(120, gt=0, description="How long a run waits for a bulk job.")
    salesforce_reserve_percent: float = Field(5, ge=0, le=100, description="The share of the org's daily API calls that Bindwatch leaves to others.")
    bulk_page_rows: int = Field(50_000, ge=1, description="Rows of one bulk result page.")
    hubspot_api: Literal["auto", "2026-09", "2026-03", "v3"] = Field(
        "auto", description="The version of HubSpot's API: the newest one that the portal knows, or the one named here."
    )
    hubspot_requests_per_10_seconds: int = Field(190, ge=1, description="HubSpot's limit for Professional and Enterprise.")
    hubspot_searches_per_second: int = Field(5, ge=1, description="HubSpot's limit for search requests of one account.")
    hubspot_slow_answer_ms: float = Field(80, ge=0, description="From this on, a full pull of contacts reads several batches at a time.")
    # 50 and 20 % are assumed: a list that lacks more was cut, or a right was taken; a portal loses as many in a night only when somebody cleans up.
    shrink_records: int = Field(50, ge=0, description="So many known records may be missing without an explanation before a run proves nothing.")
    shrink_percent: float = Field(20, ge=0, le=100, description="The same as a share of the known ones; the larger of the two counts.")
    run_deadline_hours: float = Field(24, gt=0, description="How long a run may take.")
    idle_minutes: float = Field(30, gt=0, description="How long a run goes on while nothing new arrives.")
    resume_hours: float = Field(6, ge=0, description="An interrupted pull is gone on with for this long after its last page; then it starts over.")
    keep_landing_days: float = Field(7, ge=0, description="Loaded pages are removed from landing after this time. Raw keeps every version.")
    timeout_seconds: float = Field(60, gt=0, description="How long to wait for an answer.")
    patience_seconds: float = Field(60, gt=0, description="How long a call that fails for the moment is made again.")


class Merges(Section):
    """How merge plans are judged."""

    oldest_snapshot_hours: float = Field(24, gt=0, description="From this age on, a snapshot is said to be old in every verdict about a plan.")


class Links(Section):
    hubspot_portal_id: str | None = Field(None, description="Makes links into HubSpot go straight to the contact.")
    desk_url: str | None = Field(None, description="Where the steward's desk is served, for links to it.", pattern="^https?://")


class Alerts(Section):
    """What people are told at once, and where."""

    urls: tuple[str, ...] = Field((), description="Addresses that hold no secret, as Apprise writes them. The others belong into BINDWATCH_ALERT_URLS.")

    on: tuple[Literal["red", "new_blocking", "unproven", "silent", "recovered"], ...] = Field(
        ("red", "new_blocking", "unproven", "silent", "recovered"),
        description="A gate that turned red, new blocking findings while it is red, a run that could not be completed, no run that proves anything for "
        "long, recovery to green.",
    )
    silent_after_hours: float | None = Field(
        None,
        gt=0,
        le=8_760,
        description="From when on a home without a run that proves something is silent. Without it: twice the usual distance between runs.",
    )
    findings_named: int = Field(5, ge=0, description="How many findings a message spells out.")
    language: str = Field("en", pattern="^[a-z]{2}$", description="Of the messages: en or de. What a language does not say is said in English.")


_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,29}")


class Dagster(Section):
    """What Bindwatch is called in Dagster, which may serve others, too, and how long its history stays there."""

    prefix: str = Field("bindwatch", description="Every asset, group, job, schedule and sensor begins with it. Of each Bindwatch in one instance another.")
    keep_runs_days: float = Field(30, ge=0, le=36_500, description="Older runs of this home leave Dagster with their events, but for the last red one.")

    @field_validator("prefix")
    @classmethod
    def is_a_short_name(cls, value: str) -> str:
        if not _PREFIX.fullmatch(value):
            raise ValueError(f"{value!r} cannot begin a name in Dagster: take up to 30 letters (a to z), digits and underscores, no underscore first")
        return value


class DeskSection(Section):
    """How stewards work."""

    assign_by_owner: bool = Field(False, description="Whom nobody was assigned to belongs to the Salesforce owner of the record, while that is an active user.")


class Policy(Section):
    """Everything in bindwatch.toml."""

    policy: Knobs = Knobs()
    mapping: tuple[Mapping, ...] = Field((), description="What this portal maps besides the default list, or otherwise.")
    checks: dict[str, CheckSetting] = {}
    gate: Gate = Gate()
    privacy: Privacy = Privacy()
    pull: Pull = Pull()
    links: Links = Links()
    merges: Merges = Merges()
    alerts: Alerts = Alerts()
    desk: DeskSection = DeskSection()
    dagster: Dagster = Dagster()

    @model_validator(mode="after")
    def each_property_is_mapped_once(self) -> "Policy":
        names = [mapping.hubspot for mapping in self.mapping]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            also = f" (hubspot_owner_id is another name of {OWNER})" if OWNER in twice else ""
            raise ValueError(f"mapped more than once: {', '.join(twice)}{also}")
        return self

    @model_validator(mode="after")
    def each_entry_has_an_object(self) -> "Policy":
        for mapping in self.mapping:
            if mapping.rule != "none" and mapping.hubspot not in NEVER_COMPARED and not any(map(mapping.field_of, self.policy.objects)):
                raise ValueError(
                    f"{mapping.hubspot} is mapped to a field of the Lead alone, and policy.objects has no Lead: name one of the Contact, or take it out"
                )
        return self

    @property
    def mapped(self) -> tuple[Mapping, ...]:
        """Every mapped field: the default list, each of its entries or what somebody wrote in its place, and what else was written behind them."""
        written = {mapping.hubspot: mapping for mapping in self.mapping}
        defaults = DEFAULT_MAPPING if self.policy.mapping_defaults else ()
        return (*(written.pop(mapping.hubspot, mapping) for mapping in defaults), *written.values())

    @property
    def compared(self) -> tuple[Mapping, ...]:
        """The mapped fields whose values are compared, as far as both CRMs have them."""
        return tuple(mapping for mapping in self.mapped if mapping.rule != "none" and mapping.hubspot not in NEVER_COMPARED)

    def written(self, mapping: Mapping) -> str | None:
        """What a message calls an entry that somebody wrote; None for one of the default list."""
        return f'[[mapping]] hubspot = "{mapping.hubspot}"' if mapping in self.mapping else None


def masked_email(email: str) -> str:
    """An e-mail as it is shown where the policy says mask_emails: the first letter, and the domain."""
    name, at, domain = email.partition("@")
    return f"{name[:1]}***{at}{domain}"


_OF_PROGRAMS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"{\\rtf")
_LOOKS_LIKE_ANOTHER = re.compile("[\u00a0\u200b\u2018-\u201f\u2028\u2029]")  # blanks, quotation marks and line ends that programs for letters put there


def policy_text(path: Path) -> str:
    """The text of a policy file, UTF-8 with or without the mark that Windows editors put before it, its lines ended as ours. Raises UnicodeError in words for
    any other encoding.
    """
    data = path.read_bytes()
    if data.startswith(_OF_PROGRAMS):
        raise UnicodeError("it is a document of a word processor; save it as plain text, UTF-8")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:100]:
        raise UnicodeError("it is saved as UTF-16, which some editors call Unicode; save it as UTF-8")
    try:
        return data.decode("utf-8").lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnicodeError(f"line {line} holds a character that is not saved as UTF-8; save the file as UTF-8") from error


def read_policy(path: Path) -> Policy:
    """Reads `bindwatch.toml`. Raises ConfigurationProblem when it is not there, or with every wrong entry at once."""
    try:
        return Policy.model_validate(tomllib.loads(policy_text(path)))
    except FileNotFoundError as error:
        raise ConfigurationProblem(
            f"There is no policy file {path.absolute()}. It says how your portal is set up: have `bindwatch connect --write` make it, go through it, "
            "and start Bindwatch in its folder, or name it in BINDWATCH_CONFIG."
        ) from error
    except OSError as error:
        raise ConfigurationProblem(f"The policy file {path.absolute()} cannot be read: {error.strerror}. BINDWATCH_CONFIG names another one.") from error
    except UnicodeError as error:
        raise ConfigurationProblem(f"{path} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationProblem(f"{path} is not a readable TOML file: {error}{_hint(policy_text(path), str(error))}") from error
    except ValidationError as error:
        lines = [f"{locate(path, problem['loc'])}: {problem['msg']}" for problem in error.errors()]
        raise ConfigurationProblem("\n".join(lines)) from error


def _hint(text: str, told: str) -> str:
    """What no eye tells from what should stand there, in the line that TOML's reader names."""
    lines = text.split("\n")
    place = re.search(r"at line (\d+)", told)
    line = lines[min(int(place[1]), len(lines)) - 1] if place else ""
    found = _LOOKS_LIKE_ANOTHER.search(line.partition("#")[0])
    if found is None:
        return ""
    what = "a quotation mark that is none of TOML's" if "\u2018" <= found[0] <= "\u201f" else "a blank or a line end that is none"
    return f"; {what} stands there (U+{ord(found[0]):04X}): write the line anew in a plain text editor"


def read_dagster_section(path: Path) -> Dagster:
    """The section [dagster] alone. What is wrong elsewhere in the file changes no name in Dagster; what cannot be read here is the default."""
    try:
        section = tomllib.loads(policy_text(path)).get("dagster")
    except (OSError, ValueError):
        return Dagster()
    if isinstance(section, dict):
        for part in (section, {"prefix": section.get("prefix")}):
            try:
                return Dagster.model_validate(part)
            except ValidationError:
                continue
    return Dagster()


def locate(path: Path, place: Sequence[str | int]) -> str:
    """Where in the policy file an entry stands, for a message: file, line and the names on the way to it.

    place: keys, and the number of an entry of a list. Of an entry that is missing, or stands inside a value, the line of what surrounds it.
    """
    lines = _lines_of_entries(policy_text(path))
    known = next((lines[tuple(place[:length])] for length in range(len(place), 0, -1) if tuple(place[:length]) in lines), None)
    name = ".".join(map(str, place)) or "the file"
    return f"{path}, line {known}: {name}" if known else f"{path}: {name}"


_TABLE = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def _lines_of_entries(text: str) -> dict[tuple[str | int, ...], int]:
    """The line of each table and key in a valid TOML text. Its parser does not tell; a key inside a value (an inline table) has no line here."""
    lines: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := _TABLE.match(line):
            table = _keys(match[2])
            if match[1] == "[[":
                table = (*table, sum(place[:-1] == table and isinstance(place[-1], int) for place in lines))
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], number)
        elif match := _KEY.match(line):
            keys = _keys(match[1])
            for length in range(1, len(keys) + 1):
                lines.setdefault((*table, *keys[:length]), number)
    return lines


def _keys(text: str) -> tuple[str | int, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"""[\w-]+|"[^"]*"|'[^']*'""", text))
