"""The files under docs/deploy, used as they stand: units, settings, cron lines, and the desk behind nginx and Caddy."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipelines.settings import Environment
from tests.deployed import DEPLOY, on_a_machine
from tests.desk.portal import publish, troubled
from tests.visit_deployed import ANN

UNITS = sorted(path.name for path in DEPLOY.glob("*.service"))
LINE = re.compile(r"([A-Z_]+)=(?:'([^']*)'|([A-Za-z0-9._/:-]*))")


def said(unit: str, key: str) -> str:
    """What a unit says, once."""
    (value,) = re.findall(rf"^{key}=(.*)$", (DEPLOY / unit).read_text("utf-8"), re.MULTILINE)
    return str(value)


# ── units ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    assert on_a_machine("systemd-analyze verify --man=no /opt/bindwatch/docs/deploy/*.service 2>&1", tmp_path, "systemd-analyze") == ""


def test_systemd_would_find_a_fault(tmp_path: Path) -> None:
    script = """
    sed 's/^Restart=/Restrat=/; s#bin/bindwatch#bin/bindwach#' /opt/bindwatch/docs/deploy/bindwatch-desk.service > "$WORK/wrong.service"
    systemd-analyze verify --man=no "$WORK/wrong.service" 2>&1 || true
    """
    found = on_a_machine(script, tmp_path, "systemd-analyze")
    assert "Restrat" in found and "bindwach" in found


@pytest.mark.parametrize("unit", UNITS)
def test_a_service_keeps_its_files_to_itself_starts_again_and_has_its_settings(unit: str) -> None:
    assert len(UNITS) == 3
    assert {key: said(unit, key) for key in ("User", "UMask", "Restart", "WorkingDirectory", "EnvironmentFile")} == {
        "User": "bindwatch", "UMask": "0077", "Restart": "always", "WorkingDirectory": "/opt/bindwatch", "EnvironmentFile": "/etc/bindwatch/environment",
    }  # fmt: skip


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["as it stands", "with every line switched on"])
def template(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    text = (DEPLOY / "environment").read_text("utf-8")
    (tmp_path / "environment").write_text(text if request.param == "as it stands" else re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.MULTILINE))
    return tmp_path / "environment"


def test_a_shell_and_systemd_read_the_same_settings(template: Path) -> None:
    """A line is NAME=value or NAME='value', of which man systemd.exec and a shell say the same."""
    lines = [line for line in template.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if match is None]
    by_systemd = {match[1]: match[2] if match[2] is not None else match[3] for match in found if match}
    printed = subprocess.run(["sh", "-euc", f"set -a; . '{template}'; set +a; env -0"], env={}, capture_output=True, text=True, check=True).stdout
    by_shell = dict(entry.split("=", 1) for entry in printed.split("\0") if entry)
    assert {name: value for name, value in by_shell.items() if name not in ("PWD", "OLDPWD", "SHLVL", "_")} == by_systemd


def test_every_setting_of_the_template_is_one(template: Path) -> None:
    names = [match[1] for line in template.read_text("utf-8").splitlines() if (match := LINE.fullmatch(line))]
    known = {name.upper() for name in Environment.model_fields} | {"DAGSTER_HOME", "BINDWATCH_DAGSTER_POSTGRES_URL"}
    assert set(names) <= known and len(names) >= 8


# ── cron ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def cron_commands(text: str) -> list[str]:
    """The commands as cron hands them to the shell: five fields of time, and \\% for %."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [line.split(None, 5)[5].replace("\\%", "%") for line in lines]


