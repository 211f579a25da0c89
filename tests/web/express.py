"""The way that our own server has for a request that is whole, beside ASGI's."""

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from web.security import Headers
from web.webhook import TELLING, Express


@dataclass(slots=True)
class Whole:
    """A request with its body; ``answered`` is its answer, or what went wrong with us."""

    body: bytearray
    answered: asyncio.Future[tuple[int, Headers, bytes]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        self.answered.set_result((status, headers, body))

    def fail(self, error: Exception) -> None:
        self.answered.set_exception(error)


async def by_express(app: Express, scope: Scope, receive: Receive, send: Send) -> None:
    """Ask as our server does: by express what is whole and is taken so, by ASGI what is not."""
    if scope["type"] != "http":
        return await app(scope, receive, send)
    first = [await receive()]
    whole = Whole(bytearray(first[0].get("body", b"")))
    is_whole = first[0]["type"] == "http.request" and not first[0].get("more_body")
    if is_whole and app.express(scope, whole):
        status, headers, body = await whole.answered
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return await _told()

    async def again() -> MutableMapping[str, Any]:
        return first.pop() if first else await receive()

    return await app(scope, again, send)


async def _told() -> None:
    """By ASGI a test has its answer once the trail has it, too: so it is here."""
    telling = [one for one in asyncio.all_tasks() if one.get_name() == TELLING]
    if telling:
        await asyncio.wait(telling)
