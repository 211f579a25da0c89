import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from database.pool import Database, acting_from, is_unavailable
from tests.database.rows import Rows, an_entry
from tests.engines.conditions import set_forward, until_rows
from tests.stalls import stalls

PATIENCE = timedelta(seconds=20)
"""Longer than a machine stands still; who is to lose it has the clock set forward."""
ME = text("SELECT pg_backend_pid()")


async def failure_of(database: Database, statement: str = "SELECT 1") -> BaseException:
    with pytest.raises(Exception) as failure:
        async with database.autocommit() as connection:
            await connection.execute(text(statement))
    return failure.value


async def test_a_block_that_raises_leaves_nothing(rows: Rows) -> None:
    with suppress(RuntimeError):
        async with rows.database.write() as connection:
            await connection.execute(text("DELETE FROM alembic_version"))
            raise RuntimeError
    assert len(await rows.sql("SELECT * FROM alembic_version")) == 1


async def test_a_read_connection_cannot_write_and_the_next_write_can(rows: Rows) -> None:
    with pytest.raises(DBAPIError, match="read-only"):
        async with rows.database.read() as connection:
            await connection.execute(text("DELETE FROM alembic_version"))
    for _ in range(3):
        assert await rows.sql("SHOW transaction_read_only") == ["off"]
        assert await rows.sql("SHOW transaction_isolation") == ["read committed"]


async def test_a_read_sees_one_moment(rows: Rows) -> None:
    async with rows.database.read() as connection:
        count = text("SELECT count(*) FROM signals")
        before = (await connection.execute(count)).scalar_one()
        await rows.append(an_entry())
        assert (await connection.execute(count)).scalar_one() == before


async def test_in_autocommit_every_statement_stands_alone(rows: Rows) -> None:
    async with rows.database.autocommit() as connection:
        await connection.execute(text("CREATE TABLE kept (n int)"))
        with pytest.raises(DBAPIError):
            await connection.execute(text("INSERT INTO kept VALUES ('no number')"))
        await connection.execute(text("INSERT INTO kept VALUES (1)"))
    assert await rows.sql("SELECT n FROM kept") == [1]


async def test_every_connection_waits_for_the_disk(rows: Rows) -> None:
    await rows.sql(
        f"ALTER DATABASE {rows.database.url.split('/')[3].split('?')[0]}"
        " SET synchronous_commit = off"
    )
    fresh = Database.connect(rows.database.url, patience=PATIENCE)
    async with fresh.autocommit() as connection:
        setting = await connection.execute(text("SHOW synchronous_commit"))
        assert setting.scalar_one() == "on"
    await fresh.close()


async def test_a_connection_lost_in_use_is_unavailable_and_the_next_one_works(rows: Rows) -> None:
    one = Database.connect(rows.database.url, pool=1, patience=PATIENCE)

    async def lose() -> None:
        async with one.write() as connection:
            me = (await connection.execute(ME)).scalar_one()
            await rows.sql("SELECT pg_terminate_backend(:me, 5000)", me=me)
            await connection.execute(ME)

    with pytest.raises(DBAPIError) as failure:
        await lose()
    assert is_unavailable(failure.value)
    async with one.autocommit() as connection:
        await connection.execute(ME)
    await one.close()


async def test_connections_lost_while_nobody_used_them_are_not_handed_out(rows: Rows) -> None:
    one = Database.connect(rows.database.url, pool=1, patience=PATIENCE)
    async with one.autocommit() as connection:
        me = (await connection.execute(ME)).scalar_one()
    await rows.sql("SELECT pg_terminate_backend(:me, 5000)", me=me)
    async with one.write() as connection:
        assert (await connection.execute(ME)).scalar_one() != me
    await one.close()


@pytest.fixture
async def impatient(database: Database) -> AsyncGenerator[Database]:
    impatient = Database.connect(database.url, pool=1, patience=PATIENCE)
    yield impatient
    await impatient.close()


