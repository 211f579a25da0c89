"""Cadences: how often sources send, who has fallen silent, and whose signals are out of step."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from database.pool import Connection, ReadConnection
from domain.cadence import SPAN, Burst, Rhythm, Step
from domain.signal import Side

# An alert that was folded into an earlier one was sent all the same.
BURSTS = text("""
    WITH now AS (SELECT statement_timestamp() AS at), alerts AS (
        SELECT source, ticker FROM signals, now
        WHERE received_at > now.at - CAST(:span AS interval)
          AND batch_id IS NULL AND replay_of IS NULL AND imported_from IS NULL
        UNION ALL
        SELECT source, ticker FROM events JOIN signals ON signals.id = signal_id, now
        WHERE event = 'signal.duplicate' AND events.at > now.at - CAST(:span AS interval)
    )
    SELECT source, ticker, count(*) AS number FROM alerts
    WHERE ticker IS NOT NULL GROUP BY source, ticker HAVING count(*) >= :near
""")
OPEN_KEYS = text("SELECT key FROM attention WHERE cause = :cause AND resolved_at IS NULL")

# The journal gives `seq` in the order of commits, so that nothing comes behind the mark later.
HEAR = text("""
    WITH heard AS (
        SELECT source, max(received_at) AS last_at FROM signals
        WHERE seq > :after
          AND batch_id IS NULL AND replay_of IS NULL AND imported_from IS NULL
        GROUP BY source
    ), kept AS (
        INSERT INTO hearings AS known (source, last_at) SELECT source, last_at FROM heard
        ON CONFLICT (source) DO UPDATE SET last_at = greatest(known.last_at, excluded.last_at)
    )
    SELECT max(seq) FROM signals
""")
RHYTHMS = text("""
    SELECT name, expected_every_sec * interval '1 second' AS every, expected_in_hours,
           coalesce(last_at, updated_at) AS last_at
    FROM sources LEFT JOIN hearings ON hearings.source = sources.name
    WHERE expected_every_sec IS NOT NULL AND archived_at IS NULL
""")
STEPS = text("""
    SELECT signals.id, signals.source, signals.ticker, signals.side, received_at,
           before.side AS before
    FROM signals JOIN sources ON sources.name = signals.source AND pairs
    LEFT JOIN LATERAL (
        SELECT earlier.side FROM signals AS earlier
        WHERE earlier.ticker = signals.ticker AND earlier.seq < signals.seq
          AND earlier.source = signals.source AND earlier.status <> 'invalid'
          AND NOT earlier.partial AND earlier.batch_id IS NULL AND earlier.replay_of IS NULL
        ORDER BY earlier.seq DESC LIMIT 1
    ) AS before ON true
    WHERE signals.seq > :after AND signals.seq <= :until AND status <> 'invalid' AND NOT partial
      AND signals.side IS NOT NULL AND signals.ticker IS NOT NULL
      AND batch_id IS NULL AND replay_of IS NULL AND imported_from IS NULL
    ORDER BY signals.seq
""")
NOW = text("SELECT clock_timestamp()")


@dataclass(frozen=True, slots=True)
class Heard:
    """What came since the mark: how far it went, and who was out of step or in it."""

    seq: int
    steps: list[Step]


async def now(connection: ReadConnection) -> datetime:
    return (await connection.execute(NOW)).scalar_one()


async def bursts(connection: ReadConnection, near: int, span: timedelta = SPAN) -> list[Burst]:
    """Sources and tickers with so many alerts or more within the span."""
    rows = await connection.execute(BURSTS, {"span": span, "near": near})
    return [Burst(source=row.source, ticker=row.ticker, count=row.number) for row in rows]


async def open_keys(connection: ReadConnection, cause: str) -> list[str]:
    """The keys of the open items of a cause."""
    return list((await connection.execute(OPEN_KEYS, {"cause": cause})).scalars())


async def hear(connection: Connection, after: int) -> Heard:
    """Note who sent something since, and read what those sent whose signals come in pairs."""
    seq = (await connection.execute(HEAR, {"after": after})).scalar_one()
    until = max(after, seq or 0)
    rows = await connection.execute(STEPS, {"after": after, "until": until})
    steps = [
        Step(
            source=row.source,
            ticker=row.ticker,
            side=Side(row.side),
            before=row.before and Side(row.before),
            at=row.received_at,
            signal_id=row.id,
        )
        for row in rows
    ]
    return Heard(until, steps)


async def rhythms(connection: ReadConnection) -> list[Rhythm]:
    """Every source that is expected to send, and when it did last."""
    return [
        Rhythm(
            source=row.name,
            every=row.every,
            in_hours=row.expected_in_hours,
            last_at=row.last_at,
        )
        for row in await connection.execute(RHYTHMS)
    ]
