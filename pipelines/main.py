"""Entry point of `bindwatch`. It imports next to nothing, so that a signal is heard from the first moment on."""

from typing import NoReturn

from pipelines.ending import run_command


def main() -> NoReturn:
    run_command(_command)


def _command() -> object:
    from pipelines.cli import app

    return app(standalone_mode=False)