@pytest.fixture
async def forward(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return set_forward(monkeypatch)


async def sleepers(rows: Rows) -> int:
    (number,) = await rows.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE 'SELECT pg_sleep%'"
    )
    return number


async def too_slow(
    rows: Rows, impatient: Database, forward: Callable[[float], None]
) -> BaseException:
    """What becomes of a query that takes longer than anybody has patience."""

    async def is_under_way() -> bool:
        return await sleepers(rows) == 1

    asked = asyncio.create_task(failure_of(impatient, "SELECT pg_sleep(60)"))
    await until_rows(is_under_way)
    forward(PATIENCE.total_seconds())
    return await asked


async def test_a_slow_query_is_unavailable(
    rows: Rows, impatient: Database, forward: Callable[[float], None]
) -> None:
    assert is_unavailable(await too_slow(rows, impatient, forward))
    async with impatient.autocommit() as connection:
        await connection.execute(ME)


async def test_a_query_that_was_given_up_ends_on_the_server_too(
    rows: Rows, impatient: Database, forward: Callable[[float], None]
) -> None:
    async def is_over() -> bool:
        return await sleepers(rows) == 0

    assert isinstance(await too_slow(rows, impatient, forward), TimeoutError)
    await until_rows(is_over, within=30)


async def test_many_quick_queries_end_together_in_time(rows: Rows) -> None:
    impatient = Database.connect(rows.database.url, pool=1, patience=timedelta(seconds=0.3))

    async def many() -> None:
        async with impatient.read() as connection:
            for _ in range(600):
                await connection.execute(text("SELECT pg_sleep(0.1)"))

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await many()
    assert time.monotonic() - began < 30, "each of them is quick, all of them take twice as long"
    await impatient.close()


async def test_an_exhausted_pool_is_unavailable_within_a_second(impatient: Database) -> None:
    async with impatient.autocommit():
        with stalls() as noted:
            began = time.monotonic()
            assert is_unavailable(await failure_of(impatient))
            assert noted.at_work(began) < 1.5


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    gone = Database.connect(f"postgresql+asyncpg://nobody@/none?host={tmp_path}")
    assert is_unavailable(await failure_of(gone))
    refused = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    assert is_unavailable(await failure_of(refused))


async def test_whoever_loses_a_deadlock_may_try_again(rows: Rows) -> None:
    await rows.append(an_entry("A"), an_entry("B"))
    lock = "SELECT id FROM signals WHERE ticker = :ticker FOR UPDATE"

    async def both(first: str, second: str, reached: asyncio.Barrier) -> None:
        async with rows.database.write() as connection:
            await connection.execute(text(lock), {"ticker": first})
            await reached.wait()
            await connection.execute(text(lock), {"ticker": second})

    barrier = asyncio.Barrier(2)
    results = await asyncio.gather(
        both("A", "B", barrier), both("B", "A", barrier), return_exceptions=True
    )
    (loser,) = [result for result in results if result]
    assert is_unavailable(loser)


LOCK = text("SELECT * FROM alembic_version FOR UPDATE")


async def test_a_lock_not_had_in_time_is_unavailable_and_keeps_its_connection(
    rows: Rows, impatient: Database
) -> None:
    """The server is told to give up before we do: see below."""
    async with impatient.autocommit() as connection:
        me = (await connection.execute(ME)).scalar_one()
        await connection.execute(text("SET lock_timeout = 100"))
    async with rows.database.write() as holding:
        await holding.execute(LOCK)
        failure = await failure_of(impatient, str(LOCK))
    assert sqlstate(failure) == "55P03"
    assert is_unavailable(failure)
    async with impatient.autocommit() as connection:
        assert (await connection.execute(ME)).scalar_one() == me


def sqlstate(failure: BaseException) -> str | None:
    assert isinstance(failure, DBAPIError)
    return getattr(failure.orig, "sqlstate", None)


