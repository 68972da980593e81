"""A check decides, a sentence is looked up: queries name cases and facts, the headers of their files hold the sentences in every language."""

import re
import shutil
import time
from pathlib import Path

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from assets import sentences
from assets.models.build import build_models
from assets.models.sqlfile import SqlFile, check_files, model_files
from assets.problems import UnexpectedProblem
from assets.published import forecast
from assets.sentences import column_in, facts_of, languages, read_sentences, said_in, take_apart, write_sentences
from assets.sql import SQL_FOLDER
from expectations.gate import checks
from tests.crm import BOUND, RIVAL, Crm, duplicates, lead_id, one

# A sentence may stand in the header of each of these. What a query selects for people to read is none of these columns.
SPEAKING: list[SqlFile] = [*checks(), *(file for file in model_files(SQL_FOLDER, checks()) if read_sentences(file.text)), SqlFile(forecast.QUERY)]
NAMES_AN_EVENT = {"identity", "event"}  # fingerprints are made of them


def sentences_of(file: SqlFile) -> dict[tuple[str, str, str], str]:
    return read_sentences(file.text)


def facts_in(file: SqlFile, case: str, kind: str, language: str) -> set[str]:
    others = {name: text for (name, of_kind, spoken), text in sentences_of(file).items() if (of_kind, spoken) == (kind, language)}
    return facts_of(take_apart(others[case], language, others)) - {"quoted"}


def selects_of(file: SqlFile) -> list[exp.Select]:
    """The queries whose columns the file returns: one, or the branches of a union."""
    tree = sqlglot.parse_one(file.text, read="duckdb")
    query = tree.expression if isinstance(tree, exp.Create) else tree
    return _branches(query)


def _branches(query: exp.Expr) -> list[exp.Select]:
    return [query] if isinstance(query, exp.Select) else [branch for side in ("this", "expression") for branch in _branches(query.args[side])]


@pytest.mark.parametrize("file", SPEAKING, ids=lambda file: file.path.stem)
def test_every_case_has_a_sentence_in_every_language_with_the_same_facts(file: SqlFile) -> None:
    told = sentences_of(file)
    assert told
    kinds = {(case, kind) for case, kind, _ in told}
    for case, kind in kinds:
        assert {language for c, k, language in told if (c, k) == (case, kind)} == set(languages()), (case, kind)
        spoken = [facts_in(file, case, kind, language) for language in languages()]
        # one language may need a fact that another has no word for, as the state of a record
        assert all(facts ^ spoken[0] <= {"master_state", "loser_state"} for facts in spoken), (case, kind, spoken)
    if file in SPEAKING[: len(checks())]:
        assert {case for case, kind in kinds if kind == "do"} == {case for case, kind in kinds if kind == "says"}, "who reads a reason is told what to do"


# Numbers that are never one, or next to which no word changes.
NEVER_ONE = {
    "ambiguous_first_binding": {"records", "accounts", "owners"}, "binding_flaps": {"jumps", "records"}, "consent_at_risk": {"count"},
    "hidden_duplicate": {"records", "addresses"}, "latent_duplicate": {"records"}, "merge_verdict": {"losers"}, "not_native": {"others", "contacts"},
    "policy_drift": {"for", "cases", "against"}, "pull_incomplete": {"minutes"}, "same_record_bound_twice": {"contacts"}, "shared_mailbox": {"records"},
    "switch_happened": {"more"}, "switchable_duplicate": {"rivals"}, "unsafe_duplicate": {"rivals", "more"},
}  # fmt: skip


@pytest.mark.parametrize("file", SPEAKING, ids=lambda file: file.path.stem)
def test_where_a_number_may_be_one_there_are_words_for_one(file: SqlFile) -> None:
    unsaid = set()
    for (_, kind, language), sentence in sentences_of(file).items():
        others = {name: text for (name, of_kind, spoken), text in sentences_of(file).items() if (of_kind, spoken) == (kind, language)}
        for part in take_apart(sentence, language, others):
            says_one = {"fact": part["fact"], "value": "1", "holds": False} in part["tests"]
            if part["form"] == "number" and not says_one:
                unsaid.add(part["fact"])
    assert unsaid == NEVER_ONE.get(file.path.stem, set())


