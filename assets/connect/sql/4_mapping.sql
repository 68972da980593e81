-- Which field of the Lead, and which of the Contact, a property is mapped to: the one whose values are the property's.

-- One row: a property and a field that could be its, and as what kind their values compare. The e-mail and the account are never compared elsewhere; here
-- they are.
create or replace table found.kind as
select property, object_type, salesforce_field as field, kind, is_writable, hubspot_labels, salesforce_labels from core.mapped_field
union all
select
    mapping.property, mapping.object_type, mapping.salesforce_field, case when mapping.property = 'email' then 'text' else 'id' end,
    not contains(mapping.salesforce_field, '.'), cast(map {} as map(varchar, varchar)), cast(map {} as map(varchar, varchar))
from main.field_mapping as mapping
inner join raw.salesforce_field as field on field.object_type = mapping.object_type and field.field = mapping.salesforce_field
where (mapping.property = 'email' and field.type in ('email', 'string', 'text'))
   or (mapping.property = 'salesforceaccountid' and field.type in ('reference', 'id'));

-- One row: a property that is filled on a contact of a pair. is_written: the integration wrote what it holds now, since the contact is bound to that record.
create or replace table found.held as
with latest as (
    select
        contact_id, property, max_by(source, number) as source, max(moment) as moment,
        max(moment) filter (where source = 'SALESFORCE') as written_at
    from sample.version
    group by contact_id, property
)
select
    pair.contact_id, pair.record_id, pair.object_type, value.property, value.value,
    coalesce(latest.source = 'SALESFORCE' and latest.moment >= pair.bound_since - main.one_write(), false) as is_written,
    coalesce(latest.written_at >= pair.bound_since - main.one_write(), false) as was_written,
    latest.moment
from sample.pair as pair
inner join sample.value as value on value.contact_id = pair.contact_id and not main.is_blank(value.value)
inner join found.candidate as candidate on candidate.property = value.property
left join latest on latest.contact_id = pair.contact_id and latest.property = value.property;

-- One row: a form in which a value compares: as its kind has it, and of a pick list what people see for it. Ids and forms as numbers: there are many.
create or replace table found.place as
select contact_id, row_number() over () as place from sample.pair;

create or replace table found.contact_form as
with own as (
    select place.place, held.property, kind.kind, held.value, kind.labels
    from found.held as held
    inner join found.place as place on place.contact_id = held.contact_id
    inner join (
        select property, object_type, kind, any_value(hubspot_labels) as labels from found.kind where kind <> 'employees' group by property, object_type, kind
    ) as kind on kind.property = held.property and kind.object_type = held.object_type
)
select place, property, kind, hash(main.canonical(value, kind)) as form, false as is_label from own
union all
select place, property, kind, hash(array_to_string(list_sort(list_transform(main.options_of(value), lambda one: coalesce(labels[one], one))), ';')), true
from own
where kind in ('picklist', 'multipicklist') and cardinality(labels) > 0;

create or replace table found.field_form as
with own as (
    select place.place, value.field, kind.kind, value.value, kind.labels
    from sample.pair as pair
    inner join found.place as place on place.contact_id = pair.contact_id
    inner join sample.field_value as value on value.record_id = pair.record_id
    inner join (
        select object_type, field, kind, any_value(salesforce_labels) as labels from found.kind where kind <> 'employees' group by object_type, field, kind
    ) as kind on kind.object_type = pair.object_type and kind.field = value.field
)
select place, field, kind, hash(main.canonical(value, kind)) as form, false as is_label from own
union all
select place, field, kind, hash(array_to_string(list_sort(list_transform(main.options_of(value), lambda one: coalesce(labels[one], one))), ';')), true
from own
where kind in ('picklist', 'multipicklist') and cardinality(labels) > 0;

-- One row: a property and a field with the same value on both sides of a pair.
create or replace table found.same as
select contact.place, contact.property, field.field, contact.kind
from found.contact_form as contact
inner join found.field_form as field
    on field.place = contact.place and field.kind = contact.kind and field.form = contact.form and not (field.is_label and contact.is_label);

