"""A server as `run.py` makes it, in the test's own loop, and raw bytes to and from it."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from launcher.serve import _uvicorn  # pyright: ignore[reportPrivateUsage]  the very server
from launcher.server import Application, Entrance
from tests.pages.conftest import Server
from tests.web.stage import settings, until


@dataclass(slots=True)
class Wire:
    """Where the server listens, and the server."""

    port: int
    server: Server

    async def open(self) -> "Line":
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        return Line(reader, writer)

    async def say(self, *pieces: bytes, wait: float = 60) -> bytes:
        """Everything the server answers to these bytes until it hangs up."""
        line = await self.open()
        for piece in pieces:
            await line.send(piece)
        async with asyncio.timeout(wait):
            return await line.rest()

    async def emptied(self) -> None:
        async def is_empty() -> bool:
            return not self.server.server_state.connections

        await until(is_empty, "the end of every connection", 60)


@dataclass(slots=True)
class Line:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    said: bytes = field(default=b"")

    async def send(self, data: bytes) -> bool:
        """False when the other side has hung up."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            return False
        return not self.reader.at_eof()

    async def rest(self) -> bytes:
        """All that comes until the other side hangs up."""
        said = b""
        try:
            while piece := await self.reader.read(65_536):
                said += piece
        except ConnectionError:
            pass
        self.writer.close()
        return said

    async def answer(self) -> bytes:
        """One answer with a stated length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        _, found, rest = head.lower().partition(b"content-length: ")
        length = int(rest.partition(b"\r\n")[0]) if found else 0
        return head + await self.reader.readexactly(length)


@asynccontextmanager
async def serving(
    application: Application, changes: Sequence[tuple[str, object]] = ()
) -> AsyncGenerator[Wire]:
    """Serve on loopback; ``changes`` are of uvicorn's configuration."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = _uvicorn(Entrance(application), settings())
        config.log_level = "critical"
        for name, value in changes:
            setattr(config, name, value)
        server = Server(config)
        running = asyncio.create_task(server.serve([listening]))

        async def started() -> bool:
            return server.started

        await until(started, "a listening server")
        try:
            yield Wire(listening.getsockname()[1], server)
        finally:
            server.should_exit = True
            await running
