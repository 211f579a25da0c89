"""With many decided rows, the queries in the signal's path look at the waiting ones alone."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import TextClause, text

from database import lanes, settlements, statistics, verdicts
from database.pool import Database
from tests.database.rows import Rows

SIGNALS = """
    INSERT INTO signals (id, source, ticker, side, content_type, body, body_sealed, hop,
                         received_at, expires_at, status, judged_at)
    SELECT gen_random_uuid(), 'webhook', 'T' || n % 500,
           CASE n % 2 WHEN 0 THEN 'buy' ELSE 'sell' END, 'text/plain', '', false, 0,
           now() - interval '2 days' + n * interval '1 s',
           now() - interval '2 days' + n * interval '2 s',
           CASE WHEN n > 20000 THEN 'received' ELSE 'approved' END,
           CASE WHEN n <= 20000 THEN now() END
    FROM generate_series(1, 20010) AS n
"""
DELIVERIES = """
    INSERT INTO deliveries (signal_id, destination_id, destination_version, seq, ticker, side,
                            state, queued_at, due_at, expires_at, finished_at)
    SELECT signals.id, destinations.id, 1, seq, ticker, side,
           CASE WHEN seq > 19990 THEN 'queued' ELSE 'delivered' END, received_at, received_at,
           'infinity', CASE WHEN seq <= 19990 THEN received_at END
    FROM signals, destinations WHERE status = 'approved'
"""
ATTEMPTS = """
    INSERT INTO attempts (delivery_id, epoch, destination_id, side, number, possible_resend,
                          started_at)
    SELECT id, 1, destination_id, side, 1, false, queued_at FROM deliveries
"""
TABLES = ("signals", "deliveries", "attempts")


@pytest.fixture
async def full(rows: Rows) -> Rows:
    await rows.destination()
    for statement in (SIGNALS, DELIVERIES, ATTEMPTS):
        await rows.sql(statement)
    async with rows.database.autocommit() as connection:
        await connection.execute(text("ANALYZE"))
    return rows


async def plan(database: Database, query: TextClause, **values: object) -> str:
    async with database.write() as connection:
        explained = await connection.execute(text(f"EXPLAIN {query.text}"), values)
        return "\n".join(explained.scalars())


async def test_the_path_of_a_signal_reads_no_table_whole(full: Rows) -> None:
    (main,) = await full.sql("SELECT id FROM destinations")
    lease = {
        "destination": main,
        "total": 5,
        "buys": 4,
        "lasting": timedelta(seconds=15),
        "left": None,
    }
    windows = {"destination": main, "spans": [timedelta(seconds=60)]}
    expected: list[tuple[TextClause, Mapping[str, object], list[str]]] = [
        (verdicts.CLAIM, {"limit": 128}, ["signals_undecided", "signals_undecided_of_ticker"]),
        (lanes.LEASE, lease, ["deliveries_", "deliveries_lanes"]),
        (lanes.USED, windows, ["attempts_in_window"]),
        (lanes.NEXT_DUE, {"destination": main}, ["deliveries_"]),
        (settlements.OVERDUE, {"limit": 500}, ["deliveries_"]),
        (statistics.BACKLOG, {}, ["signals_undecided"]),
        (statistics.RECENT, {}, ["signals_by_time"]),
    ]
    for query, values, indexes in expected:
        steps = await plan(full.database, query, **values)
        for index in indexes:
            assert index in steps, steps
        if query is not statistics.RECENT:
            for table in TABLES:
                assert f"Seq Scan on {table}" not in steps, steps


async def test_an_index_is_searched_by_the_time_not_filtered(full: Rows) -> None:
    """`clock_timestamp()` in the wrong place would read a destination's whole past each time."""
    (main,) = await full.sql("SELECT id FROM destinations")
    used = await plan(full.database, lanes.USED, destination=main, spans=[timedelta(seconds=60)])
    assert "started_at >" in next(line for line in used.splitlines() if "Index Cond" in line)
    recent = await plan(full.database, statistics.RECENT)
    assert "Index Cond: (received_at >=" in recent
