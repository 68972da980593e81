"""Power cuts by the thousand: `python -m tests.power_cut 10000` (an hour on two cores).

A run is stopped at some moment, and files that were written in the second before are cut short, filled with zeros, emptied, or gone. The next run
gives the truth, or says that it cannot, and then the one after it does. A run that could have pulled again what was lost never says that it cannot.

No interpreter is started for a fault: worlds, servers and the moments to stop at are made once, a fault costs a copy of the home and a run.
"""

import argparse
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from unittest import mock

from assets.problems import Problem
from assets.published.snapshot import current_folder
from assets.pull import salesforce
from sandbox.server import SandboxServer
from tests.live import served, story_of
from tests.pulls import Outcome, pull_and_build, pull_and_publish, pull_only, raw_versions

PEOPLE, DAYS = 30, 3
BUILT_EVERY = 60  # of so many faults one has all tables held against the truth; the others are judged by what is in raw
KINDS = ("half", "short", "emptied", "zeros", "zeros at its end", "gone")
# What no CRM can give back. A run that meets one of them damaged names it, and goes on once the backup is restored.
MEMORY = ("warehouse.duckdb",)


@dataclass(frozen=True)
class Moment:
    """A home as it was at some moment of a run, and the files that were written in the second before."""

    stage: str
    doing: str
    home: Path
    written: tuple[str, ...]


@dataclass
class Scene:
    """Both stages of a world: before; a home in which nothing interrupted a run, and what is in its raw; and the moments of such a run."""

    server: SandboxServer
    folder: Path
    before: dict[str, Path] = field(default_factory=dict)
    reference: dict[str, Path] = field(default_factory=dict)
    versions: dict[str, list[tuple[object, ...]]] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    _truth: dict[str, tuple[float, Outcome]] = field(default_factory=dict)

    def truth(self, stage: str, oldest: float = 600) -> Outcome:
        """What follows from the reference. oldest: how many seconds ago that may have been worked out."""
        known = self._truth.get(stage)
        if known is None or time.monotonic() - known[0] > oldest:
            known = self._truth[stage] = time.monotonic(), pull_and_build(self.reference[stage], self.server)
        return known[1]


