"""What people ask of the lookout: pause, refresh, try, and a word on a suspect list."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from database import lookout, screens, watches
from database.lookout import Lookout
from database.pool import Connection
from database.screens import Kept
from database.watches import Learnt, Suspected, Turn
from domain.ticker import Ticker
from domain.universe import FetchOutcome
from tests.database.left import Watch
from tests.database.rows import Rows, a_screen

APART = timedelta(seconds=10)
ZERO = timedelta(0)
MINUTE = timedelta(seconds=60)
ACTOR = "an operator"
PENDING = [Ticker("B"), Ticker("A")]


@pytest.fixture
async def kept(rows: Rows) -> Kept:
    return await rows.screen()


async def take(rows: Rows, kept: Kept) -> Turn | None:
    async with rows.database.write() as connection:
        return await watches.take(connection, kept, MINUTE)


async def looked(
    rows: Rows, kept: Kept, *, asked: timedelta | None = None, pending: list[Ticker] | None = None
) -> Turn:
    """Make a look at the screen that ended so; the next is due in an hour."""
    turn = await take(rows, kept)
    assert turn
    suspected = None
    if pending is not None:
        suspected = Suspected(tickers=tuple(pending), total=7, reason="surprising")
    learnt = Learnt(
        outcome=FetchOutcome.SUSPECT if suspected else FetchOutcome.OK,
        wait=timedelta(hours=1),
        failures=3 if suspected else 0,
        doubted=suspected is not None,
        suspected=suspected,
        asked=asked,
    )
    async with rows.database.write() as connection:
        assert await watches.end(connection, turn, learnt)
    return turn


async def refresh(rows: Rows) -> timedelta:
    async with rows.database.write() as connection:
        return await lookout.refresh(connection, actor=ACTOR, apart=APART)


async def may_try(rows: Rows) -> timedelta:
    async with rows.database.write() as connection:
        return await lookout.may_try(connection, actor=ACTOR, apart=APART)


async def pause(connection: Connection) -> bool:
    return await lookout.pause(connection, actor=ACTOR, reason="a new layout")


async def state(rows: Rows) -> Lookout:
    async with rows.database.read() as connection:
        return await lookout.state(connection)


async def told(rows: Rows, noun: str) -> list[str]:
    return [event for event in await rows.events() if event.startswith(f"{noun}.")]


async def accept(rows: Rows, pending: list[Ticker]) -> int | None:
    async with rows.database.write() as connection:
        return await watches.accept(connection, pending, actor=ACTOR, reason="seen")


async def refuse(rows: Rows, pending: list[Ticker]) -> bool:
    async with rows.database.write() as connection:
        return await watches.refuse(connection, pending, actor=ACTOR, reason=None)


# ── Asking, and asking nothing ──────────────────────────────────────────────────────────────


async def test_nobody_looks_while_it_is_paused(rows: Rows, kept: Kept) -> None:
    assert (await state(rows)).pause is None
    async with rows.database.write() as connection:
        assert await pause(connection)
        assert not await pause(connection)
    assert await take(rows, kept) is None
    found = (await state(rows)).pause
    assert found
    assert (found.by, found.reason) == (ACTOR, "a new layout")
    async with rows.database.write() as connection:
        assert await lookout.resume(connection, actor=ACTOR)
        assert not await lookout.resume(connection, actor=ACTOR)
    assert (await state(rows)).pause is None
    assert await take(rows, kept)
    assert await told(rows, "lookout") == ["lookout.paused", "lookout.resumed"]


async def test_a_refresh_makes_the_next_look_due(rows: Rows, kept: Kept) -> None:
    await looked(rows, kept)
    assert await take(rows, kept) is None
    assert await refresh(rows) == ZERO
    assert await take(rows, kept)
    assert await told(rows, "lookout") == ["lookout.refresh"]


async def test_by_hand_is_asked_once_in_ten_seconds_whatever_for(rows: Rows, kept: Kept) -> None:
    await looked(rows, kept)
    since = Watch()
    assert await may_try(rows) == ZERO
    for ask in (refresh, may_try):
        assert since.left(await ask(rows), APART)
    assert await take(rows, kept) is None
    await rows.sql("UPDATE lookout SET by_hand_at = by_hand_at - interval '10 seconds'")
    assert await refresh(rows) == ZERO
    assert await told(rows, "lookout") == ["lookout.try", "lookout.refresh"]


async def test_of_many_who_ask_at_once_one_may(rows: Rows) -> None:
    waits = await asyncio.gather(*(may_try(rows) for _ in range(6)))
    assert len([wait for wait in waits if not wait]) == 1
    assert await told(rows, "lookout") == ["lookout.try"]


async def test_who_was_asked_to_stay_away_does_so(rows: Rows, kept: Kept) -> None:
    since = Watch()
    await looked(rows, kept, asked=MINUTE)
    for ask in (refresh, may_try):
        assert since.left(await ask(rows), MINUTE)
    assert (await state(rows)).asked_until
    assert await told(rows, "lookout") == []
    await rows.sql("UPDATE watches SET asked_until = clock_timestamp()")
    assert (await state(rows)).asked_until is None
    assert await refresh(rows) == ZERO


async def test_who_holds_the_lookout_keeps_others_from_pausing_it(rows: Rows) -> None:
    async with rows.database.write() as connection:
        assert (await lookout.hold(connection)).pause is None
        async with rows.database.write() as other:
            waiting = asyncio.ensure_future(pause(other))
            done, _ = await asyncio.wait([waiting], timeout=0.2)
            assert not done
            assert await lookout.may_try(connection, actor=ACTOR, apart=APART) == ZERO
            await connection.commit()
            assert await waiting


# ── A word on the suspect list ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pending", [PENDING, []])
async def test_an_accepted_list_waits_no_more_and_a_look_under_way_is_void(
    rows: Rows, kept: Kept, pending: list[Ticker]
) -> None:
    await looked(rows, kept, pending=pending)
    await rows.sql("UPDATE watches SET due_at = clock_timestamp()")
    turn = await take(rows, kept)
    assert turn
    assert await accept(rows, pending) == 7
    assert await accept(rows, pending) is None
    async with rows.database.write() as connection:
        assert not await watches.end(connection, turn, Learnt(outcome=FetchOutcome.OK, wait=APART))
    after = await take(rows, kept)
    assert after
    assert (after.suspected, after.failures, after.doubted) == (None, 0, False)
    (event,) = await rows.sql("SELECT detail FROM events WHERE event = 'list.accepted'")
    assert (event["tickers"], event["reason"]) == (pending, "seen")


async def test_a_refused_list_is_remembered(rows: Rows, kept: Kept) -> None:
    await looked(rows, kept, pending=PENDING)
    assert await refuse(rows, PENDING)
    assert not await refuse(rows, PENDING)
    await rows.sql("UPDATE watches SET due_at = clock_timestamp()")
    after = await take(rows, kept)
    assert after
    assert (after.suspected, after.refused) == (None, tuple(PENDING))
    assert await told(rows, "list") == ["list.refused"]


async def test_a_word_on_another_list_changes_nothing(rows: Rows, kept: Kept) -> None:
    assert await accept(rows, []) is None
    await looked(rows, kept, pending=PENDING)
    before = await rows.sql("SELECT * FROM watches")
    for other in ([], PENDING[::-1], PENDING[:1], [*PENDING, Ticker("C")]):
        assert await accept(rows, other) is None
        assert not await refuse(rows, other)
    assert await rows.sql("SELECT * FROM watches") == before
    assert await told(rows, "list") == []


async def test_a_word_on_a_list_of_the_screen_before_its_change_comes_too_late(
    rows: Rows, kept: Kept
) -> None:
    await looked(rows, kept, pending=PENDING)
    await rows.change_screen(a_screen(top_n=3))
    assert await accept(rows, PENDING) is None
    assert not await refuse(rows, PENDING)


async def test_a_word_and_a_change_at_once_do_not_mix(rows: Rows, kept: Kept) -> None:
    """Whoever is second sees what the first did."""
    await looked(rows, kept, pending=PENDING)
    async with rows.database.write() as connection:
        await screens.change(connection, replace(kept, screen=a_screen(top_n=3)), actor=ACTOR)
        waiting = asyncio.ensure_future(accept(rows, PENDING))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
    assert await waiting is None
