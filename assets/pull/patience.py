"""How long a run may pull: a deadline for all of it, and an end as soon as nothing new has arrived for a while.

Each CRM may answer for ever without saying anything: pages that hold nothing, jobs that stay in progress, limits that never end. One run goes on in a
process at a time, so what it may still do stands here, and every call asks.
"""

import time
from dataclasses import dataclass

from assets.problems import PullProblem


@dataclass
class Patience:
    """run_id: whose; hours, idle_minutes: as the policy has them; began, arrived: by the clock that only measures durations."""

    run_id: str
    hours: float
    idle_minutes: float
    began: float
    arrived: float


_now: Patience | None = None


def begin(run_id: str, hours: float, idle_minutes: float) -> None:
    """A step of this run begins to pull. The deadline is of the run: a later step of it does not move it."""
    global _now  # noqa: PLW0603  (one run a process, as in assets/progress.py)
    moment = time.monotonic()
    if _now is None or _now.run_id != run_id:
        _now = Patience(run_id, hours, idle_minutes, moment, moment)
    _now.arrived = moment


def arrived() -> None:
    """Something came that was not there before: records, or a job that is further on."""
    if _now is not None:
        _now.arrived = time.monotonic()


def check(crm: str) -> None:
    """Raises PullProblem when the run has lasted too long, or nothing new has come for too long."""
    if _now is None:
        return
    moment = time.monotonic()
    if moment - _now.began > _now.hours * 3600:
        raise PullProblem(
            crm, f"This run has been going on for {_now.hours:g} hours, and may not take longer.",
            "Run again: what has arrived stays, and the next run goes on from there. pull.run_deadline_hours in bindwatch.toml says how long one may take.",
        )  # fmt: skip
    if moment - _now.arrived > _now.idle_minutes * 60:
        raise PullProblem(
            crm, f"Nothing new has arrived for {_now.idle_minutes:g} minutes.",
            "Look whether the CRM is well, then run again: what has arrived stays. pull.idle_minutes in bindwatch.toml says how long a run waits.",
        )  # fmt: skip