@dataclass
class Tally:
    """What came of the faults. unproven: runs that said that they cannot; by the files that were hit."""

    faults: Counter[str] = field(default_factory=Counter)
    unproven: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Tally") -> "Tally":
        self.faults += other.faults
        self.unproven += other.unproven
        self.failures += other.failures
        return self


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Serves a world and collects its moments: before each request, and before each time that something is made to reach the disk."""
    story = story_of(PEOPLE)
    with served(story, folder / "sandbox") as server:
        result = Scene(server, folder)
        for stage in ("first run", "second run"):
            result.before[stage] = folder / stage.replace(" ", "-")
        result.before["first run"].mkdir()
        pull_and_publish(result.before["second run"], server)
        story.advance(DAYS)  # from here on the world stands still
        for stage, start in result.before.items():
            home = folder / f"reference-{start.name}"
            shutil.copytree(start, home, symlinks=True)
            pull_and_publish(home, server)
            result.reference[stage], result.versions[stage] = home, raw_versions(home)
            stopped = folder / f"stopped-{start.name}"
            shutil.copytree(start, stopped, symlinks=True)
            result.moments += _moments(stopped, server, stage, folder / "moments" / start.name)
        yield result


def _moments(home: Path, server: SandboxServer, stage: str, folder: Path) -> list[Moment]:
    moments: list[Moment] = []
    numbers = count()
    sync = os.fsync

    def stop_here(doing: str) -> None:
        now = time.time()
        copy = folder / f"{next(numbers):03d}"
        shutil.copytree(home, copy, symlinks=True)
        if written := written_since(copy, now - 1):
            moments.append(Moment(stage, doing, copy, tuple(written)))

    published = count()

    def before_sync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        # tables are published by the dozen, one like the other: some of them are enough
        if not name.endswith(".parquet") or next(published) % 20 == 0:
            stop_here(f"before {name} is on the disk")
        sync(descriptor)

    server.faults.on_request = lambda line: stop_here(line[:60])
    with mock.patch("os.fsync", before_sync), mock.patch("assets.pull.landing._SYNCS", 1):
        pull_and_publish(home, server)
    server.faults.on_request = None
    stop_here("after the run")
    return moments


def written_since(home: Path, moment: float) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_mtime > moment)


def damage(path: Path, kind: str, dice: random.Random) -> None:
    """What is left of a file that was not on the disk when the power went."""
    size = path.stat().st_size
    if kind == "gone":
        path.unlink()
        return
    with path.open("r+b") as file:
        if kind == "half":
            file.truncate(size // 2)
        elif kind == "short":
            file.truncate(dice.randrange(size) if size else 0)
        elif kind == "emptied":
            file.truncate(0)
        else:
            start = 0 if kind == "zeros" else dice.randrange(size) if size else 0
            file.seek(start)
            file.write(bytes(size - start))


def damage_some(home: Path, written: Sequence[str], dice: random.Random, tally: Tally) -> tuple[list[str], str]:
    """Damages one to three of the files. Returns which, and what was done to them in words."""
    hit = dice.sample(written, k=min(len(written), dice.choice((1, 1, 2, 3))))
    kinds = [dice.choice(KINDS) for _ in hit]
    for name, kind in zip(hit, kinds, strict=True):
        damage(home / name, kind, dice)
        tally.faults[kind] += 1
    return hit, ", ".join(f"{name} {kind}" for name, kind in zip(hit, kinds, strict=True))


def one_fault(scene: Scene, seed: int, tally: Tally) -> None:
    """Cuts the power at a moment, and looks at what the next runs make of it."""
    dice = random.Random(seed)
    moment = dice.choice(scene.moments)
    home = scene.folder / f"home-{os.getpid()}"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(moment.home, home, symlinks=True)
    hit, done = damage_some(home, moment.written, dice, tally)
    what = f"seed {seed}, {moment.stage}, {moment.doing}: {done}"
    is_built = dice.randrange(BUILT_EVERY) == 0
    publishes = is_built or (dice.randrange(12) == 0 and any(name.startswith(("published", "certified")) for name in hit))
    problem = _run(scene, home, publishes)
    if problem is not None:
        tally.unproven[", ".join(sorted({_kind_of_file(name) for name in hit}))] += 1
        if not set(hit) & set(MEMORY):
            tally.failures.append(f"{what}: unproven although all could be pulled again: {problem}")
        if "damaged" not in problem and "missing" not in problem:
            tally.failures.append(f"{what}: does not name what is lost: {problem}")
        _restore(scene, moment, home)
        problem = _run(scene, home, publishes)
        if problem is not None:
            tally.failures.append(f"{what}: still unproven after the backup was restored: {problem}")
            return
    if raw_versions(home) != scene.versions[moment.stage]:
        tally.failures.append(f"{what}: other versions in raw")
    elif is_built:
        found = pull_and_build(home, scene.server)
        differing = found.differences(scene.truth(moment.stage))
        if differing:  # what is wrong depends on how long ago it was done, so the truth is made anew before somebody is blamed
            differing = found.differences(scene.truth(moment.stage, oldest=0))
        if differing:
            tally.failures.append(f"{what}: other rows in {', '.join(differing)}")
    if publishes and current_folder(home) is None:
        tally.failures.append(f"{what}: nothing is published")


def _run(scene: Scene, home: Path, publishes: bool) -> str | None:
    """Returns why the run cannot be proven; None when it can."""
    try:
        if publishes:
            return pull_and_publish(home, scene.server).problem
        return pull_only(home, scene.server)
    except Problem as problem:
        return str(problem)


def _restore(scene: Scene, moment: Moment, home: Path) -> None:
    """The way back that the message names: the backup, which is the home before the run; without one, the home is moved away."""
    shutil.rmtree(home)
    shutil.copytree(scene.before[moment.stage], home, symlinks=True)


def _kind_of_file(name: str) -> str:
    path = Path(name)
    return name if len(path.parts) == 1 else f"{path.parts[0]}/*{path.suffix}"


def some_faults(seeds: range, folder: Path) -> Tally:
    """So many seeds, in this process."""
    tally = Tally()
    with scene(folder) as stage:
        for done, seed in enumerate(seeds):
            if done and done % 250 == 0:
                print(f"{done:,} faults, {tally.unproven.total():,} unproven, wrong: {tally.failures or 'none'}", file=sys.stderr, flush=True)
            one_fault(stage, seed, tally)
            if len(tally.failures) >= 20:
                break
    return tally


def _work(first: int, last: int, step: int) -> Tally:
    logging.disable(logging.WARNING)  # each file that is set aside is told
    salesforce.time.sleep = lambda seconds: None  # type: ignore[attr-defined]  # for a job that is done when it is looked at again
    with tempfile.TemporaryDirectory() as folder:
        return some_faults(range(first, last, step), Path(folder))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", type=int)
    parser.add_argument("--seed", type=int, default=0, help="the first one; each fault has its own")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    started, moment = time.monotonic(), datetime.now(UTC)
    tally = Tally()
    with ProcessPoolExecutor(options.workers) as pool:
        last = options.seed + options.faults
        for part in [pool.submit(_work, options.seed + worker, last, options.workers) for worker in range(options.workers)]:
            tally += part.result()
    print(f"{moment:%Y-%m-%d}: {options.faults:,} faults from seed {options.seed} in {(time.monotonic() - started) / 60:.1f} minutes")
    print(f"  files hit: {', '.join(f'{kind} {times:,}' for kind, times in tally.faults.most_common())}")
    print(f"  ended unproven: {tally.unproven.total():,} ({tally.unproven.total() / max(options.faults, 1):.1%}); by the files hit:")
    for name, times in tally.unproven.most_common():
        print(f"    {times:6,}  {name}")
    print(f"  wrong: {len(tally.failures)}")
    for failure in tally.failures:
        print(f"    {failure}")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
