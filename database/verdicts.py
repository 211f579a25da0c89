"""Verdicts: undecided signals claimed in order, and what was decided about them."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from database import endings, gate
from database.connection import Row
from database.pool import Connection, ReadConnection
from domain.gate import Judged
from domain.position import Position, PositionId, PositionState
from domain.signal import Side, Signal, SignalId, SignalStatus, Wait
from domain.ticker import Ticker

_COLUMNS = """id, seq, ticker, side, closes, partial, price, received_at, expires_at,
               waits_since, waits_until, source"""

# Whoever holds the earliest undecided signal of a ticker holds the ticker: nobody can judge a
# later one meanwhile. A head that was decided after our snapshot fails the recheck and is left.
# Buys that wait (hold-and-see) are not in the way of those behind them. The earliest of all hold
# the earliest of each of their tickers: no look at the rest, which the planner, who believes that
# nothing is undecided, would do for each of them anew.
CLAIM = text(f"""
    WITH turn AS MATERIALIZED (
        SELECT {gate.HOLD_TOGETHER} AS mine
    ), undecided AS MATERIALIZED (
        SELECT *, first_value(seq) OVER (PARTITION BY ticker ORDER BY seq) AS head_seq
        FROM (
            SELECT {_COLUMNS} FROM signals, turn
            WHERE status = 'received' AND waits_until IS NULL
            ORDER BY seq
            LIMIT :reach
        ) AS earliest
    ), heads AS MATERIALIZED (
        SELECT seq FROM signals
        WHERE status = 'received' AND waits_until IS NULL
          AND seq = ANY(ARRAY(SELECT seq FROM undecided WHERE seq = head_seq))
        ORDER BY seq
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    SELECT undecided.*, clock_timestamp() AS now, EXISTS (
        SELECT FROM signals WHERE status = 'received' AND waits_until IS NOT NULL) AS some_wait
    FROM undecided WHERE head_seq = ANY(ARRAY(SELECT seq FROM heads))
    ORDER BY seq
    LIMIT :limit
""")

REACH = 16
"""How many times as many undecided signals are looked at as are taken: others hold some."""

# Those that wait are judged again with what came behind them. Nobody holds them for long, and
# whoever does may approve one: its position is read after this.
JOIN_WAITING = text(f"""
    SELECT {_COLUMNS}, clock_timestamp() AS now FROM signals
    WHERE status = 'received' AND waits_until IS NOT NULL
      AND ticker = ANY(CAST(:tickers AS text[]))
    ORDER BY seq
    FOR UPDATE
""")

# Of those with something behind them the claim above takes care.
CLAIM_WAITING = text(f"""
    WITH turn AS MATERIALIZED (
        SELECT {gate.HOLD_TOGETHER} AS mine
    )
    SELECT {_COLUMNS}, clock_timestamp() AS now FROM signals AS held, turn
    WHERE status = 'received' AND waits_until IS NOT NULL
      AND (waits_until <= clock_timestamp() OR ticker = ANY(CAST(:members AS text[])))
      AND NOT EXISTS (
          SELECT FROM signals AS later
          WHERE later.status = 'received' AND later.waits_until IS NULL
            AND later.ticker = held.ticker)
    ORDER BY seq
    LIMIT :limit
    FOR UPDATE OF held SKIP LOCKED
""")

# For who holds the gate alone: nobody else judges, so that nothing is skipped.
CLAIM_OF = text(f"""
    SELECT {_COLUMNS}, clock_timestamp() AS now FROM signals
    WHERE status = 'received' AND ticker = ANY(CAST(:tickers AS text[]))
    ORDER BY seq
    FOR UPDATE
""")

WAIT = text("""
    WITH held AS (
        UPDATE signals SET waits_since = wait.since, waits_until = wait.until
        FROM unnest(
            CAST(:ids AS uuid[]), CAST(:since AS timestamptz[]), CAST(:until AS timestamptz[]),
            CAST(:versions AS bigint[]), CAST(:ranks AS integer[]), CAST(:cutoffs AS integer[])
        ) AS wait (id, since, until, version, rank, cutoff)
        WHERE signals.id = wait.id AND status = 'received' AND waits_until IS NULL
        RETURNING signals.id, signals.seq, wait.until, wait.version, wait.rank, wait.cutoff
    )
    INSERT INTO events (event, signal_id, detail)
    SELECT 'signal.waiting', id, jsonb_strip_nulls(jsonb_build_object(
        'until', until, 'universe_version', version, 'rank', rank, 'cutoff', cutoff))
    FROM held ORDER BY seq
""")

HELD = text("""
    SELECT id, ticker, state, entry_signal_id, exit_signal_id, coalesce((
        SELECT source FROM signals WHERE id = entry_signal_id), 'operator') AS source
    FROM positions
    WHERE ticker = ANY(CAST(:tickers AS text[])) AND state IN ('opening', 'open', 'closing')
    ORDER BY id
    FOR UPDATE
""")

# A buy goes to every destination in use. An exit goes where its position was bought and not sold
# since, even to one out of use: elsewhere it would open a short. What was bought in a dry run is
# sold in one, and what was bought live is sold live. A position entered by hand was bought
# everywhere in use, and wherever its exit was to go before; it is sold by its own exits since. When
# all in use have sold it, its exit goes to those out of use: sent again it would open a short. A
# sell without a position goes to every destination in use.
_OWN_EXIT = """
    SELECT FROM deliveries AS own
    JOIN signals ON signals.id = own.signal_id AND NOT signals.partial
    WHERE own.position_id = positions.id AND own.side = 'sell' AND own.queued_at >= opened_at
      AND own.destination_id
"""
RECORD = text(f"""
    WITH verdict AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]),
            CAST(:versions AS bigint[]), CAST(:ranks AS integer[]), CAST(:cutoffs AS integer[]),
            CAST(:ages AS bigint[]), CAST(:held AS uuid[]), CAST(:rules AS jsonb[])
        ) AS verdict (id, status, reason, version, rank, cutoff, age, position_id, rule)
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS at
    ), judged AS (
        UPDATE signals
        SET status = verdict.status, reason = verdict.reason, judged_at = clock.at,
            universe_version = verdict.version, rank = verdict.rank, cutoff = verdict.cutoff,
            list_age_ms = verdict.age
        FROM verdict, clock
        WHERE signals.id = verdict.id AND signals.status = 'received'
        RETURNING signals.id, signals.seq, signals.ticker, signals.side, signals.expires_at,
                  signals.only_destination_id, signals.status, signals.reason, verdict.version,
                  verdict.rank, verdict.cutoff, verdict.age, verdict.position_id, verdict.rule,
                  clock.at
    ), entered AS (
        SELECT position_id, deliveries.destination_id, seq, kept.version, mode,
               NULL::timestamptz AS since
        FROM deliveries JOIN destination_versions AS kept
          ON kept.destination_id = deliveries.destination_id
         AND kept.version = destination_version
        WHERE position_id IN (SELECT position_id FROM judged WHERE side = 'sell') AND side = 'buy'
          AND (possibly_sent OR state IN ('queued', 'sending', 'held', 'delivered'))
        UNION ALL
        SELECT position_id, destinations.id, seq, destinations.version, mode, NULL
        FROM judged CROSS JOIN destinations JOIN destination_versions AS kept
          ON kept.destination_id = destinations.id AND kept.version = destinations.version
        WHERE position_id IN (SELECT position_id FROM judged WHERE side = 'sell')
          AND judged.status = 'approved' AND judged.side = 'buy' AND state <> 'disabled'
          AND coalesce(judged.only_destination_id, destinations.id) = destinations.id
        UNION ALL
        SELECT positions.id, destinations.id, 0, destinations.version, mode, opened_at
        FROM positions CROSS JOIN destinations JOIN destination_versions AS kept
          ON kept.destination_id = destinations.id AND kept.version = destinations.version
        WHERE positions.id IN (SELECT position_id FROM judged WHERE side = 'sell')
          AND entry_signal_id IS NULL
          AND (destinations.state <> 'disabled' OR EXISTS ({_OWN_EXIT} = destinations.id)
               OR NOT EXISTS (
                   SELECT FROM destinations AS used WHERE used.state <> 'disabled'
                   AND NOT EXISTS ({_OWN_EXIT} = used.id AND own.state = 'delivered')))
    ), holding AS (
        SELECT judged.id AS signal_id, entered.destination_id, bool_or(mode = 'live') AS live,
               coalesce(max(entered.version) FILTER (WHERE mode = 'live'),
                        max(entered.version)) AS version
        FROM judged JOIN entered ON entered.position_id = judged.position_id
                                AND entered.seq < judged.seq
        WHERE judged.side = 'sell' AND NOT EXISTS (
            SELECT FROM deliveries AS gone
            JOIN signals ON signals.id = gone.signal_id AND NOT signals.partial
            JOIN destination_versions AS kept ON kept.destination_id = gone.destination_id
                                             AND kept.version = gone.destination_version
            WHERE gone.destination_id = entered.destination_id AND gone.ticker = judged.ticker
              AND gone.side = 'sell' AND gone.state = 'delivered' AND gone.seq > entered.seq
              AND (gone.position_id = entered.position_id
                       AND gone.queued_at >= coalesce(entered.since, gone.queued_at)
                   OR entered.seq > 0 AND kept.mode = entered.mode))
        GROUP BY judged.id, entered.destination_id
    ), queued AS (
        INSERT INTO deliveries (signal_id, destination_id, destination_version, position_id, seq,
                                ticker, side, queued_at, due_at, expires_at)
        SELECT judged.id, destinations.id,
               CASE WHEN holding.live <> (kept.mode = 'live') THEN holding.version
                    ELSE destinations.version END,
               judged.position_id, judged.seq, judged.ticker, judged.side, judged.at, judged.at,
               judged.expires_at
        FROM judged CROSS JOIN destinations JOIN destination_versions AS kept
          ON kept.destination_id = destinations.id AND kept.version = destinations.version
        LEFT JOIN holding ON holding.signal_id = judged.id
                         AND holding.destination_id = destinations.id
        WHERE judged.status = 'approved'
          AND coalesce(judged.only_destination_id, destinations.id) = destinations.id AND CASE
            WHEN EXISTS (SELECT FROM holding WHERE holding.signal_id = judged.id)
                THEN holding.signal_id IS NOT NULL
            ELSE destinations.state <> 'disabled' OR judged.side = 'sell' AND NOT EXISTS (
                SELECT FROM destinations WHERE state <> 'disabled') END
        RETURNING id, signal_id, destination_id, destination_version, position_id, queued_at
    ), moved AS (
        INSERT INTO positions (id, ticker, state, entry_signal_id, exit_signal_id, opened_at,
                               updated_at)
        SELECT position.*, clock.at, clock.at
        FROM clock, unnest(
            CAST(:position_ids AS uuid[]), CAST(:position_tickers AS text[]),
            CAST(:position_states AS text[]), CAST(:position_entries AS uuid[]),
            CAST(:position_exits AS uuid[])
        ) AS position (id, ticker, state, entry_id, exit_id)
        WHERE coalesce(exit_id, entry_id) IN (SELECT id FROM judged)
        ON CONFLICT (id) DO UPDATE
            SET state = excluded.state, exit_signal_id = excluded.exit_signal_id,
                updated_at = excluded.updated_at
            WHERE positions.state IN ('opening', 'open')
        RETURNING id, ticker, state, entry_signal_id, exit_signal_id, updated_at
    ), told AS (
        INSERT INTO events (at, event, signal_id, delivery_id, position_id, detail)
        SELECT at, event, signal_id, delivery_id, position_id, detail FROM (
            SELECT 1 AS step, seq, at, 'signal.' || status AS event, id AS signal_id,
                   NULL::uuid AS delivery_id, NULL::uuid AS position_id,
                   jsonb_strip_nulls(jsonb_build_object(
                       'reason', reason, 'universe_version', version, 'rank', rank,
                       'cutoff', cutoff, 'list_age_ms', age,
                       'gate_version', CAST(:gate_version AS bigint), 'rule', rule)) AS detail
            FROM judged
            UNION ALL
            SELECT 2, 0, queued_at, 'delivery.queued', signal_id, id, NULL,
                   jsonb_build_object('destination_id', destination_id,
                                      'destination_version', destination_version,
                                      'position_id', position_id)
            FROM queued
            UNION ALL
            SELECT 3, 0, updated_at, 'position.' || state,
                   coalesce(exit_signal_id, entry_signal_id), NULL, id,
                   jsonb_build_object('ticker', ticker)
            FROM moved
        ) AS steps ORDER BY step, seq
    )
    SELECT count(*) AS judged, count(*) FILTER (
        WHERE status = 'approved' AND id NOT IN (SELECT signal_id FROM queued)) AS nowhere
    FROM judged
