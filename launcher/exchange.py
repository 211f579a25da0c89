"""A request and its answer as uvicorn has them, with the answer written in one piece."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

NO_BODY = (204, 304)
UNREMEMBERED = frozenset({b"set-cookie", b"location"})
"""Headers that differ from answer to answer, or hold a secret."""


class Exchange(RequestResponseCycle):
    """Keeps the head of an answer until the first piece of its body, as ASGI has servers do.

    uvicorn writes them one after the other: two calls of the system, two packets, and each header
    looked through anew for what must not stand in it.
    """

    _head = b""

    async def send(self, message: Any) -> None:
        """Take the next event of the application's. Raises RuntimeError for one out of turn."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            _expect("http.response.start", message)
            self._begin(message["status"], message.get("headers", ()))
        elif not self.response_complete:
            _expect("http.response.body", message)
            self._go_on(message.get("body", b""), more=message.get("more_body", False))
        else:
            kind = message["type"]
            raise RuntimeError(f"Unexpected ASGI message '{kind}': the answer is complete.")

    def _begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.response_started, self.waiting_for_100_continue = True, False
        lines, closes = [STATUS_LINE[status]], False
        for name, value in (*self.default_headers, *headers):
            line, matters = _line(name, value)
            lines.append(line)
            if matters:
                closes = self._heed(name.lower(), value) or closes
        if not (self.keep_alive or closes):
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and status not in NO_BODY and not self._is_head:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    def _heed(self, name: bytes, value: bytes) -> bool:
        """Follow what the application says of the body; return whether it closes."""
        if name == b"content-length" and self.chunked_encoding is None:
            self.expected_content_length, self.chunked_encoding = int(value), False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self.expected_content_length, self.chunked_encoding = 0, True
        elif name == b"connection" and b"close" in _tokens(value):
            self.keep_alive = False
            return True
        return False

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
        self.transport.write(self._head + body)
        self._head = b""
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


def _expect(kind: str, message: Any) -> None:
    if message["type"] != kind:
        raise RuntimeError(f"Expected ASGI message '{kind}', but got '{message['type']}'.")


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
