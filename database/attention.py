"""Attention: the events looked through without a gap, and the items kept open and settled."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeAlias

from sqlalchemy import text

from database.connection import Row
from database.pool import Connection, ReadConnection
from domain.attention import STANDING, Cause, Finding, Item, Notable, Over, Severity, rounds
from domain.signal import Side

Facts: TypeAlias = Mapping[str, Any]

RELAY = "the relay"
WORST_FIRST = "ARRAY['urgent', 'warning', 'info']"

# What may raise or settle an item.
NOTABLE = """
    (event IN (
        'delivery.dead', 'delivery.held', 'delivery.expired', 'delivery.superseded',
        'delivery.cancelled', 'delivery.delivered', 'signal.rejected', 'signal.expired',
        'signal.invalid', 'position.open', 'position.closed', 'position.void',
        'destination.breaker_open', 'destination.breaker_closed', 'destination.disabled',
        'destination.enabled', 'list.suspect', 'list.ok', 'list.empty', 'list.accepted',
        'list.refused', 'trust.fresh', 'trust.stale', 'trust.unknown')
     OR event = 'delivery.queued' AND actor IS NOT NULL)
"""

# What was imported happened elsewhere, long ago; what is disabled is not tried any more.
PASSED = """
    (coalesce(event = 'destination.breaker_open' AND destinations.state = 'disabled', false)
     OR signals.imported_from IS NOT NULL
     OR coalesce(signals.side = 'buy' AND event IN ('signal.rejected', 'signal.expired'), false))
"""

# One replica looks at a time; the others find the row taken, and nothing to do.
CLAIM = text("""
    SELECT CAST(xid AS text) AS xid, event_id, signal_seq,
           looked_at IS NULL OR looked_at <= clock_timestamp() - CAST(:every AS interval) AS due
    FROM watchman FOR UPDATE SKIP LOCKED
""")

# What is older than every running transaction is complete: nobody can commit into it any more.
# Most of what happens is a buy turned away, of which there is nothing to say; the last event is
# returned whatever it is, for the mark.
READ = text(f"""
    WITH batch AS MATERIALIZED (
        SELECT id, xid, at, event, signal_id, delivery_id, position_id, actor, detail,
               count(*) OVER () AS size, row_number() OVER (ORDER BY xid, id) AS place
        FROM (
            SELECT * FROM events
            WHERE {NOTABLE} AND (xid, id) > (CAST(CAST(:xid AS text) AS xid8), CAST(:id AS bigint))
              AND xid < pg_snapshot_xmin(pg_current_snapshot())
            ORDER BY xid, id LIMIT :limit
        ) AS following
    )
    SELECT size, batch.id, CAST(batch.xid AS text) AS xid, batch.at, event, batch.detail, actor,
           batch.signal_id, batch.delivery_id, batch.position_id, destinations.id AS destination_id,
           destinations.name AS destination, coalesce(deliveries.attempts, 0) AS attempts,
           signals.side, coalesce(signals.partial, false) AS partial, signals.source,
           coalesce(signals.ticker, positions.ticker) AS ticker, bought.status AS bought,
           {PASSED} AS passed
    FROM batch
    LEFT JOIN signals ON signals.id = batch.signal_id
    LEFT JOIN deliveries ON deliveries.id = batch.delivery_id
    LEFT JOIN positions ON positions.id = batch.position_id
    LEFT JOIN destinations ON destinations.id = coalesce(
        deliveries.destination_id, CAST(batch.detail->>'destination_id' AS uuid))
    LEFT JOIN LATERAL (
        SELECT earlier.status FROM signals AS earlier
        WHERE batch.event = 'signal.rejected' AND signals.side = 'sell'
          AND earlier.ticker = signals.ticker AND earlier.seq < signals.seq
          AND earlier.side = 'buy' AND earlier.status <> 'invalid'
        ORDER BY earlier.seq DESC LIMIT 1
    ) AS bought ON true
    WHERE place = size OR NOT {PASSED}
    ORDER BY batch.xid, batch.id
""")
MOVE = text("""
    UPDATE watchman
    SET xid = CAST(CAST(:xid AS text) AS xid8), event_id = :event_id, signal_seq = :signal_seq,
        looked_at = CASE WHEN CAST(:looked AS boolean) THEN clock_timestamp() ELSE looked_at END
