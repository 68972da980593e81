-- Shared expressions, each in one place. They live in the warehouse file, so that every model also runs in a DuckDB shell.

-- ── what each value of the policy's knobs means: a line each. Null for a value that has none; then staging.knob_value ends the build ──

-- first_sync: the first of several matching records by this order is taken (rule 7); null: nobody knows which.
create or replace macro main.first_sync_order(first_sync, object_type, created_at) as
    case first_sync
        when 'oldest_created' then row('', coalesce(created_at, timestamp 'infinity'))
        when 'contact_first' then row(object_type, coalesce(created_at, timestamp 'infinity'))  -- Contact comes before Lead
        when 'unknown' then null
    end;

-- The one that stands first in that order, of a group; null where there is none.
create or replace macro main.first_in_order(record_id, place) as arg_min(record_id, case when place is not null then row(place, record_id) end);

-- follow_up: does an edit of a duplicate draw the binding there? (rule 11)
create or replace macro main.follows_edits(follow_up) as
    case follow_up when 'most_recent' then true when 'sticky' then false end;

-- recency: which of a record's stamps says when it was updated last.
create or replace macro main.recency_stamp(recency, system_modstamp, last_modified_date) as
    case recency
        when 'system_modstamp' then system_modstamp
        when 'last_modified_date' then last_modified_date
    end;

-- Those of a group with the latest stamp; several where they bear the same, empty where none has a stamp.
create or replace macro main.latest(record_id, stamp) as
    list_transform(
        [list({'id': record_id, 'stamp': stamp} order by stamp desc, record_id) filter (where stamp is not null)],
        lambda waiting: coalesce(list_transform(list_filter(waiting, lambda one: one.stamp = waiting[1].stamp), lambda one: one.id), []))[1];

-- What a group holds for each value of a knob.
create or replace macro main.by_value(value, held) as map_from_entries(list({'key': value, 'value': held} order by value));

-- create_object: what is foretold for a contact without a match (rule 6).
create or replace macro main.created_object(create_object) as
    case create_object
        when 'lead' then 'create_lead' when 'contact' then 'create_contact' when 'none' then 'none'
    end;

-- on_lead_deleted, on_contact_deleted: does the HubSpot contact go with the record? (rules 33, 34)
create or replace macro main.goes_along(on_deleted) as
    case on_deleted when 'keep' then false when 'delete' then true end;
create or replace macro main.contact_goes_along(object_type, on_lead_deleted, on_contact_deleted) as
    case object_type
        when 'Lead' then main.goes_along(on_lead_deleted)
        when 'Contact' then main.goes_along(on_contact_deleted)
    end;

-- blank_on_switch: does a blank of Salesforce empty HubSpot's value?
create or replace macro main.blank_clears(blank_on_switch) as
    case blank_on_switch when 'keep' then false when 'clear' then true end;

-- opt_out: does hs_email_optout only ever opt out? (rule 26a)
create or replace macro main.only_opts_out(opt_out) as
    case opt_out when 'sticky' then true when 'as_mapped' then false end;

-- The rule of a mapped field (rules 24 to 28). syncs: at all; salesforce_wins: HubSpot's value never replaces one of Salesforce; fills_blank: HubSpot's value
-- is written where Salesforce has none, when the binding jumps there; reaches_salesforce: HubSpot's values are written into Salesforce at all.
create or replace macro main.mapping_rule(rule) as
    case rule
        when 'prefer_salesforce' then {'syncs': true, 'salesforce_wins': true, 'fills_blank': true, 'reaches_salesforce': true}
        when 'always_salesforce' then {'syncs': true, 'salesforce_wins': true, 'fills_blank': false, 'reaches_salesforce': false}
        when 'two_way' then {'syncs': true, 'salesforce_wins': false, 'fills_blank': false, 'reaches_salesforce': true}
        when 'none' then {'syncs': false, 'salesforce_wins': false, 'fills_blank': false, 'reaches_salesforce': false}
    end;

-- How a consent field says it (mapping.consent): true means that the person opted out, that they opted in, or the policy lists the values that do.
create or replace macro main.consent_rule(consent) as
    case consent
        when 'opted_out' then {'yes_is_no': true, 'is_listed': false}
        when 'opted_in' then {'yes_is_no': false, 'is_listed': false}
        when 'listed' then {'yes_is_no': false, 'is_listed': true}
    end;

-- ── Salesforce's objects that stand for people ──

-- One after the other, in each list: what they are called, how their ids begin, and which property of a HubSpot contact holds them.
-- assets/record_ids.py knows the same for what is no SQL.
create or replace macro main.salesforce_objects() as
    {'object_type': ['Lead', 'Contact'], 'prefix': ['00Q', '003'], 'id_property': ['salesforceleadid', 'salesforcecontactid']};
