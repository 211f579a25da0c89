"""A server on this machine that reads requests and answers them as a test wants, and a client."""

import asyncio
import ipaddress
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TypeAlias

from domain.address import Network
from domain.delivery import Answer
from engines.destinations.client import DestinationClient, Limits

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
BODY = b'{"ticker":"AAPL"}'
HEADERS = {"content-type": "application/json", "webhook-id": "one"}


def leaves() -> bool:
    return True


Writer: TypeAlias = asyncio.StreamWriter
Behaviour: TypeAlias = Callable[[Writer], Awaitable[None]]


class Loopback:
    """A server that reads requests and answers them as ``behave`` does."""

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave
        self.connections = 0
        self.requests: list[bytes] = []
        self.writers: list[Writer] = []
        self.asked = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def talk(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.connections += 1
        self.writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head + await reader.readexactly(len(BODY)))
                self.asked.set()
                await self._behave(writer)
                await writer.drain()
        writer.close()

    async def close(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # an aborted transport tells its protocol in the next round


@asynccontextmanager
async def loopback(behave: Behaviour) -> AsyncGenerator[Loopback]:
    there = Loopback(behave)
    async with await asyncio.start_server(there.talk, "127.0.0.1", 0) as server:
        there.port = server.sockets[0].getsockname()[1]
        try:
            yield there
        finally:
            await there.close()


def answering(head: str, body: bytes = b"ok", *, length: int | None = None) -> Behaviour:
    async def behave(writer: Writer) -> None:
        size = len(body) if length is None else length
        writer.write(f"HTTP/1.1 {head}\r\ncontent-length: {size}\r\n\r\n".encode() + body)
        await asyncio.sleep(0)

    return behave


@asynccontextmanager
async def client(
    url: str, deadline: float = 30, private: Collection[Network] = LOOPBACK
) -> AsyncGenerator[DestinationClient]:
    limits = Limits(deadline=timedelta(seconds=deadline))
    client = DestinationClient(url, private=private, limits=limits)
    yield client
    await client.close()


async def posted(behave: Behaviour, deadline: float = 30) -> tuple[Answer, Loopback]:
    async with loopback(behave) as there, client(there.url, deadline) as ours:
        return await ours.post(BODY, HEADERS, leaves), there
