"""What a switch does to a value, for pages."""

from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import Any

from assets.published.snapshot import open_folder, published_folder
from review.effects import Effects


def least_cpu(work: Callable[[], object]) -> float:
    def once() -> float:
        before = thread_time()
        work()
        return thread_time() - before

    return min(once() for _ in range(5))


def test_it_is_planned_once_and_not_for_every_page(published: Path) -> None:
    """DuckDB plans a prepared statement anew where something in it asks for that, and says so nowhere: planning alone took a third of a page."""
    connection = open_folder(published_folder(published))

    def rows(query: str) -> list[dict[str, Any]]:
        found = connection.execute(query)
        return [dict(zip([name for name, *_ in found.description or []], row, strict=True)) for row in found.fetchall()]

    fields, policy = rows("from published.mapped_field"), rows("from published.policy")[0]
    changed = [{"property": "jobtitle", "object_type": "Lead", "hubspot_value": "CEO", "salesforce_value": "CFO"}]
    effects = Effects(connection, fields, policy)
    assert effects.of(changed) == ["overwrite"]
    assert least_cpu(lambda: effects.of(changed)) < least_cpu(lambda: Effects(connection, fields, policy).of(changed)) / 2
