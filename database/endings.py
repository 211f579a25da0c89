"""Endings: deliveries that end, or are held, without an attempt: in time, by a rule, by hand."""

from collections import Counter
from collections.abc import Collection
from typing import Any

from sqlalchemy import TextClause, text

from database.following import (
    LOCK_POSITIONS,
    MERGED,
    POSITION_EVENTS,
    POSITIONS_FOLLOW,
    STEPPED,
    merge,
)
from database.pool import Connection
from domain.delivery import DeliveryState

HELD_FOR = "interval '24 hours'"
"""How long a held delivery waits for the operator, and ends dead."""

_KEPT = """
    deliveries JOIN destination_versions AS kept
        ON kept.destination_id = deliveries.destination_id
       AND kept.version = deliveries.destination_version
"""

# Late, unresolved, or leased by somebody who let the lease run out. Each has an index of its own.
_LATE = """
    deliveries.finished_at IS NULL AND expires_at <= statement_timestamp()
    AND (state = 'queued' OR state = 'sending' AND lease_until < statement_timestamp())
"""
_UNRESOLVED = "state = 'held' AND due_at <= statement_timestamp()"
_LOST = """
    state = 'sending' AND lease_until < statement_timestamp() AND guarantee = 'at_most_once'
"""

OVERDUE = text(f"""
    (SELECT id, ticker FROM deliveries WHERE {_LATE} ORDER BY seq LIMIT :limit)
    UNION (SELECT id, ticker FROM deliveries WHERE {_UNRESOLVED} LIMIT :limit)
    UNION (SELECT id, ticker FROM {_KEPT} WHERE {_LOST} LIMIT :limit)
""")

_SUPERSEDED = """
    deliveries.finished_at IS NULL AND state = 'queued' AND side = 'buy' AND NOT possibly_sent
    AND ticker = ANY(CAST(:tickers AS text[])) AND EXISTS (
        SELECT FROM deliveries AS newer JOIN signals ON signals.id = newer.signal_id
        WHERE newer.destination_id = deliveries.destination_id
          AND newer.ticker = deliveries.ticker AND newer.seq > deliveries.seq
          AND newer.finished_at IS NULL AND newer.side = 'sell' AND NOT signals.partial)
"""


NEWER_WENT = """
    EXISTS (SELECT FROM deliveries AS newer
            WHERE newer.destination_id = deliveries.destination_id
              AND newer.ticker = deliveries.ticker AND newer.seq > deliveries.seq
              AND newer.attempts > 0)
"""
"""Whether something newer of its lane was sent: sent now, it would come after that."""


def ending(chosen: str, change: str, *, actor: str = "NULL", more: str = "") -> TextClause:
    """A statement that changes the chosen deliveries, lets positions follow, and tells of it.

    Positions are locked before deliveries, as in a settlement; a delivery that somebody works on is
    left to him. ``change`` may look at the ``guarantee``; ``more`` is told of it as well. It is run
    by `end`.
    """
    return text(f"""
        WITH chosen AS MATERIALIZED (
            SELECT id AS chosen_id, guarantee, state AS was FROM {_KEPT} WHERE {chosen}
            ORDER BY seq FOR UPDATE OF deliveries SKIP LOCKED
        ), settled AS (
            UPDATE deliveries SET lease_until = NULL, {change}
            FROM chosen WHERE id = chosen_id
            RETURNING {STEPPED}, was
        ), {POSITIONS_FOLLOW}, told AS (
            INSERT INTO events (at, event, signal_id, delivery_id, position_id, actor, detail)
            SELECT at, event, signal_id, delivery_id, position_id, {actor}, detail FROM (
                SELECT 1 AS step, at, 'delivery.' || state AS event, signal_id, id AS delivery_id,
                       NULL::uuid AS position_id,
                       jsonb_strip_nulls(jsonb_build_object(
                           'was', was, 'reason', reason, 'attempts', attempts,
                           'due_at', CASE WHEN state = 'held' THEN due_at END
                           {more})) AS detail
                FROM settled
                UNION ALL {POSITION_EVENTS}
            ) AS steps ORDER BY step
        )
        SELECT state, {MERGED} AS merged FROM settled
    """)


