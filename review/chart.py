"""The chart of the last runs, as numbers for an SVG: how many findings were open after each, and how the run ended."""

from dataclasses import dataclass
from math import ceil, log10
from typing import Any

from review import words
from review.language import Language

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 1100, 200, 44, 22, 8
_SLOTS = 30


@dataclass(frozen=True)
class Bar:
    """A run. x, y, width, height: of all that was open; new_height: the part of it that was new; label: what the bar says to whoever asks."""

    x: float
    y: float
    width: float
    height: float
    new_height: float
    verdict: str
    label: str


@dataclass(frozen=True)
class Chart:
    bars: list[Bar]
    ticks: list[tuple[float, str]]  # height on the page, and its number
    first: str
    last: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM


def draw_runs(runs: list[dict[str, Any]], language: Language) -> Chart:
    """runs: rows of `run`, the oldest first."""
    highest = _round_up(max([run["findings_open"] for run in runs] or [0]))
    room = HEIGHT - BOTTOM - TOP
    slot = (WIDTH - LEFT) / _SLOTS
    bars = []
    for place, run in enumerate(runs):
        # a run that proved nothing has no height: it is marked all the way up instead
        is_proven = run["verdict"] != "unproven"
        height = room * run["findings_open"] / highest if is_proven else room
        new_height = room * min(run["findings_new"], run["findings_open"]) / highest if is_proven else 0
        label = (
            f"{language.moment(run['started_at'])}: {language.text(words.OPEN_IN_RUN, number=language.number(run['findings_open']))}"
            if is_proven
            else f"{language.moment(run['started_at'])}: {language.text(words.VERDICT['unproven'])}"
        )
        bars.append(Bar(_round(LEFT + place * slot + slot * 0.12), _round(TOP + room - height), _round(slot * 0.76), _round(height), _round(new_height),
                        run["verdict"], label))  # fmt: skip
    ticks = [(_round(TOP + room - room * part), language.number(round(highest * part))) for part in (0, 0.5, 1)]
    first, last = (language.day(runs[0]["started_at"]), language.day(runs[-1]["started_at"])) if runs else ("", "")
    return Chart(bars, ticks, first, last)


def _round_up(number: int) -> int:
    """The next number with one digit and an even half: 268 gives 300."""
    if number <= 10:
        return 10
    unit: int = 10 ** int(log10(number))
    return ceil(number / unit) * unit


def _round(number: float) -> float:
    return round(number, 1)
