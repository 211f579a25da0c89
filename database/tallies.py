"""Tallies: how many signals of each minute were judged how, counted once; the rest is counted live.

A verdict is never changed, and the journal gives `seq` in the order of commits: what is counted up
to a `seq` stays as it was counted. Charts and the overview add what came after that, what the first
minute of their period has too much of, and what was imported, from the signals themselves.
"""

from sqlalchemy import text

from database.pool import Connection

KEPT = "interval '2 days'"
"""How long tallies are kept; nobody asks for more than one day."""

_SENT = "status = 'approved' AND EXISTS (SELECT FROM deliveries WHERE signal_id = signals.id)"


def minute(at: str) -> str:
    """The beginning of the minute of a moment (SQL)."""
    return f"date_bin('1 minute', {at}, timestamptz 'epoch')"


# Up to the first that is not judged yet. That is no bound of what is read, and the limit no number
# that PostgreSQL knows: else it takes what waits for little, and sorts all of it for each batch.
# Another replica that is at it finds the row taken.
ROLL = text(f"""
    WITH mark AS MATERIALIZED (
        SELECT seq FROM tallied FOR UPDATE SKIP LOCKED
    ), undecided AS MATERIALIZED (
        SELECT least(
            (SELECT min(seq) FROM signals WHERE status = 'received' AND waits_until IS NULL),
            (SELECT min(seq) FROM (
                SELECT seq FROM signals
                WHERE status = 'received' AND waits_until IS NOT NULL OFFSET 0) AS waiting),
            {2**63 - 1}) AS seq
    ), batch AS MATERIALIZED (
        SELECT ready.* FROM mark, undecided, LATERAL (
            SELECT id, seq, received_at, status, reason, imported_from FROM signals
            WHERE signals.seq > mark.seq ORDER BY signals.seq
            LIMIT (SELECT CAST(:limit AS bigint))
        ) AS ready
        WHERE ready.seq < undecided.seq
    ), told AS (
        INSERT INTO tallies AS known (minute, status, reason, signals, sent)
        SELECT {minute("received_at")}, status, coalesce(reason, ''), count(*),
               count(*) FILTER (WHERE {_SENT})
        FROM batch AS signals
        WHERE imported_from IS NULL AND received_at >= statement_timestamp() - {KEPT}
        GROUP BY 1, 2, 3
        ON CONFLICT (minute, status, reason) DO UPDATE
            SET signals = known.signals + excluded.signals, sent = known.sent + excluded.sent
    ), moved AS (
        UPDATE tallied SET seq = (SELECT max(seq) FROM batch) WHERE EXISTS (SELECT FROM batch)
    )
    SELECT count(*) FROM batch
""")
FORGET = text(f"DELETE FROM tallies WHERE minute < statement_timestamp() - {KEPT}")


async def roll(connection: Connection, limit: int) -> int:
    """Count up to ``limit`` signals more; return how many there were."""
    return (await connection.execute(ROLL, {"limit": limit})).scalar_one()


async def forget(connection: Connection) -> None:
    """Let go of the tallies nobody asks for."""
    await connection.execute(FORGET)


# BETWEEN: of one limit alone the planner takes a third of the table for granted.
_AFTER_MARK = f"seq BETWEEN (SELECT seq + 1 FROM tallied) AND {2**63 - 1}"


def judged(since: str) -> str:
    """Signals since a moment (SQL), with ``sent`` those that have deliveries; to be added up."""
    edge = minute(f"{since} + interval '1 minute' - interval '1 microsecond'")
    live = f"""
        SELECT received_at AS at, status, coalesce(reason, '') AS reason, 1 AS signals,
               CAST({_SENT} AS integer) AS sent
        FROM signals WHERE received_at >= {since}
    """
    return f"""
        SELECT minute AS at, status, reason, signals, sent FROM tallies WHERE minute >= {edge}
        UNION ALL {live} AND imported_from IS NULL AND {_AFTER_MARK}
        UNION ALL {live} AND received_at < {edge} AND imported_from IS NULL
                         AND seq <= (SELECT seq FROM tallied)
        UNION ALL {live} AND imported_from IS NOT NULL
    """


LEAST_FINISHED_FIRST = """
    ARRAY['sending', 'queued', 'held', 'dead', 'expired', 'cancelled', 'superseded', 'delivered']
"""
"""The state that an approved signal shows is the first of these that a delivery of it has."""


def undelivered(since: str) -> str:
    """Signals since a moment (SQL) with a delivery that did not arrive, and the state they show.

    What was imported has no deliveries. The earliest thousand of a period have its lowest `seq`.
    """
    first = f"""(SELECT min(seq) FROM (SELECT seq FROM signals
        WHERE received_at >= {since} AND imported_from IS NULL
        ORDER BY received_at LIMIT 1000) AS earliest)"""
    within = f"seq BETWEEN {first} AND {2**63 - 1}"
    return f"""
        SELECT min(received_at) AS at, ({LEAST_FINISHED_FIRST})[min(turn)] AS state FROM (
            SELECT signal_id, array_position({LEAST_FINISHED_FIRST}, state) AS turn
            FROM deliveries
            WHERE state IN ('dead', 'expired', 'superseded', 'cancelled') AND {within}
            UNION ALL
            SELECT signal_id, array_position({LEAST_FINISHED_FIRST}, state) AS turn
            FROM deliveries WHERE finished_at IS NULL AND {within}
        ) AS there JOIN signals ON signals.id = signal_id
        WHERE received_at >= {since} GROUP BY signals.id
    """
