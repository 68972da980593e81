"""Settings and policy: what is missing or wrong is named, all at once, without a traceback and without a secret."""

import os
import subprocess
import sys
import time
from pathlib import Path

import certifi
import pytest

from assets.policy import Policy, read_dagster_section, read_policy
from assets.problems import ConfigurationProblem
from pipelines.settings import dagster_home, home, read_connections, who_acts
from sandbox.portal import read_portal

ROOT = Path(__file__).parent.parent
COMPLETE = {
    "SALESFORCE_INSTANCE_URL": "https://org.example", "SALESFORCE_CLIENT_ID": "id", "SALESFORCE_CLIENT_SECRET": "s3cret", "HUBSPOT_ACCESS_TOKEN": "pat-t0ken",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("SALESFORCE_", "HUBSPOT_", "BINDWATCH_")) or name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "DAGSTER_HOME"):
            monkeypatch.delenv(name)
    (tmp_path / "bindwatch.toml").touch()
    monkeypatch.setenv("BINDWATCH_CONFIG", str(tmp_path / "bindwatch.toml"))


def problem_with(monkeypatch: pytest.MonkeyPatch, **changes: str) -> str:
    for name, value in {**COMPLETE, **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationProblem) as raised:
        read_connections()
    return str(raised.value)


def test_with_all_settings_the_connections_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    connections = read_connections()
    assert connections.salesforce.login_url == "https://org.example"
    assert connections.hubspot.base_url == "https://api.hubapi.com"


def test_everything_missing_is_named_at_once_with_its_purpose() -> None:
    with pytest.raises(ConfigurationProblem) as raised:
        read_connections()
    for words in (
        "SALESFORCE_INSTANCE_URL",
        "My Domain",
        "HUBSPOT_ACCESS_TOKEN",
        "Service Keys",
        "private app that you already have",
        "SALESFORCE_CLIENT_ID",
        "SALESFORCE_PRIVATE_KEY_FILE",
    ):
        assert words in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SALESFORCE_INSTANCE_URL": "http://org.example"}, "must begin with https://"),
        ({"HUBSPOT_BASE_URL": "ftp://x"}, "must begin with https:// or http://"),
        ({"SSL_CERT_FILE": "/no/such/file"}, "there is no such file"),
        ({"SALESFORCE_CLIENT_SECRET": "", "SALESFORCE_USERNAME": "u", "SALESFORCE_PRIVATE_KEY_FILE": "/no/such/key"}, "cannot be read"),
        ({"SALESFORCE_CLIENT_SECRET": ""}, "No way into Salesforce is set"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], words: str) -> None:
    text = problem_with(monkeypatch, **changes)
    assert words in text
    assert "s3cret" not in text
    assert "pat-t0ken" not in text


LINE_ENDS = ["{}\r", "{}\n", " {} ", "\t{}\r\n", "\ufeff{}", "{}\u00a0", "\u200b{}", "\u202a{}\u202c", "{}\u200e", "\u2003{}\u202f", "{}\x85", "{}\udca0"]


@pytest.mark.parametrize("written", LINE_ENDS, ids=ascii)
def test_white_space_and_line_ends_around_any_setting_are_taken_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str) -> None:
    with_ca = {**COMPLETE, "BINDWATCH_HOME": str(tmp_path), "BINDWATCH_CONFIG": str(tmp_path / "bindwatch.toml"), "SSL_CERT_FILE": certifi.where(),
               "HUBSPOT_BASE_URL": "https://hubspot.example", "SALESFORCE_LOGIN_URL": "https://login.example", "BINDWATCH_USER": "ann",
               "HTTPS_PROXY": "http://proxy.example:3128", "DAGSTER_HOME": str(tmp_path)}  # fmt: skip
    for name, value in with_ca.items():
        monkeypatch.setenv(name, written.format(value))
    connections = read_connections()
    hubspot, salesforce = connections.hubspot, connections.salesforce
    assert (hubspot.access_token, hubspot.base_url, hubspot.ca_file) == ("pat-t0ken", "https://hubspot.example", certifi.where())
    assert (salesforce.instance_url, salesforce.login_url) == ("https://org.example", "https://login.example")
    assert (salesforce.client_id, salesforce.client_secret) == ("id", "s3cret")
    assert (home(), who_acts(), dagster_home()) == (tmp_path, "ann", tmp_path)
    assert os.environ["HTTPS_PROXY"] == "http://proxy.example:3128"


