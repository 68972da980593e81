-- A past switch wrote one record's values into another one.
--
-- severity: warn
-- basis: inferred
-- on: core/switch_event
--
-- Fails when fields of a record were blank before a contact switched to it, and now hold the values of the record that the contact came from.
-- Reported until the value changes.
-- Why: where a blank Salesforce field meets a value in HubSpot, the integration fills the field (rule 25). After a switch that value belongs to
-- the other record (rule 28): a second customer's record now carries the first one's phone number.
-- Otherwise: the wrong values stay in the record, and sync back into HubSpot for whoever is bound to it.
-- Rests on: rules 25, 28. Nobody documents it; the versions that Bindwatch keeps show it.
-- Not: a switch from before the first pull (what was blank then is not known); a value that was there before the switch.
-- Steward: if the two are one person, merge them. If not, correct the fields in the new record.
--
-- Auf Deutsch: Ein früherer Wechsel hat Werte eines Datensatzes in einen anderen geschrieben.
-- Warum: Trifft ein leeres Salesforce-Feld auf einen Wert in HubSpot, füllt die Integration das Feld (Regel 25). Nach einem Wechsel gehört dieser
-- Wert zum anderen Datensatz (Regel 28): der Datensatz eines zweiten Kunden trägt nun die Telefonnummer des ersten.
-- Sonst: Die falschen Werte bleiben im Datensatz und gelangen zurück nach HubSpot, zu wem auch immer er verknüpft ist.
with switch as (
    select hubspot_contact_id, from_id, to_id, max(switched_at) as switched_at
    from core.switch_event
    where cause in ('duplicate_switch', 'unexplained') and from_id <> to_id
    group by hubspot_contact_id, from_id, to_id
),
version as (
    select record_id, 'Lead' as object_type, main.utc(system_modstamp) as stamp, fields, pull_no from raw.salesforce_lead
    where record_id in (select from_id from switch union select to_id from switch)
    union all
    select record_id, 'Contact', main.utc(system_modstamp), fields, pull_no from raw.salesforce_contact
    where record_id in (select from_id from switch union select to_id from switch)
),
pair as (
    select
        switch.hubspot_contact_id,
        switch.from_id,
        switch.to_id,
        switch.switched_at,
        any_value(origin.object_type) as from_type,
        any_value(target.object_type) as to_type,
        -- what the old record said at the switch, what the new one said just before it, and what it says today
        max_by(origin.fields, origin.pull_no) filter (where origin.stamp <= switch.switched_at + interval 5 second) as from_fields,
        max_by(target.fields, target.pull_no) filter (where target.stamp < switch.switched_at - interval 5 second) as fields_before,
        max_by(target.fields, target.pull_no) as fields_now
    from switch
    inner join version as origin on origin.record_id = switch.from_id
    inner join version as target on target.record_id = switch.to_id
    group by switch.hubspot_contact_id, switch.from_id, switch.to_id, switch.switched_at
),
filled as (
    select pair.hubspot_contact_id, pair.from_id, pair.to_id, target.property
    from pair
    inner join main.field_mapping as target on target.object_type = pair.to_type and target.rule in ('prefer_salesforce', 'two_way')
    inner join main.field_mapping as origin on origin.object_type = pair.from_type and origin.property = target.property
    left join raw.salesforce_field as field on field.object_type = target.object_type and field.field = target.salesforce_field
    where pair.fields_before is not null
      and main.is_blank(pair.fields_before[target.salesforce_field])
      and not main.is_blank(pair.fields_now[target.salesforce_field])
      and main.same_value(pair.fields_now[target.salesforce_field], pair.from_fields[origin.salesforce_field], field.type)
)
select
    filled.hubspot_contact_id,
    filled.to_id as salesforce_id,
    [filled.from_id] as rival_ids,
    contact.email,
    list(distinct filled.property order by filled.property) as fields_at_risk,
    format('The switch from {} filled blank fields of {} with values of the old record: {}.',
        filled.from_id, filled.to_id, array_to_string(list(distinct filled.property order by filled.property), ', ')) as reason,
    format('If both are one person, merge them. If not, correct these fields in {}.', filled.to_id) as action,
    format('Der Wechsel von {} hat leere Felder von {} mit Werten des alten Datensatzes gefüllt: {}.',
        filled.from_id, filled.to_id, array_to_string(list(distinct filled.property order by filled.property), ', ')) as reason_de,
    format('Sind beide eine Person, sie zusammenführen. Sonst diese Felder in {} berichtigen.', filled.to_id) as action_de
from filled
inner join core.hubspot_contact as contact on contact.contact_id = filled.hubspot_contact_id
inner join core.salesforce_person as person on person.record_id = filled.to_id and person.state = 'live'
group by filled.hubspot_contact_id, filled.from_id, filled.to_id, contact.email;
