"""A name server that says something else every time (rebinding): by UDP, as the system asks it."""

import asyncio
import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

A, AAAA = 1, 28


@dataclass(slots=True)
class NameServer(asyncio.DatagramProtocol):
    """Each question of kind A is answered by the next of ``answers``, ever after by the last.

    What has IPv6 addresses among them answers those of kind AAAA in the same turn.
    """

    answers: Sequence[Sequence[str]]
    asked: int = 0
    transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        end = data.index(b"\0", 12) + 5
        (kind,) = struct.unpack("!H", data[end - 4 : end - 2])
        found = [one for one in self._turn(kind) if one.version == {A: 4, AAAA: 6}.get(kind)]
        head = data[:2] + struct.pack("!HHHHH", 0x8180, 1, len(found), 0, 0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(one.packed)) + one.packed
            for one in found
        )
        assert self.transport is not None
        self.transport.sendto(head + data[12:end] + records, addr)

    def _turn(self, kind: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        texts = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += kind == A
        return [ipaddress.ip_address(text) for text in texts]
