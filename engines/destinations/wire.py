"""The wire: HTTP/1.1 to one destination over connections that are kept; one write a request."""

import asyncio
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Self, cast

import httpcore
import httptools
import httpx

from domain.address import Network
from engines.failpoints import Point, Reach
from engines.outbound import AGENT, Dial

HEAD_CAP = 65_536
ANSWER_CAP = 65_536
EXCERPT = 2_048
KEPT = 60.0
"""Seconds after which a connection that nobody used is not trusted any more."""

DEFAULTS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": AGENT}

_PLAIN = re.compile(r"[\t\x20-\x7e]*", re.ASCII)


class TooLateError(Exception):
    """Connecting took so long that the request may not leave any more; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: of the body its start, of the headers the one that we heed."""

    status: int
    retry_after: str | None
    start: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go, and how each of them begins."""

    host: str
    port: int
    tls: bool
    line: bytes

    @classmethod
    def of(cls, url: httpx.URL) -> Self:
        if url.scheme not in {"https", "http"}:
            raise httpcore.UnsupportedProtocol("neither https nor http")
        tls = url.scheme == "https"
        line = b"POST %b HTTP/1.1\r\nhost: %b\r\n" % (url.raw_path, url.netloc)
        return cls(url.raw_host.decode("ascii"), url.port or (443 if tls else 80), tls, line)


class Connection(asyncio.Protocol):
    """One connection: a request at a time, and what the other side says to it."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.open = False
        self._waiting: asyncio.Future[Reply] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its bases
        self._parser = httptools.HttpResponseParser(self)
        self.open = True

    @property
    def unanswered(self) -> bool:
        return self._waiting is not None

    def ask(self, request: bytes) -> asyncio.Future[Reply]:
        """Write a request, whole; the answer comes later, or why there is none."""
        self._size, self._body, self._headed, self._bounded = 0, bytearray(), False, False
        self._retry_after = list[bytes]()
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiting

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:  # nobody asked
            self.close()
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._failed(httpcore.RemoteProtocolError("the answer is no HTTP"))
        if self._headed and self._size > ANSWER_CAP:
            self._answered(kept=False)
        elif self._size > HEAD_CAP:
            self._failed(httpcore.RemoteProtocolError("the head of the answer does not end"))

    def on_message_begin(self) -> None:
        """A second answer to one request is none to the next."""
        if self._waiting is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"retry-after":
            self._retry_after.append(value)
        elif name in {b"content-length", b"transfer-encoding"}:
            self._bounded = True

    def on_headers_complete(self) -> None:
        self._headed = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        if len(self._body) < EXCERPT:
            self._body += body[: EXCERPT - len(self._body)]

    def on_message_complete(self) -> None:
        if self._headed:  # what comes before, 100 or 103, is not the answer
            self._answered(kept=self._parser.should_keep_alive())

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._waiting and self._headed and not self._bounded and exc is None:
            self._answered(kept=False)  # its end is that of the connection
        elif exc is None:
            self._failed(httpcore.RemoteProtocolError("hung up without a whole answer"))
        else:
            self._failed(httpcore.ReadError("the connection broke"))

    def close(self) -> None:
        """Whoever waits is told; what was not sent is not sent any more."""
        if self.open:
            self.open = False
            self._transport.abort()
        self._failed(httpcore.ReadError("closed"))

    def _answered(self, *, kept: bool) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting and not waiting.done():
            told = b", ".join(self._retry_after).decode("latin-1") or None
            waiting.set_result(Reply(self._parser.get_status_code(), told, bytes(self._body)))
        if not kept:
            self.close()

    def _failed(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting and not waiting.done():
            waiting.set_exception(error)
            waiting.exception()  # whoever asked may have gone
        if self.open:
            self.close()


class Wire:
    """Posts to one address. What is the same in every request is made once."""

    def __init__(
        self,
        url: str,
        private: Collection[Network],
        connections: int,
        connecting: float,
        reach: Reach,
    ) -> None:
        self._url = url
        self._reach = reach
        self._dial = Dial(url, private, connecting)
        self._turn = asyncio.Semaphore(connections)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()

    async def post(self, body: bytes, headers: dict[str, str], leaves: Callable[[], bool]) -> Reply:
        """Send once. Raises TooLateError, or an error of httpcore."""
        request = self._address.line + _head(headers, len(body)) + body
        async with self._turn:
            connection = self._kept() or await self._connected()
            self._busy.add(connection)
            try:
                return await _exchanged(connection, request, leaves, self._reach)
            finally:
                self._busy.discard(connection)
                self._keep(connection)

    @cached_property
    def _address(self) -> Address:
        return Address.of(httpx.URL(self._url))

    async def _connected(self) -> Connection:
        there = self._address
        return await self._dial(Connection, there.host, there.port, tls=there.tls)

    def _kept(self) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.open and now - connection.idle_since < KEPT:
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        """A connection whose answer is still to come is of no use to the next request."""
        if connection.unanswered:
            connection.close()
        elif connection.open:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)

    async def close(self) -> None:
        for connection in [*self._idle, *self._busy]:
            connection.close()
        await asyncio.sleep(0)  # an aborted transport tells its protocol in the next round


def _head(headers: dict[str, str], length: int) -> bytes:
    """The rest of a head. Raises what a header that cannot be written is worth: nothing is sent."""
    fields = DEFAULTS | headers
    if not _PLAIN.fullmatch("".join((*fields, *fields.values()))):
        raise httpcore.LocalProtocolError("a header that cannot be written")
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    return f"{lines}content-length: {length}\r\n\r\n".encode("ascii")


async def _exchanged(
    connection: Connection, request: bytes, leaves: Callable[[], bool], reach: Reach
) -> Reply:
    if not leaves():
        raise TooLateError
    reach(Point.SEND_BEFORE_WRITE)
    answer = connection.ask(request)
    await asyncio.sleep(0)  # a loop may write at the end of its round
    reach(Point.SEND_AFTER_WRITE)
    return await answer