# What ran out of time: late buys expire, late sells are dead, and loud. At most once, a lease that
# ran out is held, because it may have been sent; what nobody resolved is dead.
EXPIRE = ending(
    f"id = ANY(CAST(:ids AS uuid[])) AND (({_LATE}) OR ({_UNRESOLVED}) OR ({_LOST}))",
    f"""
    state = CASE WHEN state = 'sending' AND guarantee = 'at_most_once' THEN 'held'
                 WHEN side = 'sell' OR state = 'held' THEN 'dead' ELSE 'expired' END,
    reason = CASE WHEN state = 'held' THEN 'unresolved'
                  WHEN state = 'sending' AND guarantee = 'at_most_once' THEN 'lease_lost'
                  ELSE 'expired' END,
    possibly_sent = possibly_sent OR state = 'sending',
    due_at = CASE state WHEN 'sending' THEN clock_timestamp() + {HELD_FOR} ELSE due_at END,
    finished_at = CASE WHEN state = 'sending' AND guarantee = 'at_most_once' THEN NULL
                       ELSE clock_timestamp() END
    """,
)

SUPERSEDE = ending(
    _SUPERSEDED,
    "state = 'superseded', reason = 'newer_sell', finished_at = clock_timestamp()",
)

# Whoever sells everything wants nothing bought that was approved before.
_UNSENT_BUY = """
    deliveries.finished_at IS NULL AND state = 'queued' AND side = 'buy' AND NOT possibly_sent
"""
_ABANDONED = "state = 'superseded', reason = 'sell_all', finished_at = clock_timestamp()"
UNSENT_BUYS = text(f"SELECT DISTINCT ticker FROM deliveries WHERE {_UNSENT_BUY}")
ABANDON_ALL = ending(_UNSENT_BUY, _ABANDONED, actor="CAST(:actor AS text)")
ABANDON_OLDER = ending(
    f"""
    {_UNSENT_BUY} AND ticker = ANY(CAST(:tickers AS text[])) AND queued_at <= (
        SELECT max(made_at) FROM batches WHERE kind = 'sell_all')
    """,
    _ABANDONED,
)
HOLD_DESTINATIONS = text("SELECT FROM destinations ORDER BY id FOR NO KEY UPDATE")


async def expire(connection: Connection, *, limit: int) -> Counter[DeliveryState]:
    """End or hold what is overdue, at no cost to the rate; return how many, by state."""
    rows = (await connection.execute(OVERDUE, {"limit": limit})).all()
    if not rows:
        return Counter()
    ids = [row.id for row in rows]
    return await end(connection, EXPIRE, {row.ticker for row in rows}, ids=ids)


async def supersede(connection: Connection, tickers: Collection[str]) -> Counter[DeliveryState]:
    """End buys that surely never arrived and have an exit behind them in their lane.

    They would be bought only to be sold. A partial exit leaves its position open: it takes none.
    """
    return await end(connection, SUPERSEDE, tickers, tickers=list(tickers))


async def hold_destinations(connection: Connection) -> None:
    """Let nothing be leased anywhere between our look at many deliveries and our commit."""
    await connection.execute(HOLD_DESTINATIONS)


async def abandon_buys(connection: Connection, *, actor: str) -> Counter[DeliveryState]:
    """End every buy that surely never left, of every ticker, at every destination.

    Nobody leases or gives a delivery elsewhere meanwhile, so that none is passed over.
    """
    await hold_destinations(connection)
    tickers = (await connection.execute(UNSENT_BUYS)).scalars().all()
    return await end(connection, ABANDON_ALL, tickers, actor=actor) if tickers else Counter()


async def abandon_older(connection: Connection, tickers: Collection[str]) -> None:
    """End buys from before the last sell-all that surely never arrived."""
    await end(connection, ABANDON_OLDER, tickers, tickers=list(tickers))


async def end(
    connection: Connection, statement: TextClause, of: Collection[str], **given: Any
) -> Counter[DeliveryState]:
    """Run one of these statements with the positions ``of`` its tickers locked."""
    await connection.execute(LOCK_POSITIONS, {"tickers": list(of)})
    rows = (await connection.execute(statement, given)).all()
    await merge(connection, {id for row in rows for id in row.merged})
    return Counter(DeliveryState(row.state) for row in rows)
