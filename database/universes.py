"""Universes: every list a screen answered, versioned; and how each look at Finviz went."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from sqlalchemy import text

from database.pool import Connection, ReadConnection
from database.screens import Kept, ScreenId
from domain.screen import Screen, ScreenUrl
from domain.ticker import Ticker
from domain.universe import FetchOutcome, Universe

Key: TypeAlias = tuple[object, ...]

# The universe in force is the newest one that the active screen answered at its present address.
_IN_FORCE = """
    FROM screens
    LEFT JOIN LATERAL (
        SELECT * FROM universes
        WHERE universes.screen_id = screens.id AND universes.url = screens.url
        ORDER BY universes.version DESC LIMIT 1
    ) AS universe ON true
    WHERE screens.active
"""

MARK = text(f"""
    SELECT screens.id, screens.version AS screen_version, universe.version, universe.confirmed_at
    {_IN_FORCE}
""")

# Screen and list in one statement: read apart, a change between them would pair the old screen
# with the new list.
CURRENT = text(f"""
    SELECT screens.id, screens.version AS screen_version, screens.url, top_n, refresh_sec,
           universe.version, universe.tickers, universe.total, universe.fetched_at,
           universe.confirmed_at
    {_IN_FORCE}
""")

AGE = text(f"SELECT clock_timestamp() - universe.confirmed_at {_IN_FORCE}")

LAST_FETCH = text("""
    SELECT fetches.at, outcome, detail, next_at, fetches.version, clock_timestamp() AS now
    FROM fetches JOIN screens ON screens.id = fetches.screen_id AND screens.active
    ORDER BY fetches.id DESC LIMIT 1
""")

# A list equal to the last one is a touch, not a copy. A list fetched for an address that is no
# longer the screen's is not kept.
ADOPT = text("""
    WITH asked AS (
        SELECT id, url FROM screens WHERE id = :screen AND url = :url FOR SHARE
    ), last AS (
        SELECT version, tickers, total FROM universes
        WHERE screen_id = :screen AND url = :url ORDER BY version DESC LIMIT 1
    ), touched AS (
        UPDATE universes SET confirmed_at = clock_timestamp(), total = :total
        FROM last, asked
        WHERE universes.version = last.version AND last.tickers = CAST(:tickers AS text[])
        RETURNING universes.version
    ), made AS (
        INSERT INTO universes (screen_id, url, tickers, total, fetched_at, confirmed_at)
        SELECT id, url, CAST(:tickers AS text[]), :total, clock_timestamp(), clock_timestamp()
        FROM asked WHERE NOT EXISTS (SELECT FROM touched)
        RETURNING version, total, cardinality(tickers) AS size
    ), told AS (
        INSERT INTO events (event, detail)
        SELECT 'universe.adopted',
               jsonb_build_object('screen_id', CAST(:screen AS uuid), 'version', version,
                                  'tickers', size, 'total', total)
        FROM made
    )
    SELECT version FROM made UNION ALL SELECT version FROM touched
""")

LOG = text("""
    WITH before AS (
        SELECT outcome FROM fetches WHERE screen_id = :screen ORDER BY id DESC LIMIT 1
    ), logged AS (
        INSERT INTO fetches (screen_id, at, outcome, detail, pages, duration_ms, total, tickers,
                             version, next_at)
        VALUES (:screen, clock_timestamp(), :outcome, :detail, :pages, :duration_ms, :total,
                :tickers, :version, clock_timestamp() + CAST(:wait AS interval))
        RETURNING outcome, detail
    )
    INSERT INTO events (event, detail)
    SELECT 'list.' || logged.outcome,
           jsonb_build_object('was', before.outcome, 'detail', logged.detail)
    FROM logged LEFT JOIN before ON true
    WHERE logged.outcome IS DISTINCT FROM before.outcome
""")


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells whether the list in force is still the one we know, and when it was confirmed."""

    key: Key
    confirmed_at: datetime


@dataclass(frozen=True, slots=True)
class Current:
    """The active screen and the list in force (None: there is none for its present address)."""

    key: Key
    screen: Screen
    universe: Universe | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastFetch:
    """How the last look at Finviz went; ``now`` is the database's clock when this was read."""

    at: datetime
    outcome: FetchOutcome
    detail: str
    next_at: datetime
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """One look at Finviz, for the log."""

    outcome: FetchOutcome
    detail: str
    pages: int
    duration: timedelta
    total: int | None
    tickers: int
    version: int | None
    wait: timedelta


class NoScreenError(RuntimeError):
    """There is no active screen: the database was never set up by a start."""


async def mark(connection: ReadConnection) -> Mark:
    """A cheap look at what is in force."""
    row = (await connection.execute(MARK)).one_or_none()
    if row is None:
        raise NoScreenError
    return Mark((row.id, row.screen_version, row.version), row.confirmed_at)


async def current(connection: ReadConnection) -> Current:
    """The list in force with all its ranks."""
    row = (await connection.execute(CURRENT)).one_or_none()
    if row is None:
        raise NoScreenError
    universe = None
    if row.version is not None:
        universe = Universe(
            version=row.version,
            tickers=tuple(row.tickers),
            total=row.total,
            fetched_at=row.fetched_at,
            confirmed_at=row.confirmed_at,
        )
    screen = Screen(
        url=ScreenUrl(row.url), top_n=row.top_n, refresh=timedelta(seconds=row.refresh_sec)
    )
    return Current((row.id, row.screen_version, row.version), screen, universe)


async def age(connection: ReadConnection) -> timedelta | None:
    """How long ago the list in force was last confirmed; None when there is none."""
    return (await connection.execute(AGE)).scalar_one_or_none()


async def last_fetch(connection: ReadConnection) -> LastFetch | None:
    row = (await connection.execute(LAST_FETCH)).one_or_none()
    if row is None:
        return None
    return LastFetch(
        at=row.at,
        outcome=FetchOutcome(row.outcome),
        detail=row.detail,
        next_at=row.next_at,
        now=row.now,
    )


async def adopt(
    connection: Connection, kept: Kept, tickers: Sequence[Ticker], total: int
) -> int | None:
    """Make this the list in force and return its version; None when the screen has moved on."""
    result = await connection.execute(
        ADOPT,
        {"screen": kept.id, "url": kept.screen.url, "tickers": list(tickers), "total": total},
    )
    return result.scalar_one_or_none()


async def log(connection: Connection, screen: ScreenId, fetch: Fetch) -> None:
    """Keep how a look went, and tell the audit trail when its outcome changed."""
    await connection.execute(
        LOG,
        {
            "screen": screen,
            "outcome": fetch.outcome,
            "detail": fetch.detail[:500],
            "pages": fetch.pages,
            "duration_ms": int(fetch.duration.total_seconds() * 1000),
            "total": fetch.total,
            "tickers": fetch.tickers,
            "version": fetch.version,
            "wait": fetch.wait,
        },
    )
