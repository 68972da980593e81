"""Settings from the environment. Secrets only ever come from here; bindwatch.toml holds none."""

import getpass
import grp
import logging
import os
import re
import ssl
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from assets.policy import Policy, locate, read_policy
from assets.problems import ConfigurationProblem
from assets.process import tidy_environment
from assets.published.decisions import DecisionStore
from assets.pull.proxies import proxy_for
from assets.sentences import languages
from expectations.gate import checks

if TYPE_CHECKING:  # Dagster and the clients of the CRMs take 70 MB, which the desk has no use for
    from assets.dagster.session import Connections

log = logging.getLogger("bindwatch")

DEMO_MARK = "demo-world"  # a file in a home whose data are made up
_IN_ONE_LINE = (
    "BINDWATCH_HOME", "BINDWATCH_CONFIG", "BINDWATCH_USER", "BINDWATCH_LANGUAGE", "BINDWATCH_DECISIONS_URL", "BINDWATCH_DESK_TOKEN",
    "BINDWATCH_DESK_USER_HEADER", "BINDWATCH_DESK_PROXIES", "BINDWATCH_DESK_GROUPS_HEADER", "SALESFORCE_PRIVATE_KEY_FILE", "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE", "DAGSTER_HOME",
)  # fmt: skip  # the others are looked at one by one, but for BINDWATCH_ALERT_URLS, which may have one address a line
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?|[0-9a-f:.%]+")  # a name, or an IPv6 address
_OF_A_BROWSER = {  # hosts of the pages for people: where the programs' API is instead
    r".*\.lightning\.force\.com|.*\.salesforce-setup\.com|.*\.(?:vf|visualforce|file)\.force\.com": "https://<your domain>.my.salesforce.com",
    r"app(?:-[a-z0-9]+)?\.hubspot\.com": "https://api.hubapi.com",
}
_OF_NO_ORG = {"login.salesforce.com", "test.salesforce.com"}  # all orgs' people log in there
_WITHOUT_PATH = (".salesforce.com", ".hubapi.com", "api.hubspot.com")

_WHERE_FROM = {
    "SALESFORCE_INSTANCE_URL": "the org's own address, https://<your domain>.my.salesforce.com (Salesforce: Setup → My Domain)",
    "HUBSPOT_ACCESS_TOKEN": "a Service Key, which lets Bindwatch read contacts (HubSpot: Development → Keys → Service keys, or Settings → Integrations → "
    "Service Keys). The token of a private app that you already have works until September 2027",
    "SALESFORCE_ACCESS_TOKEN": "a session token, for a quick try (it expires)",
    "SALESFORCE_CLIENT_ID": "the consumer key of your app (Salesforce: Setup → External Client App Manager → your app → OAuth settings)",
    "SALESFORCE_CLIENT_SECRET": "its consumer secret, for the client credentials flow (same page)",
    "SALESFORCE_USERNAME": "the integration user's user name, for the JWT bearer flow",
    "SALESFORCE_PRIVATE_KEY_FILE": "a PEM file with the private key whose certificate was uploaded to the app, for the JWT bearer flow",
}


