"""Figures: how the whole relay stands, for monitoring, in a few cheap looks. Read only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from database import lanes
from database.pool import ReadConnection
from database.universes import NEWEST
from domain.delivery import DestinationId
from domain.rate import Used, Window, parse_windows

# Each part is answered by an index that holds only what waits, by one end of an index, or by a
# table that stays small (`test_plans.py` looks at the plans).
ONE = text(f"""
    SELECT clock_timestamp() AS now,
           (SELECT paused_at IS NOT NULL
                   AND coalesce(paused_until, 'infinity') > clock_timestamp()
            FROM gate) AS buying_paused,
           lookout.paused_at IS NOT NULL AS fetching_paused,
           universe.confirmed_at, cardinality(universe.tickers) AS tickers,
           CAST(screens.refresh_sec AS double precision) AS refresh, watches.due_at AS fetch_due_at,
           (SELECT jsonb_object_agg(severity, number) FROM (
               SELECT severity, count(*) AS number FROM attention
               WHERE resolved_at IS NULL GROUP BY severity) AS open) AS attention,
           (SELECT jsonb_object_agg(state, number) FROM (
               SELECT state, count(*) AS number FROM positions
               WHERE state IN ('opening', 'open', 'closing') GROUP BY state) AS live) AS positions,
           (SELECT count(*) FROM signals
            WHERE status = 'received' AND waits_until IS NOT NULL) AS waiting,
           (SELECT at FROM events WHERE id > coalesce((
                SELECT last_id FROM links ORDER BY number DESC LIMIT 1), 0)
            ORDER BY id LIMIT 1) AS unlinked_since,
           (SELECT received_at FROM signals ORDER BY seq LIMIT 1) AS first_at,
           (SELECT count(*) FROM notices WHERE state = 'queued') AS notices
    FROM lookout CROSS JOIN screens {NEWEST}
    LEFT JOIN watches ON watches.screen_id = screens.id
    WHERE screens.active
""")

UNDECIDED = text("""
    SELECT side, count(*) AS signals, min(received_at) AS since FROM signals
    WHERE status = 'received' AND waits_until IS NULL GROUP BY side
""")

DESTINATIONS = text("""
    SELECT destinations.id, name, state, breaker, windows, mode,
           greatest(hold_until - clock_timestamp(), interval '0') AS held_back
    FROM destinations JOIN destination_versions AS kept
      ON kept.destination_id = destinations.id AND kept.version = destinations.version
    ORDER BY name
""")

UNFINISHED = text("""
    SELECT destination_id, side, count(*) FILTER (WHERE state <> 'held') AS waiting,
           count(*) FILTER (WHERE state = 'held') AS held,
           min(queued_at) FILTER (WHERE state <> 'held') AS since
    FROM deliveries WHERE finished_at IS NULL GROUP BY destination_id, side
""")

SIZE = text("SELECT pg_database_size(current_database())")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How many wait, on one side, and since when the oldest does."""

    side: str
    waiting: int
    since: datetime | None
    held: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A destination.

    ``used`` is how full each window is; ``held_back`` how long it asked us to wait from now on.
    """

    name: str
    state: str
    breaker: str
    mode: str
    held_back: timedelta
    windows: Sequence[Window]
    used: Sequence[Used]
    queues: Sequence[Queue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All of it at one moment, ``now`` of the database's clock.

    ``waiting`` are the buys that wait for their ticker to come into the list; ``unlinked_since``
    the first event that is in no link of the chain yet; ``first_at`` the oldest signal kept.
    """

    now: datetime
    buying_paused: bool
    fetching_paused: bool
    confirmed_at: datetime | None
    tickers: int
    refresh: timedelta
    fetch_due_at: datetime | None
    attention: Mapping[str, int]
    positions: Mapping[str, int]
    waiting: int
    unlinked_since: datetime | None
    first_at: datetime | None
    notices: int
    undecided: Sequence[Queue]
    destinations: Sequence[Standing]


async def read(connection: ReadConnection) -> Figures:
    """Everything at once; on a read connection it is one snapshot of the database."""
    one = (await connection.execute(ONE)).one()
    undecided = (await connection.execute(UNDECIDED)).all()
    return Figures(
        now=one.now,
        buying_paused=bool(one.buying_paused),
        fetching_paused=one.fetching_paused,
        confirmed_at=one.confirmed_at,
        tickers=one.tickers or 0,
        refresh=timedelta(seconds=one.refresh),
        fetch_due_at=one.fetch_due_at,
        attention=one.attention or {},
        positions=one.positions or {},
        waiting=one.waiting,
        unlinked_since=one.unlinked_since,
        first_at=one.first_at,
        notices=one.notices,
        undecided=[Queue(side=r.side, waiting=r.signals, since=r.since) for r in undecided],
        destinations=await _standings(connection),
    )


async def _standings(connection: ReadConnection) -> list[Standing]:
    queues: dict[DestinationId, list[Queue]] = {}
    for row in await connection.execute(UNFINISHED):
        queue = Queue(side=row.side, waiting=row.waiting, since=row.since, held=row.held)
        queues.setdefault(DestinationId(row.destination_id), []).append(queue)
    found: list[Standing] = []
    for row in (await connection.execute(DESTINATIONS)).all():
        id, windows = DestinationId(row.id), parse_windows(row.windows) if row.windows else ()
        usage = await lanes.usage(connection, id, windows) if windows else None
        found.append(
            Standing(
                name=row.name,
                state=row.state,
                breaker=row.breaker,
                mode=row.mode,
                held_back=row.held_back or timedelta(0),
                windows=windows,
                used=usage.used if usage else (),
                queues=queues.get(id, ()),
            )
        )
    return found


async def size(connection: ReadConnection) -> int:
    """Bytes of the database on disk: a look at each of its files."""
    return (await connection.execute(SIZE)).scalar_one()
