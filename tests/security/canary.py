"""A canary that nobody may wake: listeners, a record of every dial, names that all lead here."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx
import pytest

Answers: TypeAlias = list[tuple[Any, ...]]
GLOBAL = ipaddress.IPv6Network("2000::/3")
CARRYING = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)
CLOUDS = {"168.63.129.16", "192.0.0.192", "100.100.100.200"}


def is_public(literal: str) -> bool:
    """Found another way than the relay does: what is left of the global unicast ranges."""
    address = ipaddress.ip_address(literal)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and str(address) not in CLOUDS
    return address in GLOBAL and not any(address in one for one in CARRYING)


@dataclass(slots=True)
class Canary:
    """``dialled`` is every address that a connection was asked to; ``met`` who was spoken to."""

    port: int = 0
    met: int = 0
    requests: list[bytes] = field(default_factory=list[bytes])
    dialled: list[str] = field(default_factory=list[str])

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        self.requests.append(await reader.read(1_000))
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    @property
    def woken(self) -> list[str]:
        """Where nobody may go and somebody went."""
        return [one for one in self.dialled if not is_public(one)]


@asynccontextmanager
async def listening() -> AsyncGenerator[Canary]:
    """On this machine by IPv4 and, where it has that, by IPv6, at one port."""
    canary = Canary()
    async with await asyncio.start_server(canary.talk, "127.0.0.1", 0) as server:
        canary.port = server.sockets[0].getsockname()[1]
        try:
            other = await asyncio.start_server(canary.talk, "::1", canary.port)
        except OSError:
            yield canary
            return
        async with other:
            yield canary


def watch(monkeypatch: pytest.MonkeyPatch, canary: Canary) -> None:
    """Note every dial where it happens; what is public is noted and not dialled: no test leaves."""
    loop: Any = asyncio.BaseEventLoop
    dial = loop.create_connection

    async def noted(self: object, made: object, host: str, *given: Any, **named: Any) -> Any:
        canary.dialled.append(host)
        if is_public(host):
            raise ConnectionRefusedError("public: not in a test")
        return await dial(self, made, host, *given, **named)

    monkeypatch.setattr(loop, "create_connection", noted)


def resolve(monkeypatch: pytest.MonkeyPatch, *rounds: Sequence[str]) -> list[str]:
    """Answer each look-up of a name with the next of ``rounds``, and ever after with the last.

    Numbers are read as the system reads them. Returns what was looked up, as it fills.
    """
    asked: list[str] = []
    system = socket.getaddrinfo

    async def getaddrinfo(
        _: asyncio.AbstractEventLoop, host: bytes | str, port: int, **given: Any
    ) -> Answers:
        name = host.decode() if isinstance(host, bytes) else host
        try:
            return system(name, port, flags=socket.AI_NUMERICHOST, **given)
        except socket.gaierror:
            asked.append(name)
        literals = rounds[min(len(asked), len(rounds)) - 1]
        return [one for text in literals for one in system(text, port, **given)]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


def share_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the authorities for every client anew would take most of the time."""
    context = ssl.create_default_context()

    def shared(**_: object) -> ssl.SSLContext:
        return context

    monkeypatch.setattr(httpx, "create_ssl_context", shared)
