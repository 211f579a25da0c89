"""Settlements: how attempts ended, recorded once each, and what that does to positions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from database.pool import Connection
from domain.delivery import (
    Answer,
    Delivered,
    Delivery,
    DeliveryId,
    DeliveryState,
    Ended,
    Retry,
    Step,
)

# What an ended or answered delivery does to the position its signal opened or closed:
# `domain.position.follow`, for the deliveries in `settled`. Where a position comes alive again
# beside another live one of its ticker, one stands for both and the other is closed: the one that
# is held before one that is still on its way, and may yet be void. An exit that waits behind a buy
# that surely never left is superseded: sent alone, it would open a short.
_POSITIONS_FOLLOW = """
    touched AS (
        SELECT positions.* FROM positions
        WHERE state IN ('opening', 'closing')
          AND (entry_signal_id IN (SELECT signal_id FROM settled)
               OR exit_signal_id IN (SELECT signal_id FROM settled))
    ), progress AS (
        SELECT deliveries.signal_id,
               bool_or(coalesce(settled.state, deliveries.state) = 'delivered') AS any_delivered,
               bool_and(coalesce(settled.state, deliveries.state) = 'delivered') AS all_delivered,
               bool_or(coalesce(settled.possibly_sent, deliveries.possibly_sent)) AS possibly_sent,
               bool_and(coalesce(settled.state, deliveries.state)
                        NOT IN ('queued', 'sending', 'held')) AS ended
        FROM deliveries LEFT JOIN settled ON settled.id = deliveries.id
        WHERE deliveries.signal_id IN (
            SELECT entry_signal_id FROM touched UNION SELECT exit_signal_id FROM touched)
        GROUP BY deliveries.signal_id
    ), followed AS (
        SELECT touched.id, touched.ticker, touched.opened_at, touched.state,
               CASE WHEN touched.state = 'closing' AND NOT coalesce(leaving.ended, false)
                        THEN CASE WHEN entering.ended AND NOT entering.possibly_sent
                                       AND NOT coalesce(leaving.possibly_sent, false)
                                  THEN 'void' ELSE 'closing' END
                    WHEN touched.state = 'closing' AND leaving.all_delivered THEN 'closed'
                    WHEN touched.entry_signal_id IS NULL OR entering.any_delivered
                         OR entering.ended AND entering.possibly_sent THEN 'open'
                    WHEN entering.ended THEN 'void'
                    ELSE 'opening' END AS becomes
        FROM touched
        LEFT JOIN progress AS entering ON entering.signal_id = touched.entry_signal_id
        LEFT JOIN progress AS leaving ON leaving.signal_id = touched.exit_signal_id
    ), moot AS (
        UPDATE deliveries
        SET state = 'superseded', reason = 'entry_unsent', finished_at = clock_timestamp()
        FROM touched JOIN followed ON followed.id = touched.id
        WHERE followed.state = 'closing' AND followed.becomes = 'void'
          AND deliveries.signal_id = touched.exit_signal_id
          AND deliveries.state = 'queued' AND NOT deliveries.possibly_sent
          AND deliveries.id NOT IN (SELECT id FROM settled)
        RETURNING deliveries.id, deliveries.signal_id, deliveries.finished_at
    ), live AS (
        SELECT id, ticker, opened_at, state, becomes FROM followed
        UNION ALL
        SELECT id, ticker, opened_at, state, state FROM positions
        WHERE state IN ('opening', 'open') AND ticker IN (SELECT ticker FROM touched)
          AND id NOT IN (SELECT id FROM touched)
    ), standing AS (
        SELECT DISTINCT ON (ticker) ticker, id FROM live
        WHERE becomes IN ('opening', 'open') AND ticker IN (
            SELECT ticker FROM live WHERE state = 'closing' AND becomes IN ('opening', 'open'))
        ORDER BY ticker, becomes = 'open' DESC, opened_at DESC, id DESC
    ), single AS (
        SELECT live.id, live.state,
               CASE WHEN becomes IN ('opening', 'open') AND standing.id <> live.id THEN 'closed'
                    ELSE becomes END AS settles
        FROM live LEFT JOIN standing ON standing.ticker = live.ticker
    ), moved AS (
        UPDATE positions SET state = single.settles, updated_at = clock_timestamp()
        FROM single
        WHERE positions.id = single.id AND positions.state = single.state
          AND single.settles <> single.state
        RETURNING positions.id, positions.ticker, positions.state, single.state AS was,
                  positions.entry_signal_id, positions.exit_signal_id, positions.updated_at
    )
