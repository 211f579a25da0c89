"""How much is kept: what PostgreSQL estimates, so that nothing is counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from database.pool import ReadConnection

KEPT = (
    *("signals", "events", "deliveries", "attempts", "positions"),
    *("universes", "fetches", "batches", "attention", "jobs"),
)
"""Tables whose rows go with time."""

TABLES = text("""
    SELECT relname AS name, CASE WHEN reltuples >= 0 THEN CAST(reltuples AS bigint) END AS rows,
           pg_total_relation_size(oid) AS bytes
    FROM pg_class
    WHERE relkind = 'r' AND relnamespace = CAST('public' AS regnamespace)
      AND relname = ANY(CAST(:names AS text[]))
    ORDER BY array_position(CAST(:names AS text[]), CAST(relname AS text))
""")
WHOLE = text("""
    SELECT pg_database_size(current_database()) AS bytes,
           (SELECT received_at FROM signals ORDER BY received_at, id LIMIT 1) AS oldest
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; ``rows`` is an estimate, None where there is none yet."""

    name: str
    rows: int | None
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The whole database, and when the oldest signal in it came."""

    bytes: int
    oldest: datetime | None
    tables: Sequence[Table]


async def measured(connection: ReadConnection) -> Sizes:
    """How much there is now."""
    whole = (await connection.execute(WHOLE)).one()
    rows = (await connection.execute(TABLES, {"names": list(KEPT)})).mappings()
    return Sizes(bytes=whole.bytes, oldest=whole.oldest, tables=[Table(**row) for row in rows])
