"""The journal: every alert that reached us, in the order we acknowledged it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import TextClause, text

from database.dedicated import Dedicated
from database.pool import Connection
from domain.signal import Side, SignalId, SignalStatus
from domain.ticker import Ticker


class Entry(NamedTuple):
    """An alert ready to be journaled. ``invalid`` is its code when it cannot be a signal.

    ``key`` names its duplicates for ``window``; ``lifetime`` counts from when it was received, or
    from ``sent_at`` when the sender said when it sent it. ``hop`` counts relays before us,
    ``traceparent`` is the trace that the sender named. A tuple
    because the hot path makes one of each alert, and PostgreSQL is told a batch column by column.
    """

    id: SignalId
    source: str
    key: bytes
    window: timedelta
    lifetime: timedelta
    content_type: str
    body: bytes
    body_sealed: bool
    invalid: str | None = None
    ticker: Ticker | None = None
    exchange: str | None = None
    symbol: str | None = None
    side: Side | None = None
    closes: bool | None = None
    partial: bool = False
    price: Decimal | None = None
    price_text: str | None = None
    sender_time: datetime | None = None
    sent_at: datetime | None = None
    hop: int = 0
    traceparent: str | None = None

    def __repr__(self) -> str:
        """A body may hold a secret."""
        return f"Entry(id={self.id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the sender is told: whose id, where it stands, and whether it was a repeat."""

    id: SignalId
    status: SignalStatus
    ticker: Ticker | None
    duplicate: bool


STATUSES = {str(status): status for status in SignalStatus}

COLUMNS: dict[str, str] = {
    "id": "uuid",
    "source": "text",
    "key": "bytea",
    "window": "interval",
    "lifetime": "interval",
    "content_type": "text",
    "body": "bytea",
    "body_sealed": "boolean",
    "invalid": "text",
    "ticker": "text",
    "exchange": "text",
    "symbol": "text",
    "side": "text",
    "closes": "boolean",
    "partial": "boolean",
    "price": "numeric",
    "price_text": "text",
    "sender_time": "timestamptz",
    "sent_at": "timestamptz",
    "hop": "smallint",
    "traceparent": "text",
}
NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
ARRAYS = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in COLUMNS.items())
ONES = ", ".join(f"ARRAY[CAST(:{name} AS {kind})]" for name, kind in COLUMNS.items())
"""For one alert: an array of one costs the driver several times as much as its value."""

# The lock makes `seq` the order of commits, also over replicas; it is held for this one statement.
# A commit repeated because its answer was lost keeps its key, however short the window was.
# A send time more than five seconds ahead of our clock is the sender's clock's fault: ignored.
_APPEND = """
    WITH turn AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(hashtext('trading-signal-processor.journal')) AS mine
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS at FROM turn
    ), alert AS MATERIALIZED (
        SELECT given.*, clock.at,
               lifetime + least(
                   clock.at, CASE WHEN sent_at <= clock.at + interval '5 seconds' THEN sent_at END
               ) AS expires_at
        FROM clock, ROWS FROM (unnest({values})) WITH ORDINALITY AS given ({names}, place)
    ), keyed AS (
        INSERT INTO dedupe_keys AS known (key, signal_id, expires_at)
        SELECT key, id, at + "window" FROM alert
        ON CONFLICT (key) DO UPDATE
            SET signal_id = excluded.signal_id, expires_at = excluded.expires_at
            WHERE known.expires_at <= (SELECT at FROM clock)
              AND known.signal_id <> excluded.signal_id
        RETURNING signal_id
    ), journaled AS (
        INSERT INTO signals (
            id, source, ticker, exchange, symbol, side, closes, partial, price, price_text,
            sender_time, clock_skew, hop, content_type, body, body_sealed, received_at, expires_at,
            traceparent, status, reason, judged_at)
        SELECT alert.id, source, ticker, exchange, symbol, side, closes, partial, price, price_text,
               sender_time, coalesce(sent_at > at + interval '5 seconds', false),
               hop, content_type, body, body_sealed, at, expires_at, traceparent,
               CASE WHEN invalid IS NOT NULL THEN 'invalid'
                    WHEN expires_at <= at THEN 'expired' ELSE 'received' END,
               CASE WHEN invalid IS NOT NULL THEN invalid
                    WHEN expires_at <= at THEN 'expired' END,
               CASE WHEN invalid IS NOT NULL OR expires_at <= at THEN at END
        FROM alert JOIN keyed ON keyed.signal_id = alert.id
        ORDER BY place
        RETURNING id, status, reason, received_at, source, ticker, side
    ), told AS (
        INSERT INTO events (at, event, signal_id, detail)
        SELECT received_at, steps.event, id, steps.detail
        FROM journaled, LATERAL (
            SELECT 1 AS step, 'signal.received' AS event,
                   jsonb_build_object('source', source, 'ticker', ticker, 'side', side) AS detail
            UNION ALL
            SELECT 2, 'signal.' || status, jsonb_build_object('reason', reason)
            WHERE status <> 'received'
        ) AS steps
        ORDER BY step
    )
    SELECT array_agg(id) AS ids, array_agg(status) AS statuses FROM journaled
"""
APPEND = text(_APPEND.format(values=ARRAYS, names=NAMES))
APPEND_ONE = text(_APPEND.format(values=ONES, names=NAMES))

