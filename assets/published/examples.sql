-- What one asks of the published tables: a question and its query for each. In the folder of a snapshot `from binding` is
-- read_parquet('binding.parquet'). docs/tables.md is made from this file; a test runs every query.

-- salesforce_person: Which records were merged away, and into which?
select record_id, survivor_id, modified_at from salesforce_person where state = 'merged' order by modified_at desc;

-- hubspot_contact: Which live contacts have no Salesforce record?
select contact_id, email from hubspot_contact where state = 'live' and bound_id is null;

-- duplicate_cluster: Which duplicates could make a contact jump, the largest first?
select email, size, oldest_id, newest_id, bound_id from duplicate_cluster where risk <> 'latent' order by size desc;

-- cluster_member: Which records share an e-mail, and which of them is bound?
select email, record_id, object_type, oldest_rank, is_bound from cluster_member order by email, oldest_rank;

-- binding: Who jumps with the next sync, and where to?
select hubspot_contact_id, bound_id, predicted_id, rule, confidence from binding where prediction = 'switch';

-- link: Which contacts depend on a record?
select hubspot_contact_id, email from link where record_id = '0035e000000000aAAA';

-- switch_event: How many contacts jumped in each week?
select date_trunc('week', switched_at) as week, count(*) as jumps from switch_event where cause = 'duplicate_switch' group by week order by week;

-- rival: Which other records may take a contact over, and which of them look like somebody else?
select hubspot_contact_id, rival_id, looks_different from rival order by hubspot_contact_id;

-- overwrite: Which values would HubSpot lose, and to which record?
select hubspot_contact_id, rival_id, property, hubspot_value, salesforce_value from overwrite where effect in ('overwrite', 'clear');

-- first_binding_value: What would a first binding change on a contact?
select hubspot_contact_id, record_id, property, hubspot_value, salesforce_value, effect from first_binding_value;

-- overwritten_value: Which properties were overwritten most often?
select property, count(*) as times from overwritten_value group by property order by times desc;

-- merge_event: Which merges broke a contact's sync, or cost the contact?
select loser_id, survivor_id, merged_at, hubspot_contact_id, outcome from merge_event where outcome in ('sync_broken', 'contact_deleted');

-- merge_advice: What is to be done about an e-mail, in which order?
select email, step, action, master_id, loser_id, reason from merge_advice order by email, step;

-- restorable_value: Which values can be put back?
from restorable_value limit 20;

-- backfilled_value: Which values did a jump carry into another record?
from backfilled_value limit 20;

-- restorable_contact: Which contacts can still be restored, and until when?
from restorable_contact limit 20;

-- departure: Which records left since the last run?
from departure limit 20;

-- planned_merge: Which rows of the merge plans are not safe, and why?
select master_id, loser_id, verdict, reason from planned_merge where verdict <> 'safe';

-- policy_variant: Which settings of the integration are scored against the portal's own history?
from policy_variant;

-- policy_prediction: Which past jumps did which policy not foresee?
select * from policy_prediction where not is_hit limit 20;

-- prediction_score: Which policy describes this portal best?
select policy, source, predictions, hits, hit_rate, low, high from prediction_score order by low desc nulls last;

-- finding: What is to be done first?
select check_name, urgency, deadline_at, hubspot_contact_id, reason, action from finding
where status in ('open', 'acknowledged')
order by list_position(['now', 'soon', 'later'], urgency), list_position(['unproven', 'block', 'warn'], severity), deadline_at nulls last;

-- person_case: Whose matter comes first, and what is to be done about it?
select rank, display_name, account_name, urgency, harm, steps from person_case where status <> 'waived' order by rank limit 20;

-- finding_event: When did a finding begin, end and begin again?
select fingerprint, event, happened_at from finding_event order by fingerprint, happened_at;

-- planned_merge_event: Since when is a row of a plan what it is?
from planned_merge_event limit 20;

-- contact_detail: What does a contact's record in HubSpot say?
from contact_detail limit 1;

-- record_detail: What does a record say that takes part in a finding?
from record_detail limit 1;

-- edit: Who changed which field of a record, in order?
from edit limit 20;

-- policy: How did the run believe that the integration is set up?
from policy;

-- field_mapping: Which field belongs to which property, and by which rule?
select property, object_type, salesforce_field, rule, consent from field_mapping order by position;

-- salesforce_field: Which mapped fields can nobody write?
select object_type, field, type from salesforce_field where not is_writable;

-- mapped_field: As which kind is a field compared?
select property, object_type, salesforce_field, kind from mapped_field;

-- mapped_property: Which properties say whether somebody may be written to?
select property from mapped_property where consent;

-- check_policy: How strict is each check in this portal?
select suite, check_name, coalesce(severity, default_severity) as severity, max_findings from check_policy;

-- run: How did the last ten runs end?
select run_no, finished_at, verdict, findings_open, findings_new from run order by run_no desc limit 10;

-- check_run: Since when does a check find more than before?
select run.run_no, check_run.check_name, check_run.findings
from check_run inner join run on run.run_id = check_run.run_id order by check_run.check_name, run.run_no;

-- value_source: Whose were the values that came with jumps?
select source, by_user_name, count(*) as times from value_source group by all order by times desc;

-- hubspot_owner: Who of the owners has left HubSpot?
from hubspot_owner where archived order by name;

-- salesforce_user: Who created or changed what was pulled, and which of them is the integration?
select user_id, name, is_active, is_integration from salesforce_user order by name;

-- typed_value: What did people type last into records that are to be merged?
select record_id, property, value, typed_at from typed_value where record_id is not null order by typed_at desc;
