-- One row: a value that came with a change of the bound record (core.replaced_value), and where it comes from ("Who wrote a value, and by whom did it
-- jump?" in docs/prediction.md). What a record held at the contact's last sync before the change (core.jump.settled_at), nobody corrected: it is foreign. What
-- somebody wrote into it after that brought the change about: it is typed. In doubt it is unclear.
-- Where Salesforce tracks the field, its history decides; otherwise the versions that were pulled do.
--
-- hubspot_contact_id: the contact
-- switched_at: when the new id was written
-- property: the property
-- was_cleared: as in core.replaced_value
-- source: typed, foreign or unclear
-- by_user_id: who typed it, by Salesforce's field history; null where that does not tell
-- typed_at: when, or, where only the versions tell, at the latest when
-- slice: hubspot_contact_id
-- due: never, of the pulls it reads only those that brought a version
create or replace table core.value_origin as
with value as (
    select
        replaced.hubspot_contact_id, replaced.switched_at, replaced.property, replaced.was_cleared, replaced.to_id, replaced.value_after,
        jump.settled_at, jump.created_at, jump.created_by_id, jump.creation, jump.history_is_read,
        field.object_type, field.salesforce_field, field.kind, field.hubspot_labels, field.salesforce_labels
    from core.replaced_value as replaced
    inner join core.jump as jump
        on jump.hubspot_contact_id = replaced.hubspot_contact_id and jump.changed_at = replaced.switched_at and jump.to_id = replaced.to_id
    left join core.mapped_field as field on field.property = replaced.property and field.object_type = main.object_of(null, replaced.to_id)
),
held as (
    -- what the record held, by version and, between the last sync and the change, by its field history
    select
        value.*, 'version' as evidence, version.modified_at as stamp, version.last_modified_by_id as user_id, version.pull_no,
        coalesce(pull.crm_time, pull.started_at) as pulled_at,
        case when value.salesforce_field = 'OwnerId' and version.fields['OwnerId'] is null then version.owner_id else version.fields[value.salesforce_field] end
            as held
    from value
    inner join (
        select record_id, modified_at, last_modified_by_id, owner_id, fields, pull_no
        from staging.salesforce_version
        where record_id in (select to_id from value)
    ) as version on version.record_id = value.to_id
    left join raw.pull as pull on pull.pull_no = version.pull_no
    union all
    select value.*, 'history', change.changed_at, change.changed_by_id, null, null, change.new_value
    from value
    inner join raw.salesforce_field_history as change
        on change.record_id = value.to_id and change.changed_at > value.settled_at and change.changed_at <= value.switched_at
        and change.field = case when value.salesforce_field = 'OwnerId' then 'Owner' else value.salesforce_field end
),
compared as (
    select
        *,
        main.is_blank(held) as is_blank,
        case
            when main.is_blank(value_after) then main.is_blank(held)
            else main.same_value(value_after, held, kind, hubspot_labels, salesforce_labels)
        end as is_same,
        user_id is distinct from (select integration_user_id from main.policy) and user_id is not null as is_by_somebody,
        coalesce(stamp <= created_at + interval 10 minute and user_id = created_by_id, false) as is_as_created
    from held
),
settled as (
    select
        hubspot_contact_id, switched_at, property, was_cleared,
        max_by(is_same, (stamp, pull_no)) filter (where evidence = 'version' and stamp <= settled_at) as was_there,
        max_by(is_blank, (stamp, pull_no)) filter (where evidence = 'version' and stamp <= settled_at) as was_blank,
        max_by(pull_no, (stamp, pull_no)) filter (where evidence = 'version' and stamp <= settled_at) as base_no,
        max(pull_no) filter (where evidence = 'version' and pulled_at > settled_at and pulled_at <= switched_at and not is_same) as other_no,
        coalesce(bool_or(not is_blank) filter (where evidence = 'version' and pulled_at > settled_at and pulled_at <= switched_at and not is_same), false)
            as other_is_filled,
        count(*) filter (where evidence = 'history') as changes,
        max(stamp) filter (where evidence = 'history' and is_same and is_by_somebody) as traced_at,
        max_by(user_id, (stamp, user_id)) filter (where evidence = 'history' and is_same and is_by_somebody) as traced_user_id,
        -- of a record that was created since the last sync: the first version that was as it had been created, and the first that somebody wrote later
        min(pull_no) filter (where evidence = 'version' and is_same and is_as_created) as made_no,
        min(pull_no) filter (where evidence = 'version' and is_same and is_by_somebody and not is_as_created and stamp <= switched_at) as rewritten_no
    from compared
    group by hubspot_contact_id, switched_at, property, was_cleared
),
merged as (
    -- records that were merged into another one: when, and from which pull on that is known
    select merged_into_id as record_id, modified_at as merged_at, min(pull_no) as pull_no
    from staging.salesforce_version
    where merged_into_id in (select to_id from value)
    group by merged_into_id, modified_at
),
first_with as (
    -- the first version that holds it, after one that did not
    select
        compared.hubspot_contact_id, compared.switched_at, compared.property, compared.was_cleared,
        any_value(settled.prior_no) as prior_no,
        min_by(compared.stamp, compared.pull_no) as stamp,
        min_by(compared.is_by_somebody, compared.pull_no) as is_by_somebody
    from compared
    inner join (
        select *, greatest(case when not was_there then base_no end, other_no) as prior_no from settled
    ) as settled
        on settled.hubspot_contact_id = compared.hubspot_contact_id and settled.switched_at = compared.switched_at
        and settled.property = compared.property and settled.was_cleared = compared.was_cleared
        and compared.pull_no > settled.prior_no
    where compared.evidence = 'version' and compared.is_same
    group by compared.hubspot_contact_id, compared.switched_at, compared.property, compared.was_cleared
),
judged as (
    select
        value.*,
        settled.traced_at,
        settled.traced_user_id,
        settled.changes,
        -- the creation itself made the contact jump, or the value was there from the start; an edit of the new record is somebody's correction
        case
            when value.history_is_read and tracked.field is not null then settled.traced_at is null
            when settled.made_no is not null then coalesce(settled.other_no < settled.made_no, true)
            when settled.rewritten_no is not null then false
            else value.switched_at <= value.created_at + to_minutes(policy.settle_minutes)
        end as is_as_imported,
        coalesce(settled.was_there, false) as was_there,
        value.history_is_read and tracked.field is not null and value.created_at <= value.settled_at as is_tracked,
        coalesce(
            first_with.is_by_somebody and value.created_at <= value.settled_at
            and (
                settled.other_is_filled
                -- a merge before the last sync may have brought it, unseen until an edit after that
                or (not brought_by_merge
                    and ((not settled.was_there and not settled.was_blank)
                        or (first_with.stamp > value.settled_at and first_with.stamp <= value.switched_at)))),
            false) as was_typed,
        first_with.stamp as first_at
    from value
    left join settled
        on settled.hubspot_contact_id = value.hubspot_contact_id and settled.switched_at = value.switched_at
        and settled.property = value.property and settled.was_cleared = value.was_cleared
    left join first_with
        on first_with.hubspot_contact_id = value.hubspot_contact_id and first_with.switched_at = value.switched_at
        and first_with.property = value.property and first_with.was_cleared = value.was_cleared
    cross join lateral (
        select count(*) > 0 as brought_by_merge
        from merged
        where merged.record_id = value.to_id and merged.merged_at <= value.settled_at and merged.pull_no > first_with.prior_no
    ) as merge
    left join main.tracked_field as tracked
        on tracked.object_type = value.object_type
        and tracked.field = case when value.salesforce_field = 'OwnerId' then 'Owner' else value.salesforce_field end
    cross join main.policy as policy
),
told as (
    select
        *,
        case
            when settled_at is null or salesforce_field is null then 'unclear'
            -- a record that was created since the last sync corrects nobody
            when creation = 'import' and is_as_imported then 'foreign'
            when creation is not null then 'unclear'
            when is_tracked and changes = 0 then 'foreign'
            when (traced_at is not null or (was_typed and not is_tracked)) and was_there then 'unclear'
            when (traced_at is not null and created_at <= settled_at) or (was_typed and not is_tracked) then 'typed'
            when was_there then 'foreign'
            else 'unclear'
        end as source
    from judged
)
select
    hubspot_contact_id,
    switched_at,
    property,
    was_cleared,
    source,
    -- a version names its last editor, who need not have written this value: automation may have touched the record since
    case when source = 'typed' then traced_user_id end as by_user_id,
    case when source = 'typed' then coalesce(traced_at, case when first_at <= switched_at then first_at end) end as typed_at
from told;
