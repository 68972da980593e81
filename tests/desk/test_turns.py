"""Many at once: who asks first is answered first, and whoever is slow keeps nobody waiting."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import duckdb
import pytest
from starlette.types import Receive, Scope, Send

from assets.sql import with_memory
from review.turns import FILES_AT_ONCE, PAGES_AT_ONCE, Turns


class Kitchen:
    """An application that makes pages until it is told to be done, and notes who is in it. slow: who reads an answer and never comes to its end."""

    def __init__(self) -> None:
        self.making: list[str] = []
        self.begun: list[str] = []
        self.done = asyncio.Event()
        self.slow: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["query_string"].decode()
        self.begun.append(name)
        self.making.append(name)
        if name not in self.slow:
            await self.done.wait()
        self.making.remove(name)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if name in self.slow:
            await asyncio.Event().wait()
        await send({"type": "http.response.body", "body": b""})


async def ask(app: Turns, name: str, path: str = "/cases", method: str = "GET") -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        pass

    await app({"type": "http", "method": method, "path": path, "query_string": name.encode()}, receive, send)


def in_a_kitchen(story: Callable[[Kitchen, Turns], Awaitable[None]]) -> None:
    async def told() -> None:
        kitchen = Kitchen()
        await asyncio.wait_for(story(kitchen, Turns(kitchen)), 10)

    asyncio.run(told())


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_pages_are_made_some_at_a_time_in_the_order_in_which_they_were_asked_for() -> None:
    async def story(kitchen: Kitchen, app: Turns) -> None:
        names = [str(number) for number in range(3 * PAGES_AT_ONCE)]
        asked = []
        for name in names:
            asked.append(asyncio.create_task(ask(app, name)))
            await settle()
        assert kitchen.making == names[:PAGES_AT_ONCE]
        kitchen.done.set()
        await asyncio.gather(*asked)
        assert kitchen.begun == names

    in_a_kitchen(story)


def test_who_reads_slowly_keeps_nobody_waiting() -> None:
    async def story(kitchen: Kitchen, app: Turns) -> None:
        kitchen.slow = {f"slow {number}" for number in range(2 * PAGES_AT_ONCE)}
        reading = [asyncio.create_task(ask(app, name)) for name in sorted(kitchen.slow)]
        await settle()
        kitchen.done.set()
        await ask(app, "another")
        for one in reading:
            one.cancel()

    in_a_kitchen(story)


@pytest.mark.parametrize(("path", "method"), [("/health", "GET"), ("/static/desk.css", "GET"), ("/plans", "POST"), ("/export/worklist.csv", "GET")])
def test_what_is_no_page_waits_for_no_page(path: str, method: str) -> None:
    async def story(kitchen: Kitchen, app: Turns) -> None:
        pages = [asyncio.create_task(ask(app, f"page {number}")) for number in range(2 * PAGES_AT_ONCE)]
        await settle()
        other = asyncio.create_task(ask(app, "other", path, method))
        await settle()
        assert "other" in kitchen.making
        kitchen.done.set()
        await asyncio.gather(*pages, other)

    in_a_kitchen(story)


def test_files_are_made_one_after_the_other() -> None:
    async def story(kitchen: Kitchen, app: Turns) -> None:
        files = [asyncio.create_task(ask(app, f"file {number}", "/export/cases.csv")) for number in range(3)]
        await settle()
        assert len(kitchen.making) == FILES_AT_ONCE
        kitchen.done.set()
        await asyncio.gather(*files)

    in_a_kitchen(story)


def test_a_turn_ends_with_whoever_gave_up_and_with_a_page_that_failed() -> None:
    async def story(kitchen: Kitchen, app: Turns) -> None:
        gone = [asyncio.create_task(ask(app, f"gone {number}")) for number in range(PAGES_AT_ONCE)]
        await settle()
        for one in gone:
            one.cancel()
        await settle()
        asked = asyncio.create_task(ask(app, "another"))
        await settle()
        assert "another" in kitchen.making
        kitchen.done.set()
        await asked

    in_a_kitchen(story)


# ── memory ──

LARGE = "select sum(len(numbers)) from (select list(number) as numbers from range(3000000) as all_of(number))"


def limit_of(connection: duckdb.DuckDBPyConnection) -> str:
    return str(connection.execute("select current_setting('memory_limit')").fetchall()[0][0])


def test_what_needs_more_memory_has_it_as_long_as_it_lasts() -> None:
    connection = duckdb.connect()
    connection.execute("set threads = 1; set temp_directory = ''; set memory_limit = '16MB'")
    usual = limit_of(connection)
    with pytest.raises(duckdb.OutOfMemoryException):
        connection.execute(LARGE).fetchall()
    assert with_memory(connection, lambda: connection.execute(LARGE).fetchall()) == [(3000000,)]
    assert limit_of(connection) == usual
