"""The journal: every alert that reached us, in the order we acknowledged it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from asyncpg.pgproto import pgproto  # pyright: ignore[reportMissingTypeStubs]
from sqlalchemy import TextClause, text

from database.dedicated import Dedicated
from database.pool import Connection
from database.universes import NEWEST, Key
from domain.gate import Place, Reason
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
class Early:
    """Early verdicts: which of a batch the list rejects, if it is still the list that counts.

    ``key`` (of the screen and its list) and ``gate_version`` are what they were reached by,
    ``list_max_age`` is how old the list may be. ``places`` are by entry; whose is None is left to
    the gate, and so are all if anything is another by now.
    """

    key: Key
    gate_version: int
    list_max_age: timedelta
    places: Sequence[Place | None]


class Receipt(NamedTuple):
    """What the sender is told: whose id, where it stands, and whether it was a repeat."""

    id: SignalId
    status: SignalStatus
    ticker: Ticker | None
    duplicate: bool


def signal_id(value: bytes) -> SignalId:
    """An id of sixteen bytes, as the driver has them: made, written and told for a tenth."""
    return SignalId(pgproto.UUID(value))


NOWHERE = (None, None)
STATUSES = {str(status): status for status in SignalStatus}

# A price is told as text: the driver takes a Decimal apart, for five times the time.
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
    "price": "text",
    "price_text": "text",
    "sender_time": "timestamptz",
    "sent_at": "timestamptz",
    "hop": "smallint",
    "traceparent": "text",
}
GIVEN = COLUMNS | {"rank": "integer", "cutoff": "integer"}
"""With where the list rejects it; no cutoff: it is left to the gate."""

ALWAYS = frozenset(
    {"source", "window", "lifetime", "content_type", "body_sealed", "hop", "partial"}
)
"""Columns that are never null: where all of a batch agree, it is said once."""

ARRAYS = {name: f"CAST(:{name} AS {kind}[])" for name, kind in GIVEN.items()}
TOLD = [
    f'coalesce(given."{name}", ({array})[1]) AS "{name}"' if name in ALWAYS else f'given."{name}"'
    for name, array in ARRAYS.items()
]
MANY = f"""
    SELECT {", ".join(TOLD)}, place
    FROM ROWS FROM (unnest({", ".join(ARRAYS.values())}))
    WITH ORDINALITY AS given ({", ".join(f'"{name}"' for name in GIVEN)}, place)
"""
"""A batch, told column by column; what an array is too short for is null."""

ONES = [f'CAST(:{name} AS {kind}) AS "{name}"' for name, kind in GIVEN.items()]
ONE = f"SELECT {', '.join(ONES)}, 1 AS place"
"""One alert: arrays of one, and what takes them apart, cost both sides more than it does."""


def _appending(entries: str, *, sorts: bool) -> TextClause:
    """The statement for entries that are given so; ``sorts``: they are more than one.

    Events are written as they stand below: what was received first, then what has its verdict.
    """
    return text(
        _APPEND.format(
            entries=entries,
            in_order="ORDER BY place" if sorts else "",
            newest=NEWEST,
            unlisted=Reason.NOT_IN_LIST,
        )
    )


# The lock makes `seq` the order of commits, also over replicas; it is held for this one statement.
# A commit repeated because its answer was lost keeps its key, however short the window was.
# A send time more than five seconds ahead of our clock is the sender's clock's fault: ignored.
#
# An early verdict stands if the gate, the screen and its list are those it was reached by, and the
# list is fresh; and if nothing undecided of its ticker came before it. The row of the gate is held,
# so that whoever changes it comes before or after; who is just at it is not waited for. Who had to
# wait for his turn sees screen and list as they were before: what he brings is left to the gate.
_APPEND = """
    WITH turn AS MATERIALIZED (
        SELECT CASE WHEN pg_try_advisory_xact_lock(journal) THEN true
                    ELSE pg_advisory_xact_lock(journal) IS NULL END AS at_once
        FROM hashtext('trading-signal-processor.journal') AS journal
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS at, at_once FROM turn
    ), alert AS MATERIALIZED (
        SELECT told.*, clock.at, CAST(told.price AS numeric) AS exact_price,
               lifetime + least(
                   clock.at, CASE WHEN sent_at <= clock.at + interval '5 seconds' THEN sent_at END
               ) AS expires_at
        FROM clock, ({entries}) AS told
    ), ruled AS MATERIALIZED (
        SELECT version FROM clock, gate
        WHERE at_once AND version = CAST(:gate_version AS bigint) AND paused_at IS NULL
        FOR SHARE OF gate SKIP LOCKED
    ), in_force AS MATERIALIZED (
        SELECT ruled.version AS gate_version, universe.version AS universe_version,
               floor(extract(epoch FROM clock.at - universe.confirmed_at) * 1000) AS age
        FROM clock, ruled, screens {newest}
        WHERE screens.active AND screens.id = CAST(:screen AS uuid)
          AND screens.version = CAST(:screen_version AS bigint)
          AND universe.version = CAST(:universe_version AS bigint)
          AND clock.at - universe.confirmed_at
              BETWEEN interval '0' AND CAST(:list_max_age AS interval)
          AND (universe.valid_until IS NULL OR clock.at < universe.valid_until)
    ), keyed AS (
        INSERT INTO dedupe_keys AS known (key, signal_id, expires_at)
        SELECT key, id, at + "window" FROM alert
        ON CONFLICT (key) DO UPDATE
            SET signal_id = excluded.signal_id, expires_at = excluded.expires_at
            WHERE known.expires_at <= (SELECT at FROM clock)
              AND known.signal_id <> excluded.signal_id
        RETURNING signal_id
    ), judged AS (
        SELECT alert.*, gate_version, universe_version, age,
               CASE WHEN invalid IS NOT NULL THEN 'invalid'
                    WHEN expires_at <= at THEN 'expired'
                    WHEN gate_version IS NOT NULL THEN 'rejected'
                    ELSE 'received' END AS status,
               CASE WHEN invalid IS NOT NULL THEN invalid
                    WHEN expires_at <= at THEN 'expired'
                    WHEN gate_version IS NOT NULL THEN '{unlisted}' END AS reason
        FROM alert JOIN keyed ON keyed.signal_id = alert.id
        LEFT JOIN in_force ON cutoff IS NOT NULL AND expires_at > at AND NOT EXISTS (
            SELECT FROM signals AS earlier
            WHERE earlier.status = 'received' AND earlier.waits_until IS NULL
              AND earlier.ticker = alert.ticker)
    ), journaled AS (
        INSERT INTO signals (
            id, source, ticker, exchange, symbol, side, closes, partial, price, price_text,
            sender_time, clock_skew, hop, content_type, body, body_sealed, received_at, expires_at,
            traceparent, status, reason, judged_at, universe_version, rank, cutoff, list_age_ms)
        SELECT id, source, ticker, exchange, symbol, side, closes, partial, exact_price, price_text,
               sender_time, coalesce(sent_at > at + interval '5 seconds', false),
               hop, content_type, body, body_sealed, at, expires_at, traceparent,
               status, reason, CASE WHEN status <> 'received' THEN at END, universe_version,
               CASE WHEN gate_version IS NOT NULL THEN rank END,
               CASE WHEN gate_version IS NOT NULL THEN cutoff END, age
        FROM judged
        {in_order}
        RETURNING id, status, reason, received_at, source, ticker, side, universe_version, rank,
                  cutoff, list_age_ms
    ), told AS (
        INSERT INTO events (at, event, signal_id, detail)
        SELECT received_at, 'signal.received', id,
               jsonb_build_object('source', source, 'ticker', ticker, 'side', side)
        FROM journaled
        UNION ALL
        SELECT received_at, 'signal.' || status, id, jsonb_strip_nulls(jsonb_build_object(
            'reason', reason, 'universe_version', universe_version, 'rank', rank,
            'cutoff', cutoff, 'list_age_ms', list_age_ms, 'gate_version', gate_version))
        FROM journaled LEFT JOIN in_force USING (universe_version)
        WHERE status <> 'received'
    )
    SELECT array_agg(id) AS ids, array_agg(status) AS statuses FROM journaled
