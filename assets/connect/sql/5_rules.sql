-- What is mapped, and by which rule.

-- One row: a property and its field of one object. Mapped is what the integration wrote (was_written), or what was there before it made a record of it; the
-- other object's field of the same name goes along where its pairs say the same. Enough are five pairs that tell, with at most a tenth against.
create or replace table found.side as
with written as (
    select property, object_type, count(*) filter (where was_written) as was_written from found.held group by property, object_type
),
judged as (
    select
        best.*, written.was_written, candidate.versions,
        best.equal_telling >= 5 and best.equal_telling >= 0.9 * best.telling
            and (best.margin >= greatest(3, 0.02 * best.equal)
                 or (best.named > best.rival_named and best.named >= 3)
                 or (best.named > best.rival_named and best.named = 2 and (best.is_writable or not best.rival_is_writable))
                 or (best.margin = 0 and best.is_writable and not best.rival_is_writable and best.named >= best.rival_named)
                 or (best.unfilled = 0 and best.rival_unfilled >= 5)) as is_sure,
        -- all pairs hold the same value, and the name says which field it is
        (best.equal >= 5 and best.equal >= 0.98 * best.pairs and best.named >= 3 and best.named > best.rival_named)
            or (best.property = 'hs_email_optout' and best.named = 4) as is_sure_by_name,
        (best.equal_telling >= 0.6 * best.telling and best.equal >= 0.6 * best.pairs
            and (best.equal_telling >= 5 or best.named >= 2) and (best.equal_telling > 0 or best.named >= 3))
            or (best.property = 'hs_email_optout' and best.named = 4) as is_like
    from found.best as best
    inner join written on written.property = best.property and written.object_type = best.object_type
    inner join found.candidate as candidate on candidate.property = best.property
),
sided as (
    select
        *,
        case
            when versions > 0 and was_written > 0 and is_like then 'history'
            when versions = 0 and by_integration >= 5 and different >= 3 and is_sure then 'values'
        end as said_by
    from judged
),
chosen as (
    select *, false as follows from sided where said_by is not null
    union all
    -- never written by the integration while bound to this object, and equal in pair after pair under the same name
    select sided.* replace ('history' as said_by), true
    from sided
    inner join sided as other
        on other.property = sided.property and other.object_type <> sided.object_type and other.said_by is not null and other.is_sure
    where sided.said_by is null and sided.is_sure and sided.versions > 0 and (sided.field = other.field or sided.named >= 3)
),
claimed as (
    -- a field belongs to one property: to the one that the integration writes, and of two of these to the one that is named like it
    select
        *,
        row_number() over (partition by object_type, field order by said_by = 'history' desc, named desc, equal_telling desc, property) as claim,
        max(named) over (partition by object_type, field) as best_named,
        count(*) filter (where said_by = 'history') over (partition by object_type, field) as written_claims
    from chosen
)
select
    property, object_type, field, kind, is_writable, said_by, pairs, equal, telling, equal_telling, named, claim = 1 and named > rival_named as is_first,
    (is_sure or is_sure_by_name) and (claim = 1 or named > 0) and (written_claims <= 1 or named = best_named) as certain
from claimed
where claim = 1 or said_by = 'history';

-- One row: an entry of a property's history, with those beside it. was: the value before; came: the one after.
create or replace table found.edit as
with kind as (select property, any_value(kind) as kind from found.side group by property),
version as (
    select version.contact_id, version.property, version.number, main.canonical(version.value, kind.kind) as value, version.moment, version.source
    from sample.version as version
    inner join kind on kind.property = version.property
)
select
    *,
    lag(value) over history as was, lag(source) over history as was_by, lag(moment) over history as was_at,
    lead(value) over history as came, lead(source) over history as came_by, lead(moment) over history as came_at,
    list(value) over (partition by contact_id, property order by number rows between unbounded preceding and 1 preceding) as before,
    bool_or(source = 'SALESFORCE' and value <> '') over (partition by contact_id, property) as ever_written
from version
window history as (partition by contact_id, property order by number);

