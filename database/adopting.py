"""Adopting: a proven list becomes the next version, or confirms the last; each look is logged."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from database.pool import Connection
from database.screens import Kept
from database.universes import LIST, NEWEST, universe_of
from domain.universe import FetchOutcome, Row, Succession, Trust, succession, trust

# The list before, while nobody else can make the next: whoever adopts holds the watch's row. A
# screen that was changed since it was asked for is asked again; its answer does not count.
LAST = text(f"""
    SELECT {LIST}, universe.top_n, universe.margin, clock_timestamp() AS now
    FROM screens {NEWEST}
    WHERE screens.id = :screen AND screens.version = :screen_version
    FOR SHARE OF screens
""")

# A list is as old as the question it answers: who stood still before he recorded it made it no
# younger. One that is equal to the last is a touch, not a copy. The audit trail is told who came
# and left: one that only ranks the same tickers otherwise is no event.
TOUCH = text("""
    UPDATE universes
    SET confirmed_at = greatest(confirmed_at, CAST(:seen_at AS timestamptz)), total = :total,
        fresh_since = coalesce(CAST(:fresh_since AS timestamptz), clock_timestamp()),
        prices = CAST(:prices AS double precision[]), volumes = CAST(:volumes AS bigint[])
    WHERE version = :version
""")
ADOPT = text("""
    WITH made AS (
        INSERT INTO universes (screen_id, url, tickers, prices, volumes, total, top_n, margin, kept,
                               entered, dropped, fetched_at, confirmed_at, fresh_since, valid_until,
                               accepted_by)
        SELECT :screen, :url, CAST(:tickers AS text[]), CAST(:prices AS double precision[]),
               CAST(:volumes AS bigint[]), :total, :top_n, :margin, CAST(:kept AS text[]),
               CAST(:entered AS text[]), CAST(:dropped AS text[]), clock.at,
               CAST(:seen_at AS timestamptz),
               coalesce(CAST(:fresh_since AS timestamptz), clock.at),
               CAST(:valid_until AS timestamptz), :accepted_by
        FROM (SELECT clock_timestamp() AS at) AS clock
        RETURNING *
    ), told AS (
        INSERT INTO events (event, actor, detail)
        SELECT 'universe.adopted', accepted_by,
               jsonb_strip_nulls(jsonb_build_object(
                   'screen_id', screen_id, 'version', version, 'tickers', cardinality(tickers),
                   'total', total, 'entered', entered, 'dropped', dropped))
        FROM made WHERE :told
    )
    SELECT version FROM made
""")

LOG = text("""
    WITH before AS (
        SELECT outcome FROM fetches WHERE screen_id = :screen ORDER BY id DESC LIMIT 1
    ), logged AS (
        INSERT INTO fetches (screen_id, screen_version, at, outcome, detail, pages, duration_ms,
                             total, tickers, version, premium, next_at)
        VALUES (:screen, :screen_version, clock_timestamp(), :outcome, :detail, :pages,
                :duration_ms, :total, :tickers, :version, :premium,
                clock_timestamp() + CAST(:wait AS interval))
        RETURNING outcome, detail
    )
    INSERT INTO events (event, detail)
    SELECT 'list.' || logged.outcome,
           jsonb_build_object('was', before.outcome, 'detail', logged.detail)
    FROM logged LEFT JOIN before ON true
    WHERE logged.outcome IS DISTINCT FROM before.outcome
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list that may replace the one in force: by its own proof, or ``accepted_by`` somebody.

    ``seen_at`` is when Finviz was asked for it, on the clock of the database.
    """

    rows: Sequence[Row]
    total: int
    seen_at: datetime
    accepted_by: str | None = None


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
    premium: bool | None = None


async def adopt(
    connection: Connection, kept: Kept, listing: Listing, *, max_age: timedelta
) -> int | None:
    """Make this the list in force and return its version; None when the screen has moved on.

    Only for a transaction that holds the watch's row, so that nobody else adopts meanwhile.
    ``max_age`` tells whether the list before was still fresh.
    """
    asked = {"screen": kept.id, "screen_version": kept.version}
    row = (await connection.execute(LAST, asked)).one_or_none()
    if row is None:
        return None
    before, screen = universe_of(row), kept.screen
    fresh = trust(before, row.now, max_age) is Trust.FRESH
    since = before.fresh_since if before and fresh else None
    values = _values(kept, listing) | {"fresh_since": since}
    steps = succession(
        before.members(row.top_n, row.margin) if before else None,
        [one.ticker for one in listing.rows],
        top_n=screen.top_n,
        margin=screen.margin,
        fresh=fresh,
    )
    was = (row.ranked, row.top_n, row.margin, row.ends_at, before and before.kept)
    new = (values["tickers"], screen.top_n, screen.margin, screen.valid_until, steps.kept)
    if was == new:
        await connection.execute(TOUCH, values | {"version": row.version})
        return row.version
    told = before is None or bool(steps.changes.entered or steps.changes.left)
    return (await connection.execute(ADOPT, values | _steps(steps) | {"told": told})).scalar_one()


def _values(kept: Kept, listing: Listing) -> dict[str, object]:
    rows, screen = listing.rows, kept.screen
    return {
        "screen": kept.id,
        "url": screen.url,
        "tickers": [row.ticker for row in rows],
        "prices": [None if row.price is None else float(row.price) for row in rows],
        "volumes": [row.volume for row in rows],
        "total": listing.total,
        "seen_at": listing.seen_at,
        "top_n": screen.top_n,
        "margin": screen.margin,
        "valid_until": screen.valid_until,
        "accepted_by": listing.accepted_by,
    }


def _steps(steps: Succession) -> dict[str, object]:
    return {
        "kept": sorted(steps.kept),
        "entered": list(steps.changes.entered),
        "dropped": list(steps.changes.left),
    }


async def log(connection: Connection, kept: Kept, fetch: Fetch) -> None:
    """Keep how a look went, and tell the audit trail when its outcome changed."""
    await connection.execute(
        LOG,
        {
            "screen": kept.id,
            "screen_version": kept.version,
            "outcome": fetch.outcome,
            "detail": fetch.detail[:500],
            "pages": fetch.pages,
            "duration_ms": int(fetch.duration.total_seconds() * 1000),
            "total": fetch.total,
            "tickers": fetch.tickers,
            "version": fetch.version,
            "premium": fetch.premium,
            "wait": fetch.wait,
        },
    )
