"""Statistics: how much waits, how today went, how each destination stands. Read only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text

from database import lanes
from database.audit import Facts
from database.pool import ReadConnection
from database.tallies import judged, undelivered
from domain.breaker import BreakerState
from domain.delivery import DestinationId
from domain.destination import DestinationState
from domain.rate import Window, parse_windows

BACKLOG = text("""
    SELECT (SELECT count(*) FROM signals
            WHERE status = 'received' AND waits_until IS NULL) AS undecided,
           (SELECT count(*) FROM signals
            WHERE status = 'received' AND waits_until IS NOT NULL) AS waiting,
           (SELECT count(*) FROM deliveries WHERE finished_at IS NULL) AS unfinished,
           (SELECT clock_timestamp() - received_at
            FROM signals WHERE status = 'received' AND waits_until IS NULL
            ORDER BY seq LIMIT 1) AS undecided_for,
           (SELECT clock_timestamp() - min(queued_at)
            FROM deliveries WHERE finished_at IS NULL) AS unfinished_for
""")

# The time of the transaction, so that what is counted in two statements adds up.
_DAY = "now() - interval '24 hours'"
RECENT = text(f"""
    SELECT status, nullif(reason, '') AS reason, sum(signals) AS signals
    FROM ({judged(_DAY)}) AS counted
    GROUP BY status, reason ORDER BY status, signals DESC
""")
FATES = text(f"""
    WITH late AS MATERIALIZED (
        SELECT state, count(*) AS signals FROM ({undelivered(_DAY)}) AS shown GROUP BY state
    ), arrived AS MATERIALIZED (
        SELECT coalesce((SELECT sum(sent) FROM ({judged(_DAY)}) AS counted), 0)
               - coalesce((SELECT sum(signals) FROM late), 0) AS signals
    )
    SELECT state, signals FROM late
    UNION ALL SELECT 'delivered', signals FROM arrived WHERE signals > 0
""")

WORST = text("""
    SELECT attention.id, cause, severity, text, count, last_at, signal_id, position_id,
           destination_id, destinations.name AS destination
    FROM attention LEFT JOIN destinations ON destinations.id = attention.destination_id
    WHERE resolved_at IS NULL
    ORDER BY array_position(ARRAY['urgent', 'warning', 'info'], severity), last_at DESC
    LIMIT :limit
""")

# The last alert of any source, whether the watchman wrote of it yet or not; where people are told.
FIRST_STEPS = text("""
    SELECT greatest((SELECT max(last_at) FROM hearings), (
               SELECT max(received_at)
               FROM (SELECT * FROM signals ORDER BY seq DESC LIMIT 20) AS latest
               WHERE imported_from IS NULL AND batch_id IS NULL AND replay_of IS NULL)) AS heard_at,
           EXISTS (SELECT FROM universes) AS listed,
           (SELECT count(*) FROM channels WHERE enabled AND archived_at IS NULL) AS channels
""")
KNOCKED = text("""
    SELECT at, origin FROM events
    WHERE actor IS NOT NULL AND event = 'access.refused'
      AND starts_with(detail->>'door', 'POST /webhook/in')
      AND at >= statement_timestamp() - interval '1 hour'
      AND id > (SELECT coalesce(max(id), 0) - 100000 FROM events)
    ORDER BY id DESC LIMIT 1
""")


STANDING = text("""
    SELECT destinations.name, url_shown, windows, mode, destinations.state, breaker,
           breaker_since, breaker_cause, destinations.id,
           greatest(hold_until - clock_timestamp(), interval '0') AS held_for,
           count(deliveries.id) FILTER (WHERE deliveries.state <> 'held') AS waiting,
           count(deliveries.id) FILTER (WHERE deliveries.state = 'held') AS held,
           min(deliveries.queued_at) FILTER (WHERE deliveries.state <> 'held') AS oldest
    FROM destinations
    JOIN destination_versions AS kept ON kept.destination_id = destinations.id
                                     AND kept.version = destinations.version
    LEFT JOIN deliveries ON deliveries.destination_id = destinations.id
                        AND deliveries.finished_at IS NULL
    GROUP BY destinations.id, kept.destination_id, kept.version ORDER BY destinations.name
""")

POSITIONS = text("""
    SELECT state, count(*) AS positions FROM positions
    WHERE state IN ('opening', 'open', 'closing') GROUP BY state
