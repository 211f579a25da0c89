"""Sockets on a real connection: a stalled reader is cut off, and does not hold up the end."""

import asyncio
import base64
import os
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from domain.feed import frame
from launcher import sockets
from launcher.sockets import WEBSOCKETS
from tests.pages.conftest import Server
from tests.ports import free_port
from tests.web.stage import until

SAID = frame({"type": "events", "x": "x" * 60_000})


class Application:
    """Takes every socket, writes at once as much as it can, and remembers how it ended."""

    def __init__(self) -> None:
        self.written = 0
        self.refused = False
        self.ended: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        write = scope["extensions"]["relay"]["write"]
        if "stall" in scope["path"]:
            for _ in range(2_000):
                if not write(SAID.wire):
                    self.refused = True
                    break
                self.written += 1
                await asyncio.sleep(0)
        else:
            write(SAID.wire)
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": message["text"]})
        self.ended.append(message["code"])


@asynccontextmanager
async def serving(application: Application, grace: int = 5) -> AsyncGenerator[tuple[Server, int]]:
    port = free_port()
    config = uvicorn.Config(
        application,
        port=port,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=grace,
        **WEBSOCKETS,
    )
    server = Server(config)
    running = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started, "a listening server")
    try:
        yield server, port
    finally:
        server.should_exit = True
        await running


def stalled(port: int) -> socket.socket:
    """Shakes hands, and then reads nothing."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    one.connect(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    one.sendall(
        f"GET /stall HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    return one


async def test_what_is_written_at_once_is_a_frame_among_others() -> None:
    application = Application()
    async with (
        serving(application) as (_, port),
        connect(f"ws://127.0.0.1:{port}/", compression="deflate") as client,
    ):
        assert await client.recv() == SAID.text
        await client.send("hello")
        assert await client.recv() == "hello"
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers, "nothing is compressed"


async def test_a_stalled_reader_costs_little_and_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "STALLED", 0.3)
    application = Application()
    async with serving(application) as (_, port):
        with await asyncio.to_thread(stalled, port):

            async def is_cut_off() -> bool:
                return bool(application.ended)

            await until(is_cut_off, "the end of a stalled connection", 40)
        assert application.refused
        assert application.written * len(SAID.wire) < 3_000_000


async def test_a_stalled_reader_does_not_hold_up_the_end() -> None:
    application = Application()
    async with serving(application, grace=30) as (server, port):
        with await asyncio.to_thread(stalled, port):

            async def is_stalled() -> bool:
                return application.refused

            await until(is_stalled, "a stalled connection", 40)
            began = time.monotonic()
            server.should_exit = True

            async def is_over() -> bool:
                return bool(application.ended) and not server.server_state.connections

            await until(is_over, "the end", 40)
            assert time.monotonic() - began < 10


async def test_who_is_connected_hears_that_the_server_restarts() -> None:
    async with (
        serving(Application()) as (server, port),
        connect(f"ws://127.0.0.1:{port}/") as client,
    ):
        await client.recv()
        server.should_exit = True
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


async def test_too_long_a_message_is_not_taken() -> None:
    async with (
        serving(Application()) as (_, port),
        connect(f"ws://127.0.0.1:{port}/") as client,
    ):
        await client.recv()
        with suppress(ConnectionClosedError):
            await client.send("x" * 1_025)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
