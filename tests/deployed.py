"""A machine of its own for the files under docs/deploy: its own network, /etc, /opt, /srv and /run, so that each file is used as it stands.

Needs Linux, root, and the programs concerned; where one is missing the tests are skipped, and say so.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "docs" / "deploy"

# Everything is mounted in the namespace of the process alone and goes with it.
_MACHINE = """
umask 022
ip link set lo up
mkdir "$WORK/etc" "$WORK/etc-work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$WORK/etc,workdir=$WORK/etc-work" /etc
for folder in /opt /srv /run /var/log /var/lib/nginx; do [ ! -d $folder ] || mount -t tmpfs tmpfs $folder; done
mkdir -p /opt/bindwatch /etc/bindwatch /var/log/nginx
mount --bind "$ROOT" /opt/bindwatch
cp "$ROOT/docs/deploy/environment" /etc/bindwatch/environment
cp "$ROOT/bindwatch.toml" /etc/bindwatch/bindwatch.toml
echo "127.0.0.1 localhost bindwatch.example.org crm.example.org" > /etc/hosts
"""


def on_a_machine(script: str, work: Path, *needed: str, seconds: float = 60, variables: Mapping[str, str] | None = None) -> str:
    """Runs a shell script on a machine that has the checkout in /opt/bindwatch and the template of the settings in /etc/bindwatch. Returns what it prints.

    work: a folder of the test's own; needed: programs. Raises AssertionError with what it said when it fails.
    """
    missing = [name for name in ("unshare", "ip", *needed) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed: docs/deploy is not tried as it stands")
    if os.geteuid() != 0:
        pytest.skip("docs/deploy is tried as it stands by root alone: it takes a network and an /etc of its own")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    inside = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc"]  # whatever it starts ends with it
    sent = {**kept, "ROOT": str(ROOT), "PYTHONPATH": "/opt/bindwatch", **(variables or {})}
    if subprocess.run([*inside, _MACHINE], env={**sent, "WORK": str(_fresh(work, "try"))}, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system gives no network and no mounts of their own to a process: docs/deploy is not tried as it stands")
    answer = subprocess.run(
        [*inside, _MACHINE + script], env={**sent, "WORK": str(_fresh(work, "machine"))}, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, f"{answer.stdout}\n{answer.stderr}"
    return answer.stdout


def _fresh(work: Path, name: str) -> Path:
    (work / name).mkdir()
    return work / name
