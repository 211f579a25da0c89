"""Ranks: where a ticker stood in the lists of a screen over a period, and what came for it then."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from database.audit import SHOWN, Facts
from database.pool import ReadConnection
from database.screens import ScreenId
from domain.spell import Point
from domain.ticker import Ticker

_PLACE = """fetched_at AS at, version, array_position(tickers, :ticker) AS rank, top_n,
               :ticker = ANY(kept) AS kept"""
_WITHIN = "screen_id = :screen AND fetched_at > :since AND fetched_at <= :until"

# In order: else the planner may look for them from the beginning of the table.
VERSIONS = text(f"""
    SELECT count(*) FROM (
        SELECT FROM universes WHERE {_WITHIN} ORDER BY fetched_at LIMIT :most + 1
    ) AS counted
""")

# Where the screen's address changes, the list changes though no version comes: the newest one of
# that address is in force again, or there is none yet. So it is where the period begins.
_TURNS = f"""
    turns AS (
        SELECT CAST(:since AS timestamptz) AS at, coalesce(
            (SELECT url FROM screen_versions
             WHERE screen_id = :screen AND made_at <= :since ORDER BY version DESC LIMIT 1),
            (SELECT url FROM screen_versions
             WHERE screen_id = :screen ORDER BY version LIMIT 1)) AS url
        UNION ALL
        SELECT made_at, url FROM (
            SELECT made_at, url, lag(url) OVER (ORDER BY version) AS was
            FROM screen_versions WHERE screen_id = :screen
        ) AS changes
        WHERE url <> was AND made_at > :since AND made_at <= :until
    ), known AS (
        SELECT turns.at, former.version, former.rank, former.top_n, former.kept
        FROM turns LEFT JOIN LATERAL (
            SELECT {_PLACE} FROM universes
            WHERE screen_id = :screen AND url = turns.url AND fetched_at <= turns.at
              AND CAST(md5(url) AS uuid) = CAST(md5(turns.url) AS uuid) AND version <= (
                SELECT version FROM universes
                WHERE screen_id = :screen AND fetched_at <= turns.at
                ORDER BY fetched_at DESC LIMIT 1)
            ORDER BY version DESC LIMIT 1
        ) AS former ON true
    )"""
_POINTS = """
    WITH {first}, placed AS (
        SELECT at, version, rank, coalesce(rank <= top_n OR kept, false) AS is_in
        FROM ({lists} UNION ALL SELECT * FROM known) AS lists
    )
    SELECT at, version, rank, is_in, {crossings} AS crossings FROM (
        SELECT *, lag(rank) OVER steps AS rank_was, lag(is_in) OVER steps AS was_in
        FROM placed WINDOW steps AS (ORDER BY at, version NULLS FIRST)
    ) AS compared
    WHERE was_in IS NULL OR was_in <> is_in OR rank_was IS DISTINCT FROM rank
    ORDER BY at, version NULLS FIRST
"""
EVERY_POINT = text(
    _POINTS.format(
        first=_TURNS, lists=f"SELECT {_PLACE} FROM universes WHERE {_WITHIN}", crossings="0"
    )
)

# The moments; every coming and going between them; and the first list after each turn.
SAMPLED_POINTS = text(
    _POINTS.format(
        first=f"""{_TURNS}, crossings AS MATERIALIZED (
            SELECT {_PLACE} FROM universes
            WHERE {_WITHIN} AND entered || dropped @> ARRAY[CAST(:ticker AS text)]
              AND (entered <> '{{}}' OR dropped <> '{{}}')
            ORDER BY fetched_at DESC LIMIT :most + 1
        )""",
        lists=f"""
            SELECT * FROM crossings
            UNION SELECT sample.*
            FROM generate_series(
                CAST(:since AS timestamptz), CAST(:until AS timestamptz), CAST(:every AS interval)
            ) AS moment CROSS JOIN LATERAL (
                SELECT {_PLACE} FROM universes
                WHERE {_WITHIN} AND fetched_at <= moment ORDER BY fetched_at DESC LIMIT 1
            ) AS sample
            UNION SELECT following.* FROM turns CROSS JOIN LATERAL (
                SELECT {_PLACE} FROM universes
                WHERE {_WITHIN} AND fetched_at > turns.at ORDER BY fetched_at LIMIT 1
            ) AS following""",
        crossings="(SELECT count(*) FROM crossings)",
    )
)

CAME = text(f"""
    SELECT id, received_at AS at, side, {SHOWN} AS status, reason FROM signals
    WHERE ticker = :ticker AND received_at > :since AND received_at <= :until
    ORDER BY seq DESC LIMIT :most
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A period of at most ``exact`` versions is read whole.

    Of a longer one: ``samples`` moments evenly apart, and the newest ``crossings`` at which the
    ticker came or went.
    """

    exact: int = 5_000
    samples: int = 500
    crossings: int = 2_000
    signals: int = 500


LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which ticker, in the lists of which screen, and in which period."""

    screen: ScreenId
    ticker: Ticker
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Where the rank of a ticker changed, oldest first, and its signals, newest first.

    ``every`` is the distance of the moments that were looked at (None: every version was);
    ``capped``: it came and went so often that only the newest such moments are among them.
    """

    points: Sequence[Point]
    every: timedelta | None
    capped: bool
    signals: Sequence[Facts]


async def over_time(connection: ReadConnection, wanted: Wanted, limits: Limits = LIMITS) -> Ranks:
    """The rank of a ticker over a period: exact, or sampled when it has too many versions."""
    times = {"since": wanted.since, "until": wanted.until}
    asked = times | {"screen": wanted.screen}
    versions = await connection.execute(VERSIONS, asked | {"most": limits.exact})
    every = None
    if versions.scalar_one() > limits.exact:
        every = (wanted.until - wanted.since) / limits.samples
    given = asked | {"ticker": wanted.ticker}
    sampling = {"every": every, "most": limits.crossings} if every else {}
    query = SAMPLED_POINTS if every else EVERY_POINT
    points = (await connection.execute(query, given | sampling)).all()
    came = times | {"ticker": wanted.ticker, "most": limits.signals}
    return Ranks(
        points=[Point(at, version, rank, is_in) for at, version, rank, is_in, _ in points],
        every=every,
        capped=points[0].crossings > limits.crossings,
        signals=[dict(row) for row in (await connection.execute(CAME, came)).mappings()],
    )
