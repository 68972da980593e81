"""What `pip install .` puts in place: one package that has all it needs, and takes nobody's name."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel

from tests.live import ROOT

FOLDERS = ("assets", "expectations", "pipelines", "review", "sandbox")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # as a build front-end does
        return folder / build_wheel(str(folder))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it lies in somebody's site-packages."""
    folder = tmp_path_factory.mktemp("site-packages")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def bindwatch(installed: Path, cwd: Path, code: str) -> str:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "BINDWATCH_HOME": str(cwd / "home")}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout


def test_it_is_one_package(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"bindwatch"}


def test_it_holds_every_file_of_the_checkout_that_is_used(wheel: Path) -> None:
    held = {name.removeprefix("bindwatch/app/") for name in zipfile.ZipFile(wheel).namelist()}
    kept = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=False)
    if kept.returncode:
        pytest.skip("this is no checkout of git")
    there = {name for name in kept.stdout.splitlines() if (ROOT / name).exists()}  # in a worktree some may be removed, not yet for good
    assert there - held == set()
    assert {"assets/models/sql/core/bindings/binding.sql", "review/templates/finding.html", "docs/integration.de.md"} <= held


def test_away_from_the_checkout_the_command_runs_from_what_is_installed(installed: Path, tmp_path: Path) -> None:
    said = bindwatch(
        installed, tmp_path, "import bindwatch, sys, pipelines.main; print(pipelines.main.__file__, flush=True); sys.argv[1:] = ['--help']; bindwatch.main()"
    )
    assert said.splitlines()[0] == str(installed / "bindwatch" / "app" / "pipelines" / "main.py")
    assert "restore-plan" in said


def test_its_sql_its_checks_its_rules_and_its_texts_are_found(installed: Path, tmp_path: Path) -> None:
    said = bindwatch(
        installed, tmp_path,
        """if True:
            import bindwatch
            from assets.models.sqlfile import model_files
            from assets.sql import SQL_FOLDER
            from expectations.gate import checks
            from review.language import LANGUAGES
            from review.numbered_rules import read_rules
            from review.site import FOLDER
            print(len(model_files(SQL_FOLDER, checks())) > 40, len(checks()) > 30, len(read_rules("de")) > 40, (FOLDER / "templates").is_dir())
        """,
    )  # fmt: skip
    assert said.split() == ["True"] * 4


@pytest.mark.slow
def test_installed_into_an_empty_environment_it_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    installing = subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], capture_output=True, text=True, check=False, timeout=900)
    if installing.returncode:
        pytest.skip(f"the packages that it needs cannot be had: {installing.stderr[-300:]}")
    home = tmp_path / "away"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "BINDWATCH_HOME": str(home / "data")}
    demo = subprocess.run(
        [tmp_path / "venv" / "bin" / "bindwatch", "demo"], cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert demo.returncode == 0, demo.stderr[-2000:]
    assert "unsafe" in demo.stdout.lower() or "fail" in demo.stdout.lower()
    assert not [path for path in (tmp_path / "venv").rglob("pytest*") if path.is_dir()]  # no tools of tests