create or replace table found.equal as
select distinct place.contact_id, pair.object_type, same.property, same.field
from found.same as same
inner join found.place as place on place.place = same.place
inner join sample.pair as pair on pair.contact_id = place.contact_id
semi join (select property, object_type, field, kind from found.kind) as kind
    on kind.property = same.property and kind.object_type = pair.object_type and kind.field = same.field and kind.kind = same.kind
union all
select held.contact_id, held.object_type, held.property, kind.field
from found.held as held
inner join found.kind as kind on kind.property = held.property and kind.object_type = held.object_type and kind.kind = 'employees'
inner join sample.field_value as value on value.record_id = held.record_id and value.field = kind.field
where main.same_value(held.value, value.value, 'employees', kind.hubspot_labels, kind.salesforce_labels);

-- A value that a property, or a field, has in a tenth of all pairs and more often than others: where both sides have theirs, that says little.
create or replace table found.usual_value as
select object_type, property, value
from (
    select object_type, property, main.canonical_text(value) as value, count(*) as held, sum(count(*)) over (partition by object_type, property) as all_held
    from found.held
    group by object_type, property, main.canonical_text(value)
)
where held >= 0.1 * all_held and held > 1
qualify row_number() over (partition by object_type, property order by held desc, value) = 1;

create or replace table found.usual_field as
select object_type, field, value
from (
    select
        pair.object_type, value.field, main.canonical_text(value.value) as value, count(*) as held,
        sum(count(*)) over (partition by pair.object_type, value.field) as all_held
    from sample.pair as pair
    inner join sample.field_value as value on value.record_id = pair.record_id
    group by pair.object_type, value.field, main.canonical_text(value.value)
)
where held >= 0.1 * all_held and held > 1
qualify row_number() over (partition by object_type, field order by held desc, value) = 1;

-- The fields that are most like a property, of each object: all others cannot be its.
create or replace table found.likely as
select property, object_type, field, count(*) as equal_pairs
from found.equal
group by property, object_type, field
qualify row_number() over (partition by property, object_type order by count(*) desc, field) <= 12;

-- The opt-out is mapped in every portal, also where every record has it otherwise by now: it goes one way only.
insert into found.likely
select distinct held.property, held.object_type, standard.field, 0
from found.held as held
inner join connect.standard_mapping as standard on standard.property = held.property and standard.object_type = held.object_type
semi join raw.salesforce_field as field on field.object_type = standard.object_type and field.field = standard.field
anti join found.likely as likely on likely.property = held.property and likely.object_type = held.object_type and likely.field = standard.field
where held.property = 'hs_email_optout';

