"""The audit trail as it is read: signals by filter, and one signal's whole life."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import text

from database import around as surroundings
from database.pool import ReadConnection
from domain.signal import SignalId
from domain.trace import TraceId
from domain.why import Around

Facts: TypeAlias = Mapping[str, Any]

# An approved signal shows the least finished, then the worst of its deliveries' states.
SHOWN = """
    CASE WHEN signals.status = 'approved' THEN coalesce((
        SELECT state FROM deliveries WHERE signal_id = signals.id
        ORDER BY array_position(
            ARRAY['sending', 'queued', 'held', 'dead', 'expired', 'cancelled', 'superseded',
                  'delivered'], state)
        LIMIT 1), 'approved')
    ELSE signals.status END
"""

COLUMNS = f"""
    id, seq, source, ticker, exchange, symbol, side, closes, partial,
    CAST(price AS text) AS price, price_text, sender_time, clock_skew, received_at, expires_at,
    status, reason, judged_at, universe_version, rank, cutoff, list_age_ms,
    waits_since, waits_until, {SHOWN} AS shown
"""

PAGE = text(f"""
    SELECT {COLUMNS} FROM signals
    WHERE (CAST(:ticker AS text) IS NULL OR ticker = :ticker)
      AND (CAST(:side AS text) IS NULL OR side = :side)
      AND (CAST(:status AS text) IS NULL OR status = :status)
      AND (CAST(:reason AS text) IS NULL OR reason = :reason)
      AND (CAST(:before AS bigint) IS NULL OR seq < :before)
    ORDER BY seq DESC LIMIT :limit
""")

ONE = text(f"""
    SELECT {COLUMNS}, content_type, body, body_sealed, traceparent FROM signals WHERE id = :id
""")

# A sender's trace may hold several signals; where it named none, the id is the signal's own.
TRACED = text(f"""
    SELECT {COLUMNS} FROM signals WHERE id IN (
        SELECT id FROM signals
        WHERE substr(traceparent, 4, 32) = :hex AND traceparent IS NOT NULL
        UNION ALL
        SELECT id FROM signals WHERE id = CAST(:hex AS uuid) AND traceparent IS NULL)
    ORDER BY seq DESC LIMIT :limit
""")

EVENTS = text("""
    SELECT id, at, event, delivery_id, position_id, actor, detail
    FROM events WHERE signal_id = :id ORDER BY id
""")

DELIVERIES = text("""
    SELECT deliveries.id, destinations.name AS destination, destination_version, deliveries.state,
           deliveries.reason, attempts, possibly_sent, queued_at, due_at,
           deliveries.expires_at, finished_at
    FROM deliveries JOIN destinations ON destinations.id = deliveries.destination_id
    WHERE signal_id = :id ORDER BY destinations.name
""")

ATTEMPTS = text("""
    SELECT delivery_id, number, possible_resend, started_at, finished_at, outcome, status,
           duration_ms, error, answer
    FROM attempts
    WHERE delivery_id IN (SELECT id FROM deliveries WHERE signal_id = :id)
    ORDER BY started_at, epoch
""")

# The signals of its ticker next to it, and its position.
BESIDE = text("""
    SELECT (SELECT id FROM signals AS earlier
            WHERE earlier.ticker = signals.ticker AND earlier.seq < signals.seq
            ORDER BY earlier.seq DESC LIMIT 1) AS previous,
           (SELECT id FROM signals AS later
            WHERE later.ticker = signals.ticker AND later.seq > signals.seq
            ORDER BY later.seq LIMIT 1) AS next,
           (SELECT id FROM positions WHERE id IN (
                SELECT id FROM positions WHERE entry_signal_id = :id
                UNION ALL SELECT id FROM positions WHERE exit_signal_id = :id
                UNION ALL SELECT position_id FROM deliveries WHERE signal_id = :id)
            ORDER BY opened_at DESC LIMIT 1) AS position
    FROM signals WHERE id = :id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which signals: None means any. ``before`` is the `seq` of the last one already seen."""

    ticker: str | None = None
    side: str | None = None
    status: str | None = None
    reason: str | None = None
    before: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One signal with everything that ever happened to it, oldest first.

    ``around`` is what its verdict was based on; None where no list had a part in it.
    """

    signal: Facts
    events: Sequence[Facts]
    deliveries: Sequence[Facts]
    attempts: Sequence[Facts]
    around: Around | None


async def page(connection: ReadConnection, wanted: Filter) -> list[Facts]:
    """Signals of a filter, newest first."""
    rows = await connection.execute(
        PAGE,
        {
            "ticker": wanted.ticker,
            "side": wanted.side,
            "status": wanted.status,
            "reason": wanted.reason,
            "before": wanted.before,
            "limit": wanted.limit,
        },
    )
    return [dict(row) for row in rows.mappings()]


async def traced(connection: ReadConnection, trace: TraceId, limit: int) -> list[Facts]:
    """The signals of a trace, newest first."""
    rows = await connection.execute(TRACED, {"hex": trace.hex(), "limit": limit})
    return [dict(row) for row in rows.mappings()]


async def life(connection: ReadConnection, id: SignalId) -> Life | None:
    """Everything known of a signal; None when there is no such signal."""
    signal = (await connection.execute(ONE, {"id": id})).mappings().one_or_none()
    if signal is None:
        return None
    parts = [
        [dict(row) for row in (await connection.execute(query, {"id": id})).mappings()]
        for query in (EVENTS, DELIVERIES, ATTEMPTS)
    ]
    return Life(
        signal=dict(signal),
        events=parts[0],
        deliveries=parts[1],
        attempts=parts[2],
        around=await surroundings.of(connection, id),
    )


async def beside(connection: ReadConnection, id: SignalId) -> Facts:
    """The ids of the signals of its ticker before and after it, and of its position, or None."""
    row = (await connection.execute(BESIDE, {"id": id})).mappings().one_or_none()
    return dict(row) if row else {}
