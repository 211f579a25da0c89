"""Whose turn it is: of any number of takers one gets it, and only when it is time."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from database import watches
from database.pool import Database
from database.screens import Kept
from database.watches import Learnt, Suspected, Turn
from domain.ticker import Ticker
from domain.universe import FetchOutcome
from tests.database.left import Watch
from tests.database.rows import Rows, a_screen
from tests.engines.conditions import until_rows

MINUTE = timedelta(seconds=60)
GONE = timedelta(seconds=-1)
"""A lease that has run out when it is made."""
SUSPECTED = Suspected(tickers=(Ticker("B"), Ticker("A")), total=7, reason="surprising")
TAUGHT = Learnt(
    outcome=FetchOutcome.SUSPECT,
    wait=timedelta(seconds=60),
    failures=3,
    doubted=True,
    suspected=SUSPECTED,
    refused=(Ticker("C"),),
)


@pytest.fixture
async def kept(rows: Rows) -> Kept:
    return await rows.screen()


async def take(rows: Rows, kept: Kept, lasting: timedelta = MINUTE) -> Turn | None:
    async with rows.database.write() as connection:
        return await watches.take(connection, kept, lasting)


async def taken(rows: Rows, kept: Kept, lasting: timedelta = MINUTE) -> Turn:
    turn = await take(rows, kept, lasting)
    assert turn
    return turn


async def end(
    rows: Rows, turn: Turn, wait: timedelta = MINUTE, learnt: Learnt | None = None
) -> bool:
    async with rows.database.write() as connection:
        usual = Learnt(outcome=FetchOutcome.OK, wait=wait)
        return await watches.end(connection, turn, learnt or usual)


async def rest(rows: Rows, kept: Kept) -> float:
    async with rows.database.read() as connection:
        return (await watches.rest(connection, kept)).span.total_seconds()


async def changed(rows: Rows) -> Kept:
    return await rows.change_screen(a_screen(top_n=3))


async def due(rows: Rows) -> None:
    await rows.sql("UPDATE watches SET due_at = clock_timestamp()")


async def remembering(rows: Rows, kept: Kept) -> Turn:
    """End a turn that taught something; return it."""
    turn = await taken(rows, kept)
    assert await end(rows, turn, learnt=TAUGHT)
    return replace(turn, failures=3, doubted=True, suspected=SUSPECTED, refused=TAUGHT.refused)


async def test_the_first_turn_is_there_at_once_and_remembers_nothing(
    rows: Rows, kept: Kept
) -> None:
    assert await rest(rows, kept) == 0
    since = Watch()
    turn = await taken(rows, kept)
    assert turn == Turn(
        screen=kept.id, epoch=1, at=turn.at, failures=0, doubted=False, suspected=None
    )
    assert await take(rows, kept) is None
    assert since.left(await rest(rows, kept), MINUTE)


async def test_the_next_turn_comes_when_it_is_due_and_remembers(rows: Rows, kept: Kept) -> None:
    since = Watch()
    last = await remembering(rows, kept)
    assert await take(rows, kept) is None
    assert since.left(await rest(rows, kept), MINUTE)
    await due(rows)
    assert await rest(rows, kept) == 0
    turn = await taken(rows, kept)
    assert turn == replace(last, epoch=2, at=turn.at)
    assert turn.at > last.at


async def test_nothing_at_all_may_be_what_is_suspected(rows: Rows, kept: Kept) -> None:
    nothing = Suspected(tickers=(), total=0, reason="nothing at all")
    taught = replace(TAUGHT, wait=GONE, suspected=nothing)
    assert await end(rows, await taken(rows, kept), learnt=taught)
    assert (await taken(rows, kept)).suspected == nothing


async def test_a_turn_nobody_ended_is_taken_again_and_its_owner_fenced_out(
    rows: Rows, kept: Kept
) -> None:
    last = await remembering(rows, kept)
    await due(rows)
    lost = await taken(rows, kept, GONE)
    again = await taken(rows, kept)
    assert again == replace(last, epoch=lost.epoch + 1, at=again.at)
    before = await rows.sql("SELECT * FROM watches")
    assert not await end(rows, lost, GONE)
    assert await rows.sql("SELECT * FROM watches") == before
    assert await end(rows, again)


async def test_a_lease_that_ran_out_and_nobody_took_can_still_be_ended(
    rows: Rows, kept: Kept
) -> None:
    assert await end(rows, await taken(rows, kept, GONE))
    assert await take(rows, kept) is None


async def test_a_changed_screen_is_due_at_once_and_nothing_is_remembered(
    rows: Rows, kept: Kept
) -> None:
    await remembering(rows, kept)
    new = await changed(rows)
    assert await rest(rows, new) == 0
    turn = await taken(rows, new)
    assert turn == Turn(
        screen=kept.id, epoch=2, at=turn.at, failures=0, doubted=False, suspected=None
    )


async def test_a_crash_in_the_first_look_at_a_changed_screen_costs_the_lease_alone(
    rows: Rows, kept: Kept
) -> None:
    assert await end(rows, await taken(rows, kept), timedelta(hours=1))
    new = await changed(rows)
    await taken(rows, new, GONE)
    assert await rest(rows, new) == 0
    assert await taken(rows, new)


async def test_a_change_in_the_middle_of_a_look_waits_for_its_end(rows: Rows, kept: Kept) -> None:
    since = Watch()
    turn = await taken(rows, kept)
    new = await changed(rows)
    assert await take(rows, new) is None
    assert since.left(await rest(rows, new), MINUTE)
    assert await end(rows, turn)
    assert await rest(rows, new) == 0
    assert await taken(rows, new)


async def test_who_still_knows_an_older_screen_takes_nothing(rows: Rows, kept: Kept) -> None:
    new = await changed(rows)
    assert await end(rows, await taken(rows, new), GONE)
    assert await take(rows, kept) is None
    assert await rows.sql("SELECT screen_version FROM watches") == [new.version]
    assert await taken(rows, new)


# ── Many at once ────────────────────────────────────────────────────────────────────────────

TAKERS = 8
ROUNDS = 50
FREED = {
    "never looked at": "DELETE FROM watches",
    "due": "UPDATE watches SET lease_until = NULL, due_at = clock_timestamp()",
    "left behind": "UPDATE watches SET lease_until = clock_timestamp()",
    "of an older version": "UPDATE watches SET lease_until = NULL, screen_version = 0,"
    " due_at = 'infinity'",
}


@pytest.fixture
async def crowd(rows: Rows) -> AsyncGenerator[Database]:
    """A pool with a connection for each taker, all of them open."""
    crowd = Database.connect(rows.database.url, pool=TAKERS, patience=timedelta(seconds=20))
    yield crowd
    await crowd.close()


@pytest.mark.parametrize("freed", FREED)
async def test_of_many_takers_at_once_one_gets_the_turn(
    rows: Rows, kept: Kept, crowd: Database, freed: str
) -> None:
    backends: set[int] = set()

    async def contend(start: asyncio.Barrier) -> Turn | None:
        async with crowd.write() as connection:
            backends.add((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())
            await start.wait()
            return await watches.take(connection, kept, MINUTE)

    await taken(rows, kept)
    for _ in range(ROUNDS):
        await rows.sql(FREED[freed])
        start = asyncio.Barrier(TAKERS)
        turns = await asyncio.gather(*(contend(start) for _ in range(TAKERS)))
        (turn,) = [turn for turn in turns if turn]
        assert await rows.sql("SELECT epoch FROM watches") == [turn.epoch]
    assert len(backends) == TAKERS


async def test_who_waited_for_the_end_of_a_turn_sees_what_it_recorded(
    rows: Rows, kept: Kept
) -> None:
    turn = await taken(rows, kept, GONE)
    async with rows.database.write() as connection:
        learnt = Learnt(outcome=FetchOutcome.OK, wait=MINUTE)
        assert await watches.end(connection, turn, learnt)
        late = asyncio.create_task(take(rows, kept))
        await until_rows(rows.somebody_waits)
    assert await late is None


async def test_who_records_after_another_took_the_turn_waits_and_records_nothing(
    rows: Rows, kept: Kept
) -> None:
    lost = await taken(rows, kept, GONE)
    async with rows.database.write() as connection:
        assert await watches.take(connection, kept, MINUTE)
        late = asyncio.create_task(end(rows, lost))
        await until_rows(rows.somebody_waits)
    assert not await late
