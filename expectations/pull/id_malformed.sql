-- A stored Salesforce id is damaged or sits in the wrong place.
--
-- severity: block
-- basis: documented
-- harm: cut_off
-- on: core/hubspot_contact
--
-- Fails when an id cannot be brought to 18 characters, has a wrong checksum, or has a prefix that does not fit its property
-- (Lead ids begin with 00Q, Contact ids with 003). Looked at: the two id properties of live HubSpot contacts; ids of Salesforce records,
-- and the ids that merges and conversions point to.
-- Why: a damaged id binds to nothing and is taken for "not bound"; an id in the wrong property hides what a contact is bound to.
-- Otherwise: the contact counts as not bound, and the next sync may bind it to another record.
-- Rests on: Salesforce's id format (docs/integration.md, section 7).
-- Not: a correct id of 15 characters.
-- Steward: look the record up by its e-mail, and correct the property, or let the integration write it again (resync).
--
-- Auf Deutsch: Eine gespeicherte Salesforce-ID ist beschädigt oder steht am falschen Platz.
-- Warum: Eine beschädigte ID verknüpft mit nichts und gilt als „nicht verknüpft“; eine ID in der falschen Eigenschaft verdeckt, womit ein Kontakt
-- verknüpft ist.
-- Sonst: Der Kontakt gilt als nicht verknüpft, und die nächste Synchronisierung kann ihn mit einem anderen Datensatz verknüpfen.
--
-- says broken: {place} holds [?typed "{typed}"|a text], which is no Salesforce id: {length|15: its checksum or a character is wrong|18: its checksum or a
--   character is wrong|it has {length|1: one character|{length:number} characters}}[. It means {meant}].
-- says.de broken: {place} enthält [?typed „{typed}“|einen Text]; das ist keine Salesforce-ID: {length|15: die Prüfzeichen oder ein Zeichen sind falsch|18:
--   die Prüfzeichen oder ein Zeichen sind falsch|sie hat {length|1: ein|{length:number}} Zeichen}[. Gemeint ist {meant}].
-- do broken: Correct the id, or resync the contact so that the integration writes it again.
-- do.de broken: Die ID berichtigen, oder den Kontakt neu synchronisieren, damit die Integration sie neu schreibt.
-- says misplaced: {place} holds {record}, whose prefix {prefix} does not belong there (expected {expected}).
-- says.de misplaced: {place} enthält {record}, dessen Präfix {prefix} nicht dorthin gehört (erwartet: {expected}).
-- do misplaced: <broken>
-- do.de misplaced: <broken>
with stored as (
    select
        contact_id as hubspot_contact_id, null as record_id, email, 'salesforceleadid' as place, lead_id_raw as raw_id,
        salesforce_lead_id as id, main.prefix_of('Lead') as prefix
    from core.hubspot_contact
    where state = 'live' and lead_id_raw is not null
    union all
    select contact_id, null, email, 'salesforcecontactid', contact_id_raw, salesforce_contact_id, main.prefix_of('Contact')
    from core.hubspot_contact
    where state = 'live' and contact_id_raw is not null
    union all
    select null, record_id, email, 'Id', id_received, case when not id_is_malformed then record_id end, main.prefix_of(object_type)
    from core.salesforce_person
    where id_is_malformed or main.type_of_record(record_id) is distinct from object_type
    union all
    select null, record_id, email, 'MasterRecordId', merged_into_id, main.salesforce_id18(merged_into_id), main.prefix_of(object_type)
    from core.salesforce_person
    where merged_into_id is not null
    union all
    select null, record_id, email, 'ConvertedContactId', converted_contact_id, main.salesforce_id18(converted_contact_id), main.prefix_of('Contact')
    from core.salesforce_person
    where converted_contact_id is not null
),
cut as (
    select distinct raw_id, prefix from stored where id is null and regexp_full_match(raw_id, '[A-Za-z0-9]{10,18}')
),
beginning as (
    -- of each length that was cut to, where only one record begins so: an import may cut all ids, and no record is to be compared with each of them
    select cut_to.length, left(person.record_id, cut_to.length) as start, min(person.record_id) as record_id
    from (select distinct least(length(raw_id), 15) as length from cut) as cut_to
    cross join core.salesforce_person as person
    group by cut_to.length, left(person.record_id, cut_to.length)
    having count(*) = 1
),
meant as (
    -- an id that was cut: its first 15 characters say which record, and fewer do where only one begins so
    select cut.raw_id, min(beginning.record_id) as record_id
    from cut
    inner join beginning
        on beginning.length = least(length(cut.raw_id), 15) and beginning.start = left(cut.raw_id, 15) and starts_with(beginning.record_id, cut.prefix)
    group by cut.raw_id
)
select
    hubspot_contact_id,
    coalesce(stored.record_id, id, meant.record_id) as salesforce_id,
    email,
    case when id is null then 'broken' else 'misplaced' end as says,
    map {
        'place': place, 'record': id, 'meant': meant.record_id, 'length': cast(length(stored.raw_id) as varchar), 'prefix': left(id, 3), 'expected': prefix,
        -- whatever somebody typed there must not be carried on: it may be an e-mail
        'typed': case when id is null and regexp_full_match(stored.raw_id, '[A-Za-z0-9]{1,20}') then stored.raw_id end} as facts,
    place || ' ' || stored.raw_id as identity
from stored
left join meant on meant.raw_id = stored.raw_id and id is null
where id is null or left(id, 3) <> prefix;
