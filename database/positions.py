"""Positions as they are read, and an operator's correction of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import text

from database import gate
from database.audit import Facts
from database.following import LOCK_POSITIONS
from database.pool import Connection, ReadConnection
from domain.position import PositionId, PositionState
from domain.ticker import Ticker


class Correction(StrEnum):
    """Why a position could not be corrected."""

    ALREADY_OPEN = "already_open"
    BUSY = "busy"
    WRONG_STATE = "wrong_state"


# Who closed one by hand is in its last event.
_ITEM = """
    SELECT positions.id, positions.ticker, positions.state, opened_at, updated_at,
           coalesce(entry.source, 'operator') AS source,
           entry_signal_id, coalesce(positions.entry_price, entry.price) AS entry_price,
           exit_signal_id, coalesce(positions.exit_price, exit.price) AS exit_price,
           exit.source AS exit_source, exit.received_at AS exit_at, clock_timestamp() AS now,
           (SELECT count(DISTINCT signal_id) FROM deliveries
            WHERE position_id = positions.id) AS signals,
           CASE WHEN exit_signal_id IS NULL AND positions.state = 'closed' THEN (
               SELECT actor FROM events
               WHERE position_id = positions.id AND event = 'position.closed'
               ORDER BY events.id DESC LIMIT 1) END AS closed_by
    FROM positions
    LEFT JOIN signals AS entry ON entry.id = entry_signal_id
    LEFT JOIN signals AS exit ON exit.id = exit_signal_id
"""
PAGE = text(f"""
    {_ITEM}
    WHERE (CAST(:state AS text) IS NULL OR positions.state = :state)
      AND (CAST(:ticker AS text) IS NULL OR positions.ticker = :ticker)
      AND (CAST(:before AS timestamptz) IS NULL OR opened_at < :before
           OR opened_at = :before AND positions.id > CAST(:after AS uuid))
    ORDER BY opened_at DESC, positions.id LIMIT :limit
""")
ONE = text(f"{_ITEM} WHERE positions.id = :id")

EVENTS = text("""
    SELECT id, at, event, signal_id, actor, detail FROM events
    WHERE position_id = :id ORDER BY id
""")
SIGNALS = text("""
    SELECT id, source, side, partial, CAST(price AS text) AS price, received_at, status, reason,
           batch_id, replay_of
    FROM signals
    WHERE id IN (SELECT signal_id FROM deliveries WHERE position_id = :id
                 UNION SELECT entry_signal_id FROM positions WHERE id = :id
                 UNION SELECT exit_signal_id FROM positions WHERE id = :id)
    ORDER BY seq
""")
DELIVERIES = text("""
    SELECT deliveries.id, signal_id, destination_id, destinations.name AS destination, side,
           deliveries.state, deliveries.reason, attempts, possibly_sent, queued_at, finished_at
    FROM deliveries JOIN destinations ON destinations.id = destination_id
    WHERE position_id = :id ORDER BY seq, destinations.name
""")

# Since midnight, UTC.
STATES = text("SELECT state, count(*) AS positions FROM positions GROUP BY state")
STATISTICS = text("""
    WITH day AS MATERIALIZED (
        SELECT date_trunc('day', statement_timestamp(), 'UTC') AS began
    ), closed AS MATERIALIZED (
        SELECT updated_at - opened_at AS held, 100 * (leaving / entering - 1) AS gain
        FROM (
            SELECT opened_at, updated_at, coalesce(entry_price, entry.price) AS entering,
                   coalesce(exit_price, exit.price) AS leaving
            FROM positions LEFT JOIN signals AS entry ON entry.id = entry_signal_id
            LEFT JOIN signals AS exit ON exit.id = exit_signal_id
            WHERE positions.state = 'closed'
        ) AS priced WHERE entering > 0 AND leaving IS NOT NULL
    )
    SELECT (SELECT count(*) FROM positions, day WHERE opened_at >= began) AS opened_today,
           (SELECT count(*) FROM positions, day
            WHERE state = 'closed' AND updated_at >= began) AS closed_today,
           count(*) AS closed, count(*) FILTER (WHERE gain > 0) AS winners,
           CAST(avg(gain) AS double precision) AS mean_return,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY gain) AS median_return,
           CAST(extract(epoch FROM avg(held)) AS double precision) AS mean_held
    FROM closed
""")

ENTER = text("""
    WITH entered AS (
        INSERT INTO positions (id, ticker, state, opened_at, updated_at, entry_price)
        SELECT :id, :ticker, 'open', clock.at, clock.at, CAST(:price AS numeric)
        FROM (SELECT clock_timestamp() AS at) AS clock
        WHERE NOT EXISTS (SELECT FROM positions
                          WHERE ticker = :ticker AND state IN ('opening', 'open'))
        RETURNING *
    )
    INSERT INTO events (at, event, position_id, actor, detail)
    SELECT opened_at, 'position.open', id, :actor, jsonb_build_object(
        'ticker', ticker, 'was', NULL, 'becomes', state, 'price', CAST(entry_price AS text),
        'reason', CAST(:reason AS text))
    FROM entered
    RETURNING 1
