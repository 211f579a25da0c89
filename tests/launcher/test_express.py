"""Express: what is there whole is answered without a task, and everything else as ever."""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from demo.asgi import answer, body_of
from launcher import connections
from launcher.connections import Connection
from tests.launcher.test_connections import application
from tests.launcher.wire import Line, Wire, serving
from tests.web.stage import until

POST = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n%b\r\n"


@dataclass(slots=True)
class Taking:
    """An application that says which way a request came; at /asgi it takes none by express.

    It answers /later when it is told to, and fails at /broken and /raises.
    """

    waiting: list[Any] = field(default_factory=list[Any])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await application(scope, receive, send)
        body = await body_of(receive)
        return await answer(send, 200, b"asgi " + scope["path"].encode() + b" " + body)

    def express(self, scope: Scope, whole: Any) -> bool:
        if scope["path"] == "/asgi":
            return False
        if scope["path"] == "/raises":
            raise ValueError("made up")
        if scope["path"] == "/broken":
            whole.fail(ValueError("made up"))
        elif scope["path"] == "/later":
            self.waiting.append(whole)
        else:
            self.tell(whole, b"express " + scope["path"].encode() + b" " + bytes(whole.body))
        return True

    async def next(self) -> Any:
        """What came to /later."""

        async def is_waiting() -> bool:
            return bool(self.waiting)

        await until(is_waiting, "a request")
        return self.waiting.pop()

    def tell(self, whole: Any, body: bytes) -> None:
        headers: Sequence[tuple[bytes, bytes]] = [(b"content-length", b"%d" % len(body))]
        whole.answer(200, headers, body)


@pytest.fixture
async def taking() -> Taking:
    return Taking()


