"""Batches: one command of an operator over many signals, and how far each of them is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from sqlalchemy import text

from database.audit import SHOWN, Facts
from database.connection import Row
from database.pool import Connection, ReadConnection
from domain.delivery import DestinationId
from domain.signal import SignalId

BatchId = NewType("BatchId", UUID)


class BatchKind(StrEnum):
    """What was commanded."""

    SELL = "sell"
    SELL_LIST = "sell_list"
    SELL_ALL = "sell_all"
    RETRY = "retry"
    REPLAY = "replay"
    RESEND = "resend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """``snapshot`` is what it was about as it stood then; ``key`` is a digest of the caller's."""

    id: BatchId
    kind: BatchKind
    snapshot: Sequence[Facts]
    made_by: str
    key: bytes | None = None
    retry_of: BatchId | None = None
    reason: str | None = None
    made_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A signal that a command made, and what it stands for.

    ``replay_of`` is the signal it repeats; ``only`` the one destination that is to get it: such a
    signal is judged in the transaction that makes it.
    """

    id: SignalId
    replay_of: SignalId | None = None
    only: DestinationId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A batch with its signals: each with `shown`, the state of its deliveries, and its times."""

    batch: Batch
    signals: Sequence[Facts] = field(default_factory=list[Facts])


# Who repeats a command waits here until the first one is committed, and finds its batch then.
BEGIN = text("""
    WITH begun AS (
        INSERT INTO batches (id, kind, key, snapshot, retry_of, reason, made_by)
        VALUES (:id, :kind, :key, CAST(:snapshot AS jsonb), :retry_of, :reason, :made_by)
        ON CONFLICT (key) DO NOTHING
        RETURNING *
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'batch.made', made_by, jsonb_strip_nulls(jsonb_build_object(
        'batch_id', id, 'kind', kind, 'of', snapshot, 'retry_of', retry_of, 'reason', reason))
    FROM begun
    RETURNING 1
""")
BY_KEY = text("SELECT * FROM batches WHERE key = :key")
BY_ID = text("SELECT * FROM batches WHERE id = :id")
NEWEST = text("""
    SELECT * FROM batches
    WHERE CAST(:before AS timestamptz) IS NULL OR made_at < :before
    ORDER BY made_at DESC LIMIT :limit
""")

ATTACH = text("""
    UPDATE signals
    SET batch_id = :batch, replay_of = made.replay_of, only_destination_id = made.only_to
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:replays AS uuid[]), CAST(:onlies AS uuid[])
    ) AS made (id, replay_of, only_to)
    WHERE signals.id = made.id
""")

SIGNALS = text(f"""
    SELECT signals.id, ticker, side, status, reason, {SHOWN} AS shown, replay_of,
           received_at, judged_at, expires_at,
           (SELECT max(finished_at) FROM deliveries WHERE signal_id = signals.id
            HAVING bool_and(finished_at IS NOT NULL)) AS finished_at,
           (SELECT count(*) FROM deliveries WHERE signal_id = signals.id) AS deliveries
    FROM signals WHERE batch_id = :id ORDER BY seq
""")

COUNTS = text(f"""
    SELECT batch_id, {SHOWN} AS shown, count(*) AS signals FROM signals
    WHERE batch_id = ANY(CAST(:ids AS uuid[])) GROUP BY batch_id, shown
""")
DELIVERIES = text("""
    SELECT deliveries.id, signal_id, destination_id, destinations.name AS destination,
           deliveries.state, deliveries.reason, attempts, possibly_sent, queued_at, due_at,
           finished_at
    FROM deliveries JOIN destinations ON destinations.id = destination_id
    WHERE signal_id IN (SELECT id FROM signals WHERE batch_id = :id)
    ORDER BY destinations.name
""")


async def begin(connection: Connection, batch: Batch) -> Batch | None:
    """Write a batch down, with its event. None when its key was used before: see `by_key`."""
    given = {name: getattr(batch, name) for name in ("id", "kind", "key", "retry_of", "reason")}
    snapshot = json.dumps([dict(one) for one in batch.snapshot], default=str)
    given |= {"snapshot": snapshot, "made_by": batch.made_by}
    begun = (await connection.execute(BEGIN, given)).one_or_none()
    return batch if begun else None


async def attach(connection: Connection, batch: BatchId, made: Sequence[Made]) -> None:
    """Say of journaled signals that this batch made them."""
    await connection.execute(
        ATTACH,
        {
            "batch": batch,
            "ids": [one.id for one in made],
            "replays": [one.replay_of for one in made],
            "onlies": [one.only for one in made],
        },
    )


async def by_key(connection: ReadConnection, key: bytes) -> Batch | None:
    row = (await connection.execute(BY_KEY, {"key": key})).one_or_none()
    return _batch(row) if row else None


async def newest(
    connection: ReadConnection, *, before: datetime | None = None, limit: int = 20
) -> list[Batch]:
    """Batches, newest first."""
    rows = await connection.execute(NEWEST, {"before": before, "limit": limit})
    return [_batch(row) for row in rows]


async def progress(connection: ReadConnection, id: BatchId) -> Progress | None:
    """How far a batch is, signal by signal; None when there is no such batch."""
    row = (await connection.execute(BY_ID, {"id": id})).one_or_none()
    if row is None:
        return None
    signals = (await connection.execute(SIGNALS, {"id": id})).mappings()
    return Progress(batch=_batch(row), signals=[dict(one) for one in signals])


async def deliveries(connection: ReadConnection, id: BatchId) -> list[Facts]:
    """Where each signal of a batch goes, and how often it was tried."""
    return [dict(row) for row in (await connection.execute(DELIVERIES, {"id": id})).mappings()]


async def counts(
    connection: ReadConnection, ids: Sequence[BatchId]
) -> dict[BatchId, dict[str, int]]:
    """How many signals of each of these batches are shown in which state."""
    found: dict[BatchId, dict[str, int]] = {id: {} for id in ids}
    for row in await connection.execute(COUNTS, {"ids": list(ids)}):
        found[BatchId(row.batch_id)][row.shown] = row.signals
    return found


def _batch(row: Row) -> Batch:
    return Batch(
        id=BatchId(row.id),
        kind=BatchKind(row.kind),
        snapshot=row.snapshot,
        made_by=row.made_by,
        key=row.key,
        retry_of=row.retry_of and BatchId(row.retry_of),
        reason=row.reason,
        made_at=row.made_at,
    )