""")
# The exit that once failed is not the exit of what is closed by hand.
CLOSE = text("""
    WITH was AS MATERIALIZED (
        SELECT id, state, exit_signal_id FROM positions WHERE id = :id FOR UPDATE
    ), closed AS (
        UPDATE positions
        SET state = 'closed', exit_price = CAST(:price AS numeric), exit_signal_id = NULL,
            updated_at = clock_timestamp()
        FROM was
        WHERE positions.id = was.id AND was.state IN ('opening', 'open', 'closing')
          AND NOT EXISTS (SELECT FROM deliveries
                          WHERE position_id = was.id AND finished_at IS NULL)
        RETURNING positions.*, was.state AS was, was.exit_signal_id AS had
    )
    INSERT INTO events (at, event, signal_id, position_id, actor, detail)
    SELECT updated_at, 'position.closed', coalesce(had, entry_signal_id), id, :actor,
           jsonb_build_object('ticker', ticker, 'was', was, 'becomes', state,
                              'price', CAST(exit_price AS text), 'reason', CAST(:reason AS text))
    FROM closed
    RETURNING 1
""")
STATE = text("SELECT ticker, state FROM positions WHERE id = :id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which positions: None means any. ``after`` names the last one already seen."""

    state: PositionState | None = None
    ticker: Ticker | None = None
    after: tuple[datetime, PositionId] | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A position with everything that happened to it, oldest first."""

    position: Facts
    events: Sequence[Facts]
    signals: Sequence[Facts]
    deliveries: Sequence[Facts]


async def page(connection: ReadConnection, wanted: Wanted) -> list[Facts]:
    """Positions, the newest first."""
    before, after = wanted.after or (None, None)
    given = {
        "state": wanted.state,
        "ticker": wanted.ticker,
        "before": before,
        "after": after,
        "limit": wanted.limit,
    }
    return [dict(row) for row in (await connection.execute(PAGE, given)).mappings()]


async def one(connection: ReadConnection, id: PositionId) -> Facts | None:
    row = (await connection.execute(ONE, {"id": id})).mappings().one_or_none()
    return None if row is None else dict(row)


async def history(connection: ReadConnection, id: PositionId) -> History | None:
    """All of it; None when there is no such position."""
    position = await one(connection, id)
    if position is None:
        return None
    events, signals, deliveries = [
        [dict(row) for row in (await connection.execute(query, {"id": id})).mappings()]
        for query in (EVENTS, SIGNALS, DELIVERIES)
    ]
    return History(position=position, events=events, signals=signals, deliveries=deliveries)


async def statistics(connection: ReadConnection) -> tuple[Mapping[str, int], Facts]:
    """How many there are by state; and how those with both prices went."""
    states = {row.state: row.positions for row in await connection.execute(STATES)}
    found = (await connection.execute(STATISTICS)).mappings().one()
    return states, dict(found)


async def enter(
    connection: Connection,
    id: PositionId,
    ticker: Ticker,
    *,
    price: Decimal | None,
    actor: str,
    reason: str | None,
) -> Correction | None:
    """Say that a position of this ticker is open; return why that cannot be."""
    await _hold(connection, ticker)
    given: dict[str, Any] = {
        "id": id,
        "ticker": ticker,
        "price": price,
        "actor": actor,
        "reason": reason,
    }
    entered = (await connection.execute(ENTER, given)).one_or_none()
    return None if entered else Correction.ALREADY_OPEN


async def close(
    connection: Connection,
    id: PositionId,
    *,
    price: Decimal | None,
    actor: str,
    reason: str,
) -> Correction | None:
    """Say that it is closed; nothing is sent. Return why that cannot be.

    Raises LookupError when there is no such position.
    """
    found = (await connection.execute(STATE, {"id": id})).one_or_none()
    if found is None:
        raise LookupError
    await _hold(connection, found.ticker)
    given: dict[str, Any] = {"id": id, "price": price, "actor": actor, "reason": reason}
    if (await connection.execute(CLOSE, given)).one_or_none():
        return None
    now = (await connection.execute(STATE, {"id": id})).one()
    unfinished = PositionState(now.state).unfinished
    return Correction.BUSY if unfinished else Correction.WRONG_STATE


async def _hold(connection: Connection, ticker: str) -> None:
    """Nobody judges this ticker, and no delivery of it ends, until this transaction does."""
    await gate.hold_alone(connection)
    await connection.execute(LOCK_POSITIONS, {"tickers": [ticker]})