create or replace macro main.type_of_record(record_id) as
    main.salesforce_objects().object_type[list_position(main.salesforce_objects().prefix, left(record_id, 3))];
create or replace macro main.prefix_of(object_type) as
    main.salesforce_objects().prefix[list_position(main.salesforce_objects().object_type, object_type)];
create or replace macro main.id_property(object_type) as
    main.salesforce_objects().id_property[list_position(main.salesforce_objects().object_type, object_type)];
-- Written out, because a filter on constants is looked up in the scan.
create or replace macro main.is_id_property(property) as property in ('salesforceleadid', 'salesforcecontactid');

-- ── how long things take: each number with its reason ──

-- What HubSpot writes in one sync bears stamps that differ a little: the id, the values that follow it, and the record that is written back. HubSpot's pages
-- name no bound. Five seconds are assumed: more than some calls one after the other take, far less than the 15 minutes to the next sync.
create or replace macro main.one_write() as interval 5 second;
create or replace macro main.is_one_write(moment, other) as moment between other - main.one_write() and other + main.one_write();

-- The integration asks Salesforce for changes so often (rule 16).
create or replace macro main.poll_interval() as interval 15 minute;

-- Deleted and merged records stay in Salesforce's recycle bin for so long, then nothing tells of them (docs/integration.md, section 4).
create or replace macro main.salesforce_keeps() as interval 15 day;

-- Deleted contacts stay in HubSpot's recycle bin for so long (rule 34).
create or replace macro main.hubspot_keeps() as interval 90 day;

-- A deadline so near makes a finding soon: nothing that is in Salesforce's recycle bin today is left there after it.
create or replace macro main.soon() as main.salesforce_keeps();

-- A rival that was edited within this time is likely to be edited again; findings about events of others' doing stay for as long. Assumed: a month.
create or replace macro main.lately() as interval 30 day;

-- A stamp so far ahead is no difference between clocks or time zones, but wrong (stamp_in_future; assets/warehouse/watermark.py knows the same). Assumed.
create or replace macro main.clock_slack() as interval 1 day;

-- What was created and not touched since bears two stamps that may differ by so much: Salesforce writes them one after the other. Assumed.
create or replace macro main.at_creation() as interval 1 second;

-- ── ids, texts and times ──

-- A Salesforce id as 18 characters, or null when it is malformed: not 15 or 18 letters and digits, or a wrong checksum.
-- The checksum says, for each five characters, which of them are capitals (first character = lowest bit).
create or replace macro main.capital_bit(id, place, bit) as case when substr(id, place, 1) between 'A' and 'Z' then bit else 0 end;

create or replace macro main.checksum_character(id, place) as
    substr('ABCDEFGHIJKLMNOPQRSTUVWXYZ012345',
           1 + main.capital_bit(id, place, 1) + main.capital_bit(id, place + 1, 2) + main.capital_bit(id, place + 2, 4)
             + main.capital_bit(id, place + 3, 8) + main.capital_bit(id, place + 4, 16), 1);

create or replace macro main.checksum(id) as
    main.checksum_character(id, 1) || main.checksum_character(id, 6) || main.checksum_character(id, 11);

-- The first branch is only a faster way for what the API returns. In the second one the list names the trimmed text and the checksum once:
-- trimming it for each character takes long, and so does planning the checksum again.
create or replace macro main.salesforce_id18(id) as
    case
        when regexp_full_match(id, '[A-Za-z0-9]{15}[A-Z0-5]{3}') then case when substr(id, 16, 3) = main.checksum(id) then id end
        else list_filter(
            list_transform([trim(id)], lambda given: case
                when regexp_full_match(given, '[A-Za-z0-9]{15}([A-Z0-5]{3})?') then left(given, 15) || main.checksum(given) end),
            lambda long_id: starts_with(long_id, trim(id)))[1]
    end;

