-- The raw layer and the tables that carry policy and memory. Run before every load; creates what is missing, changes nothing: what an older
-- warehouse has in another shape is changed by the files under migrations/.
--
-- Raw is append-only: a row is one VERSION of a record as an API returned it. Every CRM value stays text, because both APIs
-- change types between answers (an id list comes as 5 or as "5;6"). A version equal to the latest one is not stored again.

create schema if not exists raw;
create schema if not exists staging;
create schema if not exists core;
create schema if not exists review;

-- One row: a pull that was finished, complete or not. Only the rows of complete pulls are in the other raw tables.
create table if not exists raw.pull (
    pull_no bigint primary key,     -- grows with every load; orders versions
    pull_id varchar not null unique,-- folder name under landing/
    run_id varchar not null,        -- the run that loaded it
    source varchar not null,        -- salesforce, hubspot
    object varchar not null,        -- Lead, Contact, contact, contact_archived, contact_archived_changed, contact_restored, contact_history, switch_history,
                                    -- inclusion_list, User, LeadHistory, ContactHistory, owner, owner_archived; with _ids: all ids and stamps;
                                    -- with _missed: what that comparison found to differ
    mode varchar not null,          -- full, incremental, ids
    request_hash varchar not null,  -- fields and filters asked for; another hash means that an increment would miss fields
    started_at timestamp not null,
    finished_at timestamp not null,
    watermark_from timestamp,       -- modified stamps asked for from here on; null: everything
    watermark_to timestamp,         -- latest modified stamp seen so far
    expected_rows bigint,           -- what the API said it holds; null where it does not say
    landed_rows bigint not null,
    new_versions bigint not null,
    complete boolean not null,
    problem varchar,                -- in words, when not complete
    crm_time timestamp,             -- the CRM's own clock when the pull began; null where it did not tell
    not_seen varchar[]              -- what the API holds back from the integration user
);

-- One row: a version of a Lead. record_id is its id with 18 characters, id what was received.
create table if not exists raw.salesforce_lead (
    record_id varchar not null, id varchar not null, system_modstamp varchar, created_date varchar, last_modified_date varchar, last_modified_by_id varchar,
    created_by_id varchar, owner_id varchar, account_id varchar, name varchar, email varchar, is_deleted varchar, master_record_id varchar,
    is_converted varchar, converted_contact_id varchar,
    fields map(varchar, varchar) not null,  -- mapped fields by their API name
    id_is_malformed boolean,                -- worked out once, at load
    content_hash ubigint not null, pull_no bigint not null
);

-- One row: a version of a Contact. The same columns as a Lead; what a Contact does not have is null.
create table if not exists raw.salesforce_contact (
    record_id varchar not null, id varchar not null, system_modstamp varchar, created_date varchar, last_modified_date varchar, last_modified_by_id varchar,
    created_by_id varchar, owner_id varchar, account_id varchar, name varchar, email varchar, is_deleted varchar, master_record_id varchar,
    is_converted varchar, converted_contact_id varchar,
    fields map(varchar, varchar) not null,
    id_is_malformed boolean,
    content_hash ubigint not null, pull_no bigint not null
);

-- One row: a mapped Salesforce field, as describe told it last.
create table if not exists raw.salesforce_field (
    object_type varchar not null, field varchar not null,
    type varchar not null,              -- in Salesforce's words; of a field of a related record its type there
    is_writable boolean,                -- somebody may write it: not calculated, not of a related record; null where describe does not say
    labels map(varchar, varchar)        -- of a pick list: what people see, by value
);

-- One row: what people see for a mapped field or a property that is pulled, as its CRM told it last.
create table if not exists raw.field_label (
    object_type varchar not null,       -- Lead, Contact; contact for HubSpot's
    field varchar not null, label varchar not null
);

-- One row: a user of the org, as Salesforce named him last.
create table if not exists raw.salesforce_user (
    user_id varchar not null,           -- 18 characters
    name varchar, email varchar, is_active boolean,
    user_type varchar,                  -- in Salesforce's words: Standard, AutomatedProcess, Guest, …
    pull varchar not null               -- pull_id of the pull that named him last
);

-- One row: a change of a field of a Lead or Contact, as Salesforce keeps it where the field's history is tracked. Read of records that took part in a change of
-- a binding, of rivals and of merge losers.
create table if not exists raw.salesforce_field_history (
    history_id varchar primary key,
    record_id varchar not null,         -- 18 characters
    object_type varchar not null,       -- Lead, Contact
    field varchar not null,             -- its API name as Salesforce says it; also what is no field, as created, leadConverted
    changed_at timestamp not null,
    changed_by_id varchar,              -- 18 characters
    old_value varchar, new_value varchar,
    pull varchar not null               -- pull_id of the first pull that had it
);