"""

_POSITION_EVENTS = """
    SELECT 2, updated_at, 'position.' || state, coalesce(exit_signal_id, entry_signal_id),
           NULL::uuid, id, jsonb_build_object('ticker', ticker, 'was', was)
    FROM moved
    UNION ALL
    SELECT 2, finished_at, 'delivery.superseded', signal_id, id, NULL, '{"reason": "entry_unsent"}'
    FROM moot
"""

# All unfinished positions of the tickers are locked first, in the order in which a judge locks
# them, so that what is settled at once for one ticker sees one another's end, and never deadlocks.
LOCK_POSITIONS = text("""
    SELECT FROM positions
    WHERE ticker = ANY(CAST(:tickers AS text[])) AND state IN ('opening', 'open', 'closing')
    ORDER BY id FOR UPDATE
""")

SETTLE = text(f"""
    WITH ending AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:epochs AS integer[]), CAST(:states AS text[]),
            CAST(:reasons AS text[]), CAST(:dues AS timestamptz[]), CAST(:outcomes AS text[]),
            CAST(:statuses AS integer[]), CAST(:errors AS text[]), CAST(:answers AS text[]),
            CAST(:durations AS integer[])
        ) AS ending (id, epoch, state, reason, due_at, outcome, status, error, answer, duration_ms)
    ), answered AS (
        UPDATE attempts
        SET finished_at = clock_timestamp(), outcome = ending.outcome, status = ending.status,
            error = ending.error, answer = ending.answer, duration_ms = ending.duration_ms
        FROM ending
        WHERE attempts.delivery_id = ending.id AND attempts.epoch = ending.epoch
          AND attempts.finished_at IS NULL
    ), settled AS (
        UPDATE deliveries
        SET state = ending.state, reason = ending.reason, lease_until = NULL,
            due_at = coalesce(ending.due_at, deliveries.due_at),
            attempts = deliveries.attempts - CAST(ending.outcome = 'withheld' AS integer),
            possibly_sent =
                deliveries.possibly_sent OR ending.outcome IN ('delivered', 'ambiguous'),
            finished_at = CASE WHEN ending.state <> 'queued' THEN clock_timestamp() END
        FROM ending
        WHERE deliveries.id = ending.id AND deliveries.epoch = ending.epoch
          AND deliveries.state = 'sending'
        RETURNING deliveries.id, signal_id, deliveries.state, possibly_sent, deliveries.attempts,
                  deliveries.due_at, ending.outcome, ending.status, ending.error, ending.reason,
                  ending.duration_ms, clock_timestamp() AS at
    ), {_POSITIONS_FOLLOW}, told AS (
        INSERT INTO events (at, event, signal_id, delivery_id, position_id, detail)
        SELECT at, event, signal_id, delivery_id, position_id, detail FROM (
            SELECT 1 AS step, at, CASE WHEN state = 'queued' THEN 'delivery.retrying'
                                       ELSE 'delivery.' || state END AS event,
                   signal_id, id AS delivery_id, NULL::uuid AS position_id,
                   jsonb_strip_nulls(jsonb_build_object(
                       'attempt', attempts, 'outcome', outcome, 'status', status, 'error', error,
                       'reason', reason, 'duration_ms', duration_ms,
                       'due_at', CASE WHEN state = 'queued' THEN due_at END)) AS detail
            FROM settled
            UNION ALL {_POSITION_EVENTS}
        ) AS steps ORDER BY step
    )
    SELECT id FROM settled