-- What is wrong with a text that should be the id of a Salesforce record: empty, hubspot (a number, as HubSpot's record ids are), shape (not 15 or 18
-- letters and digits), capitals (an id in one case altogether, whose check characters say that it was not; or a Lead's id of 15 characters in lower case),
-- check (its last three characters do not fit the others). Null: nothing.
create or replace macro main.id_fault(id) as
    case
        when coalesce(trim(id), '') = '' then 'empty'
        when starts_with(id, '00q') then 'capitals'
        when main.salesforce_id18(id) is not null then null
        when regexp_full_match(id, '[0-9]{1,14}') then 'hubspot'
        when not regexp_full_match(id, '[A-Za-z0-9]{15}([A-Za-z0-9]{3})?') then 'shape'
        when id = upper(id) or id = lower(id) then 'capitals'
        else 'check'
    end;

-- An id that does not hold, as a sentence may repeat it: only what can be a spoilt id; the rest may be a name or an e-mail.
create or replace macro main.named_id(id) as case when regexp_full_match(id, '[A-Za-z0-9]*[0-9][A-Za-z0-9]*') and length(id) <= 24 then id end;

-- A reference to another record as 18 characters; as received where it is no 15-character id. Cheap: most are 18 already.
create or replace macro main.long_id(id) as
    case when length(id) = 15 and regexp_full_match(id, '[A-Za-z0-9]{15}') then id || main.checksum(id) else nullif(id, '') end;

-- White space and zero-width characters, as trimmed from e-mails and compared values; written as URLs write them, because each function in a macro
-- is planned wherever it is used. Most texts are ASCII without any at the ends: the first branch takes them, because trim() with so many
-- characters takes a microsecond.
create or replace macro main.trim_text(text_value) as
    case when text_value = '' or regexp_full_match(text_value, '[!-~]([ -~]*[!-~])?') then text_value else trim(text_value, url_decode(
        '%09%0A%0B%0C%0D%1C%1D%1E%1F%20%C2%85%C2%A0%E1%9A%80'
        || '%E2%80%80%E2%80%81%E2%80%82%E2%80%83%E2%80%84%E2%80%85%E2%80%86%E2%80%87%E2%80%88%E2%80%89%E2%80%8A'
        || '%E2%80%8B%E2%80%8C%E2%80%8D%E2%80%A8%E2%80%A9%E2%80%AF%E2%81%9F%E2%81%A0%E3%80%80%EF%BB%BF')) end;

create or replace macro main.is_blank(text_value) as coalesce(main.trim_text(text_value), '') = '';

-- An e-mail as it is compared: Unicode NFC, trimmed, lower case, and no more. Null when it can never match: empty, not exactly
-- one @ with something on both sides, white space inside, a comma, a semicolon, < or > or "mailto:" in it.
-- lower() maps the capital I with dot to a plain i; the replacement keeps the dot, as Unicode's full mapping does.
create or replace macro main.tidy_email(raw_email) as
    lower(replace(main.trim_text(nfc_normalize(raw_email)), chr(304), 'i' || chr(775)));

-- The first branch is only a faster way for the usual shapes.
create or replace macro main.matching_email(raw_email) as
    case
        when regexp_full_match(raw_email, '[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+') then lower(raw_email)
        when main.tidy_email(raw_email) like '%_@_%'
         and not regexp_matches(main.tidy_email(raw_email), '@.*@|[\s\v\x{1c}-\x{1f}\x{85}\p{Z},;<>]|mailto:')
        then main.tidy_email(raw_email)
    end;

-- A time of either API as UTC. Salesforce REST writes +0000, its bulk CSV and HubSpot write Z, HubSpot's older values are
-- milliseconds since 1970. The first branch is only a faster way for the usual shapes.
create or replace macro main.utc(text_value) as
    case
        when text_value like '%Z' or text_value like '%+0000' then try_cast(text_value as timestamp)
        when regexp_full_match(text_value, '[0-9]{11,14}') then epoch_ms(try_cast(text_value as bigint))
        else try_cast(text_value as timestamptz) at time zone 'UTC'
    end;

-- May a time of either API be after a moment, which is given as both usually write it? What is written otherwise may be. Comparing texts takes a tenth of
-- turning them into times.
create or replace macro main.may_be_after(text_value, stamp) as text_value > stamp or length(text_value) <> 24 or not ends_with(text_value, 'Z');

create or replace macro main.is_true(text_value) as
    case text_value when 'true' then true when 'false' then false else lower(main.trim_text(text_value)) in ('true', '1') end;

-- What a tick box says, in the notations of both APIs; null where the text says neither.
create or replace macro main.as_boolean(text_value) as
    case lower(main.trim_text(text_value))
        when 'true' then true when '1' then true when 'yes' then true
        when 'false' then false when '0' then false when 'no' then false
    end;

-- ── values of mapped fields: when are two of them the same? (docs/prediction.md) ──

-- Two notations of one text: Unicode NFC, no-break spaces as spaces, one kind of line end, nothing at the ends.
-- The first branch is only a faster way for what is ASCII.
create or replace macro main.canonical_text(text_value) as
    case when regexp_full_match(text_value, '[!-~]([ -~]*[!-~])?') then text_value
    else main.trim_text(regexp_replace(regexp_replace(nfc_normalize(text_value), '[\x{a0}\x{2007}\x{202f}]', ' ', 'g'), '\r\n?', chr(10), 'g')) end;

-- A number whatever its notation: sign, digits without zeros at the ends, and where the point stands. Null: no number, or beyond 38 digits.
create or replace macro main.canonical_number(text_value) as
    list_transform(
        [regexp_extract(text_value, '^([+-]?)([0-9]*)[.]?([0-9]*)(?:[eE]([+-]?[0-9]{1,5}))?$', ['sign', 'whole', 'fraction', 'exponent'])],
        lambda part: case
            when part.whole || part.fraction = '' then null
            when ltrim(part.whole || part.fraction, '0') = '' then '0'
            when length(trim(part.whole || part.fraction, '0')) <= 38
            then case when part.sign = '-' then '-' else '' end || trim(part.whole || part.fraction, '0') || 'e'
                || (length(part.whole) + coalesce(try_cast(part.exponent as integer), 0)
                    - (length(part.whole || part.fraction) - length(ltrim(part.whole || part.fraction, '0'))))
        end)[1];

-- A moment: with or without milliseconds, Z or an offset (without one, UTC), or milliseconds since 1970. Null: no moment.
-- `at time zone` would say the same; a prepared statement with it is planned anew each time (review/effects.py).
create or replace macro main.canonical_moment(text_value) as
    case
        when regexp_full_match(text_value, '-?[0-9]{1,14}') then epoch_ms(cast(text_value as bigint))
        when regexp_full_match(text_value, '[0-9]{4}-[0-9]{2}-[0-9]{2}[T ].*([Zz]|[+-][0-9]{2}:?[0-9]{2})')
        then make_timestamp(epoch_us(try_cast(regexp_replace(text_value, '([+-][0-9]{2})([0-9]{2})$', '\1:\2') as timestamptz)))
        when regexp_full_match(text_value, '[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?') then try_cast(text_value as timestamp)
    end;

-- The options that a pick list's value names; several are divided by semicolons, empty ones do not count.
create or replace macro main.options_of(text_value) as
    list_filter(list_transform(string_split(text_value, ';'), lambda part: main.canonical_text(part)), lambda part: part <> '');

-- A value as its kind (core.mapped_field) has it, so that all notations of one value are one text; what cannot be read as that, as text.
create or replace macro main.canonical(text_value, kind) as
    list_transform([main.canonical_text(text_value)], lambda given: coalesce(
        case kind
            when 'boolean' then cast(main.as_boolean(given) as varchar)
            when 'number' then main.canonical_number(given)
            when 'employees' then main.canonical_number(given)
            when 'date' then list_transform(
                [main.canonical_moment(given)],
                lambda moment: case when moment = date_trunc('day', moment) then strftime(moment, '%Y-%m-%d') end)[1]
            when 'datetime' then strftime(main.canonical_moment(given), '%Y-%m-%dT%H:%M:%S.%f')
            when 'phone' then list_transform(
                [regexp_replace(given, '[^0-9]', '', 'g')],
                lambda digits: case when length(digits) >= 4 then regexp_replace(digits, '^00', '') end)[1]
            -- the rest of an id follows from its first 15 characters
            when 'id' then case when regexp_full_match(given, '[A-Za-z0-9]{15}([A-Z0-5]{3})?') then left(given, 15) end
            when 'multipicklist' then list_aggregate(list_sort(list_distinct(main.options_of(given))), 'string_agg', ';')
        end,
        given))[1];

-- Are two filled values of a mapped field the same? By kind, as above. Of a pick list also where the label of the one is the value of the other: labels,
-- other_labels, by value, are those of the CRM that the value comes from. HubSpot writes the number of employees as a range ("25-50", "1000+").
create or replace macro main.same_value(a, b, kind, labels, other_labels) as
    coalesce(a = b, false) or coalesce(
        list_transform([list_transform([a, b], lambda side: main.canonical(side, kind))], lambda form: form[1] = form[2])[1]
        or case
            when kind in ('picklist', 'multipicklist') then list_transform(
                [list_transform([a, b], lambda side: case when kind = 'picklist' then [main.canonical_text(side)] else main.options_of(side) end)],
                lambda options: len(list_filter(
                    [{'own': options[1], 'its': labels, 'other': options[2], 'their': other_labels},
                     {'own': options[2], 'its': other_labels, 'other': options[1], 'their': labels}],
                    -- one of its own options is not among the other's
                    lambda side: len(list_filter(side.own, lambda one: len(list_filter(side.other, lambda two:
                        one = two or coalesce(side.its[one] = two, false) or coalesce(side.their[two] = one, false))) = 0)) > 0)) = 0)[1]
            when kind = 'employees' then len(list_filter(
                [{'number': a, 'span': b}, {'number': b, 'span': a}],
                lambda side: coalesce(case
                    when regexp_full_match(side.span, '[0-9]+-[0-9]+') then try_cast(side.number as double)
                        between cast(split_part(side.span, '-', 1) as double) and cast(split_part(side.span, '-', 2) as double)
                    when regexp_full_match(side.span, '[0-9]+[+]') then try_cast(side.number as double) >= cast(rtrim(side.span, '+') as double)
                end, false))) > 0
        end,
        false);

-- ── one text for a value that REST and a bulk job write in two notations: raw holds it (assets/warehouse/load_salesforce.py) ──

-- A number: 9.9213206E7 and 99213206.0 are 99213206. What is none, or has more than 20 digits before the point, stays. The first branch is only a faster way.
create or replace macro main.plain_number(text_value) as
    case
        when regexp_full_match(text_value, '0|-?[1-9][0-9]{0,17}') then text_value
        when regexp_full_match(text_value, '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?')
        then coalesce(rtrim(rtrim(cast(try_cast(text_value as decimal(38, 18)) as varchar), '0'), '.'), text_value)
        else text_value
    end;

-- A moment as its bulk jobs write it: UTC, with milliseconds and Z. What is none stays.
create or replace macro main.plain_moment(text_value) as
    case
        when text_value like '____-__-__T__:__:__.___Z' then text_value
        when text_value like '____-__-__T%' then coalesce(strftime(main.canonical_moment(text_value), '%Y-%m-%dT%H:%M:%S.%gZ'), text_value)
        else text_value
    end;

-- The words of a name: runs of letters and digits, without case and accents, each once, in order. "Lee, Ann" and "ann lee" are one.
create or replace macro main.name_words(person_name) as
    coalesce(
        list_sort(list_distinct(list_filter(
            string_split_regex(replace(strip_accents(lower(nfc_normalize(person_name))), 'ß', 'ss'), '[^\p{L}\p{M}\p{N}]+'), lambda word: word <> ''))),
        cast([] as varchar[]));

-- The scripts that a name is written in. Names in different scripts may be one name: that says nothing about who they are.
create or replace macro main.name_scripts(person_name) as
    list_filter([
        case when regexp_matches(person_name, '\p{Latin}') then 'Latin' end,
        case when regexp_matches(person_name, '\p{Greek}') then 'Greek' end,
        case when regexp_matches(person_name, '\p{Cyrillic}') then 'Cyrillic' end,
        case when regexp_matches(person_name, '\p{Hebrew}') then 'Hebrew' end,
        case when regexp_matches(person_name, '\p{Arabic}') then 'Arabic' end,
        case when regexp_matches(person_name, '\p{Devanagari}') then 'Devanagari' end,
        case when regexp_matches(person_name, '\p{Thai}') then 'Thai' end,
        case when regexp_matches(person_name, '\p{Hangul}') then 'Hangul' end,
        case when regexp_matches(person_name, '\p{Han}') then 'Han' end,
        case when regexp_matches(person_name, '\p{Hiragana}') then 'Hiragana' end,
        case when regexp_matches(person_name, '\p{Katakana}') then 'Katakana' end,
        case when regexp_matches(person_name, '\p{Armenian}') then 'Armenian' end,
        case when regexp_matches(person_name, '\p{Georgian}') then 'Georgian' end
    ], lambda script: script is not null);

-- Is the e-mail that of a role, whose mailbox several people may read?
create or replace macro main.is_role_mailbox(email, role_mailboxes) as
    coalesce(list_contains(list_transform(role_mailboxes, lambda role: lower(trim(role))), split_part(email, '@', 1)), false);

-- Do two records look like different people? Where one has no name, or the names have no script in common, nothing says so.
create or replace macro main.look_different(words, scripts, other_words, other_scripts, is_role) as
    len(words) > 0 and len(other_words) > 0
    and ((list_has_any(scripts, other_scripts) and not list_has_any(words, other_words)) or (is_role and words <> other_words));

-- Does a value of a consent field say that the person agreed, or (opted_out) that they may not be written to any more?
-- consent: opted_out, opted_in, or listed, which means the values of the policy.
create or replace macro main.says_yes(text_value, consent, granted) as
    coalesce(
        case when struct_extract(main.consent_rule(consent), 'is_listed') then list_contains(granted, main.canonical_text(text_value))
        else main.as_boolean(text_value) end, false);

-- Is that a value of which the policy knows what it says? A blank says that the person has not agreed, and has not opted out.
create or replace macro main.is_known_consent(text_value, consent, granted, denied) as
    main.is_blank(text_value) or coalesce(
        case when struct_extract(main.consent_rule(consent), 'is_listed') then list_contains(granted || denied, main.canonical_text(text_value))
        else main.as_boolean(text_value) is not null end, false);

-- Would a change of a consent field write to somebody who has not agreed?
create or replace macro main.loses_consent(hubspot_value, salesforce_value, consent, granted, denied) as
    not main.is_known_consent(salesforce_value, consent, granted, denied)
    or case
        when struct_extract(main.consent_rule(consent), 'yes_is_no')
        then (main.says_yes(hubspot_value, consent, granted) or not main.is_known_consent(hubspot_value, consent, granted, denied))
            and not main.says_yes(salesforce_value, consent, granted)
        else main.says_yes(salesforce_value, consent, granted) and not main.says_yes(hubspot_value, consent, granted)
    end;

-- What a switch to a record does to a mapped field of a contact (rules 24 to 28; the table is in docs/prediction.md): overwrite, clear,
-- backfill (HubSpot's value is written into the record), fill (a gap is filled); null: nothing. field: a row of core.mapped_field; knobs: of main.policy.
-- HubSpot never opts anybody in again: with opt_out = "sticky" the opt-out goes one way. Of other consent fields a blank is a value, too.
create or replace macro main.switch_effect(hubspot_value, salesforce_value, field, knobs) as
    case
        when not struct_extract(main.mapping_rule(struct_extract(field, 'rule')), 'syncs') then null
        when struct_extract(field, 'property') = 'hs_email_optout' and main.only_opts_out(struct_extract(knobs, 'opt_out'))
        then case when main.says_yes(salesforce_value, 'opted_out', null) and not main.says_yes(hubspot_value, 'opted_out', null) then 'overwrite' end
        when main.is_blank(hubspot_value) then
            case
                when main.is_blank(salesforce_value) then null
                when struct_extract(field, 'kind') = 'boolean' and main.as_boolean(salesforce_value) = false then null
                when struct_extract(field, 'consent_kind') is not null
                 and main.says_yes(salesforce_value, struct_extract(field, 'consent_kind'), struct_extract(field, 'granted')) then 'overwrite'
                else 'fill'
            end
        when main.is_blank(salesforce_value) then
            case
                when struct_extract(field, 'kind') = 'boolean' and main.as_boolean(hubspot_value) = false then null
                when struct_extract(main.mapping_rule(struct_extract(field, 'rule')), 'fills_blank')
                then case when struct_extract(field, 'is_writable') then 'backfill' end
                when main.blank_clears(struct_extract(knobs, 'blank_on_switch')) then 'clear'
            end
        when not main.same_value(hubspot_value, salesforce_value, struct_extract(field, 'kind'), struct_extract(field, 'hubspot_labels'),
                                 struct_extract(field, 'salesforce_labels'))
        then 'overwrite'
    end;

-- What people decided about a finding, as its status at a moment. What makes a run unproven cannot be decided away.
create or replace macro main.decided_status(decision, waived_until, at_moment, severity) as
    case
        when severity = 'unproven' then 'open'
        when decision = 'accepted' then 'resolved'
        when decision = 'waived' and waived_until > at_moment then 'waived'
        when decision = 'acknowledged' then 'acknowledged'
        else 'open'
    end;

-- A moment as part of what tells an event from others.
create or replace macro main.event_moment(moment) as strftime(moment, '%Y-%m-%dT%H:%M:%S.%f');

-- The fingerprint of a finding about something that happened once. event: what tells it from others of the same check and contact.
create or replace macro main.event_fingerprint(check_name, hubspot_contact_id, event) as
    md5(concat_ws('|', check_name, coalesce(hubspot_contact_id, ''), event));

-- What tells a jump from others of the same contact.
create or replace macro main.event_of_jump(switched_at, to_id) as concat_ws(' ', main.event_moment(switched_at), to_id);

-- Are so few plausible? floor: as many as are known, without those whose absence somebody accepted; records, percent: so much may be missing.
create or replace macro main.is_implausible(floor, counted, records, percent) as
    floor > 0 and (counted <= 0 or floor - counted > greatest(records, floor * percent / 100));

-- A stamp that lies further ahead than that counts as now.
create or replace macro main.not_after(stamp, as_of) as case when stamp > as_of + main.clock_slack() then as_of else stamp end;

-- A moment until which something can be done; null when it is past.
create or replace macro main.still_ahead(deadline, as_of) as case when deadline > as_of then deadline end;

-- What a finding is about: a HubSpot contact, else the Salesforce record, else neither.
create or replace macro main.object_of(hubspot_contact_id, salesforce_id) as
    case
        when hubspot_contact_id is not null then 'contact'
        when salesforce_id is not null then coalesce(main.type_of_record(salesforce_id), 'Contact')
        else 'none'
    end;

-- What a finding does to people, the worst first: the contact is deleted, two people become one, a contact is cut off, somebody is written to who did
-- not agree (or no more although they did), values are lost, values spread, CRM and policy drift apart.
create or replace macro main.harm_rank(harm) as
    coalesce(list_position(['deleted', 'mixed_people', 'cut_off', 'consent', 'overwritten', 'spread', 'drift', 'none'], harm), 9);

create or replace macro main.urgency_rank(urgency) as coalesce(list_position(['now', 'soon', 'later'], urgency), 9);

create or replace macro main.severity_rank(severity) as case severity when 'unproven' then 3 when 'block' then 2 when 'warn' then 1 else 0 end;

-- Where something stands in the worklist, findings and cases alike: what cannot be believed comes first. After it: the older one, then the id.
create or replace macro main.worklist_place(severity, urgency, harm, deadline_at, blast_radius) as
    row(severity <> 'unproven', main.urgency_rank(urgency), -main.severity_rank(severity), main.harm_rank(harm),
        coalesce(deadline_at, timestamp 'infinity'), -blast_radius);

-- An e-mail as it is shown to people: the first letter, and the domain.
create or replace macro main.masked_email(email) as regexp_replace(email, '^(.)[^@]*@', '\1***@');

-- A value as a cell of a CSV file that somebody opens in a spreadsheet: an apostrophe in front of what would be taken for a formula. That is a cell that
-- begins with = + - @, also in their full width, also behind blanks, control characters, semicolons or commas; a phone number or a negative number
-- stays as it is. And what stands behind a semicolon, a tab or the end of a line: a spreadsheet that divides there makes a cell of it.
-- assets/published/cells.py says the same for cells that are in no table.
create or replace macro main.unseen_characters() as
    '\x00-\x08\x0b\x0c\x0e-\x20\x7f-\x{a0}\x{ad}\x{1680}\x{180e}\x{2000}-\x{200f}\x{2028}-\x{202f}\x{205f}-\x{206f}\x{3000}\x{feff}';
create or replace macro main.behind_unseen(text_value) as regexp_replace(text_value, '^[' || main.unseen_characters() || '\t\r\n;,]*', '');
create or replace macro main.safe_cell(text_value) as
    case
        when regexp_matches(text_value, '^[\t\r\n]') or regexp_matches(main.behind_unseen(text_value), '(?s)^([=@＝＠＋－]|[+-].*[^0-9 ()./-])') then chr(39)
        else ''
    end || regexp_replace(text_value, '([;\t\r\n][' || main.unseen_characters() || ']*)([=@+＝＠＋－-])', '\1''\2', 'g');

-- A value in a sentence: in quotes, on one line, and short; an e-mail as it is shown to people.
create or replace macro main.quoted_value(text_value) as
    list_transform(
        [trim(regexp_replace(regexp_replace(left(text_value, 200), '\s+', ' ', 'g'), '([^\s@])[^\s@]*@', '\1***@', 'g'))],
        lambda line: '"' || left(line, 60) || case when length(line) > 60 or length(text_value) > 200 then '…' else '' end || '"')[1];

-- A value in a sentence that says how it changes; ⟨blank⟩ becomes the word for none.
create or replace macro main.value_or(text_value) as case when main.is_blank(text_value) then '⟨blank⟩' else main.quoted_value(text_value) end;

-- What a step of a run-book says, for a sentence that ends in it: by language.
create or replace macro main.quotable(reason, reason_de, words) as
    map(['en', 'de'] || list_transform(words, lambda one: one.language), [reason, reason_de] || list_transform(words, lambda one: one.reason));

-- ── sentences: a query names a case and its facts, assets/sentences.py takes apart what the header says of it (main.sentence) ──

-- A fact as a language writes it: a day or moment, a number, what a code stands for.
create or replace macro main.written(fact, form, style, words) as
    case form
        when 'moment' then replace(replace(replace(replace(replace(style, 'YYYY', substr(fact, 1, 4)), 'MM', substr(fact, 6, 2)), 'DD', substr(fact, 9, 2)),
            'hh', substr(fact, 12, 2)), 'mm', substr(fact, 15, 2))
        when 'number' then case when length(fact) < 4 then fact else coalesce(replace(format('{:,}', try_cast(fact as bigint)), ',', style), fact) end
        when 'code' then coalesce(words[fact], fact)
    end;

-- What stands in ⟨ ⟩ in a text, in the words of a language. marks: these words; null for a sentence without such a fact.
create or replace macro main.in_words(said, marks) as
    case
        when marks is not null and contains(said, '⟨') then replace(replace(replace(replace(replace(
            said, '⟨blank⟩', marks.blank), '⟨or⟩', marks.or), '⟨typed⟩', marks.typed), '⟨foreign⟩', marks.foreign), '⟨unclear⟩', marks.unclear)
        else said
    end;

-- The parts of a sentence that are said: those whose tests all hold, a text joined with what stands behind it. held: by test,
-- whether it does.
create or replace macro main.parts_said(parts, gates, held) as
    list_reduce(
        list_transform(
            list_filter(parts, lambda part: part.gate is null or list_aggregate(list_select(held, gates[part.gate]), 'bool_and')),
            lambda part: [part]),
        lambda before, next: case
            when len(before) = 0 or before[-1].fact is not null then list_concat(before, next)
            else list_append(before[:-2], struct_update(next[1], lead := before[-1].lead || next[1].lead)) end,
        parts[:0]);
-- A sentence of its parts: each a text and the fact behind it. written: facts as the language writes them.
create or replace macro main.put_together(parts, facts, written) as
        array_to_string(list_transform(parts, lambda part:
            part.lead || coalesce(case when part.form is null then facts[part.fact] else written[part.form] end, part.unknown, '')), '');

-- The rows of a table, with what they say. source: the name of the table; it has says (the case), facts and quoted (what another table says, by
-- language); who: the name of the file in whose header the sentences stand, for all rows or of each. A case without a sentence is an error; a row
-- without a case says nothing. Rows for which the same tests hold are told by the same parts: these are picked once, not for each row. Texts are put together
-- in one step and gone through for words in the next, because a macro works out its argument wherever it names it.
create or replace macro main.said(source, who) as table
    with asked as (
        select
            asked.*, coalesce(who, 'nobody') as owner,
            list_transform(sentence.tests, lambda test: test.holds = case
                when test.fact = 'quoted' then asked.quoted is not null
                when test.value is null then asked.facts[test.fact] is not null
                else coalesce(asked.facts[test.fact] = test.value, false) end) as held
        from query_table(source) as asked
        left join main.sentence as sentence on sentence.owner = who and sentence.name = asked.says
    ),
    picked as (
        -- texts: English says and do, German says and do, then those of each further language
        select
            variant.owner, variant.says, variant.held, sentence.name, sentence.forms, sentence.en_marks, sentence.de_marks, sentence.further,
            list_transform(
                [sentence.en_says, sentence.en_do, sentence.de_says, sentence.de_do]
                || flatten(list_transform(sentence.further, lambda one: [one.says, one.do])),
                lambda parts: main.parts_said(parts, sentence.gates, variant.held)) as texts
        from (select distinct owner, says, held from asked where says is not null) as variant
        left join main.sentence as sentence on sentence.owner = variant.owner and sentence.name = variant.says
    ),
    needed as (
        select *, list_distinct(list_transform(flatten(texts), lambda part: part.form)) as used
        from picked
        where case when name is null then error(format('{} says {}, and its header has no such sentence', owner, says)) else true end
    ),
    variant as (
        select
            owner, says, held, en_marks, de_marks, list_transform(further, lambda one: {'language': one.language, 'marks': one.marks}) as further,
            list_select(forms, used) as forms,
            list_transform(texts, lambda parts: list_transform(parts, lambda part: {
                'lead': part.lead, 'fact': part.fact, 'unknown': part.unknown, 'form': list_position(used, part.form)})) as texts
        from needed
    ),
    filled as (
        select
            asked.*, variant.* exclude (owner, says, held, forms),
            list_transform(variant.forms, lambda one: case
                when one.form = 'quoted' then coalesce(asked.quoted[one.style], asked.quoted['en'])
                else main.written(asked.facts[one.fact], one.form, one.style, one.words) end) as written
        from asked
        left join variant on variant.owner = asked.owner and variant.says = asked.says and variant.held = asked.held
    ),
    put as (
        select
            filled.* exclude (owner, held, written, texts, further),
            main.put_together(texts[1], facts, written) as says_en,
            main.put_together(texts[2], facts, written) as does_en,
            main.put_together(texts[3], facts, written) as says_de,
            main.put_together(texts[4], facts, written) as does_de,
            list_transform(further, lambda one, place: {
                'language': one.language, 'marks': one.marks,
                'reason': main.put_together(texts[2 * place + 3], facts, written),
                'action': main.put_together(texts[2 * place + 4], facts, written)}) as says_further
        from filled
    )
    select
        put.* exclude (says_en, does_en, says_de, does_de, says_further, en_marks, de_marks),
        main.in_words(says_en, en_marks) as says_en,
        main.in_words(does_en, en_marks) as does_en,
        main.in_words(says_de, de_marks) as says_de,
        main.in_words(does_de, de_marks) as does_de,
        list_transform(says_further, lambda one: {
            'language': one.language, 'reason': main.in_words(one.reason, one.marks), 'action': main.in_words(one.action, one.marks)}) as says_further
    from put;
