"""Moments as the warehouse keeps them, UTC without a zone, and as JSON files have them."""

from datetime import UTC, datetime
from typing import overload


@overload
def naive(moment: datetime) -> datetime: ...
@overload
def naive(moment: None) -> None: ...
def naive(moment: datetime | None) -> datetime | None:
    """UTC without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment and moment.tzinfo else moment


def utc_text(moment: datetime) -> str:
    """A moment as JSON files have it: 2026-03-01T09:00:00Z."""
    return f"{naive(moment).isoformat()}Z"