"""
APPEND = _appending(MANY, sorts=True)
APPEND_ONE = _appending(ONE, sorts=False)

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
    connection: Connection | Dedicated, entries: Sequence[Entry], early: Early | None = None
) -> list[Receipt | None]:
    """Journal alerts in this order and say of each where it stands; on an autocommit connection.

    Entries have distinct keys. None stands for a repeat whose original is no longer there. Those
    with an ``early`` verdict are rejected as they are journaled, if it stands.
    """
    statement, values = _with_values(entries, early.places if early else [None] * len(entries))
    values |= _in_force(early)
    journaled = (await connection.execute(statement, values)).one()
    statuses: dict[SignalId, str] = dict(
        zip(journaled.ids or [], journaled.statuses or [], strict=True)
    )
    receipts = [_new(entry, statuses.get(entry.id)) for entry in entries]
    if len(statuses) == len(entries):
        return receipts
    repeats = [(entry.id, entry.key) for entry in entries if entry.id not in statuses]
    folded = await fold(connection, repeats)
    return [new or folded.get(entry.id) for new, entry in zip(receipts, entries, strict=True)]


def _new(entry: Entry, status: str | None) -> Receipt | None:
    return Receipt(entry.id, STATUSES[status], entry.ticker, duplicate=False) if status else None


def _with_values(
    entries: Sequence[Entry], places: Sequence[Place | None]
) -> tuple[TextClause, dict[str, Any]]:
    """The statement for so many, and its values."""
    if len(entries) == 1:
        given = dict(zip(GIVEN, (*entries[0], *(places[0] or NOWHERE)), strict=True))
        return APPEND_ONE, given | {"price": _text(entries[0].price)}
    columns = [*zip(*entries, strict=True), *zip(*(one or NOWHERE for one in places), strict=True)]
    named = zip(GIVEN, columns, strict=True)
    given = {name: _column(name, values) for name, values in named}
    prices = given["price"]
    return APPEND, given | {"price": prices and [_text(price) for price in prices]}


def _column(name: str, values: Sequence[Any]) -> Sequence[Any] | None:
    """As short as it can be told: the driver spends most of its time on elements."""
    first = values[0]
    if (first is not None and name not in ALWAYS) or values.count(first) < len(values):
        return values
    return None if first is None else values[:1]


def _text(price: Decimal | None) -> str | None:
    return None if price is None else str(price)


def _in_force(early: Early | None) -> dict[str, object]:
    """What is to be in force still."""
    screen, screen_version, universe_version, *_ = early.key if early else (None, None, None)
    return {
        "screen": screen,
        "screen_version": screen_version,
        "universe_version": universe_version,
        "gate_version": early and early.gate_version,
        "list_max_age": early and early.list_max_age,
    }


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