def test_the_cron_lines_give_the_command_its_settings(tmp_path: Path) -> None:
    """In place of the command stands one that says with what it was called, and what it sees."""
    (tmp_path / "bindwatch").write_text('#!/bin/sh\necho "$* home=$BINDWATCH_HOME token=$HUBSPOT_ACCESS_TOKEN umask=$(umask) in $(pwd)"\n')
    (tmp_path / "bindwatch").chmod(0o755)
    script = "umount /opt/bindwatch; mkdir -p /opt/bindwatch/.venv/bin /srv/bindwatch /srv/bindwatch-backup; cp $COMMAND /opt/bindwatch/.venv/bin/bindwatch\n"
    for number, command in enumerate(cron_commands((DEPLOY / "crontab").read_text("utf-8"))):
        (tmp_path / f"line-{number}").write_text(command)
        script += f'env -i HOME=/root PATH=/usr/bin:/bin SHELL=/bin/sh /bin/sh -c "$(cat {tmp_path}/line-{number})"\n'
    script += "cat /srv/bindwatch/cron.log; stat -c %a /srv/bindwatch/cron.log"
    printed = on_a_machine(script, tmp_path, variables={"COMMAND": str(tmp_path / "bindwatch")}).splitlines()
    seen = "home=/srv/bindwatch token=put the service key here umask=0077 in /opt/bindwatch"
    assert printed[:4] == [f"run {seen}", f"alert {seen}", f"run --full {seen}", f"alert {seen}"]
    assert re.fullmatch(rf"backup /srv/bindwatch-backup/\d{{4}}-\d\d-\d\d {seen}", printed[4])
    assert printed[5:] == ["600"]


# ── proxies ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

PREPARED = """
mkdir -p /etc/ssl/bindwatch /etc/nginx/conf.d /etc/nginx/sites-enabled /etc/nginx/snippets /etc/caddy
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout /etc/ssl/bindwatch/privkey.pem -out /etc/ssl/bindwatch/fullchain.pem \
    -subj /CN=bindwatch -addext subjectAltName=DNS:bindwatch.example.org,DNS:crm.example.org 2> /dev/null
cp /etc/ssl/bindwatch/*.pem /etc/caddy/
rm -f /etc/nginx/sites-enabled/* /etc/nginx/conf.d/*
printf '%s:%s\\n' "$WHO" "$(openssl passwd -apr1 "$PASSWORD")" > /etc/nginx/bindwatch.htpasswd
"""
IN_A_SERVER = """
echo 'server { listen 443 ssl; server_name crm.example.org; ssl_certificate /etc/ssl/bindwatch/fullchain.pem;
    ssl_certificate_key /etc/ssl/bindwatch/privkey.pem; include snippets/bindwatch.conf; }' > /etc/nginx/conf.d/crm.conf
"""
# file: where it belongs, what else is needed, how it is tried, how it is started
PROXIES: dict[str, tuple[str, str, str, str]] = {
    "nginx.conf": ("/etc/nginx/conf.d/bindwatch.conf", "", "nginx -t", "nginx -g 'daemon off;'"),
    "nginx-sub-path.conf": ("/etc/nginx/snippets/bindwatch.conf", IN_A_SERVER, "nginx -t", "nginx -g 'daemon off;'"),
    "Caddyfile": ("/etc/caddy/Caddyfile", "", "caddy validate --config /etc/caddy/Caddyfile", "caddy run --config /etc/caddy/Caddyfile"),
    "Caddyfile-sub-path": ("/etc/caddy/Caddyfile", "", "caddy validate --config /etc/caddy/Caddyfile", "caddy run --config /etc/caddy/Caddyfile"),
}


def placed(file: str) -> str:
    place, around, _, start = PROXIES[file]
    users = 'echo "$WHO $(caddy hash-password --plaintext "$PASSWORD")" > /etc/caddy/bindwatch-users\n' if start.startswith("caddy") else ""
    return f"{PREPARED}{users}cp /opt/bindwatch/docs/deploy/{file} {place}\n{around}"


def login() -> dict[str, str]:
    return {"WHO": ANN[0].decode(), "PASSWORD": ANN[1].decode()}


@pytest.mark.parametrize("file", PROXIES)
def test_the_proxy_takes_the_example_as_it_stands(file: str, tmp_path: Path) -> None:
    on_a_machine(f"{placed(file)}{PROXIES[file][2]}", tmp_path, PROXIES[file][2].split()[0], "openssl", variables=login())


