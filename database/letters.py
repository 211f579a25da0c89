"""Deliveries that went wrong: held ones, that wait for a word, and dead letters."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from database.audit import Facts
from database.pool import ReadConnection

# The state stands in the statement, so that the index of held or of dead ones serves.
_LETTERS = """
    SELECT deliveries.id, deliveries.signal_id, deliveries.ticker, deliveries.side,
           deliveries.state, deliveries.reason, deliveries.attempts, queued_at, due_at,
           deliveries.expires_at, finished_at, destinations.name AS destination,
           deliveries.destination_id, last.outcome, last.status, last.error, later.id AS again
    FROM ({chosen}) AS deliveries
    JOIN destinations ON destinations.id = deliveries.destination_id
    LEFT JOIN LATERAL (
        SELECT outcome, attempts.status, error FROM attempts
        WHERE delivery_id = deliveries.id ORDER BY epoch DESC LIMIT 1
    ) AS last ON true
    LEFT JOIN LATERAL (
        SELECT signals.id FROM signals
        WHERE replay_of = deliveries.signal_id
          AND coalesce(only_destination_id, deliveries.destination_id) = deliveries.destination_id
        ORDER BY seq DESC LIMIT 1
    ) AS later ON true
    ORDER BY {order}
"""
_CHOSEN = """
    (CAST(:ticker AS text) IS NULL OR ticker = :ticker)
    AND (CAST(:destination AS uuid) IS NULL OR destination_id = :destination)
"""
HELD = text(
    _LETTERS.format(
        chosen=f"""SELECT * FROM deliveries
                   WHERE state = 'held' AND finished_at IS NULL AND {_CHOSEN}
                   ORDER BY due_at, id LIMIT :limit""",
        order="due_at, id",
    )
)
DEAD = text(
    _LETTERS.format(
        chosen=f"""SELECT * FROM deliveries
                   WHERE state = 'dead' AND finished_at IS NOT NULL AND {_CHOSEN}
                     AND (CAST(:at AS timestamptz) IS NULL
                          OR finished_at <= :at AND (finished_at, id) < (:at, CAST(:id AS uuid)))
                   ORDER BY finished_at DESC, id DESC LIMIT :limit""",
        order="finished_at DESC, id DESC",
    )
)
HELD_NUMBER = text(f"""
    SELECT count(*) FROM deliveries WHERE state = 'held' AND finished_at IS NULL AND {_CHOSEN}
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Which: None means any. ``after`` names the last dead one already seen."""

    ticker: str | None = None
    destination: UUID | None = None
    after: tuple[datetime, UUID] | None = None
    limit: int = 20


async def held(connection: ReadConnection, sought: Sought) -> list[Facts]:
    """Those whose outcome is unknown, first what is given up first."""
    rows = await connection.execute(HELD, _given(sought) | {"limit": sought.limit})
    return [dict(row) for row in rows.mappings()]


async def held_number(connection: ReadConnection, sought: Sought) -> int:
    return (await connection.execute(HELD_NUMBER, _given(sought))).scalar_one()


async def dead(connection: ReadConnection, sought: Sought) -> list[Facts]:
    """Those refused for good, the latest first, with the signal each was resent as."""
    at, id = sought.after or (None, None)
    given = _given(sought) | {"at": at, "id": id, "limit": sought.limit}
    return [dict(row) for row in (await connection.execute(DEAD, given)).mappings()]


def _given(sought: Sought) -> dict[str, object]:
    return {"ticker": sought.ticker, "destination": sought.destination}
