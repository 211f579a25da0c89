"""Moved by a dump: the numbers of another server's transactions hide nothing of what follows."""

import asyncio
import subprocess
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from database import chronicle, feed, moved
from database.migrate import UnfitDatabaseError
from database.pool import Database
from database.vault import Vault
from launcher.postgres import LocalPostgres
from launcher.postgres_programs import find
from tests.database.rows import SELL
from tests.database.rows import Rows as Hands
from tests.database.test_backups import backed_up, empty, furnished, look, restored, until_found
from tests.database.test_chain import examined, linked
from tests.web.stage import relay, until

FAR = 10**9
MINUTE = timedelta(minutes=1)
DUMPED = (
    "ALTER TABLE events DISABLE TRIGGER events_append_only",
    *(
        f"UPDATE {table} SET xid = CAST(CAST(CAST(CAST(xid AS text) AS bigint) + {FAR} AS text)"
        " AS xid8)"
        for table in ("events", "watchman", "chronicle")
    ),
    "ALTER TABLE events ENABLE TRIGGER events_append_only",
)
"""A server that has counted to a thousand million tells its numbers to one that has not."""

COUNTED_PAST = f"""
    UPDATE events SET xid = '700' WHERE CAST(CAST(xid AS text) AS bigint) > {FAR}
        AND id <= (SELECT event_id FROM watchman)
"""


@pytest.fixture
async def target(template: str) -> AsyncGenerator[Database]:
    assert template  # there is a server
    async with empty() as database:
        yield database


async def dumped(rows: Hands, *, counted_past: bool = False) -> None:
    """As if a dump of another server had been restored here."""
    first, *middle, last = DUMPED
    for statement in (first, *middle, *([COUNTED_PAST] if counted_past else []), last):
        await rows.sql(statement)


async def found(rows: Hands) -> list[str]:
    return list(await rows.sql("SELECT cause || ' ' || count FROM attention ORDER BY 1"))


async def refused_sell(rows: Hands, ticker: str) -> None:
    """An urgent item, once the watchman sees it."""
    await rows.alert(ticker, SELL)
    await rows.decide()


async def test_a_relay_that_starts_on_it_draws_attention_to_what_happens(
    rows: Hands, tmp_path: Path
) -> None:
    await furnished(rows)
    await dumped(rows)
    async with relay(rows.database.url, wait=False, data_dir=tmp_path) as one:
        posted = await one.post({"ticker": "LOST", "action": "sell"})
        assert posted.status_code == 202

        async def is_told() -> bool:
            return bool(await one.rows("SELECT id FROM attention WHERE ticker = 'LOST'"))

        await until(is_told, "attention")


@pytest.mark.parametrize("counted_past", [False, True])
async def test_the_watchman_goes_on_where_he_was(rows: Hands, *, counted_past: bool) -> None:
    """What he had seen he does not see again, what he had not he sees once."""
    await furnished(rows, seen=True)
    before = await found(rows)
    await dumped(rows, counted_past=counted_past)
    await look(rows.database)
    assert await found(rows) == before
    assert await moved.ahead(rows.database)
    settled = await moved.settle(rows.database)
    assert settled
    assert settled.unseen
    assert await moved.ahead(rows.database) is None
    await refused_sell(rows, "LOST")
    await until_found(rows, ["sell_refused 1"] * 4)  # SEEN, UNSEEN, LATE, LOST
    assert await moved.settle(rows.database) is None


async def test_what_was_told_before_anybody_noticed_is_seen_too(rows: Hands) -> None:
    await furnished(rows, seen=True)
    await dumped(rows)
    await refused_sell(rows, "LOST")
    await look(rows.database)
    assert await found(rows) == ["sell_refused 1"]
    (after,) = await rows.sql(f"SELECT max(id) FROM events WHERE xid > '{FAR}'")
    own = "SELECT CAST(xid AS text) FROM events WHERE id > :after ORDER BY id"
    numbers = await rows.sql(own, after=after)
    assert numbers
    assert await moved.settle(rows.database)
    assert (await rows.sql(own, after=after))[: len(numbers)] == numbers
    await until_found(rows, ["sell_refused 1"] * 4)  # SEEN, UNSEEN, LATE, LOST


async def test_a_mark_alone_may_lie_ahead(rows: Hands) -> None:
    await rows.sql(f"UPDATE watchman SET xid = '{FAR}'")
    assert await moved.settle(rows.database) == moved.Settled(0, 0)
    await refused_sell(rows, "LOST")
    await until_found(rows, ["sell_refused 1"])


async def test_its_own_numbers_are_left_alone(
    rows: Hands, target: Database, tmp_path: Path
) -> None:
    assert await moved.ahead(rows.database) is None
    await furnished(rows, seen=True)
    assert await moved.ahead(rows.database) is None
    assert await moved.settle(rows.database) is None
    path, _ = await backed_up(rows.database, tmp_path)
    await restored(target, path)
    assert await moved.ahead(target) is None


