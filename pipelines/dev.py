"""`bindwatch dev`: Dagster's UI and daemon as a process of their own, on the instance that `run` and `demo` use."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from assets import progress
from assets.machine import check_home
from assets.problems import ConfigurationProblem, Problem
from pipelines import ending
from pipelines.dagster_runs import home_id
from pipelines.guarded_run import prepare_instance
from pipelines.settings import dagster_home, home, is_default_home

_STOPS_WITHIN = 20.0  # seconds: Dagster ends four processes in their order
# Asks the kernel for a SIGTERM when its parent dies, then becomes Dagster: whoever kills `bindwatch dev` the hard way leaves nothing behind. Dagster ends
# what it started with SIGINT, which is kept out where this was started in the background.
_WITH_PARENT = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, 15); os.getppid() == int(sys.argv.pop(1)) or sys.exit(); "
    "signal.pthread_sigmask(signal.SIG_SETMASK, []); os.execv(sys.argv[1], sys.argv[1:])"
)


def serve_dagster(port: int) -> int:
    """Serves until it is stopped.

    Raises ConfigurationProblem when the port cannot be had, or another one serves the instance, MachineProblem when the home cannot be made or written, and
    Problem when Dagster ends before it served.
    """
    _check_port(port)
    check_home(home(), is_default_home())
    os.environ.setdefault("BINDWATCH_HOME", str(home()))
    with prepare_instance(), suppress(OSError):  # what is run from the UI says so of its home from the first moment on
        home_id(home(), make=True)
    with _alone(dagster_home()):
        print(f"Dagster UI: http://127.0.0.1:{port}   (data in {home()})", flush=True)
        return _serve(port)


def _serve(port: int) -> int:
    root = Path(__file__).parent.parent
    # what Dagster's developers should call instead is nothing for who starts this
    quiet = ("-W", "ignore:Function `dev_command` is superseded")
    dagster = [sys.executable, *quiet, "-m", "dagster", "dev", "-m", "pipelines.definitions", "-d", str(root), "-h", "127.0.0.1", "-p", str(port)]
    command = [sys.executable, "-c", _WITH_PARENT, str(os.getpid()), *dagster] if sys.platform == "linux" else dagster
    # a session of its own: a terminal that closes or Ctrl-C tells this process alone, which then ends that one in order
    with progress.undisturbed():  # a signal in the middle of it would leave behind a Dagster that nobody knows of
        process = subprocess.Popen(command, start_new_session=True)
    try:
        while not _answers(port) and process.poll() is None:
            progress.end_if_told()
            time.sleep(0.5)
        if process.poll() is None:
            ending.serve(_STOPS_WITHIN)
            process.wait()
        raise Problem(f"Dagster ended by itself (exit code {process.returncode}); what it said stands above.")
    finally:
        with progress.undisturbed():
            _stop(process)


@contextmanager
def _alone(instance: Path) -> Iterator[None]:
    """Two of them on one instance would have two daemons, whatever their ports and homes. The lock is on the folder itself: it may be other people's."""
    folder = os.open(instance, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationProblem(
                f"`bindwatch dev` is open already on the Dagster instance in {instance}. Use that one, or end it: two daemons would get in each other's way."
            ) from error
        yield
    finally:
        os.close(folder)


def _check_port(port: int) -> None:
    """Before anything starts: Dagster would start its daemon, a second one on the same instance, and only then find the port in use."""
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigurationProblem(
                f"The Dagster UI cannot listen on 127.0.0.1, port {port}: {error.strerror}. Is it open already? --port takes another one."
            ) from error


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOPS_WITHIN - 2)
    with suppress(ProcessLookupError):  # what it started and did not end
        os.killpg(process.pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
