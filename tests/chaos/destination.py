"""A destination that misbehaves by script and by seed, and remembers every request it saw."""

import asyncio
import gzip
import hashlib
import random  # noqa: TID251  chance is handed in, drawn from the run's seed
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from tests.chaos.axis import now
from tests.chaos.records import Arrival
from tests.chaos.wire import headers_of, length_of


class Manner(StrEnum):
    """How a request is treated."""

    OK = "ok"
    SLOW = "slow"
    FAILED = "failed"
    FAILED_AFTER = "failed_after"
    BUSY = "busy"
    THROTTLED = "throttled"
    HANG = "hang"
    DRIP = "drip"
    RESET = "reset"
    REDIRECT = "redirect"
    BOMB = "bomb"
    REFUSED = "refused"


UNPROCESSED = {Manner.FAILED, Manner.BUSY, Manner.THROTTLED, Manner.REDIRECT, Manner.REFUSED}
STATUS = {
    Manner.OK: 200,
    Manner.SLOW: 200,
    Manner.FAILED: 500,
    Manner.FAILED_AFTER: 500,
    Manner.BUSY: 503,
    Manner.THROTTLED: 429,
    Manner.REDIRECT: 307,
    Manner.BOMB: 200,
    Manner.REFUSED: 400,
}
"""A hang, a drip and a reset are no answers at all."""

CALM: Mapping[Manner, float] = MappingProxyType({})
ROUGH: Mapping[Manner, float] = MappingProxyType(
    {
        Manner.SLOW: 0.05,
        Manner.FAILED: 0.02,
        Manner.FAILED_AFTER: 0.02,
        Manner.BUSY: 0.02,
        Manner.THROTTLED: 0.004,
        Manner.HANG: 0.003,
        Manner.DRIP: 0.003,
        Manner.RESET: 0.02,
        Manner.REDIRECT: 0.003,
        Manner.BOMB: 0.003,
        Manner.REFUSED: 0.003,
    }
)
MOODS: Mapping[str, Mapping[Manner, float]] = MappingProxyType(
    {
        "calm": CALM,
        "rough": ROUGH,
        "slow": {Manner.SLOW: 0.8},
        "busy": {Manner.BUSY: 0.9},
        "failing": {Manner.FAILED: 0.5, Manner.FAILED_AFTER: 0.3},
        "hanging": {Manner.HANG: 0.5},
        "resetting": {Manner.RESET: 0.7},
    }
)
"""The rest of every mood is OK."""

BOMB = gzip.compress(b"\0" * 2_000_000, 9) * 50
LONGEST_HANG = 30.0


@dataclass(slots=True, kw_only=True)
class Destination:
    """Speaks HTTP/1.1 by hand, so that it can break off anywhere; no request goes unnoticed."""

    chance: random.Random
    name: str = "main"
    mood: Mapping[Manner, float] = field(default_factory=lambda: CALM)
    thinks: float = 0.01
    arrivals: list[Arrival] = field(default_factory=list[Arrival])
    port: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in [*self._open]:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                at = now()
                if not await self._receive(at, head, reader, writer):
                    return
        except (asyncio.IncompleteReadError, OSError):
            return  # the relay hung up; what it had sent before is noted
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _receive(
        self, at: float, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Read, note and answer one request; return whether the connection may serve another."""
        headers = headers_of(head)
        try:
            body = await reader.readexactly(length_of(head))
        except (asyncio.IncompleteReadError, OSError):
            self._note(at, headers, None, None)
            return False
        manner = self._manner()
        if manner is Manner.SLOW:
            await asyncio.sleep(self.chance.uniform(0.2, 4.0))
        elif self.thinks:
            await asyncio.sleep(self.thinks)
        self._note(at, headers, body, manner)
        return await self._treat(manner, reader, writer)

    def _manner(self) -> Manner:
        roll = self.chance.random()
        for manner, share in self.mood.items():
            roll -= share
            if roll < 0:
                return manner
        return Manner.OK

    def _note(
        self, at: float, headers: Mapping[str, str], body: bytes | None, manner: Manner | None
    ) -> None:
        self.arrivals.append(
            Arrival(
                at=at,
                destination=self.name,
                id=headers.get("webhook-id", ""),
                resend=headers.get("relay-poss-resend") == "Y",
                digest=None if body is None else hashlib.sha256(body).hexdigest(),
                processed=manner is not None and manner not in UNPROCESSED,
                status=STATUS.get(manner) if manner else None,
                wait=1.0 if manner is Manner.THROTTLED else 0.0,
                answered_at=now(),
            )
        )

    async def _treat(
        self, manner: Manner, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        match manner:
            case Manner.HANG:
                await _until_closed(reader)
            case Manner.DRIP:
                await _drip(writer)
            case Manner.RESET:
                reset(writer)
            case Manner.BOMB:
                return await _answer(writer, 200, BOMB, "content-encoding: gzip")
            case Manner.REDIRECT:
                return await _answer(writer, 307, b"", "location: http://127.0.0.1:9/")
            case Manner.THROTTLED:
                return await _answer(writer, 429, b"slow down", "retry-after: 1")
            case _:
                return await _answer(writer, STATUS[manner], b"{}")
        return False


async def _answer(writer: asyncio.StreamWriter, status: int, body: bytes, *headers: str) -> bool:
    lines = [f"HTTP/1.1 {status} Scripted", f"content-length: {len(body)}", *headers, "", ""]
    writer.write("\r\n".join(lines).encode() + body)
    await writer.drain()
    return True


async def _until_closed(reader: asyncio.StreamReader) -> None:
    try:
        async with asyncio.timeout(LONGEST_HANG):
            await reader.read(1)
    except TimeoutError:
        return


async def _drip(writer: asyncio.StreamWriter) -> None:
    """Promise a thousand bytes and give one every half second, until the relay has enough."""
    writer.write(b"HTTP/1.1 200 Scripted\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(round(LONGEST_HANG * 2)):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.5)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end."""
    found = writer.get_extra_info("socket")
    if found is not None and found.fileno() >= 0:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
