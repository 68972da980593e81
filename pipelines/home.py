"""Saving a home and putting it back, from the command line."""

import logging
import sys
from pathlib import Path

import typer

from assets.progress import doing
from assets.warehouse.backup import BackupProblem, back_up, in_words
from assets.warehouse.file import SCHEMA_VERSION, Warehouse
from assets.warehouse.restore_home import check_backup, restore_home
from pipelines.settings import home, open_decisions, read_environment


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _policy() -> Path:
    return read_environment().bindwatch_config.absolute()


def _show_warnings() -> None:
    """What is set aside on the way is told."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)


def save_home(folder: Path) -> None:
    """Raises Problem when there is no backup in `folder` in the end."""
    _show_warnings()
    doing(f"the home was being saved in {folder}", "No backup was made, and the request for one was withdrawn: call it again.")
    made = back_up(Warehouse(home()), folder, _policy(), open_decisions(create=False), _say)
    for note in made.notes:
        _say(note)
    print(f"{home()} was saved in {folder}: {len(made.manifest['files'])} files, {in_words(made.bytes)}. {_state(made.manifest)}")


def restore(folder: Path, yes: bool) -> None:
    """Raises Problem when the home was not restored; it is then as it was."""
    _show_warnings()
    manifest = check_backup(folder, SCHEMA_VERSION)
    target = home()
    print(f"{folder} is whole: made {manifest['made_at']} by Bindwatch {manifest['bindwatch']} of {manifest['home']}. {_state(manifest)}")
    if not yes:
        if not sys.stdin.isatty():
            raise BackupProblem("Nothing was changed: nobody can be asked here. Give --yes.")
        if not typer.confirm(f"Put it in the place of {target}? What is there now is kept beside it"):
            raise BackupProblem("Nothing was changed.")
    doing("the home was being replaced", "It is the old one or the new one: the next run, or `bindwatch restore-home`, finishes what was begun.")
    done = restore_home(Warehouse(target), folder, manifest, _policy(), open_decisions(create=False))
    for note in done.notes:
        _say(note)
    kept = f" What was there before is in {done.replaced}; remove it when you no longer need it." if done.replaced else ""
    print(f"{target} is restored.{kept} No snapshot is shown until the next run: `bindwatch run` pulls what changed since, and publishes.")


def _state(manifest: dict[str, object]) -> str:
    run = manifest["run"]
    return f"Its last run ended {run['ended_at']} with {run['verdict']}." if isinstance(run, dict) else "No run has ended in it."
