"""The trail read from its beginning, and held against the tables it tells of (invariant I21)."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import TextClause, text

from database.pool import ReadConnection
from domain.rebuild import (
    Count,
    DeliveryFacts,
    PositionFacts,
    Rebuilt,
    SignalFacts,
    Told,
    counters,
    differences,
)

CHUNK = 20_000

# Of what happens to one row, every event is written by whoever holds that row: their order is that
# of the ids.
TRAIL = text("""
    SELECT at, event, CAST(signal_id AS text), CAST(delivery_id AS text),
           CAST(position_id AS text), detail, id
    FROM events
    WHERE id > :after AND (event LIKE 'signal.%' OR event LIKE 'delivery.%'
                           OR event LIKE 'position.%')
    ORDER BY id LIMIT :limit
""")
SIGNALS = text("""
    SELECT CAST(id AS text) AS key, received_at, source, ticker, side, status, reason
    FROM signals WHERE id > :after ORDER BY id LIMIT :limit
""")
DELIVERIES = text("""
    SELECT CAST(id AS text) AS key, CAST(signal_id AS text) AS signal,
           CAST(destination_id AS text) AS destination, destination_version AS version,
           CAST(position_id AS text) AS position, queued_at, state, reason, epoch, attempts,
           possibly_sent
    FROM deliveries WHERE id > :after ORDER BY id LIMIT :limit
""")
POSITIONS = text("""
    SELECT CAST(id AS text) AS key, opened_at, ticker, state,
           CAST(entry_signal_id AS text) AS entry, CAST(exit_signal_id AS text) AS exit
    FROM positions WHERE id > :after ORDER BY id LIMIT :limit
""")
COUNTED = text("""
    SELECT 'signals', CAST(received_at AT TIME ZONE 'UTC' AS date), status, reason, count(*)
    FROM signals GROUP BY 2, 3, 4
    UNION ALL
    SELECT 'deliveries', CAST(queued_at AT TIME ZONE 'UTC' AS date), state, reason, count(*)
    FROM deliveries GROUP BY 2, 3, 4
    UNION ALL
    SELECT 'positions', CAST(opened_at AT TIME ZONE 'UTC' AS date), state, NULL, count(*)
    FROM positions GROUP BY 2, 3
""")
BEFORE_ALL = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How many events were told of how many rows, and where they are not the same, in words."""

    events: int
    signals: int
    deliveries: int
    positions: int
    differences: Sequence[str]


async def compare(connection: ReadConnection) -> Comparison:
    """Rebuild all from the events and compare; in one snapshot, of `Database.read`."""
    told = await rebuilt(connection)
    kept = await _tables(connection)
    words = [*differences(told, kept), *_miscounted(counters(told), await _counted(connection))]
    return Comparison(
        events=told.events,
        signals=len(kept.signals),
        deliveries=len(kept.deliveries),
        positions=len(kept.positions),
        differences=words,
    )


async def rebuilt(connection: ReadConnection) -> Rebuilt:
    """Everything as the events tell it."""
    found = Rebuilt()
    after = 0
    while rows := (await connection.execute(TRAIL, {"after": after, "limit": CHUNK})).all():
        found.tell(map(Told._make, rows))
        after = rows[-1].id
    return found


async def _tables(connection: ReadConnection) -> Rebuilt:
    kept = Rebuilt()
    async for key, row in _rows(connection, SIGNALS):
        kept.signals[key] = SignalFacts(**row)
    async for key, row in _rows(connection, DELIVERIES):
        kept.deliveries[key] = DeliveryFacts(**row)
    async for key, row in _rows(connection, POSITIONS):
        kept.positions[key] = PositionFacts(**row)
    return kept


async def _rows(
    connection: ReadConnection, query: TextClause
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    after = BEFORE_ALL
    while True:
        found = await connection.execute(query, {"after": after, "limit": CHUNK})
        rows = found.mappings().all()
        if not rows:
            return
        for row in rows:
            after, facts = row["key"], dict(row)
            del facts["key"]
            yield after, facts


async def _counted(connection: ReadConnection) -> Counter[Count]:
    rows = await connection.execute(COUNTED)
    found: Counter[Count] = Counter()
    for kind, day, state, reason, count in rows:
        found[kind, day, state, reason] = count
    return found


def _miscounted(told: Counter[Count], kept: Counter[Count]) -> list[str]:
    return [
        f"{count}: {kept[count]} in the table, {told[count]} by the events"
        for count in sorted({*told, *kept}, key=str)
        if kept[count] != told[count]
    ]