def service(unit: str) -> str:
    """Starts a service as its unit says: settings, umask, folder, command; as its user, where that one may read the checkout and its Python."""
    user, command = said(unit, "User"), f"umask {said(unit, 'UMask')}; cd {said(unit, 'WorkingDirectory')}; exec {said(unit, 'ExecStart')}"
    return f"""
    as_user="setpriv --reuid {user} --regid {user} --init-groups"
    $as_user sh -c 'exec {said(unit, "ExecStart").split()[0]} --help' > /dev/null 2>&1 || as_user=""
    ( set -a; . {said(unit, "EnvironmentFile")}; set +a; exec $as_user sh -c '{command}' ) > "$WORK/{unit}.log" 2>&1 &
    """


@pytest.mark.slow
@pytest.mark.parametrize("file", PROXIES)
def test_the_desk_is_used_behind_the_proxy_with_every_file_as_it_stands(file: str, tmp_path: Path) -> None:
    program = PROXIES[file][3].split()[0]
    (desk_url,) = re.findall(r'desk_url = "(.*)"', (DEPLOY / file).read_text("utf-8"))
    publish(troubled(), tmp_path / "home")
    script = f"""
    {placed(file)}
    printf '[links]\\ndesk_url = "%s"\\n' {desk_url} > /etc/bindwatch/bindwatch.toml
    useradd --system --user-group bindwatch
    cp -a "$WORK/../home" /srv/bindwatch; chown -R bindwatch: /srv/bindwatch; chmod 700 /srv/bindwatch
    {service("bindwatch-desk.service")}
    {PROXIES[file][3]} > "$WORK/proxy.log" 2>&1 &
    cd /opt/bindwatch; .venv/bin/python -m tests.visit_deployed {desk_url} | tail -1
    stat -c %a /srv/bindwatch/decisions.sqlite
    """
    *_, seen, decisions = on_a_machine(script, tmp_path, program, "openssl", "setpriv", "useradd", seconds=180, variables=login()).splitlines()
    found: dict[str, Any] = json.loads(seen)
    root = "/bindwatch" if "sub-path" in file else "/"
    assert found == {
        "stranger": 401, "who": "jürgen", "leads_past": [], "dead": [], "decided": ["1 finding acknowledged."], "back_at": f"{desk_url}/findings",
        "kinds": ["image/svg+xml", "text/css", "text/csv", "text/html", "text/javascript"], "cookie": ["bindwatch_desk", root, True],
    }  # fmt: skip
    assert decisions == "600"


@pytest.mark.slow
def test_dagsters_services_run_as_their_units_say(tmp_path: Path) -> None:
    prepared = 'from pathlib import Path; from pipelines.dagster_home import prepare_folder; prepare_folder(Path("/srv/bindwatch/dagster"), True)'
    script = f"""
    useradd --system --user-group bindwatch
    mkdir -p /srv/bindwatch; cd /opt/bindwatch
    (umask 077; .venv/bin/python -c '{prepared}')
    chown -R bindwatch: /srv/bindwatch; chmod 700 /srv/bindwatch
    {service("bindwatch-daemon.service")}
    {service("bindwatch-webserver.service")}
    .venv/bin/python -c 'from tests.visit_deployed import wait_for; wait_for("http://127.0.0.1:3000/dagster/server_info", 120)'
    .venv/bin/python -c 'import requests; print(requests.get("http://127.0.0.1:3000/dagster/server_info", timeout=20).status_code)'
    set -a; . /etc/bindwatch/environment; set +a
    for attempt in 1 2 3 4 5 6; do .venv/bin/dagster-daemon liveness-check > /dev/null 2>&1 && break; sleep 5; done
    .venv/bin/dagster-daemon liveness-check 2>&1 | grep -c 'Daemon live'
    find /srv/bindwatch/dagster -type f -newer /etc/bindwatch/environment -perm /077 | wc -l
    """
    assert on_a_machine(script, tmp_path, "setpriv", "useradd", seconds=300).split()[-3:] == ["200", "1", "0"], "it answers, it lives, nobody else reads it"