def test_a_setting_of_white_space_alone_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "HUBSPOT_ACCESS_TOKEN is not set" in problem_with(monkeypatch, HUBSPOT_ACCESS_TOKEN=" \r\n")
    assert "must begin" not in problem_with(monkeypatch, HUBSPOT_ACCESS_TOKEN="", HUBSPOT_BASE_URL="\r\n")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"HUBSPOT_ACCESS_TOKEN": "pat-\nt0ken"}, "HUBSPOT_ACCESS_TOKEN has a space or a line end inside"),
        ({"HUBSPOT_ACCESS_TOKEN": "Bearer pat-t0ken"}, "HUBSPOT_ACCESS_TOKEN begins with the word Bearer"),
        ({"HUBSPOT_ACCESS_TOKEN": "'pat-t0ken'"}, "HUBSPOT_ACCESS_TOKEN is in quotation marks"),
        ({"HUBSPOT_ACCESS_TOKEN": "pat\u2013t0ken"}, "HUBSPOT_ACCESS_TOKEN has a character inside"),
        ({"SALESFORCE_ACCESS_TOKEN": "00D\r\ns3cret"}, "SALESFORCE_ACCESS_TOKEN has a space or a line end inside"),
        ({"SALESFORCE_CLIENT_SECRET": "s3\ncret"}, "SALESFORCE_CLIENT_SECRET has a space or a line end inside"),
        ({"SALESFORCE_CLIENT_ID": "i\td"}, "SALESFORCE_CLIENT_ID has a space or a line end inside"),
        ({"HUBSPOT_BASE_URL": "https://api.hub api.com"}, "HUBSPOT_BASE_URL is 'https://api.hub api.com': it has a space"),
        ({"HUBSPOT_BASE_URL": "https://api.hubapi.com\nX: y"}, "HUBSPOT_BASE_URL is 'https://api.hubapi.com\\nX: y'"),
        ({"HUBSPOT_BASE_URL": "https://"}, "HUBSPOT_BASE_URL is 'https://'"),
        ({"HUBSPOT_BASE_URL": "https://api.hubapi.com:https"}, "HUBSPOT_BASE_URL is 'https://api.hubapi.com:https': it names no host"),
        ({"HUBSPOT_BASE_URL": "https://ann:s3cret@api.hubapi.com"}, "HUBSPOT_BASE_URL must not hold a user or a password"),
        ({"SALESFORCE_INSTANCE_URL": "https://org.example https://org.example"}, "SALESFORCE_INSTANCE_URL is"),
        ({"SALESFORCE_INSTANCE_URL": "https://<your domain>.my.salesforce.com"}, "SALESFORCE_INSTANCE_URL is"),
        ({"SALESFORCE_INSTANCE_URL": "https://org.lightning.force.com"}, "for people; the one for programs is https://<your domain>.my."),
        ({"SALESFORCE_INSTANCE_URL": "https://org--uat.sandbox.my.salesforce-setup.com/lightning"}, "is the address of the pages for people"),
        ({"SALESFORCE_INSTANCE_URL": "https://org.my.salesforce.com/lightning/page/home"}, "it must end after org.my.salesforce.com"),
        ({"HUBSPOT_BASE_URL": "https://app-eu1.hubspot.com"}, "the one for programs is https://api.hubapi.com"),
        ({"SALESFORCE_INSTANCE_URL": "https://[org"}, "SALESFORCE_INSTANCE_URL is 'https://[org': it names no host"),
        ({"SALESFORCE_LOGIN_URL": "https://org.example/?x=1"}, "SALESFORCE_LOGIN_URL is 'https://org.example/?x=1': it must end before the ?"),
        ({"HTTPS_PROXY": "http://ann:s3cret@proxy .example:3128"}, "HTTPS_PROXY cannot be right"),
        ({"HTTPS_PROXY": "socks5://proxy.example:1080"}, "HTTPS_PROXY cannot be right: it names a proxy of the kind socks5"),
        ({"HTTPS_PROXY": "http://proxy.example:port"}, "HTTPS_PROXY cannot be right"),
        ({"SSL_CERT_FILE": __file__}, "it holds no certificates"),
        ({"SALESFORCE_CLIENT_SECRET": "", "SALESFORCE_USERNAME": "u", "SALESFORCE_PRIVATE_KEY_FILE": certifi.where()}, "holds the certificate; the key is"),
        ({"SALESFORCE_CLIENT_SECRET": "", "SALESFORCE_USERNAME": "u", "SALESFORCE_PRIVATE_KEY_FILE": __file__}, "holds no private key"),
        ({"HUBSPOT_BASE_URL": "https://api.hubapi.com/crm/v3"}, "it must end after api.hubapi.com"),
        ({"SALESFORCE_INSTANCE_URL": "https://login.salesforce.com"}, "is where people of all orgs log in"),
        ({"HTTPS_PROXY": '"http://proxy.example:3128"'}, "HTTPS_PROXY cannot be right: it is in quotation marks"),
        ({"HTTPS_PROXY": "http://ann:s3#cret@proxy.example:3128"}, "%23 for #"),
        ({"BINDWATCH_HOME": "/srv/bindwatch\nHUBSPOT"}, "BINDWATCH_HOME has a line end inside"),
        ({"SSL_CERT_FILE": "/etc/ca\n.pem"}, "SSL_CERT_FILE has a line end inside"),
        ({"BINDWATCH_DECISIONS_URL": "postgresql://ann:s3cret@host/\ndb"}, "BINDWATCH_DECISIONS_URL has a line end inside"),
        ({"BINDWATCH_DESK_TOKEN": "s3\ncret"}, "BINDWATCH_DESK_TOKEN has a line end inside"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_right_is_named_and_not_tried(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], words: str) -> None:
    text = problem_with(monkeypatch, **changes)
    assert words in text
    assert not any(secret in text for secret in ("s3cret", "s3", "t0ken"))


