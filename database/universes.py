"""Universes: the list in force, and how the last look at Finviz went."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from sqlalchemy import text

from database.connection import Row as SqlRow
from database.pool import ReadConnection
from database.screens import NAMES, screen_of
from domain.screen import Screen
from domain.ticker import Ticker
from domain.universe import FetchOutcome, Universe

Key: TypeAlias = tuple[object, ...]

# The newest list that a screen answered at its present address.
NEWEST = """LEFT JOIN LATERAL (
        SELECT * FROM universes
        WHERE universes.screen_id = screens.id AND universes.url = screens.url
          AND CAST(md5(universes.url) AS uuid) = CAST(md5(screens.url) AS uuid)
        ORDER BY universes.version DESC LIMIT 1
    ) AS universe ON true"""

# The universe in force is that of the active screen.
_IN_FORCE = f"FROM screens {NEWEST} WHERE screens.active"

MARK = text(f"""
    SELECT screens.id, screens.version AS screen_version, universe.version, universe.confirmed_at,
           universe.fresh_since
    {_IN_FORCE}
""")

_TERMS = ", ".join(f"screens.{name}" for name in NAMES.split(", ") if name != "valid_until")
LIST = """universe.version, universe.tickers AS ranked, universe.total, universe.fetched_at,
           universe.confirmed_at, universe.kept, universe.fresh_since,
           universe.valid_until AS ends_at"""

# Screen and list in one statement: read apart, a change between them would pair the old screen
# with the new list.
CURRENT = text(f"""
    SELECT screens.id, screens.version AS screen_version, screens.name, screens.updated_at,
           {_TERMS}, screens.valid_until, {LIST}, clock_timestamp() AS now
    {_IN_FORCE}
""")

AGE = text(f"SELECT clock_timestamp() - universe.confirmed_at {_IN_FORCE}")

LAST_FETCH = text("""
    SELECT last.at, last.outcome, detail, watches.due_at AS next_at, last.version, premium,
           outcome_since, asked_until, pending_total, pending_at, pending_reason,
           CASE WHEN watches.screen_version = screens.version THEN pending END AS pending,
           paused_at, paused_by, paused_reason, clock_timestamp() AS now
    FROM lookout CROSS JOIN screens
    JOIN watches ON watches.screen_id = screens.id
    CROSS JOIN LATERAL (
        SELECT * FROM fetches WHERE fetches.screen_id = screens.id ORDER BY id DESC LIMIT 1
    ) AS last
    WHERE screens.active
""")


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells whether the list in force is still the one we know, and when it was confirmed."""

    key: Key
    confirmed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """The active screen and the list in force (None: there is none for its present address).

    ``since`` is when the screen last changed, ``now`` the database's clock when this was read.
    """

    key: Key
    name: str
    screen: Screen
    universe: Universe | None
    since: datetime
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A suspect list that waits for a second one like it, or for an operator's word."""

    tickers: tuple[Ticker, ...]
    total: int
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nobody asks Finviz until an operator resumes."""

    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LastFetch:
    """How the last look at Finviz went; ``now`` is the database's clock when this was read.

    ``since`` is when looks began to end like this one; ``asked_until`` is how long Finviz asked us
    to stay away; ``premium`` whether it says that the account is Elite (None: it did not say).
    """

    at: datetime
    outcome: FetchOutcome
    since: datetime
    detail: str
    next_at: datetime
    now: datetime
    premium: bool | None = None
    asked_until: datetime | None = None
    pending: Pending | None = None
    pause: Pause | None = None


class NoScreenError(RuntimeError):
    """There is no active screen: the database was never set up by a start."""


async def mark(connection: ReadConnection) -> Mark:
    """A cheap look at what is in force."""
    row = (await connection.execute(MARK)).one_or_none()
    if row is None:
        raise NoScreenError
    return Mark(_key(row), row.confirmed_at)


async def current(connection: ReadConnection) -> Current:
    """The list in force with all its ranks."""
    row = (await connection.execute(CURRENT)).one_or_none()
    if row is None:
        raise NoScreenError
    return Current(
        key=_key(row),
        name=row.name,
        screen=screen_of(row),
        universe=universe_of(row),
        since=row.updated_at,
        now=row.now,
    )


def _key(row: SqlRow) -> Key:
    return (row.id, row.screen_version, row.version, row.fresh_since)


def universe_of(row: SqlRow) -> Universe | None:
    """The list in a row that has `LIST`; None when there is none."""
    if row.version is None:
        return None
    return Universe(
        version=row.version,
        tickers=tuple(row.ranked),
        total=row.total,
        fetched_at=row.fetched_at,
        confirmed_at=row.confirmed_at,
        kept=frozenset(row.kept),
        fresh_since=row.fresh_since,
        valid_until=row.ends_at,
    )


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
        since=row.outcome_since or row.at,
        detail=row.detail,
        next_at=row.next_at,
        now=row.now,
        premium=row.premium,
        asked_until=row.asked_until,
        pending=_pending(row),
        pause=row.paused_at and Pause(at=row.paused_at, by=row.paused_by, reason=row.paused_reason),
    )


def _pending(row: SqlRow) -> Pending | None:
    if row.pending is None or row.pending_at is None:
        return None
    return Pending(
        tickers=tuple(row.pending),
        total=row.pending_total,
        at=row.pending_at,
        reason=row.pending_reason,
    )
