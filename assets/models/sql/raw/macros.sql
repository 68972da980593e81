-- Shared expressions, each in one place. They live in the warehouse file, so that every model also runs in a DuckDB shell.

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

-- The same in words, to follow "The master" or "The loser". fault: what main.id_fault said. Only what can be a spoilt id is repeated: the rest may be a name or an e-mail.
create or replace macro main.named_id(id) as
    case when regexp_full_match(id, '[A-Za-z0-9]*[0-9][A-Za-z0-9]*') and length(id) <= 24 then ' ' || id else '' end;

create or replace macro main.id_fault_text(id, fault) as
    main.named_id(id) || case fault
        when 'empty' then ' is missing.'
        when 'hubspot' then ' is a record id of HubSpot''s; the ids of Leads or Contacts in Salesforce are needed.'
        when 'shape' then format(' is no Salesforce id: it has {} characters, and needs 15 or 18 letters and digits.', length(id))
        when 'capitals' then ' has lost which of its letters are capitals, and names no record like that: take it from Salesforce again.'
        when 'check' then ' is mistyped: its last three characters do not fit the others.'
    end;

create or replace macro main.id_fault_text_de(id, fault) as
    main.named_id(id) || case fault
        when 'empty' then ' fehlt.'
        when 'hubspot' then ' ist eine Datensatz-ID von HubSpot; nötig sind die IDs von Leads oder Contacts in Salesforce.'
        when 'shape' then format(' ist keine Salesforce-ID: {} Zeichen, nötig sind 15 oder 18 Buchstaben und Ziffern.', length(id))
        when 'capitals' then ': Groß- und Kleinschreibung ist verloren gegangen, so benennt die ID keinen Datensatz. Neu aus Salesforce übernehmen.'
        when 'check' then ' ist falsch geschrieben: die letzten drei Zeichen passen nicht zu den anderen.'
    end;

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

create or replace macro main.is_true(text_value) as
    case text_value when 'true' then true when 'false' then false else lower(main.trim_text(text_value)) in ('true', '1') end;

create or replace macro main.as_boolean(text_value) as
    case when main.is_true(text_value) then true when lower(main.trim_text(text_value)) in ('false', '0') then false end;

-- Are two filled values of a mapped field the same? By value where Salesforce says boolean or number, else by trimmed text.
create or replace macro main.same_value(a, b, field_type) as
    main.trim_text(a) = main.trim_text(b)
    or coalesce(
        case
            when field_type = 'boolean' then main.as_boolean(a) = main.as_boolean(b)
            when field_type in ('int', 'integer', 'long', 'double', 'currency', 'percent')
                then try_cast(main.trim_text(a) as double) = try_cast(main.trim_text(b) as double)
        end,
        false);

-- What a switch to a record does to a mapped field of a contact (rules 24 to 28; the table is in docs/prediction.md): overwrite, clear,
-- backfill (HubSpot's value is written into the record), fill (a gap is filled); null: nothing.
create or replace macro main.switch_effect(hubspot_value, salesforce_value, field_type, rule, blank_on_switch) as
    case
        when rule = 'none' then null
        when not main.is_blank(salesforce_value) and main.is_blank(hubspot_value) then 'fill'
        when not main.is_blank(salesforce_value) and not main.same_value(hubspot_value, salesforce_value, field_type) then 'overwrite'
        when main.is_blank(salesforce_value) and not main.is_blank(hubspot_value) then
            case
                when rule = 'prefer_salesforce' then 'backfill'
                when blank_on_switch = 'clear' then 'clear'
            end
    end;

-- What people decided about a finding, as its status at a moment. What makes a run unproven cannot be decided away.
create or replace macro main.decided_status(decision, waived_until, at_moment, severity) as
    case
        when severity = 'unproven' then 'open'
        when decision = 'waived' and waived_until > at_moment then 'waived'
        when decision = 'acknowledged' then 'acknowledged'
        else 'open'
    end;

-- Are so few plausible? floor: as many as are known, without those whose absence somebody accepted; records, percent: so much may be missing.
create or replace macro main.is_implausible(floor, counted, records, percent) as
    floor > 0 and (counted <= 0 or floor - counted > greatest(records, floor * percent / 100));

-- A stamp that lies more than a day after now counts as now (stamp_in_future).
create or replace macro main.not_after(stamp, as_of) as case when stamp > as_of + interval 1 day then as_of else stamp end;

-- What a finding is about: a HubSpot contact, else the Salesforce record, else neither.
create or replace macro main.object_of(hubspot_contact_id, salesforce_id) as
    case
        when hubspot_contact_id is not null then 'contact'
        when salesforce_id like '00Q%' then 'Lead'
        when salesforce_id is not null then 'Contact'
        else 'none'
    end;

create or replace macro main.severity_rank(severity) as case severity when 'unproven' then 3 when 'block' then 2 when 'warn' then 1 else 0 end;

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

-- Why a record that arrived cannot be read, as the end of a sentence.
create or replace macro main.why_unreadable(reason) as
    case reason
        when 'without_id' then 'it came without an id'
        when 'without_properties' then 'it came without properties'
        when 'no_json' then 'the answer about it is no valid JSON'
        when 'unanswered' then 'it was asked for, and the answer does not hold it'
        when 'modified_stamp' then 'its modified stamp is no time'
        when 'created_stamp' then 'its creation stamp is no time'
        when 'columns' then 'its row has too few or too many columns'
        else 'one of its values does not load'
    end;

create or replace macro main.why_unreadable_de(reason) as
    case reason
        when 'without_id' then 'er kam ohne ID'
        when 'without_properties' then 'er kam ohne Eigenschaften'
        when 'no_json' then 'die Antwort zu ihm ist kein gültiges JSON'
        when 'unanswered' then 'er wurde angefragt, und die Antwort enthält ihn nicht'
        when 'modified_stamp' then 'sein Änderungszeitpunkt ist keiner'
        when 'created_stamp' then 'sein Anlagezeitpunkt ist keiner'
        when 'columns' then 'seine Zeile hat zu wenige oder zu viele Spalten'
        else 'einer seiner Werte lässt sich nicht laden'
    end;

-- A set-aside record as people call it.
create or replace macro main.name_of_record(object_type, record_id) as
    case object_type when 'contact' then 'HubSpot contact ' else object_type || ' ' end || record_id;

create or replace macro main.name_of_record_de(object_type, record_id) as
    case object_type when 'contact' then 'HubSpot-Kontakt ' else object_type || ' ' end || record_id;
