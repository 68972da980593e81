-- One row: a value that a knob of the policy may have, and what it means.
-- A value that nothing is said of in raw/macros.sql ends the build, whether it is in force or not; so does a knob that is missing here. Models that ask for
-- the meaning of a value need not look whether there is one.
--
-- knob: its name in bindwatch.toml
-- value: one of the values that assets/policy.py lets through
-- meaning: what the models make of it, as text
create or replace table staging.knob_value as
select knob, value, coalesce(meaning, error(format('{} = {} has no meaning in assets/models/sql/raw/macros.sql', knob, value))) as meaning
from (
    select
        *,
        case knob
            when 'policy.first_sync' then
                case when value = 'unknown' then 'none' else cast(main.first_sync_order(value, 'Lead', timestamp 'epoch') as varchar) end
            when 'policy.follow_up' then cast(main.follows_edits(value) as varchar)
            when 'policy.recency' then main.recency_stamp(value, 'SystemModstamp', 'LastModifiedDate')
            when 'policy.create_object' then main.created_object(value)
            when 'policy.on_lead_deleted' then cast(main.goes_along(value) as varchar)
            when 'policy.on_contact_deleted' then cast(main.goes_along(value) as varchar)
            when 'policy.blank_on_switch' then cast(main.blank_clears(value) as varchar)
            when 'policy.opt_out' then cast(main.only_opts_out(value) as varchar)
            when 'policy.objects' then main.prefix_of(value)
            when 'mapping.rule' then cast(main.mapping_rule(value) as varchar)
            when 'mapping.consent' then cast(main.consent_rule(value) as varchar)
        end as meaning
    from main.knob_value
) as told;
