"""The chronicle: what became of signals, event by event without a gap, for the log and traces."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from database.connection import Row
from database.pool import Connection
from domain.delivery import DeliveryId
from domain.signal import SignalId
from domain.stage import Stage

# One replica writes at a time; the others find the row taken. Nobody waits for the disk: where
# this is lost in a crash, some lines are written twice.
CLAIM = text("""
    SELECT CAST(xid AS text) AS xid, event_id, set_config('synchronous_commit', 'off', true)
    FROM chronicle FOR UPDATE SKIP LOCKED
""")

BEHIND = text("""
    SELECT count(*) FROM (
        SELECT FROM events WHERE (xid, id) > (CAST(CAST(:xid AS text) AS xid8), :id)
        LIMIT :most) AS untold
""")

# What is older than every running transaction is complete: nobody can commit into it any more.
READ = text("""
    WITH batch AS MATERIALIZED (
        SELECT id, xid, at, event, signal_id, delivery_id, actor, detail FROM events
        WHERE (xid, id) > (CAST(CAST(:xid AS text) AS xid8), CAST(:id AS bigint))
          AND xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY xid, id LIMIT :limit
    )
    SELECT batch.id, CAST(batch.xid AS text) AS xid, at, event, batch.signal_id, batch.delivery_id,
           actor, detail, signals.ticker, signals.side, signals.source, signals.traceparent,
           signals.received_at, destinations.name AS destination,
           CASE WHEN event = 'delivery.sending' THEN coalesce((
               SELECT max(finished_at) FROM attempts
               WHERE attempts.delivery_id = batch.delivery_id AND finished_at <= batch.at
           ), deliveries.queued_at) END AS waits_since
    FROM batch LEFT JOIN signals
        ON signals.id = batch.signal_id AND NOT starts_with(batch.event, 'position.')
    LEFT JOIN deliveries ON deliveries.id = batch.delivery_id
    LEFT JOIN destinations ON destinations.id = deliveries.destination_id
    ORDER BY batch.xid, batch.id
""")

MOVE = text("""
    UPDATE chronicle SET xid = CAST(CAST(:xid AS text) AS xid8), event_id = :id
""")

# From now on; what is passed over is in the audit trail.
JUMP = text("""
    UPDATE chronicle SET xid = pg_snapshot_xmin(pg_current_snapshot()), event_id = 0
""")


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the events were told."""

    xid: str
    event_id: int


@dataclass(frozen=True, slots=True)
class Passage:
    """The stages after a mark, and the mark after them; ``more``: as many as were asked for."""

    stages: Sequence[Stage]
    mark: Mark
    more: bool


async def claim(connection: Connection) -> Mark | None:
    """Be the one who tells until this transaction ends; None: somebody else is."""
    row = (await connection.execute(CLAIM)).one_or_none()
    return None if row is None else Mark(row.xid, row.event_id)


async def is_far_behind(connection: Connection, mark: Mark, most: int) -> bool:
    given = {"xid": mark.xid, "id": mark.event_id, "most": most}
    return (await connection.execute(BEHIND, given)).scalar_one() >= most


async def read(connection: Connection, mark: Mark, limit: int) -> Passage:
    """The next stages. What was imported happened elsewhere, and is no event here.

    The mark goes past events that are no stages too: they are read once.
    """
    given = {"xid": mark.xid, "id": mark.event_id, "limit": limit}
    rows = (await connection.execute(READ, given)).all()
    if rows:
        mark = Mark(rows[-1].xid, rows[-1].id)
    stages = [_stage(row) for row in rows if row.source]  # the others are events of something else
    return Passage(stages, mark, len(rows) == limit)


def _stage(row: Row) -> Stage:
    return Stage(
        at=row.at,
        event=row.event,
        signal_id=SignalId(row.signal_id),
        delivery_id=row.delivery_id and DeliveryId(row.delivery_id),
        traceparent=row.traceparent,
        ticker=row.ticker,
        side=row.side,
        source=row.source,
        destination=row.destination,
        actor=row.actor,
        detail=row.detail or {},
        received_at=row.received_at,
        waits_since=row.waits_since,
    )


async def move(connection: Connection, mark: Mark) -> None:
    await connection.execute(MOVE, {"xid": mark.xid, "id": mark.event_id})


async def jump(connection: Connection) -> None:
    """Tell nothing of what happened until now."""
    await connection.execute(JUMP)
