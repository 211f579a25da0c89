"""H27: the notary binds everything once, nothing too early, and logs each day's head."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from database import chain
from database.chain import Look
from engines.chain.notary import EVERY, Notary
from engines.worker import AGAIN
from tests.database.rows import Rows
from tests.database.test_chain import TOLD, a_chain, examined, words
from tests.engines.conditions import until_rows

WAITING = """
    SELECT count(*) FROM events WHERE id > (SELECT coalesce(max(last_id), 0) FROM links)
"""
ONE = "INSERT INTO events (event) VALUES ('signal.received') RETURNING id"


async def steps(notary: Notary) -> None:
    """Until there is nothing more to do at once; a look, and what it found."""
    for _ in range(2):
        while await notary.step() == AGAIN:
            pass


async def until_bound(notary: Notary, rows: Rows) -> None:
    """Until every event is in a link: the server runs transactions of other tests as well."""

    async def is_bound() -> bool:
        await steps(notary)
        (waiting,) = await rows.sql(WAITING)
        return not waiting

    await until_rows(is_bound)


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.message == event]


async def test_a_backlog_is_bound_link_by_link_and_then_it_rests(rows: Rows) -> None:
    await rows.sql(TOLD, count=10)
    notary = Notary(database=rows.database, limit=4)
    assert await notary.step() == EVERY
    assert await rows.sql("SELECT count FROM links") == []
    paused: list[timedelta | None] = []

    async def is_at_rest() -> bool:
        paused.append(await notary.step())
        return paused[-2:] == [AGAIN, EVERY]

    await until_rows(is_at_rest)
    assert paused.count(AGAIN) == 2
    assert await rows.sql("SELECT count FROM links ORDER BY number") == [4, 4, 2]
    assert await notary.step() == EVERY
    await rows.sql(TOLD, count=3)
    await until_bound(notary, rows)
    assert await rows.sql("SELECT count FROM links ORDER BY number") == [4, 4, 2, 3]
    assert await words(rows) == "whole"


async def test_an_empty_trail_has_no_link(rows: Rows) -> None:
    await steps(Notary(database=rows.database))
    assert await rows.sql("SELECT count(*) FROM links") == [0]


async def test_it_waits_for_whoever_has_taken_an_id(rows: Rows) -> None:
    """An id that was taken first may be seen last; a link that went past it would lose it."""
    notary = Notary(database=rows.database)
    async with rows.database.write() as slow:
        (early,) = (await slow.execute(text(ONE))).scalars()
        (late,) = await rows.sql(ONE)
        assert early < late
        await steps(notary)
        await steps(notary)
        assert await rows.sql("SELECT count(*) FROM links") == [0]
    await until_bound(notary, rows)
    assert await rows.sql("SELECT count FROM links") == [2]
    assert await words(rows) == "whole"


async def test_whoever_writes_has_a_number_before_he_has_an_id(rows: Rows) -> None:
    """Else the look could come between the two, and go past the id."""
    async with rows.database.write() as connection:
        found = await connection.execute(
            text(
                "INSERT INTO events (event) SELECT CASE WHEN pg_current_xact_id_if_assigned()"
                " IS NULL THEN 'none' ELSE 'numbered' END RETURNING event"
            )
        )
        assert found.scalar_one() == "numbered"


async def test_what_is_rolled_back_is_not_waited_for(rows: Rows) -> None:
    async with rows.database.write() as connection:
        await connection.execute(text(TOLD), {"count": 5})
        await connection.rollback()
    await rows.sql(TOLD, count=2)
    await until_bound(Notary(database=rows.database), rows)
    assert await rows.sql("SELECT last_id FROM links") == [7]


async def test_a_look_at_another_server_counts_for_nothing(rows: Rows) -> None:
    """The database was restored elsewhere under a running relay: its numbers begin lower."""
    notary = Notary(database=rows.database)
    notary._memory.look = Look(10**6, 10**15, 10**15, None)  # pyright: ignore[reportPrivateUsage]  as of another server
    await rows.sql(TOLD, count=2)
    await until_bound(notary, rows)
    assert await rows.sql("SELECT count FROM links") == [2]


async def test_many_writers_and_two_replicas_lose_nothing(rows: Rows) -> None:
    notaries = [Notary(database=rows.database, limit=7) for _ in range(2)]
    done = asyncio.Event()

    async def write(n: int) -> None:
        for _ in range(15):
            async with rows.database.write() as connection:
                await connection.execute(text(TOLD), {"count": 1 + n})
                await connection.execute(text(ONE))
                if n == 2:
                    await connection.rollback()

    async def bind(notary: Notary) -> None:
        while not done.is_set():
            await notary.step()

    async def writers() -> None:
        await asyncio.gather(*(write(n) for n in range(3)))
        done.set()

    await asyncio.gather(writers(), *map(bind, notaries))
    await until_bound(notaries[0], rows)
    found = await examined(rows.database)
    assert (found.broken, found.events, found.waiting) == (None, 15 * 5, 0)
    assert found.links > 1


async def test_another_replica_at_it_is_left_alone(rows: Rows) -> None:
    await rows.sql(TOLD, count=2)
    notary = Notary(database=rows.database)
    await notary.step()
    async with rows.database.write() as connection:
        assert await chain.hold(connection)
        assert await notary.step() == EVERY
        assert await rows.sql("SELECT count(*) FROM links") == [0]


async def test_the_log_is_told_the_head_at_a_start_and_of_each_day(
    rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await a_chain(rows)
    await rows.sql("UPDATE links SET day = day - 1")
    (head,) = await rows.sql("SELECT encode(hash, 'hex') FROM links WHERE number = 3")
    notary = Notary(database=rows.database)
    await steps(notary)
    assert not told(caplog, "chain.day_closed")
    await rows.sql(TOLD, count=2)
    await until_bound(notary, rows)
    (closed,) = told(caplog, "chain.day_closed")
    assert (closed["links"], closed["events"], closed["link"]) == (3, 10, 3)
    assert closed["hash"] == head
    assert [closed["day"]] == await rows.sql("SELECT CAST(day AS text) FROM links WHERE number = 3")
    (begun,) = told(caplog, "chain.head")
    assert (begun["link"], begun["hash"]) == (3, head)
