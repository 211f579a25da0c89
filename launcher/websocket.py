"""A WebSocket to listen by (RFC 6455), of the standard library alone: text in, answers to pings."""

import base64
import json
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from launcher.asking import READ, Relay, Reply

if TYPE_CHECKING:  # slow to load, and `--help` asks nobody
    from http.client import HTTPConnection

TEXT, CLOSE, PING = 0x1, 0x8, 0x9
LONGEST = 4_194_304
"""Bytes of a message; the relay makes none of a quarter of it."""


class HungUpError(Exception):
    """It is over; ``code`` is why, 1006 where nobody said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Listening:
    """What /ws/live tells, until it hangs up."""

    def __init__(self, connection: "HTTPConnection", stream: Any) -> None:
        self._connection, self._stream = connection, stream
        self._kind, self._text = 0, b""  # of a message that is not whole yet

    @classmethod
    def to(cls, relay: Relay, path: str, silence: float) -> "Listening | Reply":
        """Dial; the reply where it is refused. ``silence``: seconds after which it counts as gone.

        Raises UnreachableError.
        """
        connection = relay.dial(silence)
        headers = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
        }
        reply = relay.say(connection, "GET", path, READ, None, headers)
        if reply.status == 101:
            return cls(connection, reply.fp)  # what came after the head is in it already
        try:
            return relay.understood(reply.status, reply.read())
        finally:
            connection.close()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Raises HungUpError in the end."""
        try:
            while True:
                kind, text = self._frame()
                if kind == TEXT:
                    yield json.loads(text)
                elif kind == PING:
                    self._answer(0xA, text)
                elif kind == CLOSE:
                    self._answer(CLOSE, text[:2])
                    raise HungUpError(struct.unpack("!H", text[:2])[0] if len(text) > 1 else 1005)
        except (OSError, EOFError, ValueError):
            raise HungUpError(1006) from None

    def close(self) -> None:
        self._connection.close()

    def _frame(self) -> tuple[int, bytes]:
        """One whole message: what comes in parts is put together, whatever comes between them."""
        while True:
            final, opcode, part = self._part()
            if opcode >= CLOSE:
                return opcode, part
            self._kind, self._text = self._kind or opcode, self._text + part
            if len(self._text) > LONGEST:
                raise ValueError("too long")
            if final:
                whole, self._kind, self._text = (self._kind, self._text), 0, b""
                return whole

    def _part(self) -> tuple[bool, int, bytes]:
        first, second = self._read(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._read(8))
        if length > LONGEST or second & 0x80:  # a server never masks
            raise ValueError("no frame of a server")
        return bool(first & 0x80), first & 0x0F, self._read(length)

    def _read(self, count: int) -> bytes:
        found: bytes = self._stream.read(count)
        if len(found) < count:
            raise EOFError
        return found

    def _answer(self, opcode: int, text: bytes) -> None:
        """A client masks what it says, and a control frame has 125 bytes at most."""
        mask = os.urandom(4)
        masked = bytes(one ^ mask[i % 4] for i, one in enumerate(text[:125]))
        head = bytes((0x80 | opcode, 0x80 | len(masked)))
        if self._connection.sock:
            self._connection.sock.sendall(head + mask + masked)
