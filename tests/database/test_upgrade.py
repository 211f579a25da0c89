"""From the first schema to this one, with rows in every table: nothing is lost, all of it works."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from database import destinations, statistics, universes
from database.migrate import head, migrate
from database.pool import Database
from database.vault import Vault
from domain.delivery import Guarantee
from domain.destination import Mode
from domain.rate import Window
from domain.screen import ScreenKind
from domain.universe import FetchOutcome
from tests.database.rows import OK, SELL, Rows, new_id, settlement
from tests.database.sealing import unbound

ADDRESS = "https://destination.example/s3cret"
MAIN, OTHER, SCREEN = uuid4(), uuid4(), uuid4()

DESTINATIONS = """
    INSERT INTO destinations (id, name, url_sealed, url_shown, signing_sealed, windows, state,
                              version, hold_until)
    VALUES (:main, 'main', :url, 'https://destination.example/•••', :key, '60/60s', 'enabled', 3,
            now() - interval '1 h'),
           (:other, 'other', :url, 'https://destination.example/•••', :key, '', 'disabled', 1, NULL)
"""
SIGNAL = """
    INSERT INTO signals (id, source, ticker, side, partial, hop, content_type, body, body_sealed,
                         received_at, expires_at, status, reason, judged_at)
    VALUES (:id, 'webhook', :ticker, :side, :partial, 0, 'application/json',
            convert_to('{"ticker":"' || :ticker || '"}', 'utf8'), false, now(),
            now() + interval '1 h', :status, CASE :status WHEN 'approved' THEN NULL ELSE 'old' END,
            now())
"""
DELIVERY = """
    INSERT INTO deliveries (id, signal_id, destination_id, destination_version, seq, ticker, side,
                            state, epoch, attempts, possibly_sent, queued_at, due_at, expires_at,
                            lease_until, finished_at)
    SELECT :id, id, :main, :version, seq, ticker, side, CAST(:state AS text), 1, 1,
           :state = 'delivered', now(), now(), expires_at,
           CASE :state WHEN 'sending' THEN now() - interval '1 s' END,
           CASE WHEN :state NOT IN ('queued', 'sending') THEN now() END
    FROM signals WHERE id = :signal
"""
ATTEMPT = """
    INSERT INTO attempts (delivery_id, epoch, destination_id, side, number, possible_resend,
                          started_at, finished_at, outcome)
    SELECT id, :epoch, destination_id, side, :epoch, false, now() - interval '5 s',
           CASE WHEN CAST(:outcome AS text) IS NOT NULL THEN now() END, :outcome
    FROM deliveries WHERE id = :id
"""
POSITION = """
    INSERT INTO positions VALUES (:entry, :ticker, :state, :entry, :exit, now(), now())
"""
REST = """
    INSERT INTO screens (id, name, url, top_n, refresh_sec, active)
    VALUES (:screen, 'first screen', 'https://finviz.com/screener.ashx', 15, 180, true);
    INSERT INTO universes (screen_id, url, tickers, total, fetched_at, confirmed_at)
    VALUES (:screen, 'https://finviz.com/screener.ashx', '{A,B}', 2, now(), now());
    INSERT INTO fetches (screen_id, at, outcome, detail, pages, duration_ms, version, next_at)
    VALUES (:screen, now(), 'ok', '', 1, 1, 1, now());
    INSERT INTO dedupe_keys SELECT decode('00', 'hex'), id, now() FROM signals LIMIT 1;
    INSERT INTO sessions VALUES (decode('00', 'hex'), now(), now());
    INSERT INTO events (event, signal_id) SELECT 'signal.received', id FROM signals