-- One row: a case that speaks for a rule. what: back (a HubSpot edit that the integration set back), reached (one that reached a filled Salesforce field),
-- filled (a blank Salesforce field that it filled), stayed (one that stayed blank beside HubSpot's value).
create or replace table found.rule_case as
with own as (
    select contact_id, record_id, max(moment) as moment from found.own_write where how = 'modified' group by contact_id, record_id
),
own_edit as (
    select edit.*, pair.record_id, pair.object_type, pair.bound_since, pair.is_first, pair.last_sync_at, side.field, side.is_writable, side.kind
    from found.edit as edit
    inner join sample.pair as pair on pair.contact_id = edit.contact_id
    inner join found.side as side on side.property = edit.property and side.object_type = pair.object_type
    where edit.came is null and edit.source not like 'MERGE%' and edit.source <> 'SALESFORCE' and edit.value <> ''
)
select distinct edit.contact_id, edit.property, 'back' as what, edit.moment
from found.edit as edit
where edit.source <> 'SALESFORCE' and edit.source not like 'MERGE%' and edit.value <> ''
  and edit.came_by = 'SALESFORCE' and edit.came <> '' and edit.came <> edit.value and list_contains(edit.before, edit.came)
  and edit.came_at <= edit.moment + interval 1 hour
  and not exists (
      from sample.binding_change as change
      where change.contact_id = edit.contact_id and change.moment between edit.moment and edit.came_at + main.one_write())
union all
select edit.contact_id, edit.property, 'reached', edit.moment
from own_edit as edit
inner join found.equal as equal on equal.contact_id = edit.contact_id and equal.property = edit.property and equal.field = edit.field
inner join own on own.contact_id = edit.contact_id and own.record_id = edit.record_id
where edit.moment > edit.bound_since and edit.was <> '' and edit.was <> edit.value
  and (edit.was_by = 'SALESFORCE' or edit.was_at <= edit.bound_since)
  and own.moment between edit.moment - interval 1 second and edit.moment + interval 1 hour
union all
select edit.contact_id, edit.property, 'filled', edit.moment
from own_edit as edit
inner join found.equal as equal on equal.contact_id = edit.contact_id and equal.property = edit.property and equal.field = edit.field
inner join own on own.contact_id = edit.contact_id and own.record_id = edit.record_id
where edit.moment > edit.bound_since and coalesce(edit.was, '') = '' and not edit.ever_written and edit.kind <> 'boolean'
  and own.moment between edit.moment - interval 1 second and edit.moment + interval 1 hour
union all
select edit.contact_id, edit.property, 'stayed', edit.moment
from own_edit as edit
anti join sample.field_value as value on value.record_id = edit.record_id and value.field = edit.field
where edit.is_writable and edit.kind <> 'boolean' and edit.last_sync_at > greatest(edit.moment, edit.bound_since)
  and (edit.moment >= edit.bound_since or edit.is_first);

-- One row: a mapped property whose name speaks of consent. says: opted_out where a yes means that the person may not be written to, else opted_in.
create or replace table found.consent_name as
with named as (
    select property, lower(concat_ws(' ', property, string_agg(field, ' ' order by object_type desc))) as names from found.side group by property
)
select
    property,
    case
        when property = 'hs_email_optout'
          or regexp_matches(names, 'opt(ed)?_?out|unsubscri|do_?not_?(call|mail|email|contact)|no_(marketing|mail|email|newsletter|contact|call)')
              then 'opted_out'
        when regexp_matches(names, 'opt(ed)?_?in|consent|einwilligung|subscribe|permission|newsletter(__c)?( |$)|marketing_allowed') then 'opted_in'
    end as says
from named
where says is not null;

-- One row: such a property that is a pick list, and what its values say, as far as their words or their labels do: both must be there, and be chosen.
create or replace table found.consent_values as
with word as (
    select unnest([
        'granted', 'given', 'allowed', 'accepted', 'agreed', 'confirmed', 'consented', 'subscribed', 'consent given', 'consent granted', 'permission granted',
        'opt in', 'opted in', 'double opt in', 'erteilt', 'zugestimmt', 'eingewilligt', 'einwilligung erteilt', 'bestätigt',
        'angemeldet']) as text, 'granted' as says
    union all
    select unnest([
        'denied', 'refused', 'declined', 'rejected', 'withdrawn', 'revoked', 'unsubscribed', 'not granted', 'not given', 'not allowed', 'consent withdrawn',
        'consent denied', 'opt out', 'opted out', 'verweigert', 'abgelehnt', 'widerrufen', 'nicht erteilt', 'einwilligung widerrufen', 'abgemeldet']), 'denied'
),
-- a yes says what the name asks
answered as (
    select property, unnest(['yes', 'ja']) as text, case says when 'opted_in' then 'granted' else 'denied' end as says from found.consent_name
    union all
    select property, unnest(['no', 'nein']), case says when 'opted_in' then 'denied' else 'granted' end from found.consent_name
),
listed as (
    select kind.property, unnest(map_entries(kind.hubspot_labels)) as entry, kind.kind
    from found.kind as kind semi join found.side as side on side.property = kind.property and side.object_type = kind.object_type and side.field = kind.field
    union all
    select kind.property, unnest(map_entries(kind.salesforce_labels)), kind.kind
    from found.kind as kind semi join found.side as side on side.property = kind.property and side.object_type = kind.object_type and side.field = kind.field
),
option as (
    select distinct listed.property, listed.entry.key as value, told.says
    from listed
    semi join found.consent_name as name on name.property = listed.property
    cross join lateral (select unnest([listed.entry.key, listed.entry.value]) as text) as written
    inner join (
        select name.property, word.text, word.says from word cross join found.consent_name as name
        union all
        select property, text, says from answered
    ) as told on told.property = listed.property and told.text = trim(regexp_replace(lower(written.text), '[-_ ]+', ' ', 'g'))
    where listed.kind = 'picklist'
),
plain as (  -- a value that says both says nothing
    select property, value, any_value(says) as says from option group by property, value having count(distinct says) = 1
)
select
    plain.property,
    list(plain.value order by plain.value) filter (where says = 'granted') as granted,
    list(plain.value order by plain.value) filter (where says = 'denied') as denied
from plain
where (select count(*) from found.held as held
       where held.property = plain.property
         and held.value in (select chosen.value from plain as chosen where chosen.property = plain.property)) >= 5
group by plain.property
having count(*) filter (where says = 'granted') > 0 and count(*) filter (where says = 'denied') > 0;

-- One row: a mapped property. rule: null where its cases do not tell.
create or replace table found.mapping as
with cases as (
    select
        property,
        count(*) filter (where what = 'back') as back, count(*) filter (where what = 'reached') as reached,
        count(*) filter (where what = 'filled') as filled, count(*) filter (where what = 'stayed') as stayed
    from found.rule_case
    group by property
),
told as (
    select
        side.property,
        any_value(side.field) filter (where side.object_type = 'Lead') as lead,
        any_value(side.field) filter (where side.object_type = 'Contact') as contact,
        -- few pairs of each object, which say the same of two fields named like the property
        coalesce(sum(side.telling) >= 5 and sum(side.equal_telling) >= 0.9 * sum(side.telling) and min(side.named) >= 3 and bool_and(side.is_first), false)
            as is_sure_together,
        coalesce(bool_or(side.certain) filter (where side.object_type = 'Lead'), false) or is_sure_together as lead_certain,
        coalesce(bool_or(side.certain) filter (where side.object_type = 'Contact'), false) or is_sure_together as contact_certain,
        (bool_and(side.certain or side.telling < 5) and bool_or(side.certain)) or is_sure_together as certain,
        max(side.said_by = 'history') as is_written,
        bool_or(side.telling >= 5) as is_told,
        min(side.named) >= 4 as is_standard,
        sum(side.pairs) as pairs, sum(side.equal) as equal,
        any_value(side.kind) as kind
    from found.side as side
    group by side.property
),
ruled as (
    select
        told.*,
        coalesce(back, 0) as back, coalesce(reached, 0) as reached, coalesce(filled, 0) as filled, coalesce(stayed, 0) as stayed,
        case
            when told.property = 'salesforceownerid' then 'two_way'  -- in every portal, whatever is shown (rule 26)
            when told.property in ('hs_email_optout', 'email', 'salesforceaccountid') then null  -- they follow rules of their own
            when reached >= 5 and back <= 0.1 * (reached + back) then 'two_way'
            when back >= 5 and reached <= 0.1 * (reached + back) and filled >= 5 and stayed <= 0.1 * (filled + stayed) then 'prefer_salesforce'
            when back >= 5 and reached <= 0.1 * (reached + back) and stayed >= 5 and filled <= 0.1 * (filled + stayed) then 'always_salesforce'
        end as rule
    from told
    left join cases on cases.property = told.property
)
select
    ruled.*,
    case when not is_written then 'values' when not is_told and is_standard then 'standard' else 'history' end as "from",
    case rule when 'two_way' then reached when 'prefer_salesforce' then back + filled when 'always_salesforce' then back + stayed
        else greatest(reached, back) end as cases_for,
    case rule when 'two_way' then back when 'prefer_salesforce' then reached + stayed when 'always_salesforce' then reached + filled
        else least(reached, back) end as cases_against,
    case
        when ruled.property = 'hs_email_optout' or kind = 'boolean' then consent_name.says
        when consent_values.property is not null then 'listed'
    end as consent,
    consent_values.granted, consent_values.denied
from ruled
left join found.consent_name as consent_name on consent_name.property = ruled.property
left join found.consent_values as consent_values on consent_values.property = ruled.property;