""")


DEAD = text("""
    SELECT count(*) FROM deliveries
    WHERE state = 'dead' AND finished_at >= statement_timestamp() - interval '24 hours'
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits, and for how long the oldest of it has waited.

    ``waiting`` are the buys that wait for their ticker to come into the list.
    """

    undecided: int
    waiting: int
    unfinished: int
    undecided_for: timedelta | None
    unfinished_for: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    status: str
    reason: str | None
    signals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A destination for people.

    ``used`` is how many requests left within each window, ``held_for`` how long it asked us to wait
    from now on, ``held`` how many deliveries wait for the operator's word.
    """

    id: DestinationId
    name: str
    url_shown: str
    windows: Sequence[Window]
    state: str
    mode: str
    breaker: str
    breaker_since: datetime | None
    breaker_cause: str | None
    held: int
    held_for: timedelta | None
    waiting: int
    oldest: datetime | None
    used: Sequence[int]

    @property
    def fails(self) -> bool:
        """Its breaker is not closed, and it is in use: what is not is not tried either."""
        return self.state == DestinationState.ENABLED and self.breaker != BreakerState.CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSteps:
    """When any source was heard last, and how many channels tell an operator.

    ``listed``: some list was read, though the screen in force may have none.
    """

    heard_at: datetime | None
    listed: bool
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """Somebody posted an alert with a wrong token, or none."""

    at: datetime
    origin: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How the relay stands, all of it at one moment. ``dead``: deliveries given up in 24 hours."""

    backlog: Backlog
    recent: Sequence[Count]
    standings: Sequence[Standing]
    positions: Mapping[str, int]
    dead: int


async def snapshot(connection: ReadConnection) -> Snapshot:
    """Everything at once; on a read connection it is one snapshot of the database."""
    return Snapshot(
        backlog=await backlog(connection),
        recent=await recent(connection),
        standings=await standings(connection),
        positions=await positions(connection),
        dead=await dead(connection),
    )


async def backlog(connection: ReadConnection) -> Backlog:
    row = (await connection.execute(BACKLOG)).one()
    return Backlog(
        undecided=row.undecided,
        waiting=row.waiting,
        unfinished=row.unfinished,
        undecided_for=row.undecided_for,
        unfinished_for=row.unfinished_for,
    )


async def recent(connection: ReadConnection) -> list[Count]:
    """Signals of the last 24 hours by status and reason."""
    rows = await connection.execute(RECENT)
    return [Count(status=r.status, reason=r.reason, signals=int(r.signals)) for r in rows]


async def fates(connection: ReadConnection) -> dict[str, int]:
    """The approved signals of the last 24 hours by the state that each shows."""
    return {row.state: int(row.signals) for row in await connection.execute(FATES)}


async def worst(connection: ReadConnection, limit: int) -> list[Facts]:
    """The attention items that are open, the worst and latest first."""
    rows = await connection.execute(WORST, {"limit": limit})
    return [dict(row) for row in rows.mappings()]


async def first_steps(connection: ReadConnection) -> FirstSteps:
    """How far the relay is set up, as far as rows tell."""
    row = (await connection.execute(FIRST_STEPS)).one()
    return FirstSteps(heard_at=row.heard_at, listed=row.listed, channels=row.channels)


async def knocked(connection: ReadConnection) -> Knock | None:
    """Who was last refused at the webhook, within the last hour."""
    row = (await connection.execute(KNOCKED)).one_or_none()
    return None if row is None else Knock(at=row.at, origin=row.origin)


async def standings(connection: ReadConnection) -> list[Standing]:
    """How each destination stands, by name; its windows as the forwarder counts them."""
    rows = (await connection.execute(STANDING)).all()
    return [await _standing(connection, row) for row in rows]


async def _standing(connection: ReadConnection, row: Row[tuple[Any, ...]]) -> Standing:
    windows = parse_windows(row.windows) if row.windows else ()
    usage = await lanes.usage(connection, DestinationId(row.id), windows)
    return Standing(
        id=DestinationId(row.id),
        name=row.name,
        url_shown=row.url_shown,
        windows=windows,
        state=row.state,
        mode=row.mode,
        breaker=row.breaker,
        breaker_since=row.breaker_since,
        breaker_cause=row.breaker_cause,
        held=row.held,
        held_for=row.held_for or None,
        waiting=row.waiting,
        oldest=row.oldest,
        used=[used.total for used in usage.used],
    )


async def dead(connection: ReadConnection) -> int:
    """Deliveries given up in the last 24 hours: every one of them wants to be looked at."""
    return (await connection.execute(DEAD)).scalar_one()


async def positions(connection: ReadConnection) -> dict[str, int]:
    """How many positions are opening, open and closing."""
    return {row.state: row.positions for row in await connection.execute(POSITIONS)}
