-- A contact jumped to another Salesforce record since the last run.
--
-- severity: block
-- basis: observed
-- harm: overwritten
-- on: core/switch_event
--
-- Fails when the id history has a new value, not known to the last proven run, that is not a first binding, not the conversion of the old
-- record into the new one, and not a merge of the old one into it. Names the values that the jump overwrote.
-- Why: the values on the contact may now be another record's. It will jump back with the next edit of the old one (rule 11).
-- Otherwise: the other record's values stay, and the contact jumps back with the next edit of the old one.
-- Rests on: rule 11; F3, F4.
-- Not: a history that the first run finds; an id that was cleared.
-- Steward: compare the overwritten values, put the right ones back, and merge the duplicates into the record that is bound now.
--
-- Auf Deutsch: Ein Kontakt ist seit dem letzten Lauf zu einem anderen Salesforce-Datensatz gesprungen.
-- Warum: Die Werte des Kontakts können jetzt die eines anderen Datensatzes sein. Mit der nächsten Bearbeitung des alten springt er zurück (Regel
-- 11).
-- Sonst: Die Werte des anderen Datensatzes bleiben stehen, und mit der nächsten Bearbeitung des alten springt der Kontakt zurück.
select
    event.hubspot_contact_id,
    event.to_id as salesforce_id,
    [event.from_id] as rival_ids,
    contact.email,
    coalesce(lost.properties, cast([] as varchar[])) as fields_at_risk,
    format('On {} UTC its binding jumped from {} to {}; {}.', strftime(event.switched_at, '%Y-%m-%d %H:%M'), event.from_id, event.to_id,
        case
            when lost.properties is null then 'no mapped value was overwritten'
            else 'overwritten: ' || array_to_string(lost.properties, ', ')
        end) as reason,
    format('Compare the values with {}, restore what was lost, then merge the duplicates into {}.', event.from_id, event.to_id) as action,
    format('Am {} UTC ist die Verknüpfung von {} zu {} gesprungen; {}.', strftime(event.switched_at, '%d.%m.%Y %H:%M'), event.from_id, event.to_id,
        case
            when lost.properties is null then 'kein zugeordneter Wert wurde überschrieben'
            else 'überschrieben: ' || array_to_string(lost.properties, ', ')
        end) as reason_de,
    format('Die Werte mit {} vergleichen. Verlorenes wiederherstellen. Danach die Duplikate in {} zusammenführen.', event.from_id, event.to_id) as action_de,
    strftime(event.switched_at, '%Y-%m-%dT%H:%M:%S.%f') as facts,
    case
        when main.look_different(main.name_words(left_record.display_name), main.name_scripts(left_record.display_name),
                                 main.name_words(entered.display_name), main.name_scripts(entered.display_name),
                                 main.is_role_mailbox(contact.email, policy.role_mailboxes)) then 'mixed_people'
        when lost.has_consent then 'consent'
    end as harm
from core.switch_event as event
inner join core.hubspot_contact as contact on contact.contact_id = event.hubspot_contact_id
left join core.salesforce_person as left_record on left_record.record_id = event.from_id
left join core.salesforce_person as entered on entered.record_id = event.to_id
cross join main.policy as policy
left join (
    select
        value.hubspot_contact_id, value.switched_at, list(distinct value.property order by value.property) as properties,
        bool_or(mapped.consent) as has_consent
    from core.overwritten_value as value
    inner join core.mapped_property as mapped on mapped.property = value.property
    group by value.hubspot_contact_id, value.switched_at
) as lost on lost.hubspot_contact_id = event.hubspot_contact_id and lost.switched_at = event.switched_at
where event.is_new and event.cause in ('duplicate_switch', 'unexplained');
