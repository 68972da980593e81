-- The portal is set up otherwise than bindwatch.toml says.
--
-- severity: warn
-- basis: observed
-- harm: drift
-- on: core/portal_setting
--
-- Fails when two full runs in a row found, each in a sample of its own, that a setting is certainly otherwise: a mapped field that is not listed, one that is
-- listed and not mapped, another field or rule, another integration user, what happens on deletion, opt-outs. One finding for each setting, until the next
-- full run that sees it otherwise.
-- Why: whoever changes a mapping in HubSpot tells nobody. From then on Bindwatch compares the wrong fields and foretells by the wrong rule.
-- Otherwise: values are lost in fields that nobody watches, and warnings name fields that are in no danger.
-- Rests on: what both CRMs say (docs/connecting.md, What the portal tells).
-- Not: what the data do not tell for certain; a difference that one full run alone has seen.
-- Steward: `bindwatch connect` shows the cases and what it would change; `bindwatch connect --write` changes it. Is the file right and HubSpot wrong, set it
-- back in HubSpot.
--
-- Auf Deutsch: Das Portal ist anders eingerichtet, als bindwatch.toml sagt.
-- Warum: Wer in HubSpot eine Zuordnung ändert, sagt es niemandem. Von da an vergleicht Bindwatch die falschen Felder und sagt nach der falschen Regel vorher.
-- Sonst: In Feldern, auf die niemand achtet, gehen Werte verloren, und gewarnt wird vor Feldern, denen nichts droht.
with drifted as (
    select
        *,
        case
            when setting not like 'mapping.%' then 'knob'
            when setting like '%.rule' then 'rule'
            when found is null then 'unmapped'
            when configured is null or configured = 'none' then 'unlisted'
            else 'fields'
        end as kind,
        regexp_replace(regexp_replace(setting, '^mapping\.', ''), '\.rule$', '') as name
    from core.portal_setting
    where is_repeated
)
select
    case kind
        when 'unlisted' then format('HubSpot maps {} to {} ({} of {} pairs hold the same value). bindwatch.toml does not compare it.',
            name, found, cases_for, cases_for + cases_against)
        when 'unmapped' then format('bindwatch.toml maps {} to {}. On {} contacts that have a value none ever came from Salesforce or went there.',
            name, configured, cases_against)
        when 'fields' then format('bindwatch.toml maps {} to {}, the data say {} ({} of {} pairs hold the same value).',
            name, configured, found, cases_for, cases_for + cases_against)
        when 'rule' then format('The rule of {} is {} in bindwatch.toml, the data say {} ({} cases for it, {} against).',
            name, coalesce(configured, 'not there'), found, cases_for, cases_against)
        else format('{} is {} in bindwatch.toml, the data say {} ({} cases for it, {} against).',
            name, coalesce(configured, 'not set'), coalesce(found, 'nothing'), cases_for, cases_against)
    end as reason,
    'Look at it with `bindwatch connect`, then let it change the policy with `bindwatch connect --write`. Is the policy right, set it back in HubSpot.' as action,
    case kind
        when 'unlisted' then format('HubSpot ordnet {} dem Feld {} zu (in {} von {} Paaren steht derselbe Wert). In bindwatch.toml wird sie nicht verglichen.',
            name, found, cases_for, cases_for + cases_against)
        when 'unmapped' then format('bindwatch.toml ordnet {} dem Feld {} zu. Bei {} Kontakten mit einem Wert kam nie einer aus Salesforce oder ging dorthin.',
            name, configured, cases_against)
        when 'fields' then format('bindwatch.toml ordnet {} dem Feld {} zu, die Daten sagen {} (in {} von {} Paaren steht derselbe Wert).',
            name, configured, found, cases_for, cases_for + cases_against)
        when 'rule' then format('Die Regel von {} ist in bindwatch.toml {}, die Daten sagen {} ({} Fälle dafür, {} dagegen).',
            name, coalesce(configured, 'nicht da'), found, cases_for, cases_against)
        else format('{} ist in bindwatch.toml {}, die Daten sagen {} ({} Fälle dafür, {} dagegen).',
            name, coalesce(configured, 'nicht gesetzt'), coalesce(found, 'nichts'), cases_for, cases_against)
    end as reason_de,
    'Mit `bindwatch connect` ansehen, dann mit `bindwatch connect --write` die Policy ändern lassen. Ist die Policy richtig, es in HubSpot zurückstellen.' as action_de,
    setting || '|' || coalesce(configured, '') || '|' || coalesce(found, '') as facts
from drifted;