-- One row: a record whose field history was read, whether there was any or not.
create table if not exists raw.salesforce_history_read (record_id varchar not null, object_type varchar not null, pull_no bigint not null);

-- One row: an owner of HubSpot's records, archived ones too, as HubSpot named them last.
create table if not exists raw.hubspot_owner (
    owner_id varchar not null, email varchar, first_name varchar, last_name varchar,
    user_id varchar,                    -- of HubSpot's user; null where the owner has left
    archived boolean,
    pull varchar not null               -- pull_id of the pull that named them last
);

-- One row: a property of contacts that is pulled, as HubSpot described it last.
create table if not exists raw.hubspot_property (
    property varchar not null,
    type varchar not null, field_type varchar,  -- in HubSpot's words
    labels map(varchar, varchar)                -- of a pick list: what people see, by value
);

-- One row: a version of a HubSpot contact, live or archived.
create table if not exists raw.hubspot_contact (
    id varchar not null, created_at varchar, updated_at varchar, archived boolean not null, archived_at varchar,
    properties map(varchar, varchar) not null,
    content_hash ubigint not null, pull_no bigint not null
);

-- One row: an entry of a property's history on a HubSpot contact, under the contact id that it was read from.
create table if not exists raw.hubspot_property_version (
    contact_id varchar not null, property varchar not null, value varchar, changed_at varchar not null,
    source_type varchar, source_id varchar, pull_no bigint not null
);

-- One row: a contact whose mapped properties' and sync time's history was read, whether there was any or not.
create table if not exists raw.hubspot_history_read (contact_id varchar not null, pull_no bigint not null);

-- One row: the table of histories read (raw.hubspot_history_read, raw.salesforce_history_read) that lacked none which is needed, in the state told.
create table if not exists main.history_all_read (read_table varchar primary key, state varchar not null);

-- One row: a contact that was in the inclusion list at its last pull (replaced as a whole).
create table if not exists raw.hubspot_list_member (contact_id varchar not null, pull_no bigint not null);

-- One row: an id that a full pull did not return although it was known, or that came back after that.
create table if not exists raw.presence (
    object varchar not null,        -- Lead, Contact, contact
    id varchar not null, pull_no bigint not null, present boolean not null
);

-- One row: a record that arrived and cannot be read. It costs no other record; its last good version, if there is one, stays in force. The row goes
-- when a good version comes.
create table if not exists raw.set_aside (
    object varchar not null,        -- Lead, Contact, contact
    id varchar not null,            -- 18 characters, a contact's id, or unnamed-… where it came without one
    version varchar not null,       -- of what came: changes when the record does
    reason varchar not null,        -- without_id, without_properties, no_json, unanswered, modified_stamp, created_stamp, columns, values
    pull_no bigint not null
);

-- One row: the name by which a store that others use, too, tells this home's rows from theirs. It lives with the memory: it is in a backup, and goes along
-- when the home is moved.
create table if not exists main.home (id varchar not null);

-- One row: the org or the portal that this home belongs to.
create table if not exists main.crm_identity (source varchar not null, id varchar not null, noted_at timestamp not null);

-- One row: what a CRM's own clock said in its last answer of the run that asked last, and this machine's at that moment.
create table if not exists main.crm_clock (run_id varchar not null, source varchar not null, theirs timestamp not null, ours timestamp not null);

-- One row: how many records there are, as a CRM told the run that asked last.
create table if not exists main.object_count (
    run_id varchar not null,
    name varchar not null,          -- salesforce.Lead, salesforce.Contact, hubspot.contact, hubspot.inclusion_list
    kind varchar not null,          -- counted, listed (a list of all ids, which was not believed), archived, members
    known bigint,                   -- how many there should be; null: as many as the models know
    counted bigint not null
);

-- One row: a person accepted that so few records are there.
create table if not exists main.accepted_shrink (
    name varchar not null, kind varchar not null, known bigint not null, counted bigint not null,
    accepted_at timestamp not null, accepted_by varchar not null, pull_no bigint not null
);

-- One row: the most that were counted of something after a person accepted that fewer are there: what came back may not go again unseen.
create table if not exists main.shrink_regained (name varchar not null, kind varchar not null, counted bigint not null);

-- One row: a person accepted that the CRMs' clocks are right now, and were wrong in the runs up to this number.
create table if not exists main.accepted_clock (run_no bigint not null, accepted_at timestamp not null, accepted_by varchar not null);

-- One row: a person accepted that a record cannot be read. It holds for this version of what came.
create table if not exists main.accepted_record (
    object varchar not null, id varchar not null, version varchar not null,
    accepted_at timestamp not null, accepted_by varchar not null
);

