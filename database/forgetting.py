"""Forgetting: what is over and older than it is kept goes, in batches; unfinished work never does.

A signal goes with its events, deliveries and attempts, and with the position it opened or closed.
Events leave by `forget_events` alone, which keeps what is younger than the floor the owner set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy import TextClause, text

from database.pool import Connection

# By the time of receipt, not by `seq`: what was imported is older than its place says.
SIGNALS = text("""
    WITH batch AS MATERIALIZED (
        SELECT id, received_at, status, batch_id FROM signals
        WHERE received_at < statement_timestamp() - CAST(:keep AS interval)
          AND (received_at, id) > (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid))
        ORDER BY received_at, id LIMIT :limit
    ), sent AS MATERIALIZED (
        SELECT id, signal_id, position_id, finished_at FROM deliveries
        WHERE signal_id = ANY(ARRAY(SELECT id FROM batch))
    ), held AS MATERIALIZED (
        SELECT entry_signal_id AS signal_id, id FROM positions
        WHERE entry_signal_id = ANY(ARRAY(SELECT id FROM batch))
        UNION SELECT exit_signal_id, id FROM positions
        WHERE exit_signal_id = ANY(ARRAY(SELECT id FROM batch))
        UNION SELECT signal_id, position_id FROM sent WHERE position_id IS NOT NULL
    ), alive AS MATERIALIZED (
        SELECT id FROM positions WHERE id = ANY(ARRAY(SELECT id FROM held)) AND (
            state IN ('opening', 'open', 'closing')
            OR updated_at >= statement_timestamp() - CAST(:keep AS interval)
            OR EXISTS (SELECT FROM deliveries
                       WHERE position_id = positions.id AND finished_at IS NULL))
    ), kept AS MATERIALIZED (
        SELECT id FROM batch WHERE status = 'received'
        UNION SELECT signal_id FROM sent
        WHERE finished_at IS NULL
           OR finished_at >= statement_timestamp() - CAST(:keep AS interval)
        UNION SELECT signal_id FROM held WHERE id IN (SELECT id FROM alive)
        UNION SELECT batch.id FROM batch JOIN batches ON batches.id = batch_id
        WHERE made_at >= statement_timestamp() - CAST(:keep AS interval)
        UNION SELECT replay_of FROM signals AS again
        WHERE replay_of = ANY(ARRAY(SELECT id FROM batch))
          AND received_at >= statement_timestamp() - CAST(:keep AS interval)
        UNION SELECT signal_id FROM dedupe_keys WHERE expires_at > statement_timestamp()
        UNION SELECT signal_id FROM attention WHERE resolved_at IS NULL
        UNION SELECT sent.signal_id FROM attention JOIN sent ON sent.id = delivery_id
        WHERE resolved_at IS NULL
        UNION SELECT held.signal_id FROM attention JOIN held ON held.id = position_id
        WHERE resolved_at IS NULL
    ), over AS MATERIALIZED (
        SELECT id FROM batch WHERE NOT EXISTS (SELECT FROM kept WHERE kept.id = batch.id)
    ), over_sent AS MATERIALIZED (
        SELECT sent.id FROM sent JOIN over ON over.id = signal_id
    ), attempts_gone AS (
        DELETE FROM attempts WHERE delivery_id = ANY(ARRAY(SELECT id FROM over_sent)) RETURNING 1
    ), deliveries_gone AS (
        DELETE FROM deliveries WHERE id = ANY(ARRAY(SELECT id FROM over_sent)) RETURNING 1
    ), positions_gone AS (
        DELETE FROM positions
        WHERE id = ANY(ARRAY(SELECT held.id FROM held JOIN over ON over.id = signal_id))
          AND (entry_signal_id = ANY(ARRAY(SELECT id FROM over))
               OR exit_signal_id = ANY(ARRAY(SELECT id FROM over)))
          AND state IN ('closed', 'void')
          AND updated_at < statement_timestamp() - CAST(:keep AS interval)
        RETURNING 1
    ), events_gone AS (
        SELECT forget_events(ARRAY(
            SELECT id FROM events WHERE signal_id = ANY(ARRAY(SELECT id FROM over)))) AS count
    ), signals_gone AS (
        DELETE FROM signals WHERE id = ANY(ARRAY(SELECT id FROM over)) RETURNING 1
    )
    SELECT (SELECT count(*) FROM signals_gone) AS signals,
           (SELECT count FROM events_gone) AS events,
           (SELECT count(*) FROM deliveries_gone) AS deliveries,
           (SELECT count(*) FROM attempts_gone) AS attempts,
           (SELECT count(*) FROM positions_gone) AS positions,
           count(*) = :limit AS more,
           (array_agg(received_at ORDER BY received_at DESC, id DESC))[1] AS last_at,
           (array_agg(id ORDER BY received_at DESC, id DESC))[1] AS last_id
    FROM batch
