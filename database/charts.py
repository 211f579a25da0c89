"""Charts: what is counted over a period for them, by index. Read only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from database.pool import ReadConnection
from database.tallies import judged, undelivered
from domain.charts import Grid
from domain.delivery import DestinationId
from domain.rate import Window, parse_windows

NOW = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8)")


def _place(at: str, step: str = ":step") -> str:
    epoch = f"CAST(extract(epoch FROM {at}) AS float8)"
    return f"CAST(floor(({epoch} - :since) / CAST({step} AS float8)) AS integer)"


_SINCE = "to_timestamp(CAST(:since AS float8))"

OUTCOMES = text(f"""
    WITH counted AS MATERIALIZED (
        SELECT {_place("at")} AS place, status, sum(signals) AS signals, sum(sent) AS sent
        FROM ({judged(_SINCE)}) AS counted GROUP BY 1, 2
    ), late AS MATERIALIZED (
        SELECT {_place("at")} AS place, state, count(*) AS signals
        FROM ({undelivered(_SINCE)}) AS shown GROUP BY 1, 2
    )
    SELECT place, status, NULL AS state, signals FROM counted WHERE status <> 'approved'
    UNION ALL SELECT place, 'approved', state, signals FROM late
    UNION ALL
    SELECT place, 'approved', 'delivered', sent - coalesce(missing, 0)
    FROM counted LEFT JOIN (
        SELECT place, sum(signals) AS missing FROM late GROUP BY place
    ) AS missed USING (place)
    WHERE status = 'approved' AND sent > coalesce(missing, 0)
""")

LATENCIES = text(f"""
    SELECT {_place("received_at")} AS place, percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (
               ORDER BY extract(epoch FROM finished_at - received_at) * 1000) AS took
    FROM signals CROSS JOIN LATERAL (
        SELECT finished_at FROM deliveries
        WHERE signal_id = signals.id AND state = 'delivered' OFFSET 0) AS arrived
    WHERE received_at >= {_SINCE} AND status = 'approved' GROUP BY 1
""")

LIMITED = text("""
    SELECT destinations.id, name, windows
    FROM destinations
    JOIN destination_versions AS kept ON kept.destination_id = destinations.id
                                     AND kept.version = destinations.version
    WHERE state <> 'disabled' AND windows <> ''
      AND (CAST(:name AS text) IS NULL OR name = :name)
    ORDER BY name
""")
SENT = text(f"""
    SELECT {_place("coalesce(written_at, started_at)", ":slot")} AS slot, count(*) AS requests
    FROM attempts
    WHERE destination_id = :destination
      AND started_at >= {_SINCE} - CAST(:span AS interval)
      AND (written_at IS NOT NULL OR finished_at IS NULL)
    GROUP BY 1
""")

_FINE = "outcome IN ('ok', 'empty')"
CONFIRMED = text(f"""
    SELECT {_place("at")} AS place,
           CAST(max(extract(epoch FROM at - before)) AS float8) AS waited,
           CAST(max(extract(epoch FROM at)) AS float8) AS last
    FROM (
        SELECT at, lag(at) OVER (ORDER BY at) AS before FROM fetches
        WHERE screen_id = (SELECT id FROM screens WHERE active) AND {_FINE}
          AND at >= coalesce((
              SELECT at FROM fetches
              WHERE screen_id = (SELECT id FROM screens WHERE active) AND {_FINE} AND at < {_SINCE}
              ORDER BY at DESC LIMIT 1), {_SINCE})
    ) AS looks GROUP BY 1 ORDER BY 1
""")

# Looks that ended alike one after another are one.
FAILED = text(f"""
    SELECT CAST(extract(epoch FROM min(at)) AS float8) AS at, outcome, count(*) AS looks FROM (
        SELECT at, outcome, row_number() OVER (ORDER BY at)
               - row_number() OVER (PARTITION BY outcome ORDER BY at) AS spell
        FROM fetches
        WHERE screen_id = (SELECT id FROM screens WHERE active) AND at >= {_SINCE}
    ) AS looks WHERE NOT {_FINE}
    GROUP BY outcome, spell ORDER BY 1 DESC LIMIT :most
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """So many signals of a step have this status; approved ones with a state of deliveries."""

    place: int
    status: str
    state: str | None
    signals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """A destination with the windows it has."""

    id: DestinationId
    name: str
    windows: Sequence[Window]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """When the list was confirmed, by step, and the spells of looks that brought none."""

    confirmed: dict[int, tuple[float, float]]
    before: float | None
    failed: Sequence[tuple[float, str, int]]


def _period(grid: Grid) -> dict[str, Any]:
    return {"since": float(grid.since), "step": float(grid.step)}


async def now(connection: ReadConnection) -> float:
    """The database's time, by which everything is dated."""
    return (await connection.execute(NOW)).scalar_one()


async def outcomes(connection: ReadConnection, grid: Grid) -> list[Outcome]:
    """What became of the signals of each step, as it is by now."""
    rows = await connection.execute(OUTCOMES, _period(grid))
    return [
        Outcome(place=r.place, status=r.status, state=r.state, signals=int(r.signals)) for r in rows
    ]


async def latencies(connection: ReadConnection, grid: Grid) -> dict[int, tuple[float, float]]:
    """From the alert to its delivery, in ms: the median and the 99th percentile of each step."""
    rows = await connection.execute(LATENCIES, _period(grid))
    return {row.place: (float(row.took[0]), float(row.took[1])) for row in rows}


async def limited(connection: ReadConnection, name: str | None) -> list[Limited]:
    """Destinations in use that have windows, by name; or the one of a name."""
    rows = await connection.execute(LIMITED, {"name": name})
    return [
        Limited(id=DestinationId(row.id), name=row.name, windows=parse_windows(row.windows))
        for row in rows
    ]


async def sent(
    connection: ReadConnection, destination: DestinationId, since: int, slot: int, span: timedelta
) -> dict[int, int]:
    """Requests that left from ``span`` before ``since`` on, by slots of so many seconds."""
    given = {"destination": destination, "since": float(since), "slot": float(slot), "span": span}
    return {row.slot: row.requests for row in await connection.execute(SENT, given)}


async def looks(connection: ReadConnection, grid: Grid, most: int = 200) -> Looks:
    """How the looks for the active screen ended; of failures the newest ``most`` spells."""
    confirmed = {
        row.place: (row.waited or 0.0, row.last)
        for row in await connection.execute(CONFIRMED, _period(grid))
    }
    before = [last for place, (_, last) in confirmed.items() if place < 0]
    failed = await connection.execute(FAILED, {"since": float(grid.since), "most": most})
    return Looks(
        confirmed=confirmed,
        before=max(before, default=None),
        failed=[(row.at, row.outcome, row.looks) for row in failed][::-1],
    )