-- One row: a run that asked both CRMs how the portal is set up. Kept: the one that is going on, and the last two proven ones before it.
create table if not exists raw.portal_look (
    run_id varchar not null, taken_at timestamp not null,
    kind varchar not null,          -- native, middleware, none, unknown: who keeps this portal, as the sample says
    contacts bigint not null        -- that were read
);

-- One row: a setting in such a look, in words: as the policy had it then, and as the data show it.
create table if not exists raw.portal_setting (
    run_id varchar not null, position bigint not null, setting varchar not null, configured varchar, found varchar, certain boolean not null,
    cases_for bigint not null, cases_against bigint not null,
    is_contradiction boolean not null   -- what was found is certain, and the policy has it otherwise
);

-- One row: a guarded run that ended with a verdict.
create table if not exists main.run (
    run_id varchar primary key, started_at timestamp not null, finished_at timestamp not null,
    verdict varchar not null,       -- pass, fail, unproven
    coverage_from timestamp, coverage_to timestamp,
    findings_open bigint not null, findings_new bigint not null, findings_resolved bigint not null,
    checks_violated varchar[] not null, checks_not_evaluated varchar[] not null,
    last_pull_no bigint not null,   -- everything up to this pull was known to the run
    run_no bigint not null,         -- grows with every run: the order of runs, whatever clocks say
    as_of timestamp                 -- as in main.run_clock; null for runs of schema 3 and before
);

-- One row: the run that is going on.
create table if not exists main.current_run (run_id varchar not null, started_at timestamp not null, last_pull_no bigint);

-- One row: a table that the models built, or read and do not build, as it was when they built last (assets/models/stale.py). The row without a name stands for
-- all of them.
create table if not exists main.built (
    name varchar primary key,
    digest varchar not null,        -- of its SQL; of its contents where it is only read
    due_at timestamp,               -- from when on it may be another although nothing came
    run_id varchar not null         -- the run that said so; of all: the last one that built any
);

-- One row: a run that built anything, how far its slice went, or why it built the whole.
create table if not exists main.build (
    run_id varchar not null,
    because varchar,                -- why it built the whole; null: it did with a slice (assets/models/slice.py)
    touched bigint not null,        -- contacts and records that pulls brought something of
    reached bigint not null,        -- these and all to whom they lead, e-mails counted, too
    known bigint not null           -- contacts and records there are
);

-- One row: a finding that a proven run has seen, with what it said last. Nothing is ever removed.
create table if not exists main.ledger (
    fingerprint varchar, suite varchar, check_name varchar, severity varchar, basis varchar,
    hubspot_contact_id varchar, salesforce_id varchar, rival_ids varchar[], email varchar, reason varchar,
    fields_at_risk varchar[], action varchar, blast_radius bigint,
    first_seen_at timestamp not null, last_seen_at timestamp not null, resolved_at timestamp,
    hubspot_url varchar, salesforce_url varchar,
    subject varchar, status varchar, open_since timestamp, waiver_lapsed varchar, reason_de varchar, action_de varchar, open_run_no bigint,
    harm varchar, deadline_at timestamp, urgency varchar, resolved_by varchar, facts map(varchar, varchar)
);

-- One row: something that happened to a finding in a proven run (the columns of review.finding_event). Nothing is ever removed.
create table if not exists main.finding_event (
    run_id varchar not null, happened_at timestamp not null, fingerprint varchar not null, check_name varchar not null, event varchar not null, detail varchar
);

-- One row: what a proven run said of a row of a merge plan, when it was new or another than before (the columns of review.planned_merge_event).
-- Nothing is ever removed.
create table if not exists main.planned_merge_event (
    run_id varchar not null, happened_at timestamp not null, plan varchar not null, row_no bigint not null, master_id varchar, loser_id varchar,
    verdict varchar not null, result varchar, hubspot_contact_id varchar, bound_id varchar, lost_fields varchar[]
);

-- One row: a check in a run, and what the gate said of it.
create table if not exists main.check_run (
    run_id varchar not null, suite varchar not null, check_name varchar not null,
    state varchar not null,         -- holds, violated, not_evaluated
    severity varchar not null,      -- of the worst finding; the check's default where it holds
    findings bigint not null,       -- open ones
    findings_new bigint not null    -- new, reopened or worse since the last proven run
);

-- One row, while fail_on = "new": what was open since that run or longer does not fail the run.
create table if not exists main.baseline (set_at timestamp not null, run_id varchar not null, run_no bigint not null);