async def test_the_chain_stays_whole_and_shut(rows: Hands) -> None:
    """No number is in a line; the trail can only be added to, as before."""
    await furnished(rows, seen=True)
    (count,) = await rows.sql("SELECT count(*) FROM events")
    lines = "SELECT event_line(events) FROM events WHERE event <> 'database.moved' ORDER BY id"
    before = await rows.sql(lines)
    await dumped(rows)
    ahead = await moved.ahead(rows.database)
    settled = await moved.settle(rows.database)
    assert ahead
    assert settled
    assert settled.events == count
    assert await rows.sql(lines) == before
    (told,) = await rows.sql("SELECT detail FROM events WHERE event = 'database.moved'")
    assert told == {
        "last": ahead.last,
        "here": told["here"],
        "events": count,
        "unseen": settled.unseen,
    }
    assert int(ahead.last) > FAR > int(told["here"])
    await linked(rows)
    examination = await examined(rows.database)
    assert (examination.broken, examination.events) == (None, count + 1)
    for statement in ("UPDATE events SET xid = '5'", "DELETE FROM events"):
        with pytest.raises(DBAPIError, match="append-only"):
            await rows.sql(statement)


async def test_who_follows_live_or_by_the_log_gets_what_is_new(rows: Hands) -> None:
    await furnished(rows)
    await dumped(rows)
    await moved.settle(rows.database)
    async with rows.database.read() as connection:
        cursor = await feed.now(connection)
    (after,) = await rows.sql("SELECT max(id) FROM events")
    await refused_sell(rows, "LOST")
    new = await rows.sql("SELECT id FROM events WHERE id > :after ORDER BY id", after=after)
    async with rows.database.write() as connection:
        passage = await feed.since(connection, cursor)
        mark = await chronicle.claim(connection)
        assert mark
        lines = await chronicle.read(connection, mark, 500)
    assert passage.events is not None
    assert [event["id"] for event in passage.events] == new
    assert {one.ticker for one in lines.stages} <= {
        "LATE",
        "LOST",
    }  # what runs beside us may hide it yet


# ── What is refused, and leaves everything as it was ────────────────────────────────────────


async def test_a_relay_that_runs_there_is_not_disturbed(rows: Hands, vault: Vault) -> None:
    await furnished(rows)
    await dumped(rows)
    other = Database.connect(rows.database.url, pool=1, patience=MINUTE, keys=vault.fingerprints)
    async with other.read() as connection:
        await connection.execute(text("SELECT 1"))
        with pytest.raises(UnfitDatabaseError, match="stop every relay") as told:
            await moved.settle(rows.database)
    await other.close()
    assert "\n" not in str(told.value)
    assert await moved.ahead(rows.database)
    assert await moved.settle(rows.database)


async def test_who_does_not_own_it_is_told_who_must(rows: Hands) -> None:
    await dumped(rows)
    name = f"reader_{uuid4().hex}"
    await rows.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{name}' IN ROLE trading_relay")
    url = make_url(rows.database.url).set(username=name, password=name)
    other = Database.connect(url.render_as_string(hide_password=False), pool=1, patience=MINUTE)
    try:
        with pytest.raises(UnfitDatabaseError, match="DATABASE_OWNER_URL"):
            await moved.settle(other)
    finally:
        await other.close()
        await rows.sql(f"DROP ROLE {name}")


# ── For real ────────────────────────────────────────────────────────────────────────────────

COUNT = """
    DO $$ BEGIN
        CREATE TEMPORARY TABLE counted (n integer) ON COMMIT DROP;
        FOR n IN 1..5000 LOOP
            BEGIN INSERT INTO counted VALUES (n); EXCEPTION WHEN OTHERS THEN RAISE; END;
        END LOOP;
    END $$
"""
"""Each block is a transaction within one, and takes a number."""


def piped(url: str, there: LocalPostgres) -> None:
    """What the documentation of PostgreSQL says: `pg_dump | psql`."""
    programs, source = find().folder, url.replace("+asyncpg", "")
    dump = subprocess.check_output([programs / "pg_dump", source])
    psql = [programs / "psql", "--quiet", "--set=ON_ERROR_STOP=1", there.dsn]
    subprocess.run([*psql, "--command=CREATE ROLE trading_relay NOLOGIN"], check=True)
    subprocess.run(psql, input=dump, check=True, capture_output=True)


@pytest.mark.slow
async def test_a_dump_of_one_server_in_another(rows: Hands, tmp_path: Path) -> None:
    await rows.sql(COUNT)
    await furnished(rows, seen=True)
    with LocalPostgres(tmp_path, durable=False) as postgres:
        await asyncio.to_thread(piped, rows.database.url, postgres)
        there = Database.connect(postgres.url, pool=2, patience=MINUTE)
        here = Hands(there, rows.vault)
        assert await moved.ahead(there)
        assert await moved.settle(there)
        assert await moved.ahead(there) is None
        await refused_sell(here, "LOST")
        await until_found(here, ["sell_refused 1"] * 4)
        await linked(here)
        assert (await examined(there)).broken is None
        await there.close()
