"""Sells by hand: what there is to sell, the draft of what to sell, and when the last one leaves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from database.audit import Facts
from database.batches import BatchId
from database.connection import Row
from database.lanes import TRANSIT
from database.pool import Connection, ReadConnection
from domain.eta import Spent, seconds_until_last
from domain.position import PositionId, PositionState
from domain.rate import Window, parse_windows
from domain.signal import SignalId
from domain.ticker import Ticker


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """An unfinished position; ``symbol`` is how whoever bought it spelled its ticker."""

    position_id: PositionId
    ticker: Ticker
    state: PositionState
    symbol: str
    exit_signal_id: SignalId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Sells of a batch that wait for a destination, and when the last of them leaves.

    ``ahead`` waits before it, ``on_the_wire`` is being sent. ``expected`` is None while nobody can
    know: paused, disabled, or its breaker is open.
    """

    destination_id: str
    name: str
    state: str
    breaker: str
    waiting: int
    on_the_wire: int
    ahead: int
    expected: float | None


HOLDINGS = text("""
    SELECT positions.id, positions.ticker, positions.state, exit_signal_id,
           coalesce(symbol, positions.ticker) AS symbol
    FROM positions LEFT JOIN signals ON signals.id = entry_signal_id
    WHERE state IN ('opening', 'open', 'closing')
      AND (CAST(:tickers AS text[]) IS NULL OR positions.ticker = ANY(CAST(:tickers AS text[])))
    ORDER BY opened_at, positions.id
""")
UNDECIDED_BUYS = text("""
    SELECT DISTINCT ticker FROM signals
    WHERE status = 'received' AND side = 'buy'
      AND (ticker = ANY(CAST(:tickers AS text[])) OR CAST(:waiting AS boolean)
           AND waits_until IS NOT NULL)
""")

SOLD_BY = text("""
    SELECT signals.id, signals.ticker, signals.symbol, status, signals.reason, sent.*,
           positions.state AS position
    FROM signals LEFT JOIN LATERAL (
        SELECT bool_or(finished_at IS NULL) AS waits,
               bool_and(state = 'delivered'
                        OR state = 'superseded' AND deliveries.reason = 'entry_unsent') AS done,
               (array_agg(position_id))[1] AS position_id
        FROM deliveries WHERE signal_id = signals.id
    ) AS sent ON true
    LEFT JOIN positions ON positions.id = sent.position_id
    WHERE batch_id = :batch AND side = 'sell' ORDER BY seq
""")

WAITING = text("""
    WITH mine AS MATERIALIZED (
        SELECT deliveries.* FROM deliveries JOIN signals ON signals.id = signal_id
        WHERE signals.batch_id = :batch AND deliveries.finished_at IS NULL
    )
    SELECT destinations.id, destinations.name, destinations.state, breaker, windows,
           count(*) FILTER (WHERE mine.state = 'queued') AS waiting,
           count(*) FILTER (WHERE mine.state = 'sending') AS on_the_wire,
           (SELECT count(*) FROM deliveries AS other
            WHERE other.destination_id = destinations.id AND other.finished_at IS NULL
              AND other.state = 'queued' AND other.seq <= max(mine.seq)
              AND other.id NOT IN (SELECT id FROM mine)
              AND (other.side = 'sell' OR other.ticker IN (SELECT ticker FROM mine))) AS ahead,
           greatest(0, extract(epoch FROM hold_until - clock_timestamp())) AS held_for,
           greatest(0, extract(epoch FROM max(mine.due_at) - clock_timestamp())) AS due_in
    FROM mine JOIN destinations ON destinations.id = mine.destination_id
    JOIN destination_versions AS kept ON kept.destination_id = destinations.id
                                     AND kept.version = destinations.version
    GROUP BY destinations.id, kept.destination_id, kept.version ORDER BY destinations.name
""")
IN_USE = text("""
    SELECT destinations.id, destinations.name, windows,
           greatest(0, coalesce(extract(epoch FROM hold_until - clock_timestamp()), 0)) AS held_for
    FROM destinations
    JOIN destination_versions AS kept ON kept.destination_id = destinations.id
                                     AND kept.version = destinations.version
    WHERE destinations.state <> 'disabled' ORDER BY destinations.name
""")
SPENT = text("""
    WITH sent AS MATERIALIZED (
        SELECT at FROM (
            SELECT CASE WHEN finished_at IS NULL THEN started_at ELSE written_at END AS at
            FROM attempts
            WHERE destination_id = :destination
              AND started_at > statement_timestamp() - CAST(:span AS interval) - interval '10 s'
        ) AS all_of_it WHERE at > statement_timestamp() - CAST(:span AS interval)
    ), used AS (SELECT count(*) AS used FROM sent)
    SELECT used, CAST(extract(epoch FROM at + CAST(:span AS interval) - clock_timestamp())
                      AS double precision) AS frees_in
    FROM used LEFT JOIN sent ON true ORDER BY at
    LIMIT greatest(1, CAST(:count AS bigint)
                      + (SELECT greatest(0, used - CAST(:limit AS bigint)) FROM used))
""")