-- One row: a loser of a merge plan that lies in the home's folder merge-plans. Replaced at every run, so that nothing is lost when its columns change.
create or replace table main.merge_plan (
    plan varchar not null, row_no bigint not null,   -- from 1; 0: what lies there cannot be read as a plan
    master_id varchar, loser_id varchar,             -- 18 characters; as written where they are malformed
    group_id varchar,                -- the records that the plan wants to be one, named by the least of their ids
    is_circular boolean not null,    -- the plan leads from the loser back to it
    gone_in_row bigint,              -- the row before that merges one of the two away
    problem varchar,                 -- why the file cannot be read
    problem_de varchar,              -- the same in German
    could_be_plan boolean           -- of such a file: somebody may take it for a plan; false: a picture, a note
);

-- One row: a finding that somebody acknowledged, waived or accepted. Replaced at every run from the decisions store.
create table if not exists main.decision (
    fingerprint varchar not null,
    status varchar,                 -- acknowledged, waived, accepted; null where nothing but single properties was accepted
    waived_until timestamp,
    accepted_properties varchar[]   -- of these it is accepted what is there now, whatever else was decided
);

-- One row: a problem (see subject in review.finding) that somebody takes care of. Replaced at every run from the decisions store.
create table if not exists main.assignment (subject varchar not null, owner varchar not null);

-- One row: how many decisions the store held when a run last read them. They only grow, so fewer means that some were lost.
create table if not exists main.decisions_seen (decisions bigint not null);

-- One row: what the last proven run predicted for a contact. Left out: contacts whose bound record is their only candidate, for whom
-- every policy says keep. The columns that policies need are those of core.choice.
create table if not exists main.prediction (
    run_id varchar not null,
    predicted_at timestamp not null,    -- the latest stamp that the run had seen, by the clocks of the CRMs
    hubspot_contact_id varchar not null, bound_id varchar, prediction varchar not null, predicted_id varchar, rule integer not null,
    basis varchar not null, confidence varchar not null, candidate_ids varchar[] not null,
    first_by map(varchar, varchar), newest_by map(varchar, varchar[])
);

-- One row: a proven run and a policy: how the predictions of the run before turned out.
create table if not exists main.prediction_tally (
    run_id varchar not null, policy varchar not null, predictions bigint not null, hits bigint not null, ambiguous bigint not null
);

-- One row: a field of which Salesforce's history was read, of anybody: what it does not tell of these did not happen.
create or replace view main.tracked_field as
select distinct object_type, field from raw.salesforce_field_history;

-- One row: the run that is going on, its number, and the moment that it measures everything against: the later of what the CRMs' own clocks said last,
-- else when the run began by this machine. Tables that are built without a pull are as of the pulls that they are built from.
create or replace view main.run_clock as
select
    run.run_id,
    coalesce(
        (select run_no from main.run as closed where closed.run_id = run.run_id),
        (select max(run_no) from main.run) + 1,
        1) as run_no,
    coalesce(
        (select max(theirs) from main.crm_clock as clock where clock.run_id = run.run_id),
        (select max(theirs) from main.crm_clock where not exists (select 1 from raw.pull as pull where pull.run_id = run.run_id)),
        run.started_at) as as_of
from main.current_run as run;

-- One row: a CRM whose clock says in this run that it is before the last proven run, unless a person accepted that it was wrong then. Less than 5 minutes
-- may be the distance of two honest clocks, of which as_of is the later one.
create or replace view main.clock_went_back as
select clock.source, clock.theirs, proven.as_of, proven.run_no
from main.crm_clock as clock
inner join main.current_run as run on run.run_id = clock.run_id
cross join (
    select max(run_no) as run_no, max_by(as_of, run_no) as as_of
    from main.run
    where verdict in ('pass', 'fail') and run_no > coalesce((select max(run_no) from main.accepted_clock), 0)
) as proven
where clock.theirs < proven.as_of - interval 5 minute;

-- One row: how many records are missing with a person's consent, by name and kind. It holds until all of them were listed once: from then on those
-- that are gone are known to be. Those that came back meanwhile are no longer missing.
create or replace view main.shrink_in_force as
select
    accepted.name, accepted.kind,
    max_by(
        least(accepted.known - accepted.counted, greatest(accepted.known - coalesce(regained.counted, accepted.counted), 0)), accepted.accepted_at) as missing
from main.accepted_shrink as accepted
left join main.shrink_regained as regained on regained.name = accepted.name and regained.kind = accepted.kind
where accepted.kind not in ('records', 'members')
   or not exists (
       select 1
       from raw.pull as pull
       where pull.complete and pull.pull_no > accepted.pull_no and pull.mode in ('full', 'ids')
         and pull.source || '.' || replace(pull.object, '_ids', '') = accepted.name)
group by accepted.name, accepted.kind;
