"""The numbered rules of docs/integration.md, and the function that carries each of them out."""

from collections.abc import Callable
from typing import Any, TypeVar

RULEBOOK: dict[int | str, Callable[..., Any]] = {}
_Function = TypeVar("_Function", bound=Callable[..., Any])


def rule(number: int | str) -> Callable[[_Function], _Function]:
    """Marks the function that carries out a rule. A rule stands in one place."""

    def mark(function: _Function) -> _Function:
        if number in RULEBOOK:
            raise ValueError(f"rule {number} stands in two places: {RULEBOOK[number].__name__} and {function.__name__}")
        RULEBOOK[number] = function
        return function

    return mark
