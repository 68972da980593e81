-- A contact's primary e-mail changed to one of its secondary ones by itself.
--
-- severity: warn
-- basis: documented
-- harm: drift
-- on: core/hubspot_contact
-- due: select min(changed_at) + main.lately() from staging.hubspot_property_version
--   where property = 'email' and changed_at > (select as_of from staging.clock) - main.lately()
--   and hubspot_contact_id in (select hubspot_contact_id from review.violation where check_name = 'primary_email_flipped')
-- slice: hubspot_contact_id
--
-- Fails when a form or a conversation made one of the contact's additional e-mails its primary one, until that is no longer so, for 30 days.
-- Why: the primary e-mail is what the integration matches by. The contact now belongs to other Salesforce records than before, although
-- nobody edited anything (rule 44).
-- Otherwise: with the next sync the contact may be bound to another record, and take its values.
-- Rests on: rule 44: HubSpot makes a known secondary e-mail the primary one when somebody submits a form with it.
-- Not: an edit by a user, an import or the API; a new e-mail that was never a secondary one; what the first run finds.
-- Steward: decide which e-mail is right. Where the old one is, set it back before the next sync.
--
-- Auf Deutsch: Eine Zweitadresse wurde von selbst zur Hauptadresse eines Kontakts.
-- Warum: Nach der Hauptadresse ordnet die Integration zu. Der Kontakt gehört jetzt zu anderen Salesforce-Datensätzen als zuvor, obwohl niemand
-- etwas bearbeitet hat (Regel 44).
-- Sonst: Mit der nächsten Synchronisierung kann der Kontakt mit einem anderen Datensatz verknüpft werden und dessen Werte übernehmen.
--
-- says flipped: On {at:moment} UTC a form or conversation made a secondary e-mail its primary one; {others|1: one other live Salesforce record
--   has|{others:number} other live Salesforce records have} it.
-- says.de flipped: Am {at:moment} UTC machte ein Formular oder eine Konversation eine Zweitadresse zur Hauptadresse; {others|1: ein anderer vorhandener
--   Salesforce-Datensatz hat|{others:number} andere vorhandene Salesforce-Datensätze haben} sie.
-- do flipped: Decide which e-mail is right; set the old one back in HubSpot before the next sync if it is.
-- do.de flipped: Entscheiden, welche E-Mail richtig ist. Ist es die alte, sie vor der nächsten Synchronisierung in HubSpot zurücksetzen.
with flip as (
    select
        hubspot_contact_id, changed_at, pull_no, main.matching_email(value) as email, pull_no <= clock.last_run_pull_no as is_known,
        -- the last run before it was seen
        (select max(last_pull_no) from main.run where verdict in ('pass', 'fail') and last_pull_no < pull_no) as run_pull_no
    from staging.hubspot_property_version
    cross join staging.clock as clock
    where property = 'email' and pull_no > clock.first_run_pull_no and changed_at > clock.as_of - main.lately()
      and (source_type like 'FORM%' or source_type like 'CONVERSATION%')
),
known_secondary as (
    select hubspot_contact_id, main.matching_email(address) as email, min(pull_no) as pull_no
    from (
        select id as hubspot_contact_id, unnest(string_split(properties['hs_additional_emails'], ';')) as address, pull_no
        from raw.hubspot_contact
        where id in (select hubspot_contact_id from flip)
    ) as version
    group by hubspot_contact_id, main.matching_email(address)
)
select
    contact.contact_id as hubspot_contact_id,
    contact.bound_id as salesforce_id,
    case when count(person.record_id) > 0 then list(person.record_id order by person.record_id) end as rival_ids,
    contact.email,
    'flipped' as says,
    map {'at': cast(max(flip.changed_at) as varchar), 'others': cast(count(person.record_id) as varchar)} as facts,
    main.event_moment(max(flip.changed_at)) as event,
    bool_and(flip.is_known) as is_known
from flip
inner join core.hubspot_contact as contact on contact.contact_id = flip.hubspot_contact_id and contact.email = flip.email and contact.state = 'live'
inner join known_secondary
    on known_secondary.hubspot_contact_id = contact.contact_id and known_secondary.email = contact.email and known_secondary.pull_no <= flip.run_pull_no
left join core.salesforce_person as person
    on person.email = contact.email and person.state = 'live' and person.record_id is distinct from contact.bound_id
group by contact.contact_id, contact.bound_id, contact.email;