@pytest.mark.parametrize(
    "changes",
    [
        {"HUBSPOT_BASE_URL": "http://127.0.0.1:8080/"}, {"HUBSPOT_BASE_URL": "http://[::1]:8080"}, {"HUBSPOT_BASE_URL": "https://gateway.example/hubspot"},
        {"SALESFORCE_INSTANCE_URL": "https://our_org--uat.sandbox.my.salesforce.com"}, {"HTTPS_PROXY": "proxy.example:3128"},
        {"HTTPS_PROXY": "http://a%40b:p%20w@proxy.example:3128"}, {"HTTPS_PROXY": "http://proxy.example:3128", "ALL_PROXY": "socks5://proxy.example:1080"},
        {"HTTPS_PROXY": "socks5://proxy.example:1080", "NO_PROXY": "*"}, {"SALESFORCE_LOGIN_URL": "https://login.salesforce.com"},
        {"HTTPS_PROXY": "http://o'hara:p@proxy.example:3128"}, {"SALESFORCE_USERNAME": "sync@org.example.uat"},
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_that_can_be_right_is_tried(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]) -> None:
    for name, value in {**COMPLETE, **changes}.items():
        monkeypatch.setenv(name, value)
    read_connections()


def test_a_setting_that_cannot_be_right_ends_the_command_with_2_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    answer = bindwatch("run", home=tmp_path, **{**COMPLETE, "HUBSPOT_BASE_URL": "https://api.hub api.com", "HUBSPOT_ACCESS_TOKEN": "pat\nt0ken"})
    assert answer.returncode == 2
    assert "HUBSPOT_BASE_URL" in answer.stderr
    assert "HUBSPOT_ACCESS_TOKEN" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert time.monotonic() - began < 60


def saved(text: str, encoding: str, line_end: str = "\r\n") -> bytes:
    return text.replace("\n", line_end).encode(encoding)


@pytest.mark.parametrize(("encoding", "line_end"), [("utf-8-sig", "\r\n"), ("utf-8", "\r\n"), ("utf-8-sig", "\n")])
def test_a_policy_is_read_as_windows_editors_save_it(tmp_path: Path, encoding: str, line_end: str) -> None:
    path = tmp_path / "bindwatch.toml"
    content = saved("[policy]\nsettle_minutes = 7\n", encoding, line_end)
    path.write_bytes(content)
    assert read_policy(path).policy.settle_minutes == 7
    path.write_bytes(content.replace(b"7", b"x"))
    with pytest.raises(ConfigurationProblem, match="line 2"):
        read_policy(path)
    path.write_bytes(saved('[dagster]\nprefix = "emea"\n', "utf-8-sig"))
    assert read_dagster_section(path).prefix == "emea"
    assert read_portal(path).on_contact_deleted == "keep"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        *((saved("[gate]\n", encoding), "saved as UTF-16") for encoding in ("utf-16", "utf-16-le", "utf-16-be")),
        (b"PK\x03\x04" + bytes(60), "a document of a word processor"),
        (saved("[gate]\nfail_on = “new”\n", "utf-8"), "a quotation mark that is none of TOML's stands there (U+201C)"),
        (saved('[gate]\nfail_on\u00a0= "new"\n', "utf-8"), "a blank or a line end that is none stands there (U+00A0)"),
        (saved("[gate]\n# für Größeres\n", "cp1252"), "line 2 holds a character that is not saved as UTF-8"),
    ],
)  # fmt: skip
def test_a_policy_in_another_encoding_is_named_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "bindwatch.toml").write_bytes(content)
    assert words in problem_with(monkeypatch)
    assert read_dagster_section(tmp_path / "bindwatch.toml").prefix == "bindwatch"