async def holdings(
    connection: ReadConnection, tickers: Collection[Ticker] | None = None
) -> list[Holding]:
    """Every unfinished position (of these tickers), oldest first."""
    given = {"tickers": None if tickers is None else list(tickers)}
    return [
        Holding(
            position_id=PositionId(row.id),
            ticker=Ticker(row.ticker),
            state=PositionState(row.state),
            symbol=row.symbol,
            exit_signal_id=row.exit_signal_id and SignalId(row.exit_signal_id),
        )
        for row in await connection.execute(HOLDINGS, given)
    ]


async def undecided_buys(
    connection: ReadConnection, tickers: Collection[Ticker] = (), *, waiting: bool = False
) -> set[Ticker]:
    """Which of these tickers have a buy without a verdict; with ``waiting``, every one that waits.

    Those wait for their ticker to come into the list.
    """
    given = {"tickers": list(tickers), "waiting": waiting}
    return {Ticker(name) for name in (await connection.execute(UNDECIDED_BUYS, given)).scalars()}


async def sold_by(connection: ReadConnection, batch: BatchId) -> list[Facts]:
    """The sells of a batch: whether one waits, or is done, and the state of its position."""
    rows = await connection.execute(SOLD_BY, {"batch": batch})
    return [dict(row) for row in rows.mappings()]


async def outlook(connection: ReadConnection, batch: BatchId) -> list[Outlook]:
    """What of a batch is still to be sent where, and how long it takes at the windows there."""
    rows = (await connection.execute(WAITING, {"batch": batch})).all()
    return [await _outlook(connection, row) for row in rows]


async def forecast(connection: ReadConnection, count: int) -> list[tuple[str, float]]:
    """If so many were sold now: each destination in use, and the seconds until its last leaves."""
    found: list[tuple[str, float]] = []
    for row in (await connection.execute(IN_USE)).all():
        windows = parse_windows(row.windows) if row.windows else ()
        spent = [await _spent(connection, row.id, window, count) for window in windows]
        last = seconds_until_last(count, spent, not_before=float(row.held_for))
        found.append((row.name, round(last, 3)))
    return found


async def _outlook(connection: ReadConnection, row: Row) -> Outlook:
    count = row.waiting + row.ahead if row.waiting else 0
    known = row.state == "enabled" and row.breaker == "closed"
    windows = parse_windows(row.windows) if row.windows else ()
    spent = [await _spent(connection, row.id, window, count) for window in windows]
    last = seconds_until_last(count, spent, not_before=float(row.held_for))
    return Outlook(
        destination_id=str(row.id),
        name=row.name,
        state=row.state,
        breaker=row.breaker,
        waiting=row.waiting,
        on_the_wire=row.on_the_wire,
        ahead=row.ahead,
        expected=round(max(last, float(row.due_in)), 3) if known else None,
    )


