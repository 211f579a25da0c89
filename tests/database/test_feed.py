"""The feed: each event once and none missed, whoever commits when; and the bell of replicas."""

import asyncio
import random  # noqa: TID251  chance is drawn from a seed
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from database import feed
from database.feed import Ear, Passage
from database.pool import Database
from domain.feed import Cursor
from tests.database.rows import BUY, Rows
from tests.engines.conditions import until

WRITE = text("INSERT INTO events (event, detail) VALUES (:name, '{}') RETURNING id")


async def now(database: Database) -> Cursor:
    async with database.autocommit() as connection:
        return await feed.now(connection)


async def since(database: Database, cursor: Cursor, most: int = 500) -> Passage:
    async with database.autocommit() as connection:
        return await feed.since(connection, cursor, most)


def ids(passage: Passage) -> list[int]:
    assert passage.events is not None
    return [event["id"] for event in passage.events]


@dataclass(slots=True)
class Writer:
    """Somebody's transaction, open as long as a test wants."""

    connection: AsyncConnection

    async def write(self, name: str = "signal.received") -> int:
        return (await self.connection.execute(WRITE, {"name": name})).scalar_one()

    async def commit(self) -> None:
        await self.connection.commit()

    async def roll_back(self) -> None:
        await self.connection.rollback()


@asynccontextmanager
async def writers(database: Database, count: int) -> AsyncGenerator[list[Writer]]:
    engine = create_async_engine(database.url, poolclass=NullPool)
    async with AsyncExitStack() as stack:
        yield [Writer(await stack.enter_async_context(engine.connect())) for _ in range(count)]
    await engine.dispose()


async def test_who_begins_earlier_and_commits_later_is_neither_missed_nor_told_twice(
    database: Database,
) -> None:
    async with writers(database, 2) as (early, late):
        first = await early.write()
        before = await now(database)
        second = await late.write()
        await late.commit()
        passage = await since(database, before)
        assert ids(passage) == [second]
        third = await early.write()
        assert ids(await since(database, passage.cursor)) == []
        await early.commit()
        after = await since(database, passage.cursor)
        assert ids(after) == [first, third]
        assert ids(await since(database, after.cursor)) == []
        assert ids(await since(database, before)) == [first, second, third], "the same by one step"


async def test_what_was_rolled_back_never_was(database: Database) -> None:
    before = await now(database)
    async with writers(database, 1) as (one,):
        await one.write()
        during = await since(database, before)
        await one.roll_back()
        assert (ids(during), ids(await since(database, during.cursor))) == ([], [])


async def test_parts_of_a_transaction_that_were_saved_come_with_it(database: Database) -> None:
    """Savepoints have numbers of their own; an event has that of its whole transaction."""
    before = await now(database)
    async with writers(database, 1) as (one,):
        written = [await one.write()]
        async with one.connection.begin_nested():
            written.append(await one.write())
        during = await since(database, before)
        await one.commit()
        assert ids(during) == []
        assert ids(await since(database, during.cursor)) == written


@dataclass(slots=True)
class Muddle:
    """Transactions that begin, write and end as chance has it, and readers who come and go."""

    database: Database
    chance: random.Random
    writers: list[Writer]
    open: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    committed: list[int] = field(default_factory=list[int])

    async def stir(self) -> None:
        """One of them does something."""
        place = self.chance.randrange(len(self.writers))
        writer, written = self.writers[place], self.open.setdefault(place, [])
        roll = self.chance.random()
        if roll < 0.6:
            written.append(await writer.write())
        elif roll < 0.9:
            await writer.commit()
            self.committed += self.open.pop(place)
        else:
            await writer.roll_back()
            self.open.pop(place)


@pytest.mark.parametrize("seed", range(12))
async def test_in_any_muddle_everybody_is_told_each_event_once(
    database: Database, seed: int
) -> None:
    """Followers begin at different times, read as often as they like, and miss nothing since."""
    chance = random.Random(seed)
    async with writers(database, 4) as them:
        muddle = Muddle(database, chance, them)
        followers: list[tuple[list[int], list[int], Cursor]] = []
        for _ in range(120):
            await muddle.stir()
            if chance.random() < 0.1:
                followers.append((list(muddle.committed), [], await now(database)))
            for place, (known, told, cursor) in enumerate(followers):
                if chance.random() < 0.15:
                    passage = await since(database, cursor)
                    followers[place] = (known, told + ids(passage), passage.cursor)
                    assert sorted(known + followers[place][1]) == sorted(muddle.committed)
        for one in them:
            await one.roll_back()
        assert followers
        for known, told, cursor in followers:
            everything = known + told + ids(await since(database, cursor))
            assert sorted(everything) == sorted(muddle.committed)


async def test_what_follows_from_something_comes_after_it(database: Database) -> None:
    """Who took his number first, and then went by what another had committed, is told second."""
    before = await now(database)
    async with writers(database, 2) as (early, late):
        await early.connection.execute(text("SELECT pg_current_xact_id()"))
        cause = await late.write()
        await late.commit()
        effect = await early.write()
        await early.commit()
    assert ids(await since(database, before)) == [cause, effect]


