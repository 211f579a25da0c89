"""A TCP proxy in front of PostgreSQL's socket: passes, delays, drops, cuts."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.destination import reset

CHUNK = 65_536


@dataclass(slots=True, kw_only=True)
class Proxy:
    """One for each replica. ``latency`` is added to every piece, ``rate`` is bytes a second;
    after ``cut_after`` more bytes from the replica that connection breaks, once. A black hole keeps
    what it swallowed, as a dead network does, and lets it through when it heals.
    """

    target: Path
    refuses: bool = False
    latency: float = 0.0
    rate: float | None = None
    cut_after: int | None = None
    cuts: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    async def open(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.heal()
        self.reset()
        await self._server.wait_closed()

    def heal(self) -> None:
        self.refuses, self.latency, self.rate, self.cut_after = False, 0.0, None, None
        self._flows.set()

    def blacken(self) -> None:
        self._flows.clear()

    def reset(self) -> None:
        """Break off every connection, on both sides."""
        for writer in [*self._open]:
            reset(writer)

    @property
    def connections(self) -> int:
        return len(self._open) // 2

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            reset(writer)
            return
        self._open.add(writer)
        try:
            await self._flows.wait()
            await self._connect(reader, writer)
        except OSError:
            pass  # no server behind us, or either side is gone: the other is told by the reset
        finally:
            self._open.discard(writer)
            reset(writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_unix_connection(self.target)
        self._open.add(back_writer)
        ways = (
            asyncio.create_task(self._pump(reader, back_writer, self._count)),
            asyncio.create_task(self._pump(back_reader, writer, lambda _: None)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open.discard(back_writer)
            back_writer.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        count: Callable[[int], None],
    ) -> None:
        while data := await reader.read(CHUNK):
            await self._flows.wait()
            pause = self.latency + (len(data) / self.rate if self.rate else 0)
            if pause:
                await asyncio.sleep(pause)
            writer.write(data)
            await writer.drain()
            count(len(data))

    def _count(self, size: int) -> None:
        """The server has got these bytes; whoever sent them may never hear what came of it."""
        if self.cut_after is None:
            return
        self.cut_after -= size
        if self.cut_after <= 0:
            self.cut_after = None
            self.cuts += 1
            raise ConnectionResetError