async def _spent(
    connection: ReadConnection, destination: object, window: Window, count: int
) -> Spent:
    span = timedelta(seconds=window.seconds) + TRANSIT
    given = {"destination": destination, "span": span, "count": count, "limit": window.limit}
    rows = (await connection.execute(SPENT, given)).all()
    return Spent(
        limit=window.limit,
        span=span.total_seconds(),
        used=rows[0].used,
        frees_in=[row.frees_in for row in rows if row.frees_in is not None],
    )


# ── The sell list ───────────────────────────────────────────────────────────────────────────

LISTED = text("""
    SELECT sell_list.ticker, note, added_at, added_by, expires_at, held.state AS position
    FROM sell_list LEFT JOIN LATERAL (
        SELECT state FROM positions
        WHERE ticker = sell_list.ticker AND state IN ('opening', 'open', 'closing')
        ORDER BY state = 'closing' LIMIT 1
    ) AS held ON true
    WHERE expires_at IS NULL OR expires_at > clock_timestamp()
    ORDER BY added_at, sell_list.ticker
""")
ADD = text("""
    WITH added AS (
        INSERT INTO sell_list (ticker, note, added_by, expires_at)
        SELECT ticker, :note, :actor, clock_timestamp() + CAST(:life AS interval)
        FROM unnest(CAST(:tickers AS text[])) AS given (ticker)
        ON CONFLICT (ticker) DO UPDATE
            SET note = excluded.note, added_by = excluded.added_by,
                expires_at = excluded.expires_at
        RETURNING ticker
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'sell_list.added', :actor, jsonb_strip_nulls(jsonb_build_object(
        'tickers', array_agg(ticker ORDER BY ticker), 'note', CAST(:note AS text)))
    FROM added HAVING count(*) > 0
""")
_REMOVE = """
    WITH removed AS (
        DELETE FROM sell_list WHERE {which} RETURNING ticker
    ), told AS (
        INSERT INTO events (event, actor, detail)
        SELECT 'sell_list.removed', CAST(:actor AS text), jsonb_build_object(
            'tickers', array_agg(ticker ORDER BY ticker), 'why', CAST(:why AS text))
        FROM removed HAVING count(*) > 0
    )
    SELECT ticker FROM removed ORDER BY ticker
"""
REMOVE = text(_REMOVE.format(which="ticker = ANY(CAST(:tickers AS text[]))"))
CLEAR = text(_REMOVE.format(which="true"))
FORGET_EXPIRED = text(_REMOVE.format(which="expires_at <= clock_timestamp()"))


async def listed(connection: ReadConnection) -> list[Facts]:
    """The draft, without what expired: each ticker with the state of its position, if any."""
    return [dict(row) for row in (await connection.execute(LISTED)).mappings()]


async def add(
    connection: Connection,
    tickers: Collection[Ticker],
    *,
    actor: str,
    note: str | None = None,
    life: timedelta | None = None,
) -> None:
    """Put tickers on the draft, for ``life``; those that are on it get this note and life."""
    given = {"tickers": list(dict.fromkeys(tickers)), "actor": actor, "note": note, "life": life}
    await connection.execute(ADD, given)


async def remove(
    connection: Connection, tickers: Collection[Ticker], *, actor: str, why: str
) -> list[str]:
    """Take tickers off the draft; return those that were on it."""
    return await _removed(connection, REMOVE, actor, why, {"tickers": list(tickers)})


async def clear(connection: Connection, *, actor: str) -> list[str]:
    """Take everything off the draft; return what was on it."""
    return await _removed(connection, CLEAR, actor, "cleared", {})


async def forget_expired(connection: Connection) -> list[str]:
    """Take off the draft what expired; return it."""
    return await _removed(connection, FORGET_EXPIRED, "its end", "expired", {})


async def _removed(
    connection: Connection, statement: Any, actor: str, why: str, given: Mapping[str, object]
) -> list[str]:
    rows = await connection.execute(statement, {"actor": actor, "why": why, **given})
    return list(rows.scalars())


def latest_end(outlooks: Sequence[Outlook]) -> float | None:
    """When the last sell of all leaves; None while nobody can know."""
    times = [one.expected for one in outlooks if one.waiting or one.on_the_wire]
    known = [time for time in times if time is not None]
    return max(known, default=0) if len(known) == len(times) else None