class Environment(BaseSettings):
    """The environment variables of the contract. Empty counts as not set."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")

    bindwatch_home: Path = Path("data")
    bindwatch_config: Path = Path("bindwatch.toml")
    salesforce_instance_url: str | None = None
    salesforce_login_url: str | None = None
    salesforce_access_token: SecretStr | None = None
    salesforce_client_id: str | None = None
    salesforce_client_secret: SecretStr | None = None
    salesforce_username: str | None = None
    salesforce_private_key_file: Path | None = None
    hubspot_access_token: SecretStr | None = None
    hubspot_base_url: str = "https://api.hubapi.com"
    bindwatch_decisions_url: SecretStr | None = None
    bindwatch_user: str | None = None
    bindwatch_language: str | None = None
    bindwatch_alert_urls: SecretStr | None = None
    bindwatch_desk_token: SecretStr | None = None
    bindwatch_desk_user_header: str | None = None
    bindwatch_desk_proxies: str = "127.0.0.1 ::1"
    bindwatch_desk_groups_header: str | None = None
    bindwatch_desk_deciders: str = ""
    ssl_cert_file: Path | None = Field(None)
    requests_ca_bundle: Path | None = Field(None)


def read_environment() -> Environment:
    """Raises ConfigurationProblem when a variable cannot be read."""
    tidy_environment()
    broken = [name for name in _IN_ONE_LINE if re.search(r"[\x00-\x1f\x7f]", os.environ.get(name, ""))]
    if broken:
        raise ConfigurationProblem("\n".join(f"{name} has a line end inside: copy it again, in one piece" for name in broken))
    try:
        return _environment(frozenset(os.environ.items()))
    except ValidationError as error:
        raise ConfigurationProblem("\n".join(f"{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in error.errors())) from error


@lru_cache(maxsize=1)
def _environment(_variables: frozenset[tuple[str, str]]) -> Environment:
    """Read once as long as no variable is another: a run asks twenty times."""
    return Environment()


def is_default_home() -> bool:
    """Did nobody say where the home is to be?"""
    return not os.environ.get("BINDWATCH_HOME")


def policy_for_reading() -> Policy:
    """The policy, for a command that can do without: then everything is as safe as can be, which is the default, and that is
    said. Raises ConfigurationProblem for a wrong one.
    """
    path = read_environment().bindwatch_config
    if path.exists():
        return read_policy(path)
    where = f"BINDWATCH_CONFIG is {path}: there is no such file" if os.environ.get("BINDWATCH_CONFIG") else f"There is no {path} in this folder"
    print(f"{where}, so every setting is the default (e-mails are masked).", file=sys.stderr)
    return Policy()


def home() -> Path:
    """$BINDWATCH_HOME as an absolute path."""
    return read_environment().bindwatch_home.absolute()


def is_demo_home() -> bool:
    """Are the data of this home made up? Then nothing of it reaches the stores of a team, or the team, whatever the environment says: it may be the shell in
    which somebody works for the team.
    """
    return (home() / DEMO_MARK).exists()


def dagster_home() -> Path:
    """$DAGSTER_HOME, or dagster/ in the home; that of the demo is always there."""
    named = None if is_demo_home() else os.environ.get("DAGSTER_HOME")
    return Path(named or own_dagster_home()).absolute()


def own_dagster_home() -> Path:
    return home() / "dagster"


def is_own_dagster_home() -> bool:
    """Does the Dagster instance belong to this home? Any other one may serve others, too: nothing there is made, changed or set aside by us."""
    return dagster_home().resolve() == own_dagster_home().resolve()


def who_acts() -> str:
    """Who decides on the command line: BINDWATCH_USER, or the name of who is logged in; the number, where it has no name."""
    named = read_environment().bindwatch_user
    if named:
        return named.strip()
    try:
        return getpass.getuser()
    except KeyError:
        return f"uid {os.getuid()}"


def reader_language() -> str:
    """The language in which findings and plans speak in a terminal: BINDWATCH_LANGUAGE, else what the terminal says, else English.

    Raises ConfigurationProblem for a BINDWATCH_LANGUAGE in which nothing is said.
    """
    known = languages()
    if chosen := read_environment().bindwatch_language:
        if chosen not in known:
            raise ConfigurationProblem(f"BINDWATCH_LANGUAGE is {chosen}: there are {', '.join(known)}.")
        return chosen
    terminal = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    code = re.split("[_.@]", terminal)[0]  # de_AT.UTF-8@euro
    return code if code in known else "en"


def alert_urls(policy: Policy) -> list[str]:
    """The addresses in BINDWATCH_ALERT_URLS, separated by white space, and those of the policy; each once."""
    return list(dict.fromkeys([*(_reveal(read_environment().bindwatch_alert_urls) or "").split(), *policy.alerts.urls]))


def open_decisions(create: bool = True) -> DecisionStore:
    """The decisions store at BINDWATCH_DECISIONS_URL, or in the home. Raises ConfigurationProblem when the URL cannot be used.

    create: makes the home when it is not there. Those of the demo are always in the home.
    """
    url = None if is_demo_home() else _reveal(read_environment().bindwatch_decisions_url)
    return DecisionStore(home(), url, create)


def read_connections(policy: Policy | None = None) -> "Connections":
    """Everything needed to reach both CRMs. Raises ConfigurationProblem that names all that is missing or wrong at once.

    policy: to reach them with, whatever the policy file says.
    """
    from assets.dagster.session import Connections
    from assets.pull.hubspot_portal import HubSpotAccess
    from assets.pull.salesforce_org import SalesforceAccess

    env = read_environment()
    problems = []
    if policy is None:
        try:
            policy = read_policy(env.bindwatch_config)
        except ConfigurationProblem as problem:
            problems.append(str(problem))
        else:
            problems += wrong_checks(policy, env.bindwatch_config)
            problems += _wrong_group(policy.privacy.readers_group, env.bindwatch_config)
    problems += missing_settings(env)
    problems += wrong_settings(env)
    private_key = None
    if env.salesforce_private_key_file is not None and env.salesforce_client_secret is None and env.salesforce_access_token is None:
        try:
            private_key = _read_private_key(env.salesforce_private_key_file)
        except ConfigurationProblem as problem:
            problems.append(str(problem))
    if problems or policy is None:
        raise ConfigurationProblem("\n".join(problems))
    instance = (env.salesforce_instance_url or "").rstrip("/")
    ca_file = _trusted_authorities(env)
    return Connections(
        salesforce=SalesforceAccess(
            instance_url=instance,
            login_url=(env.salesforce_login_url or instance).rstrip("/"),
            access_token=_reveal(env.salesforce_access_token),
            client_id=env.salesforce_client_id,
            client_secret=_reveal(env.salesforce_client_secret),
            username=env.salesforce_username,
            private_key=private_key,
            ca_file=ca_file,
            timeout_seconds=policy.pull.timeout_seconds,
            patience_seconds=policy.pull.patience_seconds,
            reserve_percent=policy.pull.salesforce_reserve_percent,
        ),
        hubspot=HubSpotAccess(
            access_token=_reveal(env.hubspot_access_token) or "",
            base_url=env.hubspot_base_url.rstrip("/"),
            ca_file=ca_file,
            timeout_seconds=policy.pull.timeout_seconds,
            patience_seconds=policy.pull.patience_seconds,
        ),
        policy=policy,
    )


def wrong_checks(policy: Policy, path: Path) -> list[str]:
    known = {check.name: check for check in checks()}
    problems = []
    for name, setting in policy.checks.items():
        if name not in known:
            problems.append(f"{locate(path, ('checks', name))}: there is no such check; docs/checks.md lists them")
        elif known[name].default_severity == "unproven" and setting.max_findings > 0:
            problems.append(f"{locate(path, ('checks', name, 'max_findings'))}: must be 0, because with more a run on partial data would look green")
        elif known[name].default_severity == "unproven" and setting.severity is not None:
            problems.append(f"{locate(path, ('checks', name, 'severity'))}: cannot be changed, because without it a run on partial data would look green")
    return problems


def _wrong_group(name: str | None, path: Path) -> list[str]:
    """A group of readers that cannot be given files to read."""
    if name is None:
        return []
    place = locate(path, ("privacy", "readers_group"))
    try:
        group = grp.getgrnam(name).gr_gid
    except KeyError:
        return [f"{place}: there is no group {name!r} on this machine"]
    if os.geteuid() != 0 and group not in {os.getegid(), *os.getgroups()}:
        return [f"{place}: the user that runs Bindwatch is no member of the group {name!r}, so it cannot give files to it"]
    return []


def _trusted_authorities(env: Environment) -> str | None:
    """One file of trusted certificate authorities. Where both variables name one, both are trusted: many machines set
    REQUESTS_CA_BUNDLE for everybody, and SSL_CERT_FILE is then the one that somebody added for this org.
    """
    files = list(dict.fromkeys(path for path in (env.requests_ca_bundle, env.ssl_cert_file) if path is not None))
    if len(files) < 2:
        return str(files[0].absolute()) if files else None
    home = env.bindwatch_home.absolute()
    # nothing is made here only to look at something: where there is no home, a folder of its own has to do
    folder = home if home.is_dir() and os.access(home, os.W_OK) else Path(tempfile.mkdtemp(prefix="bindwatch-"))
    merged = folder / "trusted-authorities.pem"
    temporary = merged.with_suffix(".tmp")
    temporary.write_bytes(b"\n".join(path.read_bytes() for path in files))
    temporary.replace(merged)
    return str(merged)


def missing_settings(env: Environment) -> list[str]:
    needed = []
    if not env.salesforce_instance_url:
        needed.append("SALESFORCE_INSTANCE_URL")
    if env.hubspot_access_token is None:
        needed.append("HUBSPOT_ACCESS_TOKEN")
    problems = [f"{name} is not set: {_WHERE_FROM[name]}" for name in needed]
    has_token = env.salesforce_access_token is not None
    has_client = env.salesforce_client_id is not None and env.salesforce_client_secret is not None
    has_jwt = env.salesforce_client_id is not None and env.salesforce_username is not None and env.salesforce_private_key_file is not None
    if not (has_token or has_client or has_jwt):
        names = ("SALESFORCE_ACCESS_TOKEN", "SALESFORCE_CLIENT_ID", "SALESFORCE_CLIENT_SECRET", "SALESFORCE_USERNAME", "SALESFORCE_PRIVATE_KEY_FILE")
        problems.append(
            "No way into Salesforce is set. Give SALESFORCE_CLIENT_ID with SALESFORCE_CLIENT_SECRET (client credentials), or SALESFORCE_CLIENT_ID with "
            "SALESFORCE_USERNAME and SALESFORCE_PRIVATE_KEY_FILE (JWT), or SALESFORCE_ACCESS_TOKEN:\n"
            + "\n".join(f"    {name}: {_WHERE_FROM[name]}" for name in names)
        )
    return problems


def wrong_settings(env: Environment) -> list[str]:
    """Settings that cannot be right, whatever the CRMs say. What is secret is not shown."""
    problems = []
    addresses = {
        "SALESFORCE_INSTANCE_URL": (env.salesforce_instance_url, ("https://",)),
        "SALESFORCE_LOGIN_URL": (env.salesforce_login_url, ("https://",)),
        "HUBSPOT_BASE_URL": (env.hubspot_base_url, ("https://", "http://")),
    }
    for name, (value, schemes) in addresses.items():
        if not value:
            continue
        if objection := _objection_to_url(value, schemes):
            problems.append(f"{name} {objection}")
        elif name == "SALESFORCE_INSTANCE_URL" and urlsplit(value).hostname in _OF_NO_ORG:
            problems.append(f"{name} is {value!r}: that is where people of all orgs log in; it must be {_WHERE_FROM[name]}")
        elif (proxy := proxy_for(value)) and proxy.objection:
            problems.append(f"{proxy.variable} cannot be right: {proxy.objection}")
    for name, secret in (
        ("HUBSPOT_ACCESS_TOKEN", env.hubspot_access_token), ("SALESFORCE_ACCESS_TOKEN", env.salesforce_access_token),
        ("SALESFORCE_CLIENT_ID", env.salesforce_client_id), ("SALESFORCE_CLIENT_SECRET", env.salesforce_client_secret),
        ("SALESFORCE_USERNAME", env.salesforce_username),
    ):  # fmt: skip
        value = _reveal(secret) if isinstance(secret, SecretStr) else secret
        if value and (objection := _objection_to_word(value)):
            problems.append(f"{name} {objection}")
    for name, path in (("SSL_CERT_FILE", env.ssl_cert_file), ("REQUESTS_CA_BUNDLE", env.requests_ca_bundle)):
        if path is None:
            continue
        if not path.is_file():
            problems.append(f"{name} is {path}: there is no such file")
        elif not _holds_certificates(path):
            problems.append(f"{name} is {path}: it holds no certificates; it must be a PEM file, with -----BEGIN CERTIFICATE----- in it")
    return list(dict.fromkeys(problems))


def _objection_to_url(value: str, schemes: tuple[str, ...]) -> str | None:
    """Why this can be no address of an API; None when it can."""
    if not value.startswith(schemes):
        return f"is {value!r}: it must begin with {' or '.join(schemes)}"
    if "@" in value:
        return "must not hold a user or a password"
    if re.search(r"[^!-~]", value):
        return f"is {value!r}: it has a space, a line end, or a character inside that no address has"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not _HOST.fullmatch(host):
        return f"is {value!r}: it names no host; write it as https://host"
    if right := next((right for pattern, right in _OF_A_BROWSER.items() if re.fullmatch(pattern, host)), None):
        return f"is {value!r}: that is the address of the pages for people; the one for programs is {right}"
    if parts.query or parts.fragment:
        return f"is {value!r}: it must end before the {'?' if parts.query else '#'}"
    if host.endswith(_WITHOUT_PATH) and parts.path.strip("/"):
        return f"is {value!r}: it must end after {host}"
    return None


def _objection_to_word(value: str) -> str | None:
    """Why this can be no key, token or name of a user; None when it can. Each goes into one line of a request."""
    if value[0] == value[-1] and value[0] in "\"'":
        return "is in quotation marks: take them off. A shell does so by itself, other programs that read a file of settings do not"
    if value.lower().startswith("bearer "):
        return "begins with the word Bearer: leave it out"
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        return "has a space or a line end inside: copy it again, in one piece"
    if not value.isascii():
        return "has a character inside that none has: copy it again, in one piece"
    return None


def _holds_certificates(path: Path) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        return False
    except OSError:
        return True  # whether it can be read is told where it is read
    return True


def _read_private_key(path: Path) -> str:
    """The private key for the JWT bearer flow. Raises ConfigurationProblem when the file holds none that can be used."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        text = path.read_text("utf-8-sig")
        load_pem_private_key(text.encode(), None)
    except OSError as error:
        raise ConfigurationProblem(f"SALESFORCE_PRIVATE_KEY_FILE: {path} cannot be read ({error.strerror})") from error
    except TypeError as error:
        raise ConfigurationProblem(f"SALESFORCE_PRIVATE_KEY_FILE: the key in {path} has a passphrase; give one without") from error
    except Exception as error:
        what = (
            "the certificate; the key is the other file" if path.exists() and b"BEGIN CERTIFICATE" in path.read_bytes() else "no private key that can be read"
        )
        raise ConfigurationProblem(
            f"SALESFORCE_PRIVATE_KEY_FILE: {path} holds {what}. It must be a PEM file, with -----BEGIN PRIVATE KEY----- in it"
        ) from error
    return text


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