""")

_OVERDUE = """
    finished_at IS NULL AND expires_at <= statement_timestamp()
    AND (state = 'queued' OR state = 'sending' AND lease_until < statement_timestamp())
"""

OVERDUE = text(f"SELECT id, ticker FROM deliveries WHERE {_OVERDUE} ORDER BY seq LIMIT :limit")

# Positions before deliveries, as in a settlement; a delivery somebody works on is left to him.
EXPIRE = text(f"""
    WITH overdue AS MATERIALIZED (
        SELECT id AS overdue_id FROM deliveries
        WHERE id = ANY(CAST(:ids AS uuid[])) AND {_OVERDUE}
        ORDER BY seq FOR UPDATE SKIP LOCKED
    ), settled AS (
        UPDATE deliveries
        SET state = CASE WHEN side = 'sell' THEN 'dead' ELSE 'expired' END,
            possibly_sent = possibly_sent OR state = 'sending',
            reason = 'expired', lease_until = NULL, finished_at = clock_timestamp()
        FROM overdue WHERE id = overdue_id
        RETURNING id, signal_id, state, possibly_sent, attempts, clock_timestamp() AS at
    ), {_POSITIONS_FOLLOW}, told AS (
        INSERT INTO events (at, event, signal_id, delivery_id, position_id, detail)
        SELECT at, event, signal_id, delivery_id, position_id, detail FROM (
            SELECT 1 AS step, at, 'delivery.' || state AS event, signal_id, id AS delivery_id,
                   NULL::uuid AS position_id,
                   jsonb_build_object('reason', 'expired', 'attempts', attempts) AS detail
            FROM settled
            UNION ALL {_POSITION_EVENTS}
        ) AS steps ORDER BY step
    )
    SELECT state FROM settled
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A delivery, how its attempt ended, and what that makes of it."""

    delivery: Delivery
    answer: Answer
    step: Step


async def settle(connection: Connection, settlements: Sequence[Settlement]) -> set[DeliveryId]:
    """Record how attempts ended; return those whose lease we still held."""
    await connection.execute(LOCK_POSITIONS, {"tickers": [s.delivery.ticker for s in settlements]})
    changes = [_change(s.step) for s in settlements]
    rows = await connection.execute(
        SETTLE,
        {
            "ids": [s.delivery.id for s in settlements],
            "epochs": [s.delivery.epoch for s in settlements],
            "states": [state for state, _, _ in changes],
            "reasons": [reason for _, reason, _ in changes],
            "dues": [due for _, _, due in changes],
            "outcomes": [s.answer.outcome for s in settlements],
            "statuses": [s.answer.status for s in settlements],
            "errors": [s.answer.error for s in settlements],
            "answers": [s.answer.excerpt for s in settlements],
            "durations": [int(s.answer.duration.total_seconds() * 1000) for s in settlements],
        },
    )
    return {DeliveryId(row.id) for row in rows}


async def expire(connection: Connection, *, limit: int) -> Counter[DeliveryState]:
    """End deliveries whose time is over, at no cost to the rate; return how many, by state."""
    rows = (await connection.execute(OVERDUE, {"limit": limit})).all()
    if not rows:
        return Counter()
    await connection.execute(LOCK_POSITIONS, {"tickers": [row.ticker for row in rows]})
    ended = await connection.execute(EXPIRE, {"ids": [row.id for row in rows]})
    return Counter(DeliveryState(row.state) for row in ended)


def _change(step: Step) -> tuple[DeliveryState, str | None, datetime | None]:
    match step:
        case Delivered():
            return DeliveryState.DELIVERED, None, None
        case Retry(at):
            return DeliveryState.QUEUED, None, at
        case Ended(state, reason):
            return state, reason, None