""")

_GIVEN = """
    unnest(CAST(:causes AS text[]), CAST(:keys AS text[]), CAST(:severities AS text[]),
           CAST(:texts AS text[]), CAST(:counts AS integer[]),
           CAST(:firsts AS timestamptz[]), CAST(:lasts AS timestamptz[]),
           CAST(:signals AS uuid[]), CAST(:deliveries AS uuid[]), CAST(:positions AS uuid[]),
           CAST(:destinations AS uuid[]), CAST(:sources AS text[]), CAST(:tickers AS text[]))
    AS given (cause, key, severity, text, count, first_at, last_at, signal_id,
              delivery_id, position_id, destination_id, source, ticker)
"""
_OF_ITEM = """
    jsonb_strip_nulls(jsonb_build_object(
        'attention_id', id, 'cause', cause, 'key', key, 'severity', severity, 'ticker', ticker))
"""
# Told when it is new, and not at every repetition: whoever follows the events learns of it.
RAISE = text(f"""
    WITH raised AS (
        INSERT INTO attention AS item (
            cause, key, severity, text, count, first_at, last_at, signal_id, delivery_id,
            position_id, destination_id, source, ticker)
        SELECT cause, key, severity, text, count, first_at, last_at,
               signal_id, delivery_id, position_id, destination_id, source, ticker
        FROM {_GIVEN}
        ON CONFLICT (cause, key) WHERE resolved_at IS NULL DO UPDATE
        SET count = item.count + CASE WHEN item.cause = ANY(CAST(:standing AS text[])) THEN 0
                                      ELSE excluded.count END,
            last_at = greatest(item.last_at, excluded.last_at),
            severity = CASE WHEN array_position({WORST_FIRST}, excluded.severity)
                                 < array_position({WORST_FIRST}, item.severity)
                            THEN excluded.severity ELSE item.severity END,
            text = excluded.text, signal_id = excluded.signal_id,
            delivery_id = excluded.delivery_id, position_id = excluded.position_id,
            destination_id = excluded.destination_id, source = excluded.source,
            ticker = excluded.ticker
        RETURNING id, cause, key, severity, ticker, xmax = 0 AS new
    ), told AS (
        INSERT INTO events (event, detail)
        SELECT 'attention.raised', {_OF_ITEM} FROM raised WHERE new ORDER BY id
    )
    SELECT id FROM raised ORDER BY id
""")
SETTLE = text(f"""
    WITH settled AS (
        UPDATE attention
        SET resolved_at = clock_timestamp(), resolved_by = :by, resolved_why = over.why
        FROM (
            SELECT DISTINCT ON (cause, key, ticker) cause, key, ticker, why FROM unnest(
                CAST(:causes AS text[]), CAST(:keys AS text[]), CAST(:tickers AS text[]),
                CAST(:whys AS text[])) AS over (cause, key, ticker, why)
        ) AS over
        WHERE resolved_at IS NULL AND attention.cause = over.cause
          AND (over.key IS NULL OR attention.key = over.key)
          AND (over.ticker IS NULL OR attention.ticker = over.ticker)
        RETURNING id, attention.cause, attention.key, severity, attention.ticker, over.why
    )
    INSERT INTO events (event, detail)
    SELECT 'attention.settled', {_OF_ITEM} || jsonb_build_object('reason', why)
    FROM settled ORDER BY id
""")

# At most once a channel, cause, key and window, unless it has become worse since.
QUEUE = text(f"""
    INSERT INTO notices (channel_id, attention_id, cause, key, severity)
    SELECT channels.id, item.id, item.cause, item.key, item.severity
    FROM attention AS item CROSS JOIN channels
    WHERE item.id = ANY(CAST(:ids AS bigint[])) AND item.resolved_at IS NULL
      AND enabled AND archived_at IS NULL
      AND array_position({WORST_FIRST}, item.severity)
          <= array_position({WORST_FIRST}, channels.severity)
      AND NOT EXISTS (
          SELECT FROM notices AS told
          WHERE told.channel_id = channels.id AND told.cause = item.cause AND told.key = item.key
            AND told.made_at > clock_timestamp() - window_sec * interval '1 second'
            AND array_position({WORST_FIRST}, told.severity)
                <= array_position({WORST_FIRST}, item.severity))
    RETURNING id
