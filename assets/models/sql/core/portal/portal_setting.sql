-- One row: a setting of the policy, as the last full run found it: what bindwatch.toml said then, beside what a sample of both CRMs said. Increments leave it
-- as it is. What an unproven run saw counts in that run alone.
--
-- setting: a key of [policy], or mapping.<property> (which fields) and mapping.<property>.rule
-- configured: what the policy said; null where it names nothing; none where it maps the property to nothing
-- found: what the data say; null where they do not tell, or, where that is certain, that nothing is mapped
-- certain: enough cases speak for it, and almost none against
-- cases_for: cases that speak for it; of a mapped field, pairs with the same value on both sides
-- cases_against: cases that speak against it
-- is_contradiction: what was found is certain, and the policy had it otherwise
-- is_repeated: the look before said so, too
-- looked_at: when the sample was taken, by the clocks of the CRMs
-- contacts: how many contacts it held
-- position: the order in which settings are told
-- due: never, a look that comes is another content of raw.portal_look; what an unproven run saw ends with the next one, which builds this anew
create or replace table core.portal_setting as
with looked as (
    select look.run_id, look.taken_at, look.contacts, row_number() over (order by coalesce(proven.run_no, run_clock.run_no) desc) as place
    from raw.portal_look as look
    left join main.run as proven on proven.run_id = look.run_id and proven.verdict in ('pass', 'fail')
    left join main.run_clock as run_clock on run_clock.run_id = look.run_id
    where proven.run_id is not null or run_clock.run_id is not null
)
select
    seen.setting, seen.configured, seen.found, seen.certain, seen.cases_for, seen.cases_against, seen.is_contradiction,
    seen.is_contradiction and coalesce(before.is_contradiction, false) as is_repeated,
    looked.taken_at as looked_at, looked.contacts, seen.position
from looked
inner join raw.portal_setting as seen on seen.run_id = looked.run_id
left join looked as former on former.place = 2
left join raw.portal_setting as before on before.run_id = former.run_id and before.setting = seen.setting
where looked.place = 1;