@pytest.fixture
async def wire(taking: Taking) -> AsyncGenerator[Wire]:
    async with serving(taking) as one:
        yield one


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the server has received, each time."""
    pieces, receive = list[bytes](), Connection.data_received

    def received(self: Connection, data: bytes) -> None:
        receive(self, data)
        pieces.append(data)

    monkeypatch.setattr(Connection, "data_received", received)
    return pieces


def ask_on(port: int, request: bytes) -> None:
    """Send it again and again on one connection, and read nothing, until we are cut off."""
    with socket.socket() as one, suppress(ConnectionError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        one.settimeout(60)
        one.connect(("127.0.0.1", port))
        while True:
            one.sendall(request)
            time.sleep(0.002)


@asynccontextmanager
async def opened(wire: Wire) -> AsyncGenerator[Line]:
    line = await wire.open()
    try:
        async with asyncio.timeout(60):
            yield line
    finally:
        line.writer.close()
        with suppress(ConnectionError):
            await line.writer.wait_closed()


async def body(line: Line) -> bytes:
    return (await line.answer()).partition(b"\r\n\r\n")[2]


async def said(wire: Wire, *pieces: bytes, arrived: Sequence[bytes] = ()) -> bytes:
    """The body of the answer to these pieces, each sent when the one before it has arrived."""
    async with opened(wire) as line:
        for piece in pieces:
            before = len(arrived)
            await line.send(piece)
            if len(pieces) > 1:
                await until(lambda before=before: _is_more(arrived, before), "a piece")
        return await body(line)


async def _is_more(arrived: Sequence[bytes], before: int) -> bool:
    return len(arrived) > before


async def test_a_whole_request_is_taken_at_once(wire: Wire) -> None:
    assert await said(wire, POST % (b"a", b"") + b"hi") == b"express /a hi"


async def test_one_without_a_body_is_whole(wire: Wire) -> None:
    assert await said(wire, b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n") == b"express /b "


async def test_what_is_not_taken_goes_the_usual_way(wire: Wire) -> None:
    assert await said(wire, POST % (b"asgi", b"") + b"hi") == b"asgi /asgi hi"


@pytest.mark.parametrize(
    ("at", "way"), [(3, b"express"), (20, b"express"), (-2, b"asgi"), (-1, b"asgi")]
)
async def test_what_comes_without_its_body_goes_the_usual_way(
    wire: Wire, arrived: list[bytes], at: int, way: bytes
) -> None:
    whole = POST % (b"a", b"") + b"hi"
    assert await said(wire, whole[:at], whole[at:], arrived=arrived) == way + b" /a hi"


async def test_who_waits_for_a_word_to_go_on_gets_it(wire: Wire) -> None:
    async with opened(wire) as line:
        await line.send(POST % (b"a", b"Expect: 100-continue\r\n"))
        assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await line.send(b"hi")
        assert await body(line) == b"asgi /a hi"


async def test_answers_keep_the_order_of_requests(wire: Wire, taking: Taking) -> None:
    async with opened(wire) as line:
        await line.send(b"".join(POST % (path, b"") + b"hi" for path in (b"later", b"a", b"b")))
        taking.tell(await taking.next(), b"late")
        assert [await body(line) for _ in range(3)] == [b"late", b"asgi /a hi", b"asgi /b hi"]


async def test_one_connection_takes_one_after_the_other(wire: Wire) -> None:
    async with opened(wire) as line:
        for path in (b"a", b"asgi", b"b"):
            await line.send(POST % (path, b"") + b"hi")
            assert (await body(line)).endswith(b" /" + path + b" hi")


@pytest.mark.parametrize("path", [b"broken", b"raises"])
async def test_a_failure_is_answered(wire: Wire, path: bytes) -> None:
    told = await wire.say(POST % (path, b"") + b"hi")
    assert told.startswith(b"HTTP/1.1 500 ")
    assert b"made up" not in told


async def test_who_has_gone_harms_nobody(wire: Wire, taking: Taking) -> None:
    async with opened(wire) as line:
        await line.send(POST % (b"later", b"") + b"hi")
        whole = await taking.next()
    await wire.emptied()
    taking.tell(whole, b"late")
    assert await said(wire, POST % (b"a", b"") + b"hi") == b"express /a hi"


async def test_who_asks_on_and_never_reads_is_cut_off(
    taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the answers that nobody takes fill the memory."""
    monkeypatch.setattr(connections, "STALLED", 1.0)
    sizes = list[int]()

    def long(whole: Any, _body: bytes) -> None:
        whole.answer(200, [(b"content-length", b"60000")], bytes(60_000))
        sizes.append(whole.transport.get_write_buffer_size())

    monkeypatch.setattr(Taking, "tell", staticmethod(long))
    async with serving(taking) as wire, asyncio.timeout(50):
        await asyncio.to_thread(ask_on, wire.port, POST % (b"a", b"") + b"hi")
        await wire.emptied()
    assert max(sizes) < 200_000


async def test_who_is_cut_off_is_gone_for_what_he_asked_first(wire: Wire, taking: Taking) -> None:
    """Or his answer is written where nothing can be written any more."""
    async with opened(wire) as line:
        await line.send(POST % (b"later", b"") + b"hi" + POST % (b"b", b"") + b"hi")
        whole = await taking.next()
        whole.transport.abort()
        await wire.emptied()
    assert whole.disconnected


async def test_garbage_behind_a_whole_request_does_not_end_it(wire: Wire) -> None:
    told = await wire.say(POST % (b"a", b"") + b"hi\0\0\0 garbage\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 200 ")
    assert told.endswith(b"express /a hi")


async def test_a_body_that_cannot_be_read_reaches_nobody(wire: Wire, taking: Taking) -> None:
    head = b"POST /later HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    told = await wire.say(head + b"zz\r\n")
    assert told.startswith(b"HTTP/1.1 400 ")
    assert taking.waiting == []
    await wire.emptied()


async def test_a_crowd_is_told_to_come_again(taking: Taking) -> None:
    async with serving(taking, [("limit_concurrency", 4)]) as wire, AsyncExitStack() as stack:
        for _ in range(4):
            line = await stack.enter_async_context(opened(wire))
            await line.send(POST % (b"a", b"") + b"hi")
            assert await body(line) == b"express /a hi"
        told = await wire.say(POST % (b"a", b"") + b"hi")
        assert told.startswith(b"HTTP/1.1 503 ")
