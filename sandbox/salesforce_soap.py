"""Salesforce's SOAP calls `merge` and `convertLead`: REST has neither. What tools that merge and convert send, so that a steward's files can be tried out.

Sources: SOAP API Developer Guide, merge() (one object, up to two losers in a request, blank fields of the master are filled) and convertLead().
"""

from collections.abc import Callable
from xml.etree import ElementTree as Xml
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response

from sandbox.world import SalesforceRecord, World, id18

_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com">'
    "<soapenv:Body>{}</soapenv:Body></soapenv:Envelope>"
)
_MOST_LOSERS = 2


class Refusal(Exception):
    """What Salesforce answers to one request of a call. code: its status code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SoapApi:
    """The two calls of one org. is_known: does a session id belong to a session?"""

    def __init__(self, world: World, is_known: Callable[[str], bool]) -> None:
        self.world, self.is_known = world, is_known

    async def call(self, request: Request) -> Response:
        body = await request.body()
        if b"<!DOCTYPE" in body:
            return _fault("INVALID_QUERY", "a document type is not allowed")
        try:
            envelope = Xml.fromstring(body)
        except Xml.ParseError as error:
            return _fault("soapenv:Client", f"not well-formed: {error}")
        if not self.is_known(_text(envelope, "sessionId") or ""):
            return _fault("sf:INVALID_SESSION_ID", "INVALID_SESSION_ID: Invalid Session ID found in SessionHeader")
        for name, element, work in (("merge", "request", self._merge), ("convertLead", "leadConverts", self._convert)):
            if (called := _find(envelope, name)) is not None:
                results = "".join(_result(work, wanted) for wanted in called if _local(wanted) == element)
                return Response(_ENVELOPE.format(f"<{name}Response>{results}</{name}Response>"), media_type="text/xml")
        return _fault("soapenv:Client", "No operation available for request")

    def _merge(self, wanted: Xml.Element) -> str:
        master_element = _find(wanted, "masterRecord")
        master = self._record(_text(master_element, "Id") if master_element is not None else None)
        losers = [self._record(element.text) for element in wanted if _local(element) == "recordToMergeIds"]
        if not 1 <= len(losers) <= _MOST_LOSERS:
            raise Refusal("INVALID_NUMBER_OF_RECORDS", f"a merge takes one or {_MOST_LOSERS} records beside the master")
        if any(loser.type != master.type or loser is master for loser in losers):
            raise Refusal("INVALID_CROSS_REFERENCE_KEY", "records of one object are merged, and each is another one than the master")
        changes = {_local(field): field.text for field in master_element or () if _local(field) not in ("type", "Id")}
        self.world.merge_records(master, losers)
        if changes:
            self.world.edit_record(master, changes)
        merged = "".join(f"<mergedRecordIds>{loser.id}</mergedRecordIds>" for loser in losers)
        return f"<id>{master.id}</id>{merged}"

    def _convert(self, wanted: Xml.Element) -> str:
        lead = self._record(_text(wanted, "leadId"))
        if lead.type != "Lead":
            raise Refusal("INVALID_CROSS_REFERENCE_KEY", "leadId is no Lead")
        into = self._record(_text(wanted, "contactId")) if _text(wanted, "contactId") else None
        if into is not None and into.type != "Contact":
            raise Refusal("INVALID_CROSS_REFERENCE_KEY", "contactId is no Contact")
        account_id = _text(wanted, "accountId")
        if into is not None and into.account_id is not None and account_id is not None and account_id[:15] != into.account_id[:15]:
            raise Refusal("INVALID_CROSS_REFERENCE_KEY", "the Contact belongs to another account")
        contact = self.world.convert_lead(lead, into)
        return f"<leadId>{lead.id}</leadId><contactId>{contact.id}</contactId><accountId>{contact.account_id or ''}</accountId>"

    def _record(self, record_id: str | None) -> SalesforceRecord:
        record = self.world.records.get(id18(record_id[:15])) if record_id and len(record_id) in (15, 18) else None
        if record is None:
            raise Refusal("INVALID_CROSS_REFERENCE_KEY", f"invalid cross reference id: {record_id or 'none'}")
        if not record.is_live:
            raise Refusal("ENTITY_IS_DELETED" if record.is_deleted else "CANNOT_UPDATE_CONVERTED_LEAD", "entity is deleted or converted")
        return record


def _result(work: Callable[[Xml.Element], str], wanted: Xml.Element) -> str:
    """Each request of a call succeeds or fails on its own."""
    try:
        return f"<result>{work(wanted)}<success>true</success></result>"
    except Refusal as refusal:
        said = f"<errors><message>{escape(str(refusal))}</message><statusCode>{refusal.code}</statusCode></errors>"
        return f"<result>{said}<success>false</success></result>"


def _fault(code: str, message: str) -> Response:
    body = f"<soapenv:Fault><faultcode>{escape(code)}</faultcode><faultstring>{escape(message)}</faultstring></soapenv:Fault>"
    return Response(_ENVELOPE.format(body), 500, media_type="text/xml")


def _local(element: Xml.Element) -> str:
    return element.tag.rpartition("}")[2]


def _find(element: Xml.Element, name: str) -> Xml.Element | None:
    return next((found for found in element.iter() if _local(found) == name), None)


def _text(element: Xml.Element, name: str) -> str | None:
    found = _find(element, name)
    return (found.text or "").strip() or None if found is not None else None
