"""What a destination answered lately: the last attempts, and how many of the latest succeeded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import text

from database.pool import ReadConnection
from domain.delivery import DestinationId

Facts: TypeAlias = Mapping[str, Any]

MOST = 2_000
"""No more attempts are looked at, however busy the day: the page is read often."""

LAST = text("""
    SELECT attempts.started_at, attempts.number, outcome, status, duration_ms, error,
           left(answer, 200) AS answer, signal_id, ticker, attempts.side
    FROM attempts JOIN deliveries ON deliveries.id = delivery_id
    WHERE attempts.destination_id = :id
    ORDER BY attempts.started_at DESC LIMIT :limit
""")
SHARE = text("""
    SELECT count(*) FILTER (WHERE outcome = 'delivered') AS delivered, count(*) AS total
    FROM (
        SELECT outcome FROM attempts
        WHERE destination_id = :id AND started_at > statement_timestamp() - interval '24 hours'
        ORDER BY started_at DESC LIMIT :most
    ) AS latest
    WHERE outcome IN ('delivered', 'not_sent', 'not_processed', 'permanent', 'ambiguous')
""")


@dataclass(frozen=True, slots=True)
class Share:
    """How many of the latest requests (of 24 hours, and at most MOST) arrived."""

    delivered: int
    total: int


async def last(connection: ReadConnection, id: DestinationId, limit: int = 10) -> Sequence[Facts]:
    """The last attempts at a destination, the newest first."""
    found = await connection.execute(LAST, {"id": id, "limit": limit})
    return [dict(row) for row in found.mappings()]


async def share(connection: ReadConnection, id: DestinationId) -> Share:
    """How its latest requests went; what never was one does not count."""
    row = (await connection.execute(SHARE, {"id": id, "most": MOST})).one()
    return Share(row.delivered, row.total)
