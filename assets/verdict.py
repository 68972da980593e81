"""The three ways in which a run ends."""

from typing import Literal

Verdict = Literal["pass", "fail", "unproven"]
