"""Statistics: how much waits, how today went, how each destination stands. Read only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text

from database import lanes
from database.pool import ReadConnection
from domain.delivery import DestinationId
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

RECENT = text("""
    SELECT status, reason, count(*) AS signals FROM signals
    WHERE received_at >= statement_timestamp() - interval '24 hours'
    GROUP BY status, reason ORDER BY status, signals DESC
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How the relay stands, all of it at one moment. ``dead``: deliveries given up in 24 hours."""

    backlog: Backlog
    recent: Sequence[Count]
    standings: Sequence[Standing]
    positions: Mapping[str, int]
    dead: int

    def of_reason(self, reason: str) -> int:
        """Signals of the last 24 hours that were turned away for this."""
        return sum(count.signals for count in self.recent if count.reason == reason)


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
    return [Count(status=r.status, reason=r.reason, signals=r.signals) for r in rows]


async def standings(connection: ReadConnection) -> list[Standing]:
    """How each destination stands, by name; its windows as the forwarder counts them."""
    rows = (await connection.execute(STANDING)).all()
    return [await _standing(connection, row) for row in rows]


async def _standing(connection: ReadConnection, row: Row[tuple[Any, ...]]) -> Standing:
    windows = parse_windows(row.windows) if row.windows else ()
    usage = await lanes.usage(connection, DestinationId(row.id), windows)
    return Standing(
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