# Runs after APPEND, so that it sees keys another replica committed meanwhile.
FOLD = text("""
    WITH repeat AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:keys AS bytea[])) AS repeat (id, key)
    ), folded AS (
        SELECT repeat.id AS asked, signals.id, signals.status, signals.ticker
        FROM repeat
        JOIN dedupe_keys ON dedupe_keys.key = repeat.key
        JOIN signals ON signals.id = dedupe_keys.signal_id
    ), told AS (
        INSERT INTO events (event, signal_id)
        SELECT 'signal.duplicate', id FROM folded WHERE id <> asked
    )
    SELECT asked, id, status, ticker FROM folded
""")

FORGET_KEYS = text("""
    DELETE FROM dedupe_keys WHERE key IN (
        SELECT key FROM dedupe_keys
        WHERE expires_at < statement_timestamp() - interval '1 minute' LIMIT 5000)
""")


async def append(
    connection: Connection | Dedicated, entries: Sequence[Entry]
) -> list[Receipt | None]:
    """Journal alerts in this order and say of each where it stands; on an autocommit connection.

    Entries have distinct keys. None stands for a repeat whose original is no longer there.
    """
    journaled = (await connection.execute(*_appending(entries))).one()
    statuses: dict[SignalId, str] = dict(
        zip(journaled.ids or [], journaled.statuses or [], strict=True)
    )
    receipts = {
        entry.id: Receipt(
            id=entry.id, status=STATUSES[statuses[entry.id]], ticker=entry.ticker, duplicate=False
        )
        for entry in entries
        if entry.id in statuses
    }
    repeats = [(entry.id, entry.key) for entry in entries if entry.id not in statuses]
    if repeats:
        receipts |= await fold(connection, repeats)
    return [receipts.get(entry.id) for entry in entries]


def _appending(entries: Sequence[Entry]) -> tuple[TextClause, dict[str, object]]:
    """The statement for so many, and its values."""
    if len(entries) == 1:
        return APPEND_ONE, dict(zip(COLUMNS, entries[0], strict=True))
    columns = map(list, zip(*entries, strict=True))
    return APPEND, dict(zip(COLUMNS, columns, strict=True))


async def fold(
    connection: Connection | Dedicated, repeats: Sequence[tuple[SignalId, bytes]]
) -> dict[SignalId, Receipt]:
    """Record repeats on the signals they repeat; return the receipt each asker is owed.

    An asker that *is* the signal (its commit went through although its connection did not) gets
    its own receipt, and no event.
    """
    ids, keys = zip(*repeats, strict=True)
    rows = await connection.execute(FOLD, {"ids": list(ids), "keys": list(keys)})
    return {
        SignalId(row.asked): Receipt(
            id=SignalId(row.id),
            status=SignalStatus(row.status),
            ticker=row.ticker,
            duplicate=row.id != row.asked,
        )
        for row in rows
    }


async def forget_keys(connection: Connection) -> int:
    """Delete a batch of expired dedupe keys; return how many."""
    return (await connection.execute(FORGET_KEYS)).rowcount