async def test_a_query_ended_by_the_server_is_unavailable(impatient: Database) -> None:
    async with impatient.autocommit() as connection:
        await connection.execute(text("SET statement_timeout = 50"))
        with pytest.raises(DBAPIError) as failure:
            await connection.execute(text("SELECT pg_sleep(5)"))
    assert sqlstate(failure.value) == "57014"
    assert is_unavailable(failure.value)


async def test_a_stopped_replica_loses_its_locks(rows: Rows, database: Database) -> None:
    """Stopped, or beyond a dead network: to the server it is idle in a transaction."""
    stopped = Database.connect(database.url, pool=1, patience=timedelta(seconds=9))

    async def stop() -> None:
        async with stopped.write() as connection:
            await connection.execute(LOCK)
            with stalls() as noted:
                began = time.monotonic()
                assert len(await rows.sql(str(LOCK))) == 1
                assert noted.at_work(began) < 3.5, "after three seconds"
            await connection.execute(ME)

    with pytest.raises(DBAPIError) as failure:
        await stop()
    assert is_unavailable(failure.value)
    await stopped.close()


@pytest.mark.parametrize(
    ("patience", "expected"),
    [
        (8, {"lock_timeout": "6400ms", "statement_timeout": "8500ms", "idle": "3s"}),
        (300, {"lock_timeout": "4min", "statement_timeout": "300500ms", "idle": "100s"}),
    ],
)
async def test_the_server_is_told_how_long_we_wait(
    database: Database, patience: int, expected: dict[str, str]
) -> None:
    told = Database.connect(database.url, patience=timedelta(seconds=patience))
    async with told.read() as connection:
        for name, value in expected.items():
            full = name.replace("idle", "idle_in_transaction_session_timeout")
            assert (await connection.execute(text(f"SHOW {full}"))).scalar_one() == value
    await told.close()


STARTING = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"


async def test_a_server_that_does_not_answer_or_is_starting_is_unavailable() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def starting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"E" + (len(STARTING) + 4).to_bytes(4, "big") + STARTING)
        await writer.drain()
        writer.close()

    for answer in (silent, starting):
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            url = f"postgresql+asyncpg://nobody@127.0.0.1:{port}/none?ssl=disable"
            failure = await failure_of(Database.connect(url, patience=timedelta(seconds=0.3)))
            assert is_unavailable(failure), repr(failure)


async def test_our_own_mistakes_are_not_unavailability(rows: Rows) -> None:
    assert not is_unavailable(await failure_of(rows.database, "SELECT nonsense"))
    with pytest.raises(IntegrityError) as failure:
        await rows.sql("INSERT INTO dedupe_keys VALUES (NULL, NULL, NULL)")
    assert not is_unavailable(failure.value)


async def test_events_carry_the_address_of_who_acts_and_of_nobody_else(database: Database) -> None:
    tell = text("INSERT INTO events (event, actor) VALUES ('a.test', 'x') RETURNING origin")

    async def told(address: str | None) -> str | None:
        acting_from.set(address)
        async with database.write() as connection:
            return (await connection.execute(tell)).scalar_one()

    given = [None, "192.0.2.1", "2001:db8::1", None]
    assert await asyncio.gather(*map(told, given)) == given
    assert [await told(address) for address in given] == given
    acting_from.set(None)


async def stand_still(database: Database) -> None:
    """For longer than the server lets a transaction be idle, with a question on its way."""
    async with database.write() as connection:
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 100"))
        await connection.execute(ME)
        asked = asyncio.create_task(connection.execute(ME))
        await asyncio.sleep(0)  # it is asked
        time.sleep(1)  # noqa: ASYNC251  this is what it is about
        await asked


async def test_a_server_that_hung_up_while_we_stood_still_is_unavailable(
    database: Database,
) -> None:
    """The driver has its answer and its goodbye at once, and knows of the first alone."""
    with pytest.raises(DBAPIError) as failure:
        await stand_still(database)
    assert is_unavailable(failure.value)
    async with database.write() as connection:
        assert (await connection.execute(ME)).scalar_one()
