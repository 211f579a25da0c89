"""Attention as operators read and settle it: items by filter, and their word on them."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from database.audit import Facts
from database.pool import Connection, ReadConnection
from domain.attention import Cause, Severity

PAGE = text("""
    SELECT attention.id, cause, key, severity, text, count, first_at, last_at, signal_id,
           delivery_id, position_id, attention.destination_id, destinations.name AS destination,
           source, ticker, resolved_at, resolved_by, resolved_why
    FROM attention LEFT JOIN destinations ON destinations.id = attention.destination_id
    WHERE (CAST(:open AS boolean) IS NULL OR (resolved_at IS NULL) = :open)
      AND (CAST(:cause AS text) IS NULL OR cause = :cause)
      AND (CAST(:severity AS text) IS NULL OR severity = :severity)
      AND (CAST(:ticker AS text) IS NULL OR ticker = :ticker)
      AND (CAST(:source AS text) IS NULL OR source = :source)
      AND (CAST(:destination AS uuid) IS NULL OR attention.destination_id = :destination)
      AND (CAST(:before AS bigint) IS NULL OR attention.id < :before)
    ORDER BY attention.id DESC LIMIT :limit
""")
_RANK = "array_position(ARRAY['urgent', 'warning', 'info'], severity)"
_CHOSEN = """
    (CAST(:cause AS text) IS NULL OR cause = :cause)
    AND (CAST(:severity AS text) IS NULL OR severity = :severity)
    AND (CAST(:ticker AS text) IS NULL OR ticker = :ticker)
    AND (CAST(:destination AS uuid) IS NULL OR attention.destination_id = :destination)
"""

# Open items are few: the index of them is read as a whole.
GROUPS = text(f"""
    SELECT cause, count(*) AS number, min({_RANK}) AS rank FROM attention
    WHERE resolved_at IS NULL AND {_CHOSEN}
    GROUP BY cause ORDER BY rank, max(last_at) DESC
""")
# ... and of each cause the worst first, after the one already seen, if one was.
WORST = text(f"""
    SELECT open.*, destinations.name AS destination FROM (
        SELECT *, {_RANK} AS rank, row_number() OVER (
                   PARTITION BY cause ORDER BY {_RANK}, id DESC) AS place
        FROM attention
        WHERE resolved_at IS NULL AND {_CHOSEN}
          AND (CAST(:rank AS integer) IS NULL OR ({_RANK}, -id) > (:rank, -CAST(:before AS bigint)))
    ) AS open LEFT JOIN destinations ON destinations.id = open.destination_id
    WHERE place <= :each ORDER BY rank, id DESC
""")
RESOLVED = text(f"""
    SELECT id, cause, text, resolved_at, resolved_by, resolved_why FROM attention
    WHERE resolved_at IS NOT NULL AND {_CHOSEN}
    ORDER BY resolved_at DESC LIMIT :limit
""")
COUNTS = text("""
    SELECT severity, count(*) AS items FROM attention WHERE resolved_at IS NULL GROUP BY severity
""")
ONE = text("SELECT resolved_at IS NULL FROM attention WHERE id = :id")
RESOLVE = text("""
    WITH resolved AS (
        UPDATE attention SET resolved_at = clock_timestamp(), resolved_by = :actor,
               resolved_why = :why
        WHERE resolved_at IS NULL
          AND (id = ANY(CAST(:ids AS bigint[])) OR cause = CAST(:cause AS text))
        RETURNING id, cause, key, ticker
    ), told AS (
        INSERT INTO events (event, actor, detail)
        SELECT 'attention.resolved', :actor, jsonb_strip_nulls(jsonb_build_object(
            'attention_id', id, 'cause', cause, 'key', key, 'ticker', ticker, 'was', 'open',
            'becomes', 'resolved', 'reason', CAST(:why AS text)))
        FROM resolved ORDER BY id
    )
    SELECT count(*) FROM resolved
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Which items: None means any. ``before`` is the id of the last one already seen."""

    open: bool | None = True
    cause: Cause | None = None
    severity: Severity | None = None
    ticker: str | None = None
    source: str | None = None
    destination: UUID | None = None
    before: int | None = None
    limit: int = 50


async def page(connection: ReadConnection, sought: Sought) -> list[Facts]:
    """Items of a filter, newest first."""
    names = ("open", "cause", "severity", "ticker", "source", "destination", "before", "limit")
    rows = await connection.execute(PAGE, {name: getattr(sought, name) for name in names})
    return [dict(row) for row in rows.mappings()]


def _chosen(sought: Sought) -> dict[str, object]:
    return {n: getattr(sought, n) for n in ("cause", "severity", "ticker", "destination")}


async def groups(connection: ReadConnection, sought: Sought) -> list[Facts]:
    """The causes that have open items, the worst first: how many, and how bad."""
    rows = await connection.execute(GROUPS, _chosen(sought))
    return [dict(row) for row in rows.mappings()]


async def worst(
    connection: ReadConnection, sought: Sought, *, each: int, after: tuple[int, int] | None = None
) -> list[Facts]:
    """Open items, the worst first, at most ``each`` of a cause; ``after`` this rank and id."""
    rank, before = after or (None, None)
    given = _chosen(sought) | {"each": each, "rank": rank, "before": before}
    return [dict(row) for row in (await connection.execute(WORST, given)).mappings()]


async def resolved(connection: ReadConnection, sought: Sought) -> list[Facts]:
    """The items settled last, by whom and why."""
    rows = await connection.execute(RESOLVED, _chosen(sought) | {"limit": sought.limit})
    return [dict(row) for row in rows.mappings()]


async def counts(connection: ReadConnection) -> dict[Severity, int]:
    """How many are open, by severity."""
    return {Severity(row.severity): row.items for row in await connection.execute(COUNTS)}


async def is_open(connection: ReadConnection, id: int) -> bool | None:
    """None when there is no such item."""
    return (await connection.execute(ONE, {"id": id})).scalar_one_or_none()


async def resolve(
    connection: Connection,
    *,
    ids: Collection[int] = (),
    cause: Cause | None = None,
    actor: str,
    why: str | None,
) -> int:
    """Settle the open ones of these, or all of a cause; return how many there were."""
    given = {"ids": list(ids), "cause": cause, "actor": actor, "why": why}
    return (await connection.execute(RESOLVE, given)).scalar_one()
