"""A connection for one caller alone: as careful as the pool's, and made anew after any failure."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from database.dedicated import Dedicated
from database.pool import Database, is_unavailable
from tests.database.rows import Rows
from tests.engines.conditions import set_forward, until_rows

ME = text("SELECT pg_backend_pid()")
WRITE = text("INSERT INTO events (event) SELECT :name WHERE :yes RETURNING id")
SLEEP = text("SELECT pg_sleep(CAST(:seconds AS float8))")
ASLEEP = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE 'SELECT pg_sleep%'
"""
PATIENCE = timedelta(seconds=20)
"""Longer than a machine stands still; who is to lose it has the clock set forward."""
SLEEP_LESS, SLEEP_MORE = 15, 60


@pytest.fixture
async def single(database: Database) -> AsyncGenerator[Database]:
    """A pool of one connection, so that who keeps it is seen."""
    one = Database.connect(database.url, pool=1, patience=PATIENCE)
    yield one
    await one.close()


@pytest.fixture
async def own(single: Database) -> Dedicated:
    return single.dedicated()


async def pid(own: Dedicated) -> int:
    ((found,),) = await own.execute(ME, {})
    return found


async def falls_asleep(rows: Rows) -> None:
    """Return when a statement of this database sleeps."""

    async def is_asleep() -> bool:
        return await rows.sql(ASLEEP) != [0]

    await until_rows(is_asleep)


async def failure_of(own: Dedicated, seconds: float) -> BaseException:
    with pytest.raises(Exception) as failure:
        await own.execute(SLEEP, {"seconds": seconds})
    return failure.value


async def test_each_statement_is_a_transaction_of_its_own(rows: Rows, own: Dedicated) -> None:
    for number in range(3):
        ((id,),) = await own.execute(WRITE, {"name": f"a {number}", "yes": True})
        assert await rows.sql("SELECT id FROM events WHERE event = :e", e=f"a {number}") == [id]


async def test_names_are_bound_wherever_they_stand(own: Dedicated) -> None:
    wanted = text("SELECT CAST(:b AS int), CAST(:a AS int[]), CAST(:b AS int) + 1")
    assert [tuple(row) for row in await own.execute(wanted, {"a": [3], "b": 1})] == [(1, [3], 2)]


async def test_one_connection_stays_and_knows_its_statements(
    single: Database, own: Dedicated
) -> None:
    assert single.size.used == 0, "not before it is asked"
    assert len({await pid(own) for _ in range(3)}) == 1
    known = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%backend_pid%'")
    assert [tuple(row) for row in await own.execute(known, {})] == [(2,)], "one, and this one"
    assert (single.size.used, single.usage.begun) == (1, 4)


async def test_it_is_made_as_the_others_of_its_pool(own: Dedicated) -> None:
    settings = text("SELECT current_setting('synchronous_commit'), current_setting('lock_timeout')")
    assert [tuple(row) for row in await own.execute(settings, {})] == [("on", "16s")]


async def test_callers_take_turns(own: Dedicated) -> None:
    found = await asyncio.gather(*(pid(own) for _ in range(20)))
    assert len(set(found)) == 1


async def test_who_was_lost_while_nobody_asked_is_replaced(rows: Rows, own: Dedicated) -> None:
    lost = await pid(own)
    await rows.sql("SELECT pg_terminate_backend(:lost, 5000)", lost=lost)
    await asyncio.sleep(0)
    assert await pid(own) != lost


async def test_who_is_lost_in_use_is_unavailable_and_the_next_call_works(
    rows: Rows, own: Dedicated
) -> None:
    lost = await pid(own)
    asked = asyncio.create_task(failure_of(own, SLEEP_LESS))
    await falls_asleep(rows)
    await rows.sql("SELECT pg_terminate_backend(:lost, 5000)", lost=lost)
    assert is_unavailable(await asked)
    assert await pid(own) != lost


async def test_a_slow_statement_is_unavailable_and_distrusts_the_others(
    rows: Rows, single: Database, own: Dedicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = set_forward(monkeypatch)
    other, before = single.dedicated(), await pid(own)
    asked = asyncio.create_task(failure_of(own, SLEEP_MORE))
    await falls_asleep(rows)
    forward(PATIENCE.total_seconds())
    assert isinstance(await asked, TimeoutError)
    assert single.usage.failed == 1
    assert await pid(own) != before
    with pytest.raises(Exception) as full:
        await pid(other)
    assert is_unavailable(full.value), "a pool of one has no second"


async def test_our_own_mistakes_are_not_unavailability_and_cost_only_the_connection(
    single: Database, own: Dedicated
) -> None:
    with pytest.raises(DBAPIError) as failure:
        await own.execute(text("SELECT 1 / CAST(:zero AS int)"), {"zero": 0})
    assert not is_unavailable(failure.value)
    assert "division by zero" in str(failure.value)
    assert single.usage.failed == 0
    await pid(own)


async def test_a_caller_cut_short_leaves_nothing_half_done(rows: Rows, own: Dedicated) -> None:
    asked = asyncio.create_task(own.execute(SLEEP, {"seconds": SLEEP_LESS}))
    await falls_asleep(rows)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await pid(own)


async def test_only_commits_that_may_have_added_events_are_told(
    single: Database, own: Dedicated
) -> None:
    told: list[int] = []
    single.on_events(lambda: told.append(1))
    await own.execute(ME, {})
    assert told == []
    await own.execute(WRITE, {"name": "a", "yes": True})
    assert told == [1]


async def test_the_pool_has_it_back_when_it_is_closed(single: Database, own: Dedicated) -> None:
    await pid(own)
    await own.close()
    assert single.size.used == 0
    async with single.autocommit() as connection:
        await connection.execute(ME)


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    gone = Database.connect(f"postgresql+asyncpg://nobody@/none?host={tmp_path}", pool=1)
    own = gone.dedicated()
    for _ in range(3):
        with pytest.raises(Exception) as failure:
            await pid(own)
        assert is_unavailable(failure.value)
    assert gone.size.used == 0
    await gone.close()