def test_settings_and_policy_are_reported_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bindwatch.toml").write_text('[policy]\nfirst_sync = "newest"\n')
    text = problem_with(monkeypatch, HUBSPOT_ACCESS_TOKEN="")
    assert "policy.first_sync" in text
    assert "HUBSPOT_ACCESS_TOKEN is not set" in text


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[policy]\nfollow_up = 'sometimes'", "policy.follow_up"),
        ("[policy]\nfolow_up = 'sticky'", "policy.folow_up"),
        ("[policy]\nsettle_minutes = -1", "policy.settle_minutes"),
        ("not toml", "not a readable TOML file"),
        ("[[mapping]]\nhubspot = 'x'\nsalesforce = 'A; DROP'", "is no Salesforce field name"),
        ("[[mapping]]\nhubspot = 'x'\nsalesforce = {}", "name the Salesforce field"),
        ("[[mapping]]\nhubspot = 'x'\nsalesforce = 'A'\n[[mapping]]\nhubspot = 'x'\nsalesforce = 'B'", "mapped more than once: x"),
        *((f"[[mapping]]\nhubspot = 'x'\nsalesforce = 'A'\nconsent = {said}", "line 4: mapping.0.consent: Value error, it is \"opted_out\" (true means no)")
          for said in ("'yes'", "'no'", "'true'", "1", "'Opted_In'", "['Yes']")),
        ("[policy]\nobjects = ['Contact']\n[[mapping]]\nhubspot = 'x'\nsalesforce = { lead = 'A' }", "x is mapped to a field of the Lead alone"),
        ("[checks.unsafe_duplicate]\nseverity = 'error'", "checks.unsafe_duplicate.severity"),
        ("[checks.no_such_check]\nseverity = 'warn'", "no_such_check"),
        ("[checks.pull_incomplete]\nseverity = 'off'", "pull_incomplete"),
        ("[dagster]\nprefix = 'our crm'", "dagster.prefix"),
        ("[dagster]\nprefix = ''", "cannot begin a name in Dagster"),
        ("[dagster]\nprefix = '__ASSET_JOB'", "dagster.prefix"),
        ("[dagster]\nprefix = 'a/b'", "line 2: dagster.prefix"),
        ("[dagster]\nprefix = \"crm\\n\"", "dagster.prefix"),
        ("[dagster]\nkeep_runs_days = -1", "dagster.keep_runs_days"),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_named_by_its_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toml: str, words: str) -> None:
    (tmp_path / "bindwatch.toml").write_text(toml)
    assert words in problem_with(monkeypatch)


@pytest.mark.parametrize(
    ("toml", "prefix"),
    [
        (None, "bindwatch"),
        ("", "bindwatch"),
        ("not toml", "bindwatch"),
        ("dagster = 1", "bindwatch"),
        ("[dagster]\nprefix = 'our crm'", "bindwatch"),
        ("[dagster]\nprefix = 'emea_2'", "emea_2"),
        ("[dagster]\nprefix = 'emea_2'\nkeep_runs_days = 'for ever'\n[checks.no_such_check]\nseverity = 7", "emea_2"),
    ],
)
def test_the_prefix_is_what_the_file_says_whatever_else_is_wrong_with_it(tmp_path: Path, toml: str | None, prefix: str) -> None:
    path = tmp_path / "dagster.toml"
    if toml is not None:
        path.write_text(toml)
    assert read_dagster_section(path).prefix == prefix


