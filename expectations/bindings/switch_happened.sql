-- A contact jumped to another Salesforce record.
--
-- severity: block
-- basis: observed
-- harm: overwritten
-- on: core/switch_event
-- slice: hubspot_contact_id
--
-- Fails when the integration moved a binding, not known to the first proven run, that is not a first binding, not the conversion of the old record
-- into the new one, and not a merge of the old one into it. It fails the first proven run that sees it, whatever was lost, and those after it as long as
-- a value that came with the jump is missing: it was not typed into the new record, what stood there before is not back, nobody wrote the
-- property since, and nobody accepted what is there now.
-- Why: the values on the contact may now be another record's. It will jump back with the next edit of the old one (rule 11).
-- Otherwise: the other record's values stay, and the contact jumps back with the next edit of the old one.
-- Rests on: rule 11; F3, F4.
-- Not: a history that the first run finds; an id that was cleared; one that somebody else than the integration wrote, or a merge of contacts.
-- Steward: put back what was lost, with the restore plan for this contact, or accept what is there; then follow the run-book of its duplicates.
--
-- Auf Deutsch: Ein Kontakt ist zu einem anderen Salesforce-Datensatz gesprungen.
-- Warum: Die Werte des Kontakts können jetzt die eines anderen Datensatzes sein. Mit der nächsten Bearbeitung des alten springt er zurück (Regel
-- 11).
-- Sonst: Die Werte des anderen Datensatzes bleiben stehen, und mit der nächsten Bearbeitung des alten springt der Kontakt zurück.
--
-- says jumped: On {at:moment} UTC its binding jumped from {from} to {to}{by|edit: , which {who} had edited|creation: , which {who} had created|};
--   [overwritten: {changes:words}[; and {more:number} more]|no mapped value was overwritten].
-- says.de jumped: Am {at:moment} UTC ist die Verknüpfung von {from} zu {to} gesprungen{by|edit: , nachdem {who} diesen bearbeitet hatte|creation: ,
--   nachdem {who} diesen angelegt hatte|}; [überschrieben: {changes:words}[; und {more:number} weitere]|kein zugeordneter Wert wurde überschrieben].
-- do jumped: [?changes Put back what was lost: `bindwatch restore-plan --contact {contact}[ {option}]`, or accept what is there.[ {quoted}]|[{quoted}|Nothing
--   was lost, and no duplicate is left: accept it.]]
-- do.de jumped: [?changes Verlorenes zurückholen: `bindwatch restore-plan --contact {contact}[ {option}]`, oder hinnehmen, was dort steht.[
--   {quoted}]|[{quoted}|Nichts ging verloren, und kein Duplikat ist übrig: hinnehmen.]]
with lost as (
    select
        value.hubspot_contact_id, value.switched_at,
        list(value.property order by value.property) filter (where value.is_missing or event.is_new) as properties,
        bool_or(mapped.consent) filter (where value.is_missing or event.is_new) as has_consent,
        bool_or(value.is_missing) as is_missing,
        bool_or(value.is_unclear) as is_unclear,
        list(format('{}: {} → {} (⟨{}⟩)', value.property, main.quoted_value(value.value_before), coalesce(main.quoted_value(value.value_after), '⟨blank⟩'),
            value.source) order by value.property) as changes
    from (
        select
            source.hubspot_contact_id, source.switched_at, source.property, source.value_before, source.value_after, source.source,
            coalesce(source.source <> 'typed' and restorable.status in ('restore', 'unclear', 'awaits_sync', 'typed_over', 'of_account', 'read_only'), false)
                as is_missing,
            restorable.status = 'unclear' as is_unclear
        from core.value_source as source
        left join core.restorable_value as restorable
            on restorable.hubspot_contact_id = source.hubspot_contact_id and restorable.property = source.property
        union all
        -- HubSpot showed no history of the property; what was pulled before and after the jump does
        select hubspot_contact_id, switched_at, property, value_before, value_now, source, source <> 'typed' and status in ('restore', 'unclear'),
            status = 'unclear'
        from core.restorable_value
        where evidence = 'versions' and status in ('restore', 'unclear', 'typed')
    ) as value
    inner join core.switch_event as event
        on event.hubspot_contact_id = value.hubspot_contact_id and event.switched_at = value.switched_at and event.is_since_first_run
    inner join core.mapped_property as mapped on mapped.property = value.property
    group by value.hubspot_contact_id, value.switched_at
)
select
    event.hubspot_contact_id,
    event.to_id as salesforce_id,
    [event.from_id] as rival_ids,
    contact.email,
    coalesce(lost.properties, cast([] as varchar[])) as fields_at_risk,
    'jumped' as says,
    map {
        'contact': event.hubspot_contact_id, 'at': cast(event.switched_at as varchar), 'from': event.from_id, 'to': event.to_id, 'by': event.by,
        'who': coalesce(event.by_user_name, event.by_user_id), 'changes': array_to_string(lost.changes[:3], '; '),
        'more': case when len(lost.changes) > 3 then cast(len(lost.changes) - 3 as varchar) end,
        'option': case when lost.is_unclear then '--with-unclear' end} as facts,
    first_step.quoted,
    case
        when main.look_different(main.name_words(left_record.display_name), main.name_scripts(left_record.display_name),
                                 main.name_words(entered.display_name), main.name_scripts(entered.display_name),
                                 main.is_role_mailbox(contact.email, policy.role_mailboxes)) then 'mixed_people'
        when lost.has_consent then 'consent'
    end as harm,
    main.event_of_jump(event.switched_at, event.to_id) as event,
    not event.is_new as is_known
from core.switch_event as event
inner join core.hubspot_contact as contact on contact.contact_id = event.hubspot_contact_id
left join core.salesforce_person as left_record on left_record.record_id = event.from_id
left join core.salesforce_person as entered on entered.record_id = event.to_id
cross join main.policy as policy
left join core.first_step as first_step on first_step.hubspot_contact_id = event.hubspot_contact_id
left join lost on lost.hubspot_contact_id = event.hubspot_contact_id and lost.switched_at = event.switched_at
where event.is_since_first_run and event.cause in ('duplicate_switch', 'unexplained')
  and (event.is_new or (lost.is_missing and contact.state = 'live'));
