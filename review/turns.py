"""In which order the desk answers when many ask at once."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGES_AT_ONCE = 3  # each holds ten megabytes of wide columns while it is made, and more than there are cores only wait for each other
FILES_AT_ONCE = 1


class Turns:
    """Pages are made in the order in which they are asked for, so that nobody is overtaken again and again; files beside them, one after the other.

    A turn is over when the answer begins: who reads slowly keeps nobody waiting. What is sent here (plans, decisions) waits for no turn: a body may take long.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._pages, self._files = asyncio.Semaphore(PAGES_AT_ONCE), asyncio.Semaphore(FILES_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or path.startswith("/static/") or path == "/health":
            await self.app(scope, receive, send)
            return
        turn = self._files if path.startswith("/export/") else self._pages
        await turn.acquire()
        has_turn = True

        async def send_noting(message: Message) -> None:
            nonlocal has_turn
            if has_turn:
                has_turn = False
                turn.release()
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        finally:
            if has_turn:
                turn.release()
