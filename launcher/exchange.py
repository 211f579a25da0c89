"""A request and its answer as uvicorn has them, with the answer written in one piece."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

from launcher.outflow import Outflow

NO_BODY = (204, 304)
WENT_WRONG = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"21"),
    (b"connection", b"close"),
)
"""As uvicorn says it."""

UNREMEMBERED = frozenset({b"set-cookie", b"location"})
"""Headers that differ from answer to answer, or hold a secret."""


MOST_WRITTEN = 256
"""Heads of answers that are remembered."""

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]


class Exchange(RequestResponseCycle):
    """Keeps the head of an answer until the first piece of its body, as ASGI has servers do.

    uvicorn writes them one after the other: two calls of the system, two packets, and each header
    looked through anew for what must not stand in it.
    """

    flow: Outflow
    _unsent = b""

    async def send(self, message: Any) -> None:
        """Take the next event of the application's. Raises RuntimeError for one out of turn."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            _expect("http.response.start", message)
            headers = (*self.default_headers, *message.get("headers", ()))
            self._begin(_head(message["status"], headers))
        elif not self.response_complete:
            _expect("http.response.body", message)
            self._go_on(message.get("body", b""), more=message.get("more_body", False))
        else:
            kind = message["type"]
            raise RuntimeError(f"Unexpected ASGI message '{kind}': the answer is complete.")

    def _begin(self, head: "Head") -> None:
        self.response_started, self.waiting_for_100_continue = True, False
        if head.closes:
            self.keep_alive = False
        if head.chunked:
            self.chunked_encoding = True
        elif head.length is not None:
            self.expected_content_length, self.chunked_encoding = head.length, False
        written = head.written
        if not (self.keep_alive or head.closes):
            written += b"connection: close\r\n"
        if self.chunked_encoding is None and head.status not in NO_BODY and not self._is_head:
            self.chunked_encoding = True
            written += b"transfer-encoding: chunked\r\n"
        self._unsent = written + b"\r\n"

    @property
    def _is_head(self) -> bool:
        return self.scope["method"] == "HEAD"

    def _go_on(self, body: bytes, *, more: bool) -> None:
        if self._is_head:
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (
                b"" if more else b"0\r\n\r\n"
            )
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("Response content longer than Content-Length")
        written = self._unsent + body
        self.flow.written += len(written)
        self.transport.write(written)
        self._unsent = b""
        if not more:
            self._end()

    def _end(self) -> None:
        if self.expected_content_length != 0:
            raise RuntimeError("Response content shorter than Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    # ── Without a task ──────────────────────────────────────────────────────────────────────

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer at once, whole. Headers that come as the same tuple again are written once.

        They hold no secret: they are remembered.

        Raises RuntimeError where they say another length.
        """
        if not self.disconnected:
            self._begin(_head_of(status, self.default_headers, headers))
            self._go_on(body, more=False)

    def fail(self, error: Exception) -> None:
        """Log what the application raised; answer 500, where nothing was answered yet."""
        self.logger.error("Exception in ASGI application\n", exc_info=error)
        if self.response_started:
            self.transport.close()
        else:
            self.answer(500, WENT_WRONG, b"Internal Server Error")


def _expect(kind: str, message: Any) -> None:
    if message["type"] != kind:
        raise RuntimeError(f"Expected ASGI message '{kind}', but got '{message['type']}'.")


class Head(NamedTuple):
    """Status and headers as they are written, and what they say of the body and the connection."""

    status: int
    written: bytes
    length: int | None = None
    chunked: bool = False
    closes: bool = False


class _Written(NamedTuple):
    """A head, and what it is of: held here, so that nothing else gets its place in memory."""

    status: int
    always: Sequence[tuple[bytes, bytes]]
    headers: Headers
    head: Head


_WRITTEN: dict[int, _Written] = {}


def _head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """Raises RuntimeError where one holds what must not stand in it."""
    lines, said = [STATUS_LINE[status]], dict[bytes, bytes]()
    for name, value in headers:
        line, matters = _line(name, value)
        lines.append(line)
        if matters:
            said.setdefault(name.lower(), value)
    length = said.get(b"content-length")
    return Head(
        status,
        b"".join(lines),
        None if length is None else int(length),
        said.get(b"transfer-encoding", b"").lower() == b"chunked",
        b"close" in _tokens(said.get(b"connection", b"")),
    )


def _head_of(status: int, always: Sequence[tuple[bytes, bytes]], headers: Headers) -> Head:
    """By which tuples they are: to compare what is in them costs as much as a small answer.

    ``always`` is another every second, when its date is.
    """
    known = _WRITTEN.get(id(headers))
    if known and known.status == status and known.always is always and known.headers is headers:
        return known.head
    if len(_WRITTEN) >= MOST_WRITTEN:
        _WRITTEN.clear()
    head = _head(status, (*always, *headers))
    _WRITTEN[id(headers)] = _Written(status, always, headers, head)
    return head


def _line(name: bytes, value: bytes) -> tuple[bytes, bool]:
    """A header as it is written, and whether it says something of the body or the connection."""
    if name in UNREMEMBERED:
        return _written(name, value), False
    return _remembered(name, value)


@lru_cache(maxsize=1_024)
def _remembered(name: bytes, value: bytes) -> tuple[bytes, bool]:
    matters = name.lower() in {b"content-length", b"transfer-encoding", b"connection"}
    return _written(name, value), matters


def _written(name: bytes, value: bytes) -> bytes:
    if HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    if HEADER_VALUE_RE.search(value):
        raise RuntimeError("Invalid HTTP header value.")
    return b"%b: %b\r\n" % (name.lower(), value)


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.lower().split(b",")]
