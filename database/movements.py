"""Movements of the list: what came and went, what is beside a version, who waits, how looks end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text

from database.audit import Facts
from database.pool import ReadConnection
from database.screens import ScreenId
from database.universes import NEWEST
from domain.ticker import Ticker

# Ranks are compared with the version before only where both answered the same address.
BESIDE = text("""
    SELECT former.version AS before, later.version AS after,
           CASE WHEN former.url = this.url THEN former.tickers END AS former
    FROM universes AS this
    LEFT JOIN LATERAL (
        SELECT version, url, tickers FROM universes
        WHERE screen_id = this.screen_id AND version < this.version
        ORDER BY version DESC LIMIT 1
    ) AS former ON true
    LEFT JOIN LATERAL (
        SELECT version FROM universes
        WHERE screen_id = this.screen_id AND version > this.version
        ORDER BY version LIMIT 1
    ) AS later ON true
    WHERE this.version = :version
""")

# By time, so that a list nothing moves in is looked through for a day and no longer.
MOVES = text("""
    SELECT version, fetched_at AS at, entered, dropped FROM universes
    WHERE screen_id = (SELECT screen_id FROM universes WHERE version = :version)
      AND fetched_at > statement_timestamp() - CAST(:within AS interval)
      AND (entered <> '{}' OR dropped <> '{}')
    ORDER BY fetched_at DESC LIMIT :limit
""")

WAITING = text("""
    SELECT id, ticker, waits_since, waits_until FROM signals
    WHERE status = 'received' AND waits_until IS NOT NULL
    ORDER BY waits_until LIMIT :limit
""")

OUTCOMES = text("""
    SELECT outcome, count(*) AS looks
    FROM screens JOIN fetches ON fetches.screen_id = screens.id
    WHERE at > statement_timestamp() - CAST(:within AS interval)
    GROUP BY outcome
""")

KNOWN = text(f"""
    SELECT universe.version, universe.tickers, universe.confirmed_at,
           clock_timestamp() AS now
    FROM screens {NEWEST} WHERE screens.id = :screen AND universe.version IS NOT NULL
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The versions of the same screen before and after one; ``former``: the ranks before it."""

    before: int | None = None
    after: int | None = None
    former: Sequence[Ticker] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A buy that waits for its ticker to come in."""

    id: UUID
    ticker: Ticker
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The newest list of a screen at its present address, in force or not."""

    version: int
    tickers: Sequence[Ticker]
    age: timedelta


async def beside(connection: ReadConnection, version: int) -> Beside:
    row = (await connection.execute(BESIDE, {"version": version})).one_or_none()
    if row is None:
        return Beside()
    return Beside(before=row.before, after=row.after, former=row.former)


async def moves(
    connection: ReadConnection, version: int, *, within: timedelta, limit: int
) -> list[Facts]:
    """Who came and went in the lists of this version's screen, newest first."""
    asked = {"version": version, "within": within, "limit": limit}
    return [dict(row) for row in (await connection.execute(MOVES, asked)).mappings()]


async def waiting(connection: ReadConnection, *, limit: int) -> list[Waiting]:
    """The buys that wait for their ticker, the first to end first."""
    return [
        Waiting(id=row.id, ticker=row.ticker, since=row.waits_since, until=row.waits_until)
        for row in await connection.execute(WAITING, {"limit": limit})
    ]


async def outcomes(connection: ReadConnection, *, within: timedelta) -> dict[str, int]:
    """How many looks ended how lately, over all screens."""
    rows = await connection.execute(OUTCOMES, {"within": within})
    return {row.outcome: row.looks for row in rows}


async def known(connection: ReadConnection, screen: ScreenId) -> Known | None:
    """The list that would be in force with this screen; None: it has none yet."""
    row = (await connection.execute(KNOWN, {"screen": screen})).one_or_none()
    if row is None:
        return None
    return Known(version=row.version, tickers=row.tickers, age=row.now - row.confirmed_at)
