"""The fields of both CRMs: which of them the integration maps, what each side says of them, and when two values say the same to it."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Literal

# HubSpot property → Salesforce field of (Lead, Contact): what the integration of the sandbox maps.
MAPPING: dict[str, tuple[str | None, str | None]] = {
    "firstname": ("FirstName", "FirstName"),
    "lastname": ("LastName", "LastName"),
    "salutation": ("Salutation", "Salutation"),
    "phone": ("Phone", "Phone"),
    "mobilephone": ("MobilePhone", "MobilePhone"),
    "fax": ("Fax", "Fax"),
    "jobtitle": ("Title", "Title"),
    "company": ("Company", "Account.Name"),
    "address": ("Street", "MailingStreet"),
    "city": ("City", "MailingCity"),
    "state": ("State", "MailingState"),
    "zip": ("PostalCode", "MailingPostalCode"),
    "country": ("Country", "MailingCountry"),
    "website": ("Website", None),
    "industry": ("Industry", None),
    "annualrevenue": ("AnnualRevenue", None),
    "numemployees": ("NumberOfEmployees", None),
    "leadsource": ("LeadSource", "LeadSource"),
    "rating": ("Rating", None),
    "leadstatus": ("Status", None),
    "salesforceownerid": ("OwnerId", "OwnerId"),
    "hs_email_optout": ("HasOptedOutOfEmail", "HasOptedOutOfEmail"),
    "contract_end__c": ("Contract_End__c", "Contract_End__c"),
    "interests__c": ("Interests__c", "Interests__c"),
}

# ── what describe says ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_OF_BOTH = {
    "Id": "id", "IsDeleted": "boolean", "MasterRecordId": "reference", "OwnerId": "reference", "CreatedDate": "datetime", "LastModifiedDate": "datetime",
    "LastModifiedById": "reference", "CreatedById": "reference", "SystemModstamp": "datetime", "Name": "string", "Email": "email", "FirstName": "string",
    "LastName": "string", "Salutation": "picklist", "Title": "string", "Phone": "phone", "MobilePhone": "phone", "Fax": "phone", "LeadSource": "picklist",
    "HasOptedOutOfEmail": "boolean", "Contract_End__c": "date", "Interests__c": "multipicklist",
}  # fmt: skip
_HISTORY = {"Id": "id", "IsDeleted": "boolean", "Field": "picklist", "OldValue": "anyType", "NewValue": "anyType", "CreatedById": "reference",
            "CreatedDate": "datetime"}  # fmt: skip
HISTORIES: dict[str, Literal["Lead", "Contact"]] = {"LeadHistory": "Lead", "ContactHistory": "Contact"}
SALESFORCE_TYPES = {
    "Lead": {**_OF_BOTH, "Company": "string", "Street": "textarea", "City": "string", "State": "string", "PostalCode": "string", "Country": "string",
             "Address": "address", "Website": "url", "Industry": "picklist", "AnnualRevenue": "currency", "NumberOfEmployees": "int", "Rating": "picklist",
             "Status": "picklist", "IsConverted": "boolean", "ConvertedContactId": "reference", "ConvertedDate": "date"},
    "Contact": {**_OF_BOTH, "AccountId": "reference", "MailingStreet": "textarea", "MailingCity": "string", "MailingState": "string",
                "MailingPostalCode": "string", "MailingCountry": "string", "MailingAddress": "address"},
    "Account": {"Id": "id", "Name": "string", "FirstName": "string", "LastName": "string", "BillingStreet": "textarea", "BillingCity": "string",
                "BillingAddress": "address"},
    "User": {"Id": "id", "Name": "string", "FirstName": "string", "LastName": "string", "Email": "email", "IsActive": "boolean", "UserType": "picklist",
             "SystemModstamp": "datetime"},
    **{name: {**_HISTORY, f"{of}Id": "reference"} for name, of in HISTORIES.items()},
}  # fmt: skip
SALUTATIONS = ("Ms.", "Mr.", "Dr.", "Prof.")
INDUSTRIES = ("Banking", "Chemicals", "Education", "Energy", "Retail", "Technology")
LEAD_SOURCES = ("Web", "Trade Show", "Partner Referral", "Phone Inquiry", "Purchased List")
RATINGS = ("Hot", "Warm", "Cold")
STATUSES = ("Open - Not Contacted", "Working - Contacted", "Closed - Not Converted")
INTERESTS = ("Events", "Product news", "Training")
PICKLISTS = {
    "Salutation": SALUTATIONS, "Industry": INDUSTRIES, "LeadSource": LEAD_SOURCES, "Rating": RATINGS, "Status": STATUSES, "Interests__c": INTERESTS,
}  # fmt: skip

# ── what HubSpot's property list says; what is not named is a text ───────────────────────────────────────────────────────────────

EMPLOYEES = {"1-5": (1, 5), "5-25": (5, 25), "25-50": (25, 50), "50-100": (50, 100), "100-500": (100, 500), "500-1000": (500, 1000), "1000+": (1000, None)}
_PHONE: dict[str, object] = {"type": "phone_number", "fieldType": "phonenumber"}
_MOMENT: dict[str, object] = {"type": "datetime", "fieldType": "date"}


def _select(*values: str, form: str = "select") -> dict[str, object]:
    options = [{"label": value, "value": value, "displayOrder": place, "hidden": False} for place, value in enumerate(values)]
    return {"type": "enumeration", "fieldType": form, "options": options}


HUBSPOT_TYPES: dict[str, dict[str, object]] = {
    "hs_email_optout": {"type": "bool", "fieldType": "booleancheckbox"},
    **dict.fromkeys(("phone", "mobilephone"), _PHONE),
    **dict.fromkeys(("createdate", "lastmodifieddate", "hs_lastmodifieddate", "salesforcelastsynctime"), _MOMENT),
    "leadsource": _select(*LEAD_SOURCES), "rating": _select(*RATINGS), "leadstatus": _select(*STATUSES), "numemployees": _select(*EMPLOYEES),
    "contract_end__c": {"type": "date", "fieldType": "date"}, "interests__c": _select(*INTERESTS, form="checkbox"),
}  # fmt: skip

HUBSPOT_LABELS = {
    "email": "Email", "firstname": "First Name", "lastname": "Last Name", "salutation": "Salutation", "phone": "Phone Number",
    "mobilephone": "Mobile Phone Number", "fax": "Fax Number", "jobtitle": "Job Title", "company": "Company Name", "address": "Street Address", "city": "City",
    "state": "State/Region", "zip": "Postal Code", "country": "Country/Region", "website": "Website URL", "industry": "Industry",
    "annualrevenue": "Annual Revenue", "numemployees": "Number of Employees", "leadsource": "Lead Source", "rating": "Rating", "leadstatus": "Lead Status",
    "salesforceownerid": "Salesforce Owner ID", "hs_email_optout": "Unsubscribed from all email", "contract_end__c": "Contract End",
    "interests__c": "Interests",
}  # fmt: skip
PROPERTIES = [
    "email", "hs_additional_emails", "hs_merged_object_ids", "hs_object_id", "createdate", "lastmodifieddate", "hs_lastmodifieddate", "salesforceleadid",
    "salesforcecontactid", "salesforceaccountid", "salesforcedeleted", "salesforcelastsynctime", "hubspot_owner_id", "lifecyclestage", *MAPPING,
]  # fmt: skip


@dataclass(frozen=True)
class Fields:
    """Which fields a portal and its org have, what each side says of them, and what the integration maps. The default: those of the demo.

    types: by object and API name; a name with a dot is a field of a related record. described: what describe says besides, by "Lead.Fax".
    copies: formula fields by "Lead.Fax", and the field that each repeats. properties: HubSpot's, with what its property list says besides.
    translated: by property, the options that stand for values of a pick list. at_creation: what a new record of an object has without being told.
    """

    mapping: Mapping[str, tuple[str | None, str | None]] = field(default_factory=lambda: MAPPING)
    types: Mapping[str, dict[str, str]] = field(default_factory=lambda: SALESFORCE_TYPES)
    described: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, Mapping[str, object]] = field(
        default_factory=lambda: {name: {"label": HUBSPOT_LABELS.get(name, name), **HUBSPOT_TYPES.get(name, {})} for name in PROPERTIES}
    )
    groups: Mapping[str, str] = field(default_factory=lambda: {"contactinformation": "Contact information"})
    translated: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    at_creation: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def is_written_by_integration(self, object_type: str, name: str) -> bool:
        """Not fields of related records, nor formulas; and the account follows the record."""
        return "." not in name and name != "AccountId" and f"{object_type}.{name}" not in self.copies

    def as_hubspot(self, name: str, value: str) -> str:
        """A value of Salesforce as the integration writes it into a property."""
        return self.translated.get(name, {}).get(value, as_hubspot(name, value))

    def as_salesforce(self, name: str, value: str) -> str:
        """A value of HubSpot as the integration writes it into Salesforce."""
        return next((theirs for theirs, ours in self.translated.get(name, {}).items() if ours == value), as_salesforce(name, value))

    def is_same(self, name: str, kind: str, hubspot: str, salesforce: str) -> bool:
        """Do both values say the same? See is_same."""
        return is_same(name, kind, hubspot, self.translated.get(name, {}).get(salesforce, salesforce))


DEMO_FIELDS = Fields()

# ── two values of a mapped field ─────────────────────────────────────────────────────────────────────────────────────────────────

_WHITE = "\u200b\u200c\u200d\u2060\ufeff"
_SAID = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def trim_text(value: str | None) -> str:
    """Without white space and zero-width characters at both ends, in whatever order they come."""
    text = value or ""
    if text[:1].isalnum() and text[-1:].isalnum():
        return text
    while text != (shorter := text.strip().strip(_WHITE)):
        text = shorter
    return text


def said(text: str) -> bool | None:
    """What a tick box says in either CRM; None where it says neither yes nor no."""
    return _SAID.get(text.lower())


def is_same(name: str, salesforce_type: str, hubspot: str, salesforce: str) -> bool:
    """Do both values of a mapped field say the same? Each without white space around it. A blank tick box says no."""
    if hubspot == salesforce:
        return True
    if salesforce_type == "boolean" and not (hubspot and salesforce):
        return said(hubspot or salesforce) is False
    if not (hubspot and salesforce):
        return False
    if name == "numemployees" and (bounds := EMPLOYEES.get(hubspot)):
        number = _number(salesforce)
        return isinstance(number, Decimal) and bounds[0] <= number and (bounds[1] is None or number <= bounds[1])
    return _meaning(salesforce_type, hubspot) == _meaning(salesforce_type, salesforce)


def as_hubspot(name: str, value: str) -> str:
    """A value of Salesforce as the integration writes it: a number of employees as the range that HubSpot offers for it."""
    number = _number(value) if name == "numemployees" else None
    ranges = (text for text, (least, most) in EMPLOYEES.items() if isinstance(number, Decimal) and least <= number and (most is None or number <= most))
    return next(ranges, value)


def as_salesforce(name: str, value: str) -> str:
    """A value of HubSpot as the integration writes it: of a range the least number. Nobody documents which."""
    return str(EMPLOYEES[value][0]) if name == "numemployees" and value in EMPLOYEES else value


def _meaning(kind: str, value: str) -> object:
    """What a value says, whatever its notation; what cannot be read as its kind is a text."""
    text = unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " "))
    match kind:
        case "boolean":
            return text if (answer := said(text)) is None else answer
        case "phone":
            digits = re.sub(r"[^0-9]", "", text)
            return re.sub(r"^00", "", digits) if len(digits) >= 4 else text
        case "int" | "double" | "currency" | "percent":
            return _number(text)
        case "datetime":
            return _moment(text)
        case "date":
            moment = _moment(text)
            return moment if isinstance(moment, datetime) and moment.time() == time(0) else text
        case "reference" | "id":
            return text[:15]
        case "multipicklist":
            return frozenset(part.strip() for part in text.split(";") if part.strip())
    return text


def _number(text: str) -> object:
    return Decimal(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) else text


def _moment(text: str) -> object:
    """A moment, a day being its midnight in UTC; also as milliseconds since 1970."""
    if re.fullmatch(r"-?\d{9,14}", text):
        return datetime.fromtimestamp(int(text) / 1000, UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
