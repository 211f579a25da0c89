"""H20: slow senders, slow readers and too many are cut off; slow handlers are not."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import repeat

import pytest
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect

from demo.asgi import answer, body_of
from launcher import connections
from launcher.connections import most_open
from tests.launcher.test_known_heads import Forgetful, talked
from tests.launcher.wire import Line, Wire, serving
from tests.web.stage import until

HEAD = b"POST /%b HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
QUICK = HEAD % b"" + b"Content-Length: 2\r\n\r\nok"
LENGTH = b"Content-Length: %d\r\n\r\n"
UPGRADE = (
    b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
SHORT = 0.4
"""Seconds of patience in these tests: the ratios are the same."""


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers how much it read: later at /slow, a lot at /much, before reading at /early."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(3 * SHORT)
        await send({"type": "websocket.send", "text": "still here"})
        await send({"type": "websocket.close", "code": 1000})
        return
    if scope["path"] == "/early":
        await answer(send, 413, b"no")
        return
    size = len(await body_of(receive))
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * SHORT)
    body = bytes(8_000_000) if scope["path"] == "/much" else json.dumps(size).encode()
    with suppress(OSError):
        await answer(send, 200, body)


@pytest.fixture
async def wire(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Wire]:
    monkeypatch.setattr(connections, "PATIENCE", SHORT)
    monkeypatch.setattr(connections, "STALLED", SHORT)
    async with serving(application, [("timeout_keep_alive", SHORT)]) as one:
        yield one


async def drip(line: Line, first: bytes, drop: bytes) -> None:
    """Send a drop now and then until we are cut off; fail when nobody does."""
    async with asyncio.timeout(60):
        await line.send(first)
        for piece in repeat(drop):
            if not await line.send(piece):
                return
            await asyncio.sleep(SHORT / 10)


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"", b"\r\n"),
        (b"", b"G"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX: ", b"x"),
        (HEAD % b"", b"X-Y: z\r\n"),
        (HEAD % b"" + b"Content-Length: 100000\r\n\r\n", b"x"),
        (HEAD % b"" + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (HEAD % b"early" + b"Content-Length: 900000000\r\n\r\n", b"x" * 65_536),
        (HEAD % b"early" + b"Content-Length: 1\r\n\r\nx", b"\r\n"),
        (CHUNKED % b"" + b"2;", b"a" * 16_384),
        (CHUNKED % b"" + b"2\r\nhi\r\n0\r\nX: ", b"a" * 16_384),
        (CHUNKED % b"early" + b"2\r\nhi\r\n0\r\n", b"X: y\r\n"),
        (QUICK, b"\r\n"),
        (QUICK + HEAD % b"", b"X-Y: z\r\n"),
    ],
    ids=[
        *("blank", "method", "header", "headers", "body", "chunks", "unwanted", "answered"),
        *("extension", "trailer", "trailers", "idle", "second"),
    ],
)
async def test_who_drips_is_cut_off(wire: Wire, first: bytes, drop: bytes) -> None:
    line = await wire.open()
    await drip(line, first, drop)
    line.writer.close()
    await wire.emptied()


async def test_who_says_nothing_is_hung_up_on(wire: Wire) -> None:
    line = await wire.open()
    async with asyncio.timeout(60):
        assert await line.rest() == b""


@pytest.mark.parametrize("body", [b"x", b"1\r\nx\r\n0\r\n\r\n"], ids=["stated", "chunks"])
async def test_who_was_answered_early_is_hung_up_on_once_the_rest_is_there(
    wire: Wire, body: bytes
) -> None:
    line = await wire.open()
    await line.send(CHUNKED % b"early" if b"\r" in body else HEAD % b"early" + LENGTH % 1)
    assert b" 413 " in await line.answer()
    await line.send(body)
    async with asyncio.timeout(30):
        assert await line.rest() == b""


async def test_a_websocket_that_follows_a_request_stays_open(wire: Wire) -> None:
    line = await wire.open()
    await line.send(QUICK)
    await line.answer()
    await line.send(HEAD.replace(b"POST", b"GET") % b"" + UPGRADE)
    async with asyncio.timeout(30):
        assert b" 101 " in await line.reader.readuntil(b"\r\n\r\n")
        await line.reader.readuntil(b"still here")
    line.writer.close()


async def test_a_slow_handler_is_waited_for_and_the_connection_used_again(wire: Wire) -> None:
    line = await wire.open()
    for path in (b"slow", b""):
        await line.send(HEAD % path + b"Content-Length: 2\r\n\r\nok\r\n")
        assert (await line.answer()).endswith(b"\r\n\r\n2")
    line.writer.close()


async def test_a_pause_of_ours_cuts_nobody_off(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrived while this process stood still is read before anybody is judged by it."""
    monkeypatch.setattr(connections, "LATE", SHORT / 4)
    line = await wire.open()
    await line.send(QUICK[:20])
    await asyncio.sleep(SHORT / 4)
    line.writer.write(QUICK[20:])
    await line.writer.drain()
    time.sleep(2 * SHORT)  # noqa: ASYNC251  the whole loop, server and all
    assert b" 200 " in await line.answer()
    line.writer.close()


async def test_a_long_body_that_keeps_coming_is_taken(wire: Wire) -> None:
    """At less than LEAST in PATIENCE it would not; an import takes as long as it takes."""
    line, piece = await wire.open(), bytes(65_536)
    await line.send(HEAD % b"" + b"Content-Length: %d\r\n\r\n" % (20 * len(piece)))
    for _ in range(20):
        assert await line.send(piece)
        await asyncio.sleep(SHORT / 8)
    assert (await line.answer()).endswith(b"1310720")
    line.writer.close()