@pytest.mark.parametrize("file", SPEAKING, ids=lambda file: file.path.stem)
def test_a_query_selects_no_sentence_and_every_fact_that_its_sentences_need(file: SqlFile) -> None:
    needed = {fact for case, kind, language in sentences_of(file) for fact in facts_in(file, case, kind, language)}
    known: set[str] = set()
    for select in selects_of(file):
        for column in select.expressions:
            if column.alias_or_name in NAMES_AN_EVENT:
                continue
            told = [text.this for text in column.find_all(exp.Literal) if text.is_string and " " in text.this.strip(" ,;:()→⟨⟩")]
            assert not [text for text in told if text != "⟨or⟩"], (column.alias_or_name, told)
            if column.alias_or_name == "facts" or isinstance(column, exp.ToMap):
                known |= {key.this for item in column.find_all(exp.PropertyEQ) for key in [item.this]} | {
                    key.this for key in column.find_all(exp.Literal) if key.is_string
                }
    assert needed <= known
    events = {literal for select in selects_of(file) for column in select.expressions if column.alias_or_name in NAMES_AN_EVENT for literal in words_in(column)}
    assert set(words_in(sqlglot.parse_one(file.text, read="duckdb"))) <= events, "nor does a step on the way there hold one"


def words_in(query: exp.Expr) -> list[str]:
    """The texts in a query that have several words."""
    return [text.this for text in query.find_all(exp.Literal) if text.is_string and re.search(r"[^\W\d_]{2}\W* \W*[^\W\d_]{2}", text.this)]


def test_a_case_without_a_sentence_ends_the_build_and_names_the_check(tmp_path: Path) -> None:
    folder = tmp_path / "expectations"
    shutil.copytree(checks()[0].path.parent.parent, folder)
    wrong = folder / "bindings" / "bound_record_deleted.sql"
    wrong.write_text(wrong.read_text("utf-8").replace("binding.bound_state as says", "'purged' as says"), encoding="utf-8")
    crm = Crm()
    crm.contact(bound=crm.lead(1, deleted=True))
    connection = crm.build().connection
    with pytest.raises(UnexpectedProblem, match="bound_record_deleted says purged, and its header has no such sentence"):
        build_models(connection, check_files(folder))