-- One row: a property and a likely field, and what the pairs say. pairs: both sides filled; equal: with the same value; telling: pairs that tell this field
-- from others (not both with their usual value; also those where the integration wrote a value and the field is empty), equal_telling: of them with the same
-- value; unfilled: the field is filled and the property is not; by_integration: the value was there
-- before the integration made the record with it, or within the hour before it wrote to the record last.
create or replace table found.match as
with counted as (
    select
        likely.property, likely.object_type, likely.field,
        count(*) filter (where value.value is not null) as pairs,
        count(*) filter (where equal.contact_id is not null) as equal,
        count(*) filter (where (value.value is not null or held.is_written) and not is_usual) as telling,
        count(*) filter (where equal.contact_id is not null and not is_usual) as equal_telling,
        count(*) filter (where equal.contact_id is not null and held.was_written) as written_equal,
        count(*) filter (
            where equal.contact_id is not null and not is_usual
              and (held.moment < made.moment or held.moment between wrote.moment - interval 1 hour and wrote.moment + interval 1 second)
        ) as by_integration,
        count(distinct main.canonical_text(held.value)) filter (where equal.contact_id is not null) as different
    from found.likely as likely
    inner join found.held as held on held.property = likely.property and held.object_type = likely.object_type
    left join sample.field_value as value on value.record_id = held.record_id and value.field = likely.field
    left join found.equal as equal on equal.contact_id = held.contact_id and equal.property = likely.property and equal.field = likely.field
    left join found.usual_value as usual on usual.property = likely.property and usual.object_type = likely.object_type
    left join found.usual_field as usual_field on usual_field.field = likely.field and usual_field.object_type = likely.object_type
    left join (select contact_id, record_id, min(moment) as moment from found.own_write where how = 'created' group by all) as made
        on made.contact_id = held.contact_id and made.record_id = held.record_id
    left join (select contact_id, record_id, max(moment) as moment from found.own_write where how = 'modified' group by all) as wrote
        on wrote.contact_id = held.contact_id and wrote.record_id = held.record_id
    cross join lateral (
        select coalesce(main.canonical_text(held.value) = usual.value and main.canonical_text(value.value) = usual_field.value, false)
    ) as told(is_usual)
    group by likely.property, likely.object_type, likely.field
),
unfilled as (
    select likely.property, likely.object_type, likely.field, count(*) as unfilled
    from found.likely as likely
    inner join sample.pair as pair on pair.object_type = likely.object_type
    inner join sample.field_value as value on value.record_id = pair.record_id and value.field = likely.field
    anti join found.held as held on held.contact_id = pair.contact_id and held.property = likely.property
    where value.value <> 'false' and value.value <> '0'
    group by all
)
select counted.*, coalesce(unfilled.unfilled, 0) as unfilled, kind.kind, kind.is_writable
from counted
inner join found.kind as kind
    on kind.property = counted.property and kind.object_type = counted.object_type and kind.field = counted.field
left join unfilled on unfilled.property = counted.property and unfilled.object_type = counted.object_type and unfilled.field = counted.field;

-- One row: a match, and how the names fit: 4 as the standard mapping, 3 as the integration names properties, 2 by the label, 0 not; most: pairs of the best.
create or replace table found.named as
with named as (
    select
        match.*,
        case
            when standard.property is not null then 4
            when lower(match.field) = match.property or lower(replace(match.field, '.', '_')) = match.property
              or lower(replace(replace(match.field, '__c', ''), '_', '')) = lower(replace(replace(match.property, '__c', ''), '_', '')) then 3
            when lower(label.label) = lower(own.label) then 2
            else 0
        end as named
    from found.match as match
    left join connect.standard_mapping as standard
        on standard.property = match.property and standard.object_type = match.object_type and standard.field = match.field
    left join connect.label as label on label.object_type = match.object_type and label.field = match.field
    left join connect.label as own on own.object_type = 'contact' and own.field = match.property
    where match.equal > 0 or (standard.property is not null and match.property = 'hs_email_optout')
)
select *, max(equal) over (partition by property, object_type) as most from named;

-- One row: a match and its place among those of its property. A field that fits as well but for one pair, and is named like the property, is the one.
create or replace table found.ranked as
select
    *,
    row_number() over (
        partition by property, object_type
        order by
            -- the opt-out is mapped in every portal, and follows one way only
            case when property = 'hs_email_optout' and named = 4 then 0 else 1 end,
            case when named >= 3 and equal >= most - greatest(1, 0.02 * most) then 0 else 1 end,
            equal desc, equal_telling desc, case when is_writable then 0 else 1 end, named desc, unfilled, field
    ) as place
from found.named;

-- One row: a property, an object and the field that fits best. margin: by how many pairs it fits better than the next; rival_named: how the name of one fits
-- that is as good.
create or replace table found.best as
select
    first.*,
    first.equal - coalesce(next.equal, 0) as margin,
    coalesce(next.named, 0) as rival_named,
    next.field as rival,
    coalesce(next.is_writable, false) as rival_is_writable,
    coalesce(next.unfilled, 0) as rival_unfilled
from found.ranked as first
left join found.ranked as next on next.property = first.property and next.object_type = first.object_type and next.place = 2
where first.place = 1;
