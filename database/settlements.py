"""Settlements: how attempts ended, recorded once each, and what that does to positions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from database import breakers, endings
from database.following import (
    LOCK_POSITIONS,
    MERGED,
    POSITION_EVENTS,
    POSITIONS_FOLLOW,
    STEPPED,
    merge,
)
from database.pool import Connection
from domain.delivery import (
    Answer,
    Delivered,
    Delivery,
    DeliveryId,
    DeliveryState,
    Ended,
    Guarantee,
    Outcome,
    Retry,
    Step,
)
from domain.receipt import read_receipt
from domain.signal import Side

SETTLE = text(f"""
    WITH ending AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:epochs AS integer[]), CAST(:states AS text[]),
            CAST(:reasons AS text[]), CAST(:dues AS timestamptz[]), CAST(:outcomes AS text[]),
            CAST(:statuses AS integer[]), CAST(:errors AS text[]), CAST(:answers AS text[]),
            CAST(:durations AS integer[]), CAST(:written AS interval[]), CAST(:waits AS interval[]),
            CAST(:receipts AS jsonb[])
        ) AS ending (id, epoch, state, reason, due_at, outcome, status, error, answer, duration_ms,
                     written, retry_after, receipt)
    ), answered AS (
        UPDATE attempts
        SET finished_at = clock_timestamp(), outcome = ending.outcome, status = ending.status,
            error = ending.error, answer = ending.answer, duration_ms = ending.duration_ms,
            written_at = started_at + ending.written, retry_after = ending.retry_after,
            receipt = ending.receipt
        FROM ending
        WHERE attempts.delivery_id = ANY(CAST(:ids AS uuid[]))
          AND attempts.delivery_id = ending.id AND attempts.epoch = ending.epoch
          AND attempts.finished_at IS NULL
    ), settled AS (
        UPDATE deliveries
        SET state = ending.state, reason = ending.reason, lease_until = NULL,
            due_at = CASE WHEN ending.state = 'held' THEN clock_timestamp() + {endings.HELD_FOR}
                          ELSE coalesce(ending.due_at, deliveries.due_at) END,
            attempts = deliveries.attempts - CAST(ending.outcome = 'withheld' AS integer),
            possibly_sent =
                deliveries.possibly_sent OR ending.outcome IN ('delivered', 'ambiguous'),
            finished_at = CASE WHEN ending.state NOT IN ('queued', 'held')
                               THEN clock_timestamp() END
        FROM ending
        WHERE deliveries.id = ANY(CAST(:ids AS uuid[]))
          AND deliveries.id = ending.id AND deliveries.epoch = ending.epoch
          AND deliveries.state = 'sending'
        RETURNING {STEPPED}, deliveries.epoch, ending.outcome, ending.status, ending.error,
                  ending.duration_ms, ending.receipt
    ), {POSITIONS_FOLLOW}, told AS (
        INSERT INTO events (at, event, signal_id, delivery_id, position_id, detail)
        SELECT at, event, signal_id, delivery_id, position_id, detail FROM (
            SELECT 1 AS step, at, CASE WHEN state = 'queued' THEN 'delivery.retrying'
                                       ELSE 'delivery.' || state END AS event,
                   signal_id, id AS delivery_id, NULL::uuid AS position_id,
                   jsonb_strip_nulls(jsonb_build_object(
                       'attempt', attempts, 'outcome', outcome, 'status', status, 'error', error,
                       'reason', reason, 'duration_ms', duration_ms, 'receipt', receipt,
                       'due_at', CASE WHEN state IN ('queued', 'held') THEN due_at END)) AS detail
            FROM settled
            UNION ALL {POSITION_EVENTS}
        ) AS steps ORDER BY step
    )
    SELECT id, epoch, {MERGED} AS merged FROM settled
