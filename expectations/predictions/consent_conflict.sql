-- Salesforce says that an address is opted out of e-mail, HubSpot writes to it.
--
-- severity: block
-- basis: observed
-- harm: consent
-- on: core/hubspot_contact
-- due: never, review.violation has the settle time
-- slice: hubspot_contact_id
--
-- Fails when a live Salesforce record with the primary e-mail of a live HubSpot contact is opted out (HasOptedOutOfEmail, where it is mapped to
-- hs_email_optout) and the contact is not, for longer than the settle time since the record changed and the contact was bound. One finding a contact.
-- Why: an opt-out belongs to the address, whichever record it was noted on. HubSpot hears of it only from the record that the contact is bound to.
-- Otherwise: the person keeps getting e-mails that they opted out of.
-- Rests on: rule 26a; HubSpot's pages on opt-outs (docs/integration.md).
-- Not: a contact that is opted out while Salesforce is not: HubSpot does not write to it.
-- Steward: find out whether the person opted out. If so, unsubscribe the contact in HubSpot. If not, correct the record in Salesforce.
--
-- Auf Deutsch: Salesforce sagt, dass eine Adresse von E-Mails abgemeldet ist, HubSpot schreibt ihr.
-- Warum: Eine Abmeldung gehört zur Adresse, auf welchem Datensatz sie auch steht. HubSpot erfährt sie nur von dem Datensatz, mit dem der Kontakt
-- verknüpft ist.
-- Sonst: Die Person bekommt weiter E-Mails, von denen sie sich abgemeldet hat.
--
-- says conflict: {records} {count|1: has this contact's e-mail and is|have this contact's e-mail and are} opted out of e-mail; the contact is not.
-- says.de conflict: {records} {count|1: hat die E-Mail dieses Kontakts und ist|haben die E-Mail dieses Kontakts und sind} von E-Mails abgemeldet; der
--   Kontakt nicht.
-- do conflict: Find out whether the person opted out. If so, unsubscribe the contact in HubSpot. If not, correct HasOptedOutOfEmail in Salesforce.
-- do.de conflict: Klären, ob sich die Person abgemeldet hat. Wenn ja, den Kontakt in HubSpot abmelden. Wenn nein, HasOptedOutOfEmail in Salesforce
--   berichtigen.
with opted_out as (
    select version.record_id, version.pull_no
    from staging.salesforce_version as version
    where version.object_type in (select object_type from core.mapped_field where property = 'hs_email_optout' and salesforce_field = 'HasOptedOutOfEmail')
      and version.fields['HasOptedOutOfEmail'] <> 'false'  -- as nearly all have it
      and main.as_boolean(version.fields['HasOptedOutOfEmail'])
),
told as (
    select contact.contact_id, contact.email, contact.bound_id, contact.bound_since, contact.pull_no, person.record_id, person.modified_at
    from opted_out
    inner join core.salesforce_person as person on person.record_id = opted_out.record_id and person.pull_no = opted_out.pull_no and person.state = 'live'
    inner join core.hubspot_contact as contact on contact.email = person.email and contact.state = 'live'
),
latest as (
    select id, pull_no, properties['hs_email_optout'] as opt_out from raw.hubspot_contact where id in (select contact_id from told)
)
select
    told.contact_id as hubspot_contact_id,
    arg_min(told.record_id, (told.record_id is distinct from told.bound_id, told.record_id)) as salesforce_id,
    list_filter(
        list(told.record_id order by told.record_id),
        lambda id: id <> arg_min(told.record_id, (told.record_id is distinct from told.bound_id, told.record_id))) as rival_ids,
    told.email,
    ['hs_email_optout'] as fields_at_risk,
    'conflict' as says,
    map {'records': array_to_string(list(told.record_id order by told.record_id), ', '), 'count': cast(count(*) as varchar)} as facts
from told
inner join latest on latest.id = told.contact_id and latest.pull_no = told.pull_no
cross join staging.clock as clock
cross join main.policy as policy
where not coalesce(main.as_boolean(latest.opt_out), false)
  and coalesce(clock.as_of - greatest(told.modified_at, told.bound_since) > to_minutes(policy.settle_minutes), true)
group by told.contact_id, told.email;
