import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from database.pool import Database, is_unavailable
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


async def test_a_lost_connection_is_unavailable_and_the_next_one_works(rows: Rows) -> None:
    one = Database.connect(rows.database.url, pool=1)
    async with one.autocommit() as connection:
        me = (await connection.execute(ME)).scalar_one()
    await rows.sql("SELECT pg_terminate_backend(:me)", me=me)
    assert is_unavailable(await failure_of(one))
    async with one.autocommit() as connection:
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


async def test_an_exhausted_pool_is_unavailable_within_a_second(impatient: Database) -> None:
    loop = asyncio.get_running_loop()
    async with impatient.autocommit():
        began = loop.time()
        assert is_unavailable(await failure_of(impatient))
        assert loop.time() - began < 1.5


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
