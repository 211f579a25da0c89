import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from database.pool import Database, acting_from, is_unavailable
from tests.database.rows import Rows, an_entry

PATIENCE = timedelta(seconds=0.3)
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
    fresh = Database.connect(rows.database.url)
    async with fresh.autocommit() as connection:
        setting = await connection.execute(text("SHOW synchronous_commit"))
        assert setting.scalar_one() == "on"
    await fresh.close()


async def test_a_connection_lost_in_use_is_unavailable_and_the_next_one_works(rows: Rows) -> None:
    one = Database.connect(rows.database.url, pool=1)

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
    one = Database.connect(rows.database.url, pool=1)
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


async def test_a_slow_query_is_unavailable(impatient: Database) -> None:
    assert is_unavailable(await failure_of(impatient, "SELECT pg_sleep(5)"))
    async with impatient.autocommit() as connection:
        await connection.execute(ME)


async def test_a_query_that_was_given_up_ends_on_the_server_too(
    rows: Rows, impatient: Database
) -> None:
    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE 'SELECT pg_sleep%'"
    )
    assert isinstance(await failure_of(impatient, "SELECT pg_sleep(60)"), TimeoutError)
    async with asyncio.timeout(5):
        while await rows.sql(running) != [0]:
            await rows.sql("SELECT pg_sleep(0.05)")


async def test_many_quick_queries_end_together_in_time(impatient: Database) -> None:
    async def many() -> None:
        async with impatient.read() as connection:
            for _ in range(50):
                await connection.execute(text("SELECT pg_sleep(0.1)"))

    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await many()
    assert asyncio.get_running_loop().time() - began < 2.5


async def test_an_exhausted_pool_is_unavailable_within_a_second(database: Database) -> None:
    one = Database.connect(database.url, pool=1)
    loop = asyncio.get_running_loop()
    async with one.autocommit():
        began = loop.time()
        assert is_unavailable(await failure_of(one))
        assert loop.time() - began < 1.5
    await one.close()


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
    async with impatient.autocommit() as connection:
        me = (await connection.execute(ME)).scalar_one()
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


async def test_a_query_ended_by_the_server_is_unavailable(rows: Rows) -> None:
    async with rows.database.autocommit() as connection:
        await connection.execute(text("SET statement_timeout = 50"))
        with pytest.raises(DBAPIError) as failure:
            await connection.execute(text("SELECT pg_sleep(5)"))
        await connection.execute(text("RESET statement_timeout"))
    assert sqlstate(failure.value) == "57014"
    assert is_unavailable(failure.value)


async def test_a_stopped_replica_loses_its_locks(rows: Rows, database: Database) -> None:
    """Stopped, or beyond a dead network: to the server it is idle in a transaction."""
    stopped = Database.connect(database.url, pool=1, patience=timedelta(seconds=9))

    async def stop() -> None:
        async with stopped.write() as connection:
            await connection.execute(LOCK)
            began = asyncio.get_running_loop().time()
            assert len(await rows.sql(str(LOCK))) == 1
            assert asyncio.get_running_loop().time() - began < 3.5
            await connection.execute(ME)

    with pytest.raises(DBAPIError) as failure:
        await stop()
    assert is_unavailable(failure.value)
    await stopped.close()


@pytest.mark.parametrize(
    ("patience", "expected"),
    [
        (2, {"lock_timeout": "1600ms", "statement_timeout": "2500ms", "idle": "3s"}),
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
            failure = await failure_of(Database.connect(url, patience=PATIENCE))
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
