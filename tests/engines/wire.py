"""A wire between a pool and its PostgreSQL that a test can cut, freeze, or make deaf."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sqlalchemy import URL, make_url


class Wire:
    """``frozen`` lets nothing pass, ``deaf`` lets only questions pass; ``cut`` ends all there is.

    ``down`` ends whatever wants to begin.
    """

    def __init__(self, there: URL) -> None:
        self._there = there
        self._open = asyncio.Event()
        self._heard = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.down = False
        self.thaw()

    def freeze(self) -> None:
        self._open.clear()

    def deafen(self) -> None:
        self._heard.clear()

    def thaw(self) -> None:
        self._open.set()
        self._heard.set()

    def cut(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.close()
            return
        there_reader, there_writer = await self._reach()
        for source, sink, gates in (
            (reader, there_writer, [self._open]),
            (there_reader, writer, [self._open, self._heard]),
        ):
            self._writers.add(sink)
            task = asyncio.create_task(self._carry(source, sink, gates))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder, port = self._there.query.get("host"), self._there.port or 5432
        if folder:
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
        return await asyncio.open_connection(self._there.host, port)

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, gates: list[asyncio.Event]
    ) -> None:
        with suppress(ConnectionError):
            while piece := await source.read(65_536):
                for gate in gates:
                    await gate.wait()
                sink.write(piece)
                await sink.drain()
        self._writers.discard(sink)
        sink.close()


@asynccontextmanager
async def wired(url: str, folder: Path) -> AsyncGenerator[tuple[Wire, str]]:
    """A wire to the database at ``url``, and the address that leads over it."""
    there = make_url(url)
    wire = Wire(there)
    server = await asyncio.start_unix_server(wire.join, folder / ".s.PGSQL.5432")
    here = there.set(host="", port=5432, query={"host": str(folder)})
    try:
        yield wire, here.render_as_string(hide_password=False)
    finally:
        server.close()
        wire.cut()
        for task in [*wire.tasks]:
            task.cancel()
        await asyncio.gather(*wire.tasks, return_exceptions=True)
