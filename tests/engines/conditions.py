"""Waiting for what must become true: never for luck, never for ever."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.database.rows import Rows


async def until(condition: Callable[[], bool], within: float = 60) -> None:
    """Return as soon as ``condition`` holds. Fails when it does not within that many seconds."""

    async def asked() -> bool:
        return condition()

    await until_rows(asked, within)


async def until_rows(condition: Callable[[], Awaitable[bool]], within: float = 60) -> None:
    """The same for a condition that has to be asked for."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110  a row has no event
            await asyncio.sleep(0.002)


async def events_are_complete(rows: Rows) -> None:
    """Wait until every event is older than all transactions: other tests have some here too."""

    async def all_are_older() -> bool:
        (older,) = await rows.sql(
            "SELECT coalesce(max(xid) < pg_snapshot_xmin(pg_current_snapshot()), true) FROM events"
        )
        return older

    await until_rows(all_are_older, within=60)


async def a_while_of_the_minute(rows: Rows) -> None:
    """Wait for the next minute of the database where this one ends soon: what it counts by the
    minute begins anew with each.
    """
    (left,) = await rows.sql("SELECT 60 - extract(second FROM clock_timestamp())")
    if left < 10:
        await asyncio.sleep(float(left) + 0.05)


def set_forward(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """What sets the clock of the running event loop forward: nobody really waits.

    A machine that stands still for a moment is far from the next thing that is due.
    """
    loop, ahead = asyncio.get_running_loop(), 0.0
    real = loop.time

    def by(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    monkeypatch.setattr(loop, "time", lambda: real() + ahead)
    return by
