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
--
-- says unlisted: HubSpot maps {name} to {found} ({for:number} of {cases:number} pairs hold the same value). bindwatch.toml does not compare it.
-- says.de unlisted: HubSpot ordnet {name} dem Feld {found} zu (in {for:number} von {cases:number} Paaren steht derselbe Wert). In bindwatch.toml wird sie nicht
--   verglichen.
-- do unlisted: Look at it with `bindwatch connect`, then let it change the policy with `bindwatch connect --write`. Is the policy right, set it
--   back in HubSpot.
-- do.de unlisted: Mit `bindwatch connect` ansehen, dann mit `bindwatch connect --write` die Policy ändern lassen. Ist die Policy richtig, es in
--   HubSpot zurückstellen.
-- says unmapped: bindwatch.toml maps {name} to {configured}. On {against|1: 1 contact|{against:number} contacts} with a value none ever came from
--   Salesforce or went there.
-- says.de unmapped: bindwatch.toml ordnet {name} dem Feld {configured} zu. Bei {against|1: 1 Kontakt|{against:number} Kontakten} mit einem Wert kam nie
--   einer aus Salesforce oder ging dorthin.
-- do unmapped: Look at it with `bindwatch connect`, then let it change the policy with `bindwatch connect --write`. Is the policy right, set it
--   back in HubSpot.
-- do.de unmapped: Mit `bindwatch connect` ansehen, dann mit `bindwatch connect --write` die Policy ändern lassen. Ist die Policy richtig, es in
--   HubSpot zurückstellen.
-- says fields: bindwatch.toml maps {name} to {configured}, the data say {found} ({for:number} of {cases:number} pairs hold the same value).
-- says.de fields: bindwatch.toml ordnet {name} dem Feld {configured} zu, die Daten sagen {found} (in {for:number} von {cases:number} Paaren steht derselbe
--   Wert).
-- do fields: Look at it with `bindwatch connect`, then let it change the policy with `bindwatch connect --write`. Is the policy right, set it
--   back in HubSpot.
-- do.de fields: Mit `bindwatch connect` ansehen, dann mit `bindwatch connect --write` die Policy ändern lassen. Ist die Policy richtig, es in
--   HubSpot zurückstellen.
-- says rule: The rule of {name} is [{configured}|not there] in bindwatch.toml, the data say {found} ({for|1: 1 case|{for:number} cases} for it,
--   {against:number} against).
-- says.de rule: Die Regel von {name} ist in bindwatch.toml [{configured}|nicht da], die Daten sagen {found} ({for|1: 1 Fall|{for:number} Fälle} dafür,
--   {against:number} dagegen).
-- do rule: Look at it with `bindwatch connect`, then let it change the policy with `bindwatch connect --write`. Is the policy right, set it
--   back in HubSpot.
-- do.de rule: Mit `bindwatch connect` ansehen, dann mit `bindwatch connect --write` die Policy ändern lassen. Ist die Policy richtig, es in
--   HubSpot zurückstellen.
-- says knob: {name} is [{configured}|not set] in bindwatch.toml, the data say [{found}|nothing] ({for|1: 1 case|{for:number} cases} for it,
--   {against:number} against).
-- says.de knob: {name} ist in bindwatch.toml [{configured}|nicht gesetzt], die Daten sagen [{found}|nichts] ({for|1: 1 Fall|{for:number} Fälle} dafür,
--   {against:number} dagegen).
-- do knob: Look at it with `bindwatch connect`, then let it change the policy with `bindwatch connect --write`. Is the policy right, set it
--   back in HubSpot.
-- do.de knob: Mit `bindwatch connect` ansehen, dann mit `bindwatch connect --write` die Policy ändern lassen. Ist die Policy richtig, es in
--   HubSpot zurückstellen.
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
    kind as says,
    map {
        'name': name, 'configured': configured, 'found': found, 'for': cast(cases_for as varchar), 'against': cast(cases_against as varchar),
        'cases': cast(cases_for + cases_against as varchar)
    } as facts,
    setting || '|' || coalesce(configured, '') || '|' || coalesce(found, '') as identity
from drifted;
