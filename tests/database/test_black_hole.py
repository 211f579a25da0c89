"""The database behind a network that swallows everything: every wait ends, and ends in time.

The clock of the event loop is set forward instead of waited for: so a patience can be so long that
a machine that stands still for a moment has nobody lose it where the network is whole.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import make_url, text

from database.pool import Connection, Database, is_unavailable
from tests.engines.conditions import set_forward, until, until_rows
from tests.stalls import stalls

PATIENCE, SHORT = timedelta(seconds=20), timedelta(seconds=0.5)
AT_ONCE = 1.5
"""Seconds: who says goodbye to a dead server waits for two."""


class Hole:
    """TCP to the server. What it once swallowed stays lost, as with a failed-over address."""

    def __init__(self, url: str) -> None:
        self._there = make_url(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self.swallowed = 0

    async def lay(self) -> str:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        url = self._there.set(host="127.0.0.1", port=port, query={"ssl": "disable"})
        return url.render_as_string(hide_password=False)

    def swallow(self) -> None:
        """From here on nothing passes; connections are still accepted."""
        self._open.set()

    def mend(self) -> None:
        """New connections pass; those made before stay silent for ever."""
        self._open = asyncio.Event()

    async def leave(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._there.query.get("host", self._there.host), self._there.port or 5432
        if isinstance(host, str) and host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(str(host), port)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hole = self._open
        there_reader, there_writer = await self._reach()
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink, hole))
            self._tasks.add(task)

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, hole: asyncio.Event
    ) -> None:
        try:
            while piece := await source.read(65_536):
                if hole.is_set():
                    self.swallowed += 1
                else:
                    sink.write(piece)
                    await sink.drain()
            if hole.is_set():
                await asyncio.Event().wait()  # not even the end of a connection passes
        except ConnectionError:
            return
        finally:
            sink.close()


@pytest.fixture
async def hole(database: Database) -> AsyncGenerator[Hole]:
    hole = Hole(database.url)
    yield hole
    await hole.leave()


@pytest.fixture
async def far(hole: Hole) -> AsyncGenerator[Database]:
    far = Database.connect(await hole.lay(), pool=4, patience=PATIENCE)
    yield far
    await far.close()


async def ask(connection: Connection) -> None:
    await connection.execute(text("SELECT 1"))


async def written(far: Database, _hole: Hole) -> None:
    async with far.write() as connection:
        await ask(connection)


async def read(far: Database, _hole: Hole) -> None:
    async with far.read() as connection:
        await connection.execute(text("SELECT 1"))


async def autocommitted(far: Database, _hole: Hole) -> None:
    async with far.autocommit() as connection:
        await ask(connection)


async def committed(far: Database, hole: Hole) -> None:
    hole.mend()
    async with far.write() as connection:
        await ask(connection)
        hole.swallow()


async def rolled_back(far: Database, hole: Hole) -> None:
    hole.mend()
    async with far.write() as connection:
        await ask(connection)
        hole.swallow()
        raise ZeroDivisionError


async def fill(far: Database, *, places: int = 4) -> list[BaseException]:
    """Use as many connections at once; return what went wrong."""
    together = asyncio.Barrier(places)

    async def use() -> None:
        async with far.autocommit() as connection:
            await together.wait()
            await ask(connection)

    results = await asyncio.gather(*(use() for _ in range(places)), return_exceptions=True)
    return [result for result in results if result]


async def filled_in_time(far: Database) -> None:
    """Have the connections made, however slow the machine is just now."""

    async def is_filled() -> bool:
        return not await fill(far)

    await until_rows(is_filled)


async def ended(hole: Hole, asked: Awaitable[None], forward: Callable[[float], None]) -> None:
    """Let the time pass in which what is asked in the hole has to end."""
    before, asking = hole.swallowed, asyncio.ensure_future(asked)
    await until(lambda: hole.swallowed > before or asking.done())
    forward(PATIENCE.total_seconds() + 1.5)
    done, _ = await asyncio.wait({asking}, timeout=PATIENCE.total_seconds() / 2)
    assert done, "it took longer"
    await asking


@pytest.mark.parametrize("filled", [True, False], ids=["made before", "made in the hole"])
@pytest.mark.parametrize("way", [written, read, autocommitted, committed, rolled_back])
async def test_every_way_into_a_black_hole_ends_in_time(
    far: Database,
    hole: Hole,
    way: Callable[[Database, Hole], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
    *,
    filled: bool,
) -> None:
    forward = set_forward(monkeypatch)
    if filled:
        assert await fill(far) == []
    hole.swallow()
    for _ in range(2):
        with pytest.raises(Exception) as failure:
            await ended(hole, way(far, hole), forward)
        assert is_unavailable(failure.value), repr(failure.value)
    hole.mend()
    assert await fill(far) == []


async def test_one_silent_connection_has_all_of_its_age_replaced(
    far: Database, hole: Hole, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = set_forward(monkeypatch)
    assert await fill(far) == []
    hole.swallow()
    hole.mend()
    with pytest.raises(TimeoutError):
        await ended(hole, autocommitted(far, hole), forward)
    assert await fill(far) == []


async def test_a_burst_into_the_hole_fails_once_each_and_is_over(hole: Hole) -> None:
    """Eight callers, four places: the second four have to find a place within a second."""
    far = Database.connect(await hole.lay(), pool=4, patience=SHORT)
    await filled_in_time(far)
    hole.swallow()
    with stalls() as noted:
        began = time.monotonic()
        calls = [written(far, hole) for _ in range(8)]
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert noted.at_work(began) < SHORT.total_seconds() + 1.5
    assert all(failure and is_unavailable(failure) for failure in failures), failures
    hole.mend()
    await filled_in_time(far)
    await far.close()


async def test_a_pool_closes_in_the_hole(far: Database, hole: Hole) -> None:
    assert await fill(far) == []
    hole.swallow()
    with stalls() as noted:
        began = time.monotonic()
        await far.close()
        assert noted.at_work(began) < AT_ONCE


async def test_whoever_is_called_off_in_the_hole_leaves_at_once(far: Database, hole: Hole) -> None:
    async def waits() -> None:
        async with far.write() as connection:
            hole.swallow()
            reached.set()
            await ask(connection)

    reached = asyncio.Event()
    task = asyncio.create_task(waits())
    await reached.wait()
    with stalls() as noted:
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert noted.at_work(began) < AT_ONCE
    hole.mend()
    assert await fill(far) == []