""")

# At most once, a lease that ran out is held for the operator; what was heard under it is known all
# the same, when the database was away and the sweeper was first. Any word of his changes state or
# reason, and a new lease the epoch. What something newer of its lane has overtaken stays his.
SETTLE_LATE = endings.ending(
    f"""
    id = CAST(:id AS uuid) AND epoch = CAST(:epoch AS integer)
    AND state = 'held' AND reason = 'lease_lost'
    AND (CAST(:state AS text) <> 'queued' OR NOT {endings.NEWER_WENT})
    """,
    """
    state = CAST(:state AS text), reason = CAST(:reason AS text),
    due_at = coalesce(CAST(:due_at AS timestamptz), due_at),
    attempts = attempts - CAST(CAST(:outcome AS text) = 'withheld' AS integer),
    possibly_sent = CAST(:possibly_sent AS boolean),
    finished_at = CASE WHEN CAST(:state AS text) <> 'queued' THEN clock_timestamp() END
    """,
    actor="'the relay'",
    more=""", 'attempt', attempts, 'possibly_sent', possibly_sent,
              'outcome', CAST(:outcome AS text), 'status', CAST(:status AS integer),
              'error', CAST(:error AS text),
              'duration_ms', CAST(:duration_ms AS integer), 'receipt', CAST(:receipt AS jsonb)""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A delivery, how its attempt ended, and what that makes of it."""

    delivery: Delivery
    answer: Answer
    step: Step


async def settle(connection: Connection, settlements: Sequence[Settlement]) -> list[Settlement]:
    """Record how attempts ended; return those whose lease we still held, or nobody had since.

    A buy that surely did not arrive, and waits again, makes way for an exit behind it, and ends
    where everything was sold since.
    """
    # Nothing of a lane is leased between our look at the lane and our commit.
    again = [s for s in settlements if _is_once(s) and isinstance(s.step, Retry)]
    if again:
        await breakers.hold(connection, [s.delivery.destination_id for s in again])
    await connection.execute(LOCK_POSITIONS, {"tickers": [s.delivery.ticker for s in settlements]})
    rows = (await connection.execute(SETTLE, _arrays(settlements))).all()
    await merge(connection, {id for row in rows for id in row.merged})
    kept = {(DeliveryId(row.id), row.epoch) for row in rows}
    for late in (s for s in settlements if (s.delivery.id, s.delivery.epoch) not in kept):
        if _is_known(late) and await _settle_late(connection, late):
            kept.add((late.delivery.id, late.delivery.epoch))
    waiting = {
        s.delivery.ticker
        for s in settlements
        if isinstance(s.step, Retry) and s.delivery.side is Side.BUY
    }
    if waiting:
        await endings.supersede(connection, waiting)
        await endings.abandon_older(connection, waiting)
    return [s for s in settlements if (s.delivery.id, s.delivery.epoch) in kept]


def _is_once(settlement: Settlement) -> bool:
    return settlement.delivery.guarantee is Guarantee.AT_MOST_ONCE


def _is_known(settlement: Settlement) -> bool:
    """Whether a delivery held for its lost lease need not wait for the operator's word."""
    ended = settlement.step
    held = isinstance(ended, Ended) and ended.state is DeliveryState.HELD
    return _is_once(settlement) and not held


async def _settle_late(connection: Connection, settlement: Settlement) -> bool:
    """Whether it was still held for its lost lease."""
    delivery, answer = settlement.delivery, settlement.answer
    state, reason, due_at = _change(settlement)
    ended = await endings.end(
        connection,
        SETTLE_LATE,
        [delivery.ticker],
        id=delivery.id,
        epoch=delivery.epoch,
        state=state,
        reason=reason,
        due_at=due_at,
        outcome=answer.outcome,
        possibly_sent=delivery.possible_resend or answer.outcome is Outcome.DELIVERED,
        status=answer.status,
        error=answer.error,
        duration_ms=_milliseconds(answer),
        receipt=_receipt(answer),
    )
    return bool(ended)


def _arrays(settlements: Sequence[Settlement]) -> dict[str, Sequence[object]]:
    changes = [_change(s) for s in settlements]
    answers = [s.answer for s in settlements]
    return {
        "ids": [s.delivery.id for s in settlements],
        "epochs": [s.delivery.epoch for s in settlements],
        "states": [state for state, _, _ in changes],
        "reasons": [reason for _, reason, _ in changes],
        "dues": [due for _, _, due in changes],
        "outcomes": [a.outcome for a in answers],
        "statuses": [a.status for a in answers],
        "errors": [a.error for a in answers],
        "answers": [a.excerpt for a in answers],
        "durations": [_milliseconds(a) for a in answers],
        "written": [a.written for a in answers],
        "waits": [a.retry_after for a in answers],
        "receipts": [_receipt(a) for a in answers],
    }


def _milliseconds(answer: Answer) -> int:
    return int(answer.duration.total_seconds() * 1000)


def _receipt(answer: Answer) -> str | None:
    receipt = read_receipt(answer.excerpt)
    return json.dumps(receipt) if receipt else None


def _change(settlement: Settlement) -> tuple[DeliveryState, str | None, datetime | None]:
    match settlement.step:
        case Delivered():
            dry = settlement.answer.outcome is Outcome.DRY_RUN
            return DeliveryState.DELIVERED, "dry_run" if dry else None, None
        case Retry(at):
            return DeliveryState.QUEUED, None, at
        case Ended(state, reason):
            return state, reason, None
