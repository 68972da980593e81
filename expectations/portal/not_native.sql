-- Something else than the native integration keeps this portal.
--
-- severity: block
-- basis: observed
-- harm: cut_off
-- on: core/id_source
--
-- Fails when at least 20 live contacts carry the id of a Salesforce record, and more than half of them got it from somebody else than HubSpot's integration:
-- a middleware, an app, an import, people.
-- Why: all that Bindwatch says about the next sync rests on the rules of HubSpot's own integration. Whatever keeps this portal follows others.
-- Otherwise: what Bindwatch foretells does not come, and what comes it does not foretell.
-- Rests on: the history of the two ids says who wrote them.
-- Not: ids that a merge of contacts carried along, or that HubSpot itself moved.
-- Steward: ask the administrator what writes these ids. If the native integration is meant to, look whether it still runs; if another tool is, Bindwatch is
-- not made for this portal.
--
-- Auf Deutsch: Etwas anderes als die native Integration pflegt dieses Portal.
-- Warum: Alles, was Bindwatch über die nächste Synchronisierung sagt, beruht auf den Regeln von HubSpots eigener Integration. Was dieses Portal pflegt,
-- folgt anderen.
-- Sonst: Was Bindwatch vorhersagt, tritt nicht ein, und was eintritt, sagt es nicht vorher.
--
-- says others: {others:number} of {contacts:number} contacts got the id of their Salesforce record from somebody else than the native integration, most of
--   them from {source}.
-- says.de others: {others:number} von {contacts:number} Kontakten haben die ID ihres Salesforce-Datensatzes nicht von der nativen Integration, die meisten von
--   {source}.
-- do others: Ask the administrator what writes these ids, and whether the native integration still runs. `bindwatch connect` says more.
-- do.de others: Den Administrator fragen, was diese IDs schreibt und ob die native Integration noch läuft. `bindwatch connect` sagt mehr.
with counted as (
    select
        sum(contacts) as contacts,
        coalesce(sum(contacts) filter (where not is_native), 0) as by_others,
        max_by(source_type, (contacts, source_type)) filter (where not is_native) as source_type
    from core.id_source
)
select
    'others' as says,
    map {'others': cast(cast(by_others as bigint) as varchar), 'contacts': cast(cast(contacts as bigint) as varchar), 'source': source_type} as facts,
    source_type as identity
from counted
where contacts >= 20 and by_others > contacts / 2;