""")


@dataclass(frozen=True, slots=True)
class Claimed:
    """Undecided signals in order, every unfinished position of their tickers, and the time."""

    signals: list[Signal]
    positions: list[Position]
    now: datetime


class NoDestinationError(Exception):
    """An approved signal has nowhere to go."""


async def claim(connection: Connection, *, limit: int) -> Claimed | None:
    """Take at most ``limit`` undecided signals until this transaction ends.

    Of every ticker taken they are its earliest ones; those of it that wait come with them.
    """
    rows = (await connection.execute(CLAIM, {"limit": limit, "reach": limit * REACH})).all()
    if rows and rows[0].some_wait:
        tickers = list({row.ticker for row in rows})
        joined = (await connection.execute(JOIN_WAITING, {"tickers": tickers})).all()
        rows = sorted([*joined, *rows], key=lambda row: row.seq)
    return await _claimed(connection, rows)


async def claim_waiting(
    connection: Connection, members: Collection[Ticker], *, limit: int
) -> Claimed | None:
    """Take buys that wait for one of these tickers, or whose wait is over."""
    values = {"members": list(members), "limit": limit}
    return await _claimed(connection, (await connection.execute(CLAIM_WAITING, values)).all())


async def claim_of(connection: Connection, tickers: Collection[Ticker]) -> Claimed | None:
    """Take every undecided signal of these tickers, also those that wait. Under `hold_alone`."""
    rows = await connection.execute(CLAIM_OF, {"tickers": list(tickers)})
    return await _claimed(connection, rows.all())


async def _claimed(connection: Connection, rows: Sequence[Row]) -> Claimed | None:
    if not rows:
        return None
    signals = [_signal(row) for row in rows]
    held = await _positions(connection, {s.ticker for s in signals})
    return Claimed(signals, held, max(row.now for row in rows))


def _signal(row: Row) -> Signal:
    return Signal(
        id=SignalId(row.id),
        seq=row.seq,
        ticker=Ticker(row.ticker),
        side=Side(row.side),
        closes=row.closes,
        partial=row.partial,
        price=row.price,
        received_at=row.received_at,
        expires_at=row.expires_at,
        wait=None if row.waits_until is None else Wait(row.waits_since, row.waits_until),
        source=row.source,
    )


async def _positions(connection: ReadConnection, tickers: Collection[Ticker]) -> list[Position]:
    rows = await connection.execute(HELD, {"tickers": list(tickers)})
    return [
        Position(
            id=PositionId(row.id),
            ticker=Ticker(row.ticker),
            state=PositionState(row.state),
            entry_signal_id=row.entry_signal_id,
            exit_signal_id=row.exit_signal_id,
            source=row.source,
        )
        for row in rows
    ]


async def record(connection: Connection, judged: Judged, *, gate_version: int | None = None) -> int:
    """Write verdicts, the deliveries and positions they make, and their events, as one fact.

    ``gate_version`` is that of the rules they were reached under. Who begins to wait is written
    with them. Return how many signals were decided; one already decided is left as it is. Buys that
    an approved exit overtakes before they left are superseded. Raises NoDestinationError when the
    last destination was taken out of use since they were judged: they are to be judged again.
    """
    if judged.waiting:
        await connection.execute(WAIT, _wait_arrays(judged))
    if not judged.verdicts:
        return 0
    result = await connection.execute(
        RECORD,
        _verdict_arrays(judged)
        | _position_arrays(judged.positions)
        | {"gate_version": gate_version},
    )
    recorded = result.one()
    if recorded.nowhere:
        raise NoDestinationError
    exits = {
        signal.ticker
        for signal, verdict in judged.verdicts
        if verdict.status is SignalStatus.APPROVED and signal.side is Side.SELL
    }
    if exits:
        await endings.supersede(connection, exits)
    return recorded.judged


def _verdict_arrays(judged: Judged) -> dict[str, Sequence[object]]:
    verdicts = [verdict for _, verdict in judged.verdicts]
    return {
        "ids": [signal.id for signal, _ in judged.verdicts],
        "statuses": [v.status for v in verdicts],
        "reasons": [v.reason for v in verdicts],
        "versions": [v.universe_version for v in verdicts],
        "ranks": [v.rank for v in verdicts],
        "cutoffs": [v.cutoff for v in verdicts],
        "ages": [_milliseconds(v.list_age) for v in verdicts],
        "held": [v.position_id for v in verdicts],
        "rules": [v.breach and json.dumps(v.breach.told()) for v in verdicts],
    }


def _wait_arrays(judged: Judged) -> dict[str, Sequence[object]]:
    waits = [verdict.wait for _, verdict in judged.waiting if verdict.wait]
    return {
        "ids": [signal.id for signal, _ in judged.waiting],
        "since": [wait.since for wait in waits],
        "until": [wait.until for wait in waits],
        "versions": [verdict.universe_version for _, verdict in judged.waiting],
        "ranks": [verdict.rank for _, verdict in judged.waiting],
        "cutoffs": [verdict.cutoff for _, verdict in judged.waiting],
    }


def _milliseconds(age: timedelta | None) -> int | None:
    return None if age is None else int(age.total_seconds() * 1000)


def _position_arrays(positions: Sequence[Position]) -> dict[str, Sequence[object]]:
    return {
        "position_ids": [p.id for p in positions],
        "position_tickers": [p.ticker for p in positions],
        "position_states": [p.state for p in positions],
        "position_entries": [p.entry_signal_id for p in positions],
        "position_exits": [p.exit_signal_id for p in positions],
    }
