"""The answer as it is written: in one piece, with the headers it was given and no others."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from launcher.deadline import Deadline
from launcher.exchange import MOST_WRITTEN, Exchange
from launcher.outflow import Outflow

DATE = (b"date", b"Mon, 23 Nov 2026 00:00:00 GMT")
OK = b"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 00:00:00 GMT\r\n"


@dataclass(slots=True)
class Transport:
    """What was written, each time, and whether it was closed."""

    written: list[bytes] = field(default_factory=list[bytes])
    closed: bool = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@dataclass(slots=True)
class Made:
    exchange: Exchange
    transport: Transport
    ended: list[bool]

    async def start(self, *headers: tuple[bytes, bytes], status: int = 200) -> None:
        message = {"type": "http.response.start", "status": status, "headers": headers}
        await self.exchange.send(message)

    async def body(self, body: bytes, *, more: bool = False) -> None:
        message = {"type": "http.response.body", "body": body, "more_body": more}
        await self.exchange.send(message)


@pytest.fixture
async def made(request: pytest.FixtureRequest) -> Made:
    return an_exchange(**getattr(request, "param", {}))


def an_exchange(method: str = "GET", *, keep_alive: bool = True) -> Made:
    transport, ended = Transport(), list[bool]()
    exchange = Exchange(
        scope=cast("Any", {"type": "http", "method": method}),
        transport=cast("asyncio.Transport", transport),
        flow=Outflow(
            cast("asyncio.Transport", transport), Deadline(asyncio.get_running_loop()), 10
        ),
        logger=logging.getLogger("test.exchange"),
        access_logger=logging.getLogger("test.exchange"),
        access_log=False,
        default_headers=[DATE],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: ended.append(True),
    )
    return Made(exchange, transport, ended)


def length(count: int) -> tuple[bytes, bytes]:
    return (b"content-length", b"%d" % count)


async def test_head_and_body_are_one_write(made: Made) -> None:
    await made.start((b"X-One", b"1"), length(2))
    assert made.transport.written == []
    await made.body(b"ok")
    assert made.transport.written == [OK + b"x-one: 1\r\ncontent-length: 2\r\n\r\nok"]
    assert made.ended == [True]
    assert not made.transport.closed


async def test_what_comes_in_pieces_is_written_as_it_comes(made: Made) -> None:
    await made.start(length(4))
    for piece, more in ((b"ab", True), (b"", True), (b"cd", False)):
        await made.body(piece, more=more)
    assert made.transport.written == [OK + b"content-length: 4\r\n\r\nab", b"", b"cd"]


async def test_without_a_length_it_is_chunked(made: Made) -> None:
    await made.start()
    await made.body(b"hello", more=True)
    await made.body(b"")
    written = b"".join(made.transport.written)
    assert written == OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


async def test_who_says_chunked_is_chunked_once(made: Made) -> None:
    await made.start((b"Transfer-Encoding", b"Chunked"), length(7))
    await made.body(b"hi")
    [written] = made.transport.written
    assert written.count(b"transfer-encoding") == 1
    assert written.endswith(b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n")


@pytest.mark.parametrize("made", [{"method": "HEAD"}], indirect=True)
async def test_head_has_the_length_and_no_body(made: Made) -> None:
    await made.start(length(5))
    await made.body(b"hello")
    assert made.transport.written == [OK + b"content-length: 5\r\n\r\n"]
    assert made.ended == [True]


@pytest.mark.parametrize("status", [204, 304])
async def test_what_has_no_body_is_not_chunked(made: Made, status: int) -> None:
    await made.start(status=status)
    await made.body(b"")
    [written] = made.transport.written
    assert written.startswith(b"HTTP/1.1 %d " % status)
    assert b"transfer-encoding" not in written


@pytest.mark.parametrize("made", [{"keep_alive": False}], indirect=True)
async def test_a_connection_that_does_not_last_says_so(made: Made) -> None:
    await made.start(length(0))
    await made.body(b"")
    assert made.transport.written == [OK + b"content-length: 0\r\nconnection: close\r\n\r\n"]
    assert made.transport.closed


async def test_the_application_may_close(made: Made) -> None:
    await made.start(length(0), (b"Connection", b"keep-alive, Close"))
    await made.body(b"")
    [written] = made.transport.written
    assert written.count(b"close") + written.count(b"Close") == 1
    assert made.transport.closed


@pytest.mark.parametrize(
    "header",
    [
        (b"x-a\r\nx-b", b"1"),
        (b"x a", b"1"),
        (b"", b"\r\n"),
        (b"x-a", b"1\r\nset-cookie: a=b"),
        (b"x-a", b"1\0"),
        (b"set-cookie", b"a=b\r\nx: y"),
        (b"location", b"/\nx: y"),
    ],
)
async def test_no_header_makes_another(made: Made, header: tuple[bytes, bytes]) -> None:
    for _ in range(2):  # remembered or not
        with pytest.raises(RuntimeError, match="header"):
            await an_exchange().start(header)
    with pytest.raises(RuntimeError, match="header"):
        made.exchange.answer(200, (header,), b"")
    assert made.transport.written == []


@pytest.mark.parametrize("body", [b"", b"a", b"abc"])
async def test_a_body_has_the_length_that_was_stated(made: Made, body: bytes) -> None:
    await made.start(length(2))
    with pytest.raises(RuntimeError, match="than Content-Length"):
        await made.body(body)
    assert made.ended == []


async def test_events_out_of_turn_are_refused(made: Made) -> None:
    with pytest.raises(RuntimeError, match="Expected ASGI message"):
        await made.body(b"")
    await made.start(length(0))
    with pytest.raises(RuntimeError, match="Expected ASGI message"):
        await made.start(length(0))
    await made.body(b"")
    with pytest.raises(RuntimeError, match="Unexpected ASGI message"):
        await made.body(b"")


async def test_nobody_is_answered_who_has_gone(made: Made) -> None:
    made.exchange.disconnected = True
    await made.start(length(2))
    await made.body(b"ok")
    made.exchange.answer(200, (length(2),), b"ok")
    assert made.transport.written == []


async def test_an_answer_at_once_is_the_same(made: Made) -> None:
    headers = ((b"content-type", b"text/plain"), length(2))
    await made.start(*headers)
    await made.body(b"ok")
    for _ in range(2):
        other = an_exchange()
        other.exchange.answer(200, headers, b"ok")
        assert other.transport.written == made.transport.written
        assert other.ended == [True]


async def test_an_answer_at_once_has_its_own_head_whatever_was_before() -> None:
    """More tuples than are remembered, some that come again, and a date that goes on."""
    lasting, others = (length(2), (b"x-number", b"0")), range(1, 2 * MOST_WRITTEN)
    for number in others:
        fresh = (length(2), (b"x-number", b"%d" % number))
        dates = [(b"date", b"%d" % (number // 10))]
        for headers, status in ((lasting, 200), (fresh, 202), (lasting, 202)):
            at_once, by_asgi = an_exchange(), an_exchange()
            at_once.exchange.default_headers = by_asgi.exchange.default_headers = dates
            at_once.exchange.answer(status, headers, b"ok")
            await by_asgi.start(*headers, status=status)
            await by_asgi.body(b"ok")
            assert at_once.transport.written == by_asgi.transport.written


async def test_a_failure_is_logged_and_answered(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    made.exchange.fail(ValueError("ours"))
    [written] = made.transport.written
    assert written.startswith(b"HTTP/1.1 500 ")
    assert b"ours" not in written
    assert made.transport.closed
    assert "ours" in caplog.text


async def test_a_failure_in_the_middle_of_an_answer_closes(made: Made) -> None:
    await made.start(length(9))
    await made.body(b"half", more=True)
    made.exchange.fail(ValueError("ours"))
    assert len(made.transport.written) == 1
    assert made.transport.closed