def test_a_third_language_is_text_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences in the headers, and a table in languages.toml: no query, no column and no line of Python changes. What has none is said in English."""
    known = {**languages(), "fr": {**languages()["en"], "unknown": "inconnu"}}
    folder = tmp_path / "expectations"
    shutil.copytree(checks()[0].path.parent.parent, folder)
    path = folder / "bindings" / "bound_record_deleted.sql"
    text = path.read_text("utf-8")
    french = "-- says.fr deleted: Il est lié à {record}, un {object} supprimé.\n-- do.fr deleted: Restaurez-le.\nselect\n    binding.hubspot_contact_id,"
    path.write_text(text.replace("select\n    binding.hubspot_contact_id,", french, 1), encoding="utf-8")
    monkeypatch.setattr(sentences, "languages", lambda: known)
    sentences.compile_sentences.cache_clear()
    try:
        crm = Crm()
        crm.contact(bound=crm.lead(1, deleted=True))
        crm.lead(2, email="nonsense")
        connection = crm.build().connection
        build_models(connection, check_files(folder))
    finally:
        sentences.compile_sentences.cache_clear()
    (row,) = connection.execute("select reason, words from review.finding where check_name = 'bound_record_deleted'").fetchall()
    assert row == (
        f"It is bound to {BOUND}, a Lead deleted in Salesforce.",
        [{"language": "fr", "reason": f"Il est lié à {BOUND}, un Lead supprimé.", "action": "Restaurez-le."}],
    )
    untold = connection.execute("select reason, action, words from review.finding where check_name <> 'bound_record_deleted'").fetchall()
    assert untold
    assert all(words == [{"language": "fr", "reason": reason, "action": action}] for reason, action, words in untold)
    told = crm.rows("review.finding")
    assert {said_in("fr", row, "action") for row in told if row["check_name"] == "bound_record_deleted"} == {"Restaurez-le."}
    for language in ("en", "de", "fr", "es"):
        asked = connection.execute(f"select {column_in(language, 'finding', 'reason')} from review.finding as finding order by fingerprint").fetchall()
        assert [reason for (reason,) in asked] == [said_in(language, row, "reason") for row in sorted(told, key=lambda row: row["fingerprint"])]


def test_a_finding_has_its_facts_beside_its_sentences_and_the_ledger_keeps_them() -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1, deleted=True))
    assert one(crm, "bound_record_deleted")["facts"] == {"record": BOUND, "object": "Lead"}
    crm.end_run()
    assert [row["facts"] for row in crm.rows("main.ledger") if row["check_name"] == "bound_record_deleted"] == [{"record": BOUND, "object": "Lead"}]


@pytest.mark.parametrize(
    ("check", "fingerprint"),
    [
        ("unsafe_duplicate", "6d42dff180bf0ee3c1be8ab3a33295be"),
        ("bound_record_deleted", "7c0067624b3648676d5c0d24dfba9660"),
        ("email_unusable", "6864d127d5cea92d2213773d986b6907"),
    ],
)
def test_the_fingerprints_of_findings_are_those_of_before(check: str, fingerprint: str) -> None:
    """Decisions hang on them: of a check with records and fields, of one with a record alone, of one with an identity of its own."""
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    if check == "bound_record_deleted":
        crm = Crm()
        crm.contact(bound=crm.lead(1, deleted=True))
    elif check == "email_unusable":
        crm = Crm()
        crm.lead(1, email="nonsense")
    assert one(crm, check)["fingerprint"] == fingerprint


def test_without_a_run_book_a_switch_check_still_says_what_to_do() -> None:
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    connection = crm.build().connection
    connection.execute("delete from core.first_step")
    unsafe = next(check for check in checks() if check.name == "unsafe_duplicate")
    connection.execute("delete from review.violation")
    query = unsafe.text.strip().rstrip(";")
    connection.execute(f"insert into review.violation by name select 'duplicates' as suite, 'unsafe_duplicate' as check_name, * from ({query})")
    finding_sql = next(file for file in model_files(SQL_FOLDER, checks()) if file.table == "review.finding")
    connection.execute(finding_sql.text)
    (action,) = connection.execute("select action from review.finding").fetchone() or (None,)
    assert str(action).startswith("Find out which of the records is this person's")


def said(sentence: str, facts: dict[str, str | None], language: str = "en", quoted: dict[str, str] | None = None) -> str:
    connection = duckdb.connect()
    connection.execute((SQL_FOLDER / "raw" / "macros.sql").read_text("utf-8"))
    suffix = "" if language == "en" else f".{language}"
    write_sentences(connection, [("x", f"-- says{suffix} it: {sentence}")])
    connection.execute(
        "create table asked as select 'it' as says, cast($facts as map(varchar, varchar)) as facts, cast($quoted as map(varchar, varchar)) as quoted",
        {"facts": facts, "quoted": quoted},
    )
    (text,) = connection.execute(f"select says_{language} from main.said('asked', 'x')").fetchone() or ("",)
    return str(text)


@pytest.mark.parametrize(
    ("sentence", "facts", "expected"),
    [
        ("It is {record}.", {"record": "00Q"}, "It is 00Q."),
        ("{n|1: One record|{n:number} records} went.", {"n": "1"}, "One record went."),
        ("{n|1: One record|{n:number} records} went.", {"n": "1234567"}, "1,234,567 records went."),
        ("Bound[ to {record}|to nothing].", {"record": None}, "Boundto nothing."),
        ("Jumped{by|edit: , edited by {who}|}.", {"by": "edit", "who": "Ann"}, "Jumped, edited by Ann."),
        ("Jumped{by|edit: , edited by {who}|}.", {"by": None, "who": "Ann"}, "Jumped."),
        ("[?more {few} and {more} more|{few} alone]", {"few": "a", "more": None}, "a alone"),
        ("[one {a}[ and {b}]]", {"a": "1", "b": "2"}, "one 1 and 2"),
        ("[one {a}[ and {b}]]", {"a": None, "b": "2"}, ""),
        ("On {at:moment}, {at:day}.", {"at": "2026-03-01 10:20:30"}, "On 2026-03-01 10:20, 2026-03-01."),
        ("{change:words}", {"change": '"a" → ⟨blank⟩'}, '"a" → blank'),
        ("{why:code}", {"why": "value"}, "one of its values does not load"),
        ("Who: {who}.", {"who": None}, "Who: unknown."),
        ("A text with {braces}", {"braces": "{record} [x|y]"}, "A text with {record} [x|y]"),
    ],
)
def test_a_sentence_is_filled_with_facts(sentence: str, facts: dict[str, str | None], expected: str) -> None:
    assert said(sentence, facts) == expected


def test_numbers_and_days_are_written_as_the_language_writes_them() -> None:
    facts: dict[str, str | None] = {"n": "12345", "at": "2026-03-01 10:20:30", "change": "⟨blank⟩"}
    assert said("{n:number} am {at:moment}: {change:words}", facts, "de") == "12.345 am 01.03.2026 10:20: leer"


def test_what_another_table_says_is_quoted_in_the_same_language() -> None:
    assert said("Now.[ {quoted}]", {}, "de", {"en": "Merge.", "de": "Zusammenführen."}) == "Now. Zusammenführen."
    assert said("Now.[ {quoted}]", {}, "de") == "Now."


@pytest.mark.parametrize("sentence", ["{a", "[a]", "[{a}", "{a|1: b", "<other>", "{a:week}", "a]"])
def test_a_sentence_that_cannot_be_read_is_an_error(sentence: str) -> None:
    with pytest.raises(ValueError, match="x, says it in en: "):
        said(sentence, {})


def test_a_hundred_thousand_findings_are_worded_without_a_loop() -> None:
    """0.3 s of CPU for two languages on the machine it was made on; the limit only tells a loop from a set."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute((SQL_FOLDER / "raw" / "macros.sql").read_text("utf-8"))
    lines = "-- says it: It is bound to {record}, a {object} of {n} others.\n-- says.de it: Er ist mit {record} verknüpft, {object} von {n}.\n"
    write_sentences(connection, [("x", lines + "-- do it: Undelete it.\n-- do.de it: Wiederherstellen.\n")])
    connection.execute(
        """create table asked as
           select 'it' as says, map {'record': '00Q' || i, 'object': 'Lead', 'n': cast(i % 7 as varchar)} as facts,
                  cast(null as map(varchar, varchar)) as quoted
           from range(100000) as numbers(i)"""
    )
    began = time.process_time()
    (rows,) = connection.execute("select count(distinct says_en) + count(distinct says_de) from main.said('asked', 'x')").fetchone() or (0,)
    assert rows == 200_000
    assert time.process_time() - began < 5


def test_the_rival_of_one_and_of_many_is_named_as_people_would() -> None:
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    assert one(crm, "unsafe_duplicate")["reason"].startswith(f"An edit of {RIVAL} moves the binding there. HubSpot loses jobtitle: ")
    crm.lead(3, modified=crm.run_at, fields={"Title": "Chef"})
    assert lead_id(3) in one(crm, "unsafe_duplicate")["rival_ids"]
    assert one(crm, "unsafe_duplicate")["reason"].startswith("An edit of any of 2 records moves the binding there. ")
