-- An e-mail is shared by records that look like different people.
--
-- severity: warn
-- basis: inferred
-- harm: mixed_people
-- on: core/duplicate_cluster
-- slice: salesforce_id
--
-- Fails when no two live Salesforce records with one e-mail share a word of their names, though some of them are written in one script, or when the
-- e-mail is that of a role (info, sales, office; the policy's list) and the names differ.
-- Why: for the integration they are one contact, but merging them would mix people: one person's history, consent and opportunities would
-- become another's, and a merge cannot be undone in full.
-- Otherwise: the contact in HubSpot is one person today and another tomorrow, and a merge tool may make one of them all.
-- Rests on: the integration compares e-mails and nothing else (section 1 of docs/integration.md); that names tell people apart is ours.
-- Not: records without a name, and names in different scripts (no evidence); names that differ in case, accents or order only.
-- Steward: do not merge. Give each person an e-mail of their own, or leave one record with the shared e-mail and clear it on the others.
--
-- Auf Deutsch: Datensätze, die nach verschiedenen Personen aussehen, teilen sich eine E-Mail.
-- Warum: Für die Integration sind sie ein Kontakt, aber sie zusammenzuführen würde Personen vermischen: Verlauf, Einwilligung und Opportunities der
-- einen würden die der anderen, und eine Zusammenführung lässt sich nicht ganz rückgängig machen.
-- Sonst: Der Kontakt in HubSpot ist heute die eine Person und morgen die andere, und ein Werkzeug zum Zusammenführen macht vielleicht eine aus
-- allen.
--
-- says shared: {records:number} Salesforce records with different names share one e-mail.
-- says.de shared: {records:number} Salesforce-Datensätze mit verschiedenen Namen teilen sich eine E-Mail.
-- do shared: {quoted}
-- do.de shared: {quoted}
select
    cluster.hubspot_contact_id,
    case when bound.record_id is not null then bound.record_id else cluster.oldest_id end as salesforce_id,
    list(member.record_id order by member.record_id) filter (where member.record_id <> coalesce(bound.record_id, cluster.oldest_id)) as rival_ids,
    cluster.email,
    'shared' as says,
    map {'records': cast(cluster.size as varchar)} as facts,
    main.quotable(any_value(first_step.reason), any_value(first_step.reason_de), any_value(first_step.words)) as quoted
from core.duplicate_cluster as cluster
inner join core.cluster_member as member on member.email = cluster.email
left join core.cluster_member as bound on bound.email = cluster.email and bound.record_id = cluster.bound_id
inner join core.merge_advice as first_step on first_step.book = cluster.email and first_step.step = 1
where cluster.is_shared_mailbox
group by cluster.email, cluster.hubspot_contact_id, cluster.oldest_id, cluster.size, bound.record_id;