"""
TABLES = (
    *("signals", "dedupe_keys", "screens", "universes", "fetches", "destinations", "deliveries"),
    *("attempts", "positions", "sessions", "events"),
)


class Before(Rows):
    """A database as the first version left it."""

    async def signal(self, ticker: str, side: str = "buy", status: str = "approved") -> UUID:
        id = new_id()
        await self.sql(
            SIGNAL, id=id, ticker=ticker, side=side, partial=side == "part", status=status
        )
        return id

    async def delivery(
        self, signal: UUID, state: str, *outcomes: str | None, version: int = 3
    ) -> UUID:
        id = uuid4()
        await self.sql(DELIVERY, id=id, signal=signal, state=state, version=version, main=MAIN)
        for epoch, outcome in enumerate(outcomes, 1):
            await self.sql(ATTEMPT, id=id, epoch=epoch, outcome=outcome)
        return id

    async def position(self, ticker: str, state: str, *, buy: str, sell: str | None = None) -> None:
        """A position whose buy, and whose exit, is in these states."""
        entry = await self.signal(ticker)
        await self.delivery(entry, buy, "delivered" if buy == "delivered" else None, version=1)
        exit_ = await self.signal(ticker, "sell") if sell else None
        if exit_ and sell:
            await self.delivery(exit_, sell, version=2)
        await self.sql(POSITION, entry=entry, exit=exit_, ticker=ticker, state=state)


@pytest.fixture
async def before(database: Database, vault: Vault) -> AsyncGenerator[Before]:
    name = f"upgrade_{uuid4().hex}"
    async with database.autocommit() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    start, _, rest = database.url.partition("/test_")
    url = f"{start}/{name}?{rest.partition('?')[2]}"
    old = Database.connect(url, patience=timedelta(minutes=1))
    assert await migrate(old, to="0001")
    yield Before(old, vault)
    await old.close()
    async with database.autocommit() as connection:
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


async def furnished(before: Before) -> dict[str, int]:
    """Rows in every table; how many there are in each."""
    url, key = unbound(ADDRESS.encode()), unbound(b"k" * 32)
    await before.sql(DESTINATIONS, main=MAIN, other=OTHER, url=url, key=key)
    await before.position("HELD", "open", buy="delivered")
    await before.position("LEAVING", "closing", buy="delivered", sell="queued")
    await before.position("COMING", "opening", buy="queued")
    await before.position("WIRE", "opening", buy="sending")
    await before.position("GONE", "closed", buy="delivered", sell="delivered")
    await before.position("NEVER", "void", buy="dead")
    second = await before.signal("HELD")
    await before.delivery(second, "expired", "withheld", "not_sent", "ambiguous")
    await before.signal("OUT", status="rejected")
    for statement in REST.split(";"):
        await before.sql(statement, **({"screen": SCREEN} if ":screen" in statement else {}))
    return {table: (await before.sql(f"SELECT count(*) FROM {table}"))[0] for table in TABLES}


async def test_nothing_is_lost(before: Before) -> None:
    counts = await furnished(before)
    assert all(counts.values())
    assert await migrate(before.database)
    for table, count in counts.items():
        assert await before.sql(f"SELECT count(*) FROM {table}") == [count]
    assert await before.sql("SELECT version_num FROM alembic_version") == [head()]
    assert not await migrate(before.database)


async def test_every_delivery_has_the_version_it_was_approved_for(before: Before) -> None:
    await furnished(before)
    await migrate(before.database)
    kept = await before.sql("SELECT version FROM destination_versions ORDER BY version")
    assert kept == [1, 1, 2, 3]
    async with before.database.read() as connection:
        (main,) = await destinations.enabled(connection, before.vault)
        assert (main.id, main.version, main.url) == (MAIN, 3, ADDRESS)
        assert (main.windows, main.mode) == ((Window(limit=60, seconds=60),), Mode.LIVE)
        assert (main.guarantee, main.headers, main.concurrency) == (
            Guarantee.AT_LEAST_ONCE,
            {},
            None,
        )
        for version in (1, 2):
            older = await destinations.at_version(connection, before.vault, main.id, version)
            assert older
            assert (older.url, older.keys) == (main.url, main.keys)
        one, other = await statistics.standings(connection)
    assert (one.name, one.breaker, one.held, one.waiting) == ("main", "closed", 0, 3)
    # Of the requests that left, each counts; so does the one that is on the wire.
    assert (list(one.used), other.state, list(other.used)) == ([7], "disabled", [])


async def test_deliveries_know_their_positions(before: Before) -> None:
    await furnished(before)
    await migrate(before.database)
    astray = await before.sql(
        "SELECT deliveries.ticker, deliveries.side FROM deliveries"
        " LEFT JOIN positions ON positions.id = position_id"
        " AND deliveries.signal_id IN (entry_signal_id, exit_signal_id)"
        " WHERE positions.id IS NULL"
    )
    assert [tuple(row) for row in astray] == [("HELD", "buy")]
    written = await before.sql("SELECT outcome FROM attempts WHERE written_at IS NOT NULL")
    assert "withheld" not in written
    assert "delivered" in written
    assert (
        await before.sql("SELECT written_at FROM attempts WHERE finished_at IS NULL")
        == [None] * (await before.sql("SELECT count(*) FROM attempts WHERE finished_at IS NULL"))[0]
    )


async def test_what_waited_is_sent_and_what_is_held_can_be_sold(before: Before) -> None:
    await furnished(before)
    await migrate(before.database)
    async with before.database.read() as connection:
        (main,) = await destinations.enabled(connection, before.vault)
    for ticker in ("HELD", "COMING"):
        await before.alert(ticker, SELL)
    await before.decide()
    waiting = await before.sql(
        "SELECT ticker || ' ' || side || ' ' || state FROM deliveries"
        " WHERE ticker IN ('HELD', 'COMING') AND state <> 'expired' ORDER BY seq"
    )
    assert waiting == [
        "HELD buy delivered",
        "COMING buy superseded",
        "HELD sell queued",
        "COMING sell superseded",
    ]
    leased = await before.lease(main)
    told = {(one.ticker, str(one.side), one.possible_resend) for one in leased}
    assert told == {("LEAVING", "sell", False), ("HELD", "sell", False), ("WIRE", "buy", True)}
    await before.settle(*(settlement(one, OK) for one in leased))
    positions = await before.sql("SELECT ticker || ' ' || state FROM positions ORDER BY ticker")
    assert positions == [
        "COMING void",
        "GONE closed",
        "HELD closed",
        "LEAVING closed",
        "NEVER void",
        "WIRE open",
    ]


# ── From the second schema ──────────────────────────────────────────────────────────────────


async def test_lists_and_screens_are_known_as_they_were(before: Before) -> None:
    await furnished(before)
    await migrate(before.database, to="0002")
    await before.sql(
        "INSERT INTO watches (screen_id, screen_version, due_at) VALUES (:screen, 1, now())",
        screen=SCREEN,
    )
    listed = await before.sql("SELECT tickers, fetched_at FROM universes")
    assert await migrate(before.database)
    async with before.database.read() as connection:
        current = await universes.current(connection)
        last = await universes.last_fetch(connection)
    assert current.universe
    assert list(current.universe.tickers) == listed[0].tickers
    assert current.universe.fresh_since == listed[0].fetched_at
    assert current.universe.members(15, 0) == ["A", "B"]
    assert (current.screen.kind, current.screen.margin) == (ScreenKind.FINVIZ, 0)
    assert last
    assert (last.outcome, last.since) == (FetchOutcome.OK, last.at)
    kept = await before.sql("SELECT screen_id, version, active, top_n FROM screen_versions")
    assert [tuple(row) for row in kept] == [(SCREEN, 1, True, 15)]
    await before.change_screen(replace(current.screen, margin=3))
    await before.alert("LATE")
    assert await before.decide()
