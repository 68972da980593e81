-- Salesforce holds a duplicate that no HubSpot contact depends on yet.
--
-- severity: warn
-- basis: documented
-- harm: none
-- on: core/duplicate_cluster
-- slice: salesforce_id
--
-- Fails when two or more live Salesforce records share an e-mail and no live HubSpot contact has it as its primary e-mail.
-- Why: the day a contact with that e-mail appears, the integration picks one of them (rule 7).
-- Otherwise: nothing, until a contact with this e-mail appears in HubSpot; then one of the records is taken.
-- Rests on: rule 7; F2.
-- Not: a cluster with a HubSpot contact (unsafe_duplicate, switchable_duplicate, ambiguous_first_binding), or with a record that could draw away a
-- contact which has its e-mail as an additional one.
-- Steward: merge in Salesforce; nothing in HubSpot can break.
--
-- Auf Deutsch: Salesforce enthält ein Duplikat, von dem noch kein HubSpot-Kontakt abhängt.
-- Warum: An dem Tag, an dem ein Kontakt mit dieser E-Mail auftaucht, nimmt die Integration einen der Datensätze (Regel 7).
-- Sonst: Nichts, bis ein Kontakt mit dieser E-Mail in HubSpot auftaucht; dann wird einer der Datensätze genommen.
--
-- says latent: {records:number} Salesforce records share one e-mail ({leads|1: 1 Lead|{leads:number} Leads}, {contacts|1: 1 Contact|{contacts:number}
--   Contacts}); no HubSpot contact has it.
-- says.de latent: {records:number} Salesforce-Datensätze teilen sich eine E-Mail ({leads|1: 1 Lead|{leads:number} Leads}, {contacts|1: 1
--   Salesforce-Kontakt|{contacts:number} Salesforce-Kontakte}); kein HubSpot-Kontakt hat sie.
-- do latent: {quoted}
-- do.de latent: {quoted}
select
    cluster.oldest_id as salesforce_id,
    list(member.record_id order by member.record_id) filter (where member.record_id <> cluster.oldest_id) as rival_ids,
    cluster.email,
    'latent' as says,
    map {
        'records': cast(cluster.size as varchar), 'leads': cast(cluster.lead_count as varchar), 'contacts': cast(cluster.contact_count as varchar)} as facts,
    main.quotable(any_value(first_step.reason), any_value(first_step.reason_de), any_value(first_step.words)) as quoted
from core.duplicate_cluster as cluster
inner join core.cluster_member as member on member.email = cluster.email
inner join core.merge_advice as first_step on first_step.book = cluster.email and first_step.step = 1
where cluster.hubspot_contact_id is null and cluster.risk = 'latent'
group by cluster.email, cluster.oldest_id, cluster.size, cluster.lead_count, cluster.contact_count;
