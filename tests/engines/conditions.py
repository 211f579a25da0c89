"""Waiting for what must become true: never for luck, never for ever."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.database.rows import Rows


async def until(condition: Callable[[], bool], within: float = 10) -> None:
    """Return as soon as ``condition`` holds. Fails when it does not within that many seconds."""

    async def asked() -> bool:
        return condition()

    await until_rows(asked, within)


async def until_rows(condition: Callable[[], Awaitable[bool]], within: float = 10) -> None:
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