async def test_too_much_is_not_told_but_where_to_go_on_is(database: Database) -> None:
    before = await now(database)
    async with writers(database, 2) as (one, other):
        written = [await one.write() for _ in range(3)] + [await other.write()]
        await one.commit()
        await other.commit()
        assert ids(await since(database, before, most=4)) == written
        passage = await since(database, before, most=3)
        assert (passage.events, passage.ahead) == (None, False)
        assert ids(await since(database, passage.cursor)) == []


async def test_a_cursor_of_another_database_is_ahead(database: Database) -> None:
    here = await now(database)
    passage = await since(database, Cursor(here.end, here.end + 1_000))
    assert (passage.events, passage.ahead) == (None, True)
    assert ids(await since(database, passage.cursor)) == []


async def test_an_event_is_told_with_its_ticker_and_side(rows: Rows) -> None:
    before = await now(rows.database)
    id = await rows.alert("AAPL", BUY)
    (event,) = (await since(rows.database, before)).events or []
    assert (event["event"], event["signal_id"]) == ("signal.received", id)
    assert (event["ticker"], event["side"], event["actor"]) == ("AAPL", "buy", None)
    assert "body" not in str(event)


async def test_a_read_costs_what_there_is_to_tell_however_long_somebody_takes(
    database: Database,
) -> None:
    """Neither all events, nor all since the oldest open transaction, are looked through."""
    async with writers(database, 1) as (slow,):
        await slow.write()
        async with database.autocommit() as connection:
            await connection.execute(
                text(
                    "INSERT INTO events (event) SELECT 'signal.received'"
                    " FROM generate_series(1, 30000)"
                )
            )
            await connection.execute(text("ANALYZE events"))
        cursor = await now(database)
        assert cursor.running
        given = {"end": str(cursor.end), "running": list(map(str, cursor.running)), "limit": 501}
        async with database.autocommit() as connection:
            plan = await connection.execute(
                text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {feed.SINCE.text}"), given
            )
            top = plan.scalar_one()[0]["Plan"]
        most = 56 + 4 * len(cursor.running)  # other tests have some open on this server too
        assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < most
        assert "Seq Scan" not in str(top)


# ── Who is told of commits, and whom a bell wakes ───────────────────────────────────────────


async def test_a_commit_that_wrote_events_is_told_and_no_other(rows: Rows) -> None:
    told: list[int] = []
    database = rows.database
    database.on_events(lambda: told.append(1))
    async with database.autocommit() as connection:
        await connection.execute(WRITE, {"name": "a"})
    assert len(told) == 1
    async with database.write() as connection:
        await connection.execute(WRITE, {"name": "a"})
        assert len(told) == 1, "not before it is committed"
    assert len(told) == 2
    async with database.write() as connection:
        await connection.execute(text("SELECT 1 AS x"))
        await connection.execute(text("INSERT INTO events (event) SELECT 'a' WHERE false"))
    with pytest.raises(RuntimeError):
        await fails_after_writing(database)
    async with database.read() as connection:
        await connection.execute(text("SELECT count(*) FROM events"))
    assert len(told) == 2
    await rows.alert("AAPL", BUY)
    assert len(told) >= 3


async def test_others_hear_the_bell_and_who_rang(database: Database) -> None:
    heard: list[str] = []
    lost: list[int] = []
    ear = await Ear.open(database.url, heard.append, lambda: lost.append(1))
    try:
        async with database.autocommit() as connection:
            await feed.ring(connection, "another")
        await until(lambda: heard == ["another"])
        await ear.prove()
        assert ear.is_open
        assert not lost
        await execute(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'relay live' AND datname = current_database()",
        )
        await until(lambda: lost == [1])
        assert not ear.is_open
        with pytest.raises(Exception, match="closed"):
            await ear.prove()
    finally:
        await ear.close()


async def test_an_ear_that_cannot_be_opened_leaves_nothing_open(database: Database) -> None:
    nowhere = database.url.rpartition("/")[0] + "/no_such_database"
    if "?" in database.url:
        nowhere = database.url.replace(database.url.split("?")[0], nowhere.split("?")[0])
    with pytest.raises(Exception, match="does not exist"):
        async with asyncio.timeout(10):
            await Ear.open(nowhere, print, print)


@pytest.mark.parametrize("swallowed", [False, True])
async def test_a_connection_that_was_lost_is_not_asked_what_it_wrote(
    database: Database, *, swallowed: bool
) -> None:
    told: list[int] = []
    database.on_events(lambda: told.append(1))
    with pytest.raises(DBAPIError if not swallowed else Exception) as failed:
        await loses_its_connection(database, swallowed=swallowed)
    assert "greenlet" not in str(failed.value)
    assert told == []
    await execute(database, "INSERT INTO events (event) VALUES ('a')")
    assert told == [1]


async def loses_its_connection(database: Database, *, swallowed: bool) -> None:
    async with database.write() as connection:
        await connection.execute(WRITE, {"name": "a"})
        try:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        except DBAPIError:
            if not swallowed:
                raise


async def fails_after_writing(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(WRITE, {"name": "a"})
        raise RuntimeError


async def execute(database: Database, statement: str) -> None:
    async with database.autocommit() as connection:
        await connection.execute(text(statement))