async def test_a_body_of_many_small_chunks_is_taken(wire: Wire) -> None:
    """What states the lengths of chunks is bounded between two of them, not in all."""
    line = await wire.open()
    await line.send(CHUNKED % b"" + b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n")
    assert (await line.answer()).endswith(b"\r\n\r\n40000")
    line.writer.close()


EARLY = HEAD % b"early" + LENGTH % 70_000
LARGE = HEAD % b"large" + b"X-A: " + b"a" * 70_000 + b"\r\n" + LENGTH % 0


def answered(*pieces: bytes) -> tuple[list[int], list[str], bool]:
    """The statuses of all answers to these pieces, the paths asked for, and whether it closed."""
    told = talked(pieces, Forgetful())
    statuses = [int(part[:3]) for part in told.written.split(b"HTTP/1.1 ")[1:]]
    return statuses, [scope["path"] for _, scope, _ in told.asked], told.closed


def test_what_was_answered_early_is_answered_once() -> None:
    """Or a proxy takes the second answer for that of whom it lends the connection next."""
    said = answered(EARLY, bytes(70_000), QUICK)
    assert said == ([413, 200], ["/early", "/"], False)


@pytest.mark.parametrize("rest", [b"zz\r\n", b"0\r\nX: y\r\n\r\n", b"2;" + b"a" * 70_000])
def test_what_cannot_be_read_behind_an_early_answer_is_not_answered(rest: bytes) -> None:
    assert answered(CHUNKED % b"early", rest) == ([413], ["/early"], True)


def test_a_body_that_cannot_be_read_is_not_the_answer_to_the_request_before_it() -> None:
    later = HEAD % b"later" + LENGTH % 0
    assert answered(later, CHUNKED % b"" + b"zz\r\n") == ([200], ["/later"], False)


def test_what_cannot_be_read_behind_a_body_is() -> None:
    assert answered(EARLY, bytes(70_000), b"nonsense\r\n\r\n") == ([413, 400], ["/early"], True)


@pytest.mark.parametrize("at", [len(LARGE), -4, -50, 200])
def test_a_large_head_behind_a_body_is_refused(at: int) -> None:
    said = answered(EARLY, bytes(70_000) + LARGE[:at], LARGE[at:] or b"\r\n")
    assert said == ([413, 431], ["/early"], True)


@pytest.mark.parametrize(
    ("at", "statuses"),
    [(len(LARGE), [200]), (-4, [200, 431]), (-50, [200, 431]), (200, [200, 431])],
)
def test_a_large_head_behind_a_request_reaches_nobody(at: int, statuses: list[int]) -> None:
    """What is whole before the request is answered ends with its answer, as whatever is unclear."""
    asgi = HEAD % b"asgi" + LENGTH % 2
    said = answered(asgi, b"hi" + LARGE[:at], LARGE[at:] or b"\r\n")
    assert said == (statuses, ["/asgi"], True)


def _small_reader(port: int, request: bytes) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    one.connect(("127.0.0.1", port))
    one.sendall(request)
    return one


@pytest.mark.parametrize("request_", [HEAD % b"much" + b"\r\n", QUICK], ids=["much", "little"])
async def test_who_never_reads_is_cut_off(wire: Wire, request_: bytes) -> None:
    with await asyncio.to_thread(_small_reader, wire.port, request_):

        async def is_known() -> bool:
            return bool(wire.server.server_state.connections)

        await until(is_known, "the connection")
        await wire.emptied()


async def test_a_slow_reader_gets_all_of_it(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight megabytes by the piece, over longer than a stall: what moves is no stall."""
    longer = 5 * SHORT  # than this machine may stand still
    monkeypatch.setattr(connections, "STALLED", longer)
    line = await wire.open()
    began = time.monotonic()
    await line.send(HEAD % b"much" + b"Connection: close\r\n\r\n")
    size = 0
    async with asyncio.timeout(60):
        while piece := await line.reader.read(1_000_000):
            size += len(piece)
            await asyncio.sleep(longer / 16)
    assert size > 8_000_000
    assert time.monotonic() - began > longer
    line.writer.close()


async def test_a_websocket_has_no_deadline_of_a_request(wire: Wire) -> None:
    async with connect(f"ws://127.0.0.1:{wire.port}/") as client:
        assert await client.recv() == "still here"


async def test_who_is_one_too_many_is_told_when_to_come_again() -> None:
    async with serving(application, [("limit_concurrency", 8)]) as wire:
        lines = [await wire.open() for _ in range(8)]
        for line in lines:
            await line.send(QUICK)
            assert b" 200 " in await line.answer()
        upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        for request in (QUICK, b"GET / HTTP/1.1\r\nHost: x\r\n" + upgrade):
            said = await wire.say(request)
            assert said.startswith(b"HTTP/1.1 503 "), said
            assert b"\r\nretry-after: 2\r\n" in said
        more = [await wire.open() for _ in range(8)]
        over = await asyncio.wait_for(more[-1].rest(), 60)
        assert over == b"", "far beyond, nobody is even answered"
        for line in (*lines, *more):
            line.writer.close()
        await wire.emptied()
        line = await wire.open()
        await line.send(QUICK)
        assert b" 200 " in await line.answer()
        line.writer.close()


def test_there_is_room_for_every_client_of_the_live_feed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def allowing(files: int) -> None:
        def getrlimit(_: int) -> tuple[int, int]:
            return files, files

        monkeypatch.setattr(connections.resource, "getrlimit", getrlimit)

    allowing(65_536)
    assert most_open(10_000) == 14_096
    allowing(1_024)
    assert most_open(10_000) == 768
