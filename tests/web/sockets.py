"""A WebSocket spoken in plain ASGI: what a client hears, how it was refused, when it was closed."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from starlette.types import ASGIApp, Message, Scope

from tests.stalls import stalls
from tests.web.stage import http_scope

OWN = "http://127.0.0.1:8000"

PATIENCE = 60.0
"""Seconds; how quick something has to be is said where that is meant."""

Frame: TypeAlias = dict[str, Any]


@dataclass(slots=True)
class Socket:
    """The client's end. While it is ``stuck`` it takes nothing."""

    to_app: asyncio.Queue[Message] = field(default_factory=asyncio.Queue[Message])
    frames: asyncio.Queue[Frame] = field(default_factory=asyncio.Queue[Frame])
    events: list[Frame] = field(default_factory=list[Frame])
    taking: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    refusal: bytes = b""
    code: int = 0
    reason: str = ""

    async def send(self, message: Message) -> None:
        """What the application calls."""
        await self.taking.wait()
        match message["type"]:
            case "websocket.accept":
                self.status = 101
                self.begun.set()
            case "websocket.http.response.start":
                self.status = message["status"]
                self.headers = {n.decode(): v.decode() for n, v in message["headers"]}
            case "websocket.http.response.body":
                self.refusal += message.get("body", b"")
                self.begun.set()
            case "websocket.send":
                self.frames.put_nowait(json.loads(message["text"]))
            case "websocket.close":
                self.code, self.reason = message.get("code", 1000), message.get("reason") or ""
                self.begun.set()
                self.ended.set()
            case other:
                raise AssertionError(other)

    async def hear(self, kind: str) -> Frame:
        """The next frame, which must be of this kind."""
        async with asyncio.timeout(PATIENCE):
            frame = await self.frames.get()
        assert frame["type"] == kind, frame
        return frame

    async def happened(self, event: str) -> Frame:
        """The next event of this name; what is told before it is passed over."""
        async with asyncio.timeout(PATIENCE):
            while True:
                while self.events:
                    if (one := self.events.pop(0))["event"] == event:
                        return one
                frame = await self.frames.get()
                told = frame.get("events", [])
                self.events = [one | {"cursor": frame["cursor"]} for one in told]

    async def over(self, within: float = PATIENCE) -> int:
        """The code it is closed with. Time in which this machine stood still does not count."""
        began = time.monotonic()
        with stalls() as stood:
            async with asyncio.timeout(PATIENCE):
                await self.ended.wait()
            assert stood.at_work(began) < within
        return self.code

    def say(self, text: str | None = None, raw: bytes | None = None) -> None:
        said = {"text": text} if raw is None else {"bytes": raw}
        self.to_app.put_nowait({"type": "websocket.receive", **said})


@asynccontextmanager
async def connected(
    app: ASGIApp, headers: Mapping[str, str], query: str = ""
) -> AsyncGenerator[Socket]:
    """Open a socket, until it is accepted or refused; hang up at the end."""
    given = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = http_scope("GET", f"/ws/live?{query}", [(b"host", b"127.0.0.1:8000"), *given])
    del scope["method"]
    scope.update(type="websocket", scheme="ws", subprotocols=[])
    scope["extensions"] = {"websocket.http.response": {}}
    socket = Socket()
    socket.taking.set()
    socket.to_app.put_nowait({"type": "websocket.connect"})
    life = asyncio.create_task(_run(app, scope, socket))
    async with asyncio.timeout(PATIENCE):
        await socket.begun.wait()
    try:
        yield socket
    finally:
        socket.taking.set()
        socket.to_app.put_nowait({"type": "websocket.disconnect", "code": 1001})
        async with asyncio.timeout(PATIENCE):
            await life


async def _run(app: ASGIApp, scope: Scope, socket: Socket) -> None:
    try:
        await app(scope, socket.to_app.get, socket.send)
    finally:
        socket.begun.set()
        socket.ended.set()
