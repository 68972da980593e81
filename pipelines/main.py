"""Entry point of `bindwatch`. It imports next to nothing, so that a signal is heard from the first moment on."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    # held back until somebody listens (assets/progress.py), so that none is lost and none breaks into an import
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    from pipelines.ending import run_command

    run_command(_command)


def _command() -> object:
    from pipelines.cli import app

    return app(standalone_mode=False)