""")

# What is told of a position that is still there stays with it. What was too young to go with its
# signal goes now.
EVENTS = text("""
    WITH batch AS MATERIALIZED (
        SELECT id, at, signal_id, position_id FROM events
        WHERE id > :after ORDER BY id LIMIT :limit
    ), gone AS (
        SELECT forget_events(ARRAY(
            SELECT id FROM batch
            WHERE at < statement_timestamp() - CAST(:keep AS interval)
              AND (SELECT id FROM signals WHERE id = batch.signal_id) IS NULL
              AND NOT EXISTS (SELECT FROM positions WHERE id = batch.position_id))) AS count
    )
    SELECT (SELECT count FROM gone) AS events, max(id) AS last,
           count(*) = :limit
               AND min(at) < statement_timestamp() - CAST(:keep AS interval) AS more
    FROM batch
""")

# The rest goes by its own time, once nothing of it is referred to.
_REST = {
    "positions": """
        entry_signal_id IS NULL AND exit_signal_id IS NULL AND state IN ('closed', 'void')
        AND opened_at < statement_timestamp() - CAST(:keep AS interval)
        AND updated_at < statement_timestamp() - CAST(:keep AS interval)
        AND NOT EXISTS (SELECT FROM deliveries WHERE position_id = one.id AND finished_at IS NULL)
        AND NOT EXISTS (SELECT FROM attention
                        WHERE position_id = one.id AND resolved_at IS NULL)
    """,
    "batches": """
        made_at < statement_timestamp() - CAST(:keep AS interval)
        AND NOT EXISTS (SELECT FROM signals WHERE batch_id = one.id)
        AND NOT EXISTS (SELECT FROM batches AS later WHERE later.retry_of = one.id)
    """,
    "attention": """
        last_at < statement_timestamp() - CAST(:keep AS interval)
        AND resolved_at < statement_timestamp() - CAST(:keep AS interval)
    """,
    "jobs": """
        state <> 'running' AND updated_at < statement_timestamp() - CAST(:keep AS interval)
    """,
}
REST = {
    table: text(f"""
        DELETE FROM {table} WHERE id IN (
            SELECT id FROM {table} AS one WHERE {over} LIMIT :limit)
    """)
    for table, over in _REST.items()
}

# By the owner alone.
SET_FLOOR = text("UPDATE retention SET keep = :keep WHERE keep <> CAST(:keep AS interval)")

BEGINNING, LOWEST = datetime(1, 1, 1, tzinfo=UTC), UUID(int=0)


@dataclass(frozen=True, slots=True)
class Place:
    """After which signal to go on."""

    at: datetime = BEGINNING
    id: UUID = LOWEST


_After = TypeVar("_After")


@dataclass(frozen=True, slots=True)
class Forgotten(Generic[_After]):
    """How many rows went, by table, and after which to go on; None: nothing more is too old."""

    deleted: Mapping[str, int]
    after: _After | None


async def set_floor(connection: Connection, keep: timedelta) -> None:
    """From now on no event younger than this is forgotten, whoever asks; as the owner."""
    await connection.execute(SET_FLOOR, {"keep": keep})


async def signals(
    connection: Connection, keep: timedelta, after: Place, limit: int
) -> Forgotten[Place]:
    """Go over ``limit`` old signals after this place, and delete what is over with all it left."""
    asked = {"keep": keep, "after_at": after.at, "after_id": after.id, "limit": limit}
    row = (await connection.execute(SIGNALS, asked)).one()
    names = ("signals", "events", "deliveries", "attempts", "positions")
    place = Place(row.last_at, row.last_id) if row.more else None
    return Forgotten({name: getattr(row, name) for name in names}, place)


async def events(connection: Connection, keep: timedelta, after: int, limit: int) -> Forgotten[int]:
    """Go over ``limit`` events after this one; delete the old ones of no signal that is here."""
    asked = {"keep": keep, "after": after, "limit": limit}
    row = (await connection.execute(EVENTS, asked)).one()
    return Forgotten({"events": row.events}, row.last if row.more else None)


async def rest(connection: Connection, keep: timedelta, limit: int) -> Mapping[str, int]:
    """Delete old positions, batches, resolved attention and ended jobs that nothing refers to."""
    given = {"keep": keep, "limit": limit}
    return {table: await _gone(connection, REST[table], given) for table in REST}


async def _gone(connection: Connection, statement: TextClause, given: Mapping[str, object]) -> int:
    return (await connection.execute(statement, given)).rowcount