""")
OPEN = text("""
    SELECT severity, count(*) AS number FROM attention WHERE resolved_at IS NULL GROUP BY severity
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far the events and signals have been looked through; ``due``: a look is."""

    xid: str
    event_id: int
    signal_seq: int
    due: bool = False


async def claim(connection: Connection, *, every: timedelta) -> Mark | None:
    """Be the one who looks until this transaction ends; None: somebody else is."""
    row = (await connection.execute(CLAIM, {"every": every})).one_or_none()
    if row is None:
        return None
    return Mark(xid=row.xid, event_id=row.event_id, signal_seq=row.signal_seq, due=row.due)


@dataclass(frozen=True, slots=True)
class Passage:
    """The events between two marks; ``more``: as many as were asked for."""

    events: list[Notable]
    mark: Mark
    more: bool


async def read(connection: ReadConnection, mark: Mark, limit: int) -> Passage:
    """The next notable events, as far as there may be something to say of them."""
    asked = {"xid": mark.xid, "id": mark.event_id, "limit": limit}
    rows = (await connection.execute(READ, asked)).all()
    if rows:
        mark = replace(mark, xid=rows[-1].xid, event_id=rows[-1].id)
    more = bool(rows) and rows[0].size == limit
    return Passage([_notable(row) for row in rows if not row.passed], mark, more)


def _notable(row: Row) -> Notable:
    return Notable(
        at=row.at,
        event=row.event,
        detail=row.detail or {},
        actor=row.actor,
        side=row.side and Side(row.side),
        partial=row.partial,
        ticker=row.ticker,
        source=row.source,
        destination=row.destination,
        attempts=row.attempts,
        bought=row.bought,
        signal_id=row.signal_id,
        delivery_id=row.delivery_id,
        position_id=row.position_id,
        destination_id=row.destination_id,
    )


async def move(connection: Connection, mark: Mark, *, looked: bool) -> None:
    given = {"xid": mark.xid, "event_id": mark.event_id, "signal_seq": mark.signal_seq}
    await connection.execute(MOVE, given | {"looked": looked})


async def keep(connection: Connection, found: Iterable[Finding]) -> int:
    """Open and settle what was found, in its order; return how many notices that makes."""
    queued = 0
    for overs, items in rounds(found):
        if overs:
            await _settle(connection, overs)
        if items:
            queued += await _raise(connection, items)
    return queued


async def _raise(connection: Connection, items: Sequence[Item]) -> int:
    same: dict[tuple[Cause, str], list[Item]] = {}
    for item in items:
        same.setdefault((item.cause, item.key), []).append(item)
    raised = await connection.execute(RAISE, _arrays(list(same.values())))
    queued = await connection.execute(QUEUE, {"ids": list(raised.scalars())})
    return len(queued.all())


def _arrays(same: Sequence[Sequence[Item]]) -> dict[str, Sequence[object]]:
    """Each list is of one cause and key: the last says what it is, the worst how bad."""
    last = [items[-1] for items in same]
    return {
        "causes": [item.cause for item in last],
        "keys": [item.key for item in last],
        "severities": [min((i.severity for i in items), key=_rank) for items in same],
        "texts": [item.text for item in last],
        "counts": [len(items) for items in same],
        "standing": [*STANDING],
        "firsts": [min(item.at for item in items) for items in same],
        "lasts": [max(item.at for item in items) for items in same],
        "signals": [item.signal_id for item in last],
        "deliveries": [item.delivery_id for item in last],
        "positions": [item.position_id for item in last],
        "destinations": [item.destination_id for item in last],
        "sources": [item.source for item in last],
        "tickers": [item.ticker for item in last],
    }


def _rank(severity: Severity) -> int:
    return severity.rank


async def _settle(connection: Connection, overs: Sequence[Over]) -> None:
    given = {
        "by": RELAY,
        "causes": [over.cause for over in overs],
        "keys": [over.key for over in overs],
        "tickers": [over.ticker for over in overs],
        "whys": [over.why for over in overs],
    }
    await connection.execute(SETTLE, given)


async def open_counts(connection: ReadConnection) -> dict[Severity, int]:
    """How many items are open, by severity."""
    found = {row.severity: row.number for row in await connection.execute(OPEN)}
    return {severity: found.get(severity, 0) for severity in Severity}