def test_the_policy_file_of_the_checkout_is_the_defaults() -> None:
    assert read_policy(ROOT / "bindwatch.toml") == Policy()


def bindwatch(*arguments: str, home: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {"PATH": os.environ["PATH"], "BINDWATCH_HOME": str(home), "BINDWATCH_CONFIG": str(ROOT / "bindwatch.toml"), **environment}
    code = "from pipelines.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, env=clean, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_line_answers_missing_settings_with_exit_code_2_and_no_traceback(tmp_path: Path) -> None:
    answer = bindwatch("run", home=tmp_path)
    assert answer.returncode == 2
    assert "SALESFORCE_INSTANCE_URL is not set" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("arguments", [("run", "--no-such-option"), ("no-such-command",), ("demo", "--people", "many")])
def test_the_command_line_answers_wrong_arguments_with_exit_code_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    answer = bindwatch(*arguments, home=tmp_path)
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr


def test_the_command_line_answers_an_unreachable_crm_with_exit_code_3(tmp_path: Path) -> None:
    answer = bindwatch(
        "run", home=tmp_path, SALESFORCE_INSTANCE_URL="https://127.0.0.1:9", SALESFORCE_ACCESS_TOKEN="s3cret", HUBSPOT_ACCESS_TOKEN="pat-t0ken",
        HUBSPOT_BASE_URL="http://127.0.0.1:9",
    )  # fmt: skip
    assert answer.returncode == 3
    assert "cannot be reached" in answer.stdout
    assert "Traceback" not in answer.stdout + answer.stderr
    assert "s3cret" not in answer.stdout + answer.stderr
    assert "pat-t0ken" not in answer.stdout + answer.stderr


def test_the_demo_refuses_a_home_with_data_of_real_crms(tmp_path: Path) -> None:
    (tmp_path / "warehouse.duckdb").touch()
    answer = bindwatch("demo", home=tmp_path)
    assert answer.returncode == 2
    assert "Set BINDWATCH_HOME" in answer.stderr


def test_real_crms_are_not_pulled_into_the_home_of_the_demo(tmp_path: Path) -> None:
    (tmp_path / "demo-world").touch()
    answer = bindwatch("run", home=tmp_path, **COMPLETE)
    assert answer.returncode == 2
    assert "holds the data of the demo" in answer.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('# a policy\n[policy]\nfirst_sync = "newest"\n', "line 3: policy.first_sync"),
        ('[policy]\n\n[checks.unsafe_duplicate]\nseverity = "loud"\n', "line 4: checks.unsafe_duplicate.severity"),
        ('[checks]\nunsafe_duplicate = { severity = "warn", max_findings = -1 }\n', "line 2: checks.unsafe_duplicate.max_findings"),
        ('[checks.unsafe]\nseverity = "warn"\n', "line 1: checks.unsafe: there is no such check"),
        ('[checks]\nlatent_duplicate.severity = "off"\npull_incomplete.severity = "off"\n', "line 3: checks.pull_incomplete.severity: cannot be changed"),
        ('[[mapping]]\nhubspot = "phone"\nsalesforce = "Phone"\n[[mapping]]\nhubspot = "fax"\nsalesforce = "Fax; drop"\n', "line 6: mapping.1.salesforce"),
        ("[checks.pull_gap]\nmax_findings = 1\n", "line 2: checks.pull_gap.max_findings: must be 0"),
        ('[[mapping]]\nhubspot = "phone"\n', "line 1: mapping.0.salesforce"),
        ('[gate]\n"fail_on" = "never"\n', "line 2: gate.fail_on"),
        ('[gate]\nfail_on = "all"\nfail_of = "all"\n', "line 3: gate.fail_of"),
        ('[alerts]\non = ["red", "blue"]\n', "line 2: alerts.on.1"),
        ('[links]\ndesk_url = "javascript:alert(1)"\n', "line 2: links.desk_url"),
        ("[gate]\nfail_on = \n", "line 2"),
    ],
)
def test_a_wrong_entry_of_the_policy_is_named_with_its_line(text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "bindwatch.toml"
    policy.write_text(text)
    monkeypatch.setenv("BINDWATCH_CONFIG", str(policy))
    assert words in problem_with(monkeypatch)
