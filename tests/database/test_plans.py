"""With many decided rows, the queries in the signal's path look at the waiting ones alone."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import TextClause, text

from database import (
    breakers,
    endings,
    figures,
    gate,
    lanes,
    pulse,
    settlements,
    statistics,
    verdicts,
)
from database import following as steps_of
from database.pool import Database
from engines.clock import utc_now
from tests.database.rows import Rows, ending_arrays

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
    INSERT INTO deliveries (signal_id, position_id, destination_id, destination_version, seq,
                            ticker, side, state, queued_at, due_at, expires_at, finished_at)
    SELECT signals.id, signals.id, destinations.id, 1, seq, ticker, side,
           CASE WHEN seq > 19990 THEN 'queued' ELSE 'delivered' END, received_at, received_at,
           'infinity', CASE WHEN seq <= 19990 THEN received_at END
    FROM signals, destinations WHERE status = 'approved'
"""
POSITIONS = """
    INSERT INTO positions (id, ticker, state, entry_signal_id, opened_at, updated_at)
    SELECT id, ticker, 'closed', id, received_at, received_at FROM signals
    WHERE status = 'approved'
"""
ATTEMPTS = """
    INSERT INTO attempts (delivery_id, epoch, destination_id, side, number, possible_resend,
                          started_at)
    SELECT id, 1, destination_id, side, 1, false, queued_at FROM deliveries
"""
TABLES = ("signals", "deliveries", "attempts", "positions")
NO_ARRAYS: Mapping[str, object] = {
    name: []
    for name in (
        *("ids", "statuses", "reasons", "versions", "ranks", "cutoffs", "ages", "held", "rules"),
        *("position_ids", "position_tickers", "position_states", "position_entries"),
        "position_exits",
    )
}


@pytest.fixture
async def full(rows: Rows) -> Rows:
    await rows.destination()
    for statement in (SIGNALS, DELIVERIES, POSITIONS, ATTEMPTS):
        await rows.sql(statement)
    async with rows.database.autocommit() as connection:
        await connection.execute(text("ANALYZE"))
    return rows


async def plan(database: Database, query: TextClause, **values: object) -> str:
    async with database.write() as connection:
        explained = await connection.execute(text(f"EXPLAIN {query.text}"), values)
        return "\n".join(explained.scalars())


def cases(main: object) -> list[tuple[TextClause, Mapping[str, object], list[str]]]:
    """What runs on the path of a signal, what it is given, and the indexes it is to use."""
    one = {"id": "00000000-0000-0000-0000-000000000000"}
    lease = {
        "destination": main,
        "total": 5,
        "buys": 4,
        "lasting": timedelta(seconds=15),
        "left": None,
    }
    windows = {
        "destination": main,
        "spans": [timedelta(seconds=60)],
        "latest": lanes.LATEST_WRITE,
    }
    recent = {
        "id": main,
        "version": 1,
        "within": timedelta(seconds=30),
        "longest": timedelta(seconds=60),
        "since": None,
    }
    bought = {"tickers": ["T1"], "within": timedelta(minutes=5), "now": utc_now()}
    after = ["deliveries_of_position", "positions_pkey", "positions_unfinished"]
    settled = ending_arrays([one["id"]], ["dead"], ["not_sent"], epoch=1)
    return [
        (verdicts.CLAIM, {"limit": 128, "reach": 2048}, ["signals_undecided"]),
        (gate.POSITIONS, {"tickers": ["T1"]}, ["positions_unfinished", "signals_pkey"]),
        (gate.BOUGHT, bought, ["signals_bought"]),
        (
            verdicts.RECORD,
            {**NO_ARRAYS, "gate_version": 1},
            ["signals_pkey", "deliveries_of_position"],
        ),
        (lanes.LEASE, lease, ["deliveries_", "deliveries_lanes"]),
        (lanes.USED, windows, ["attempts_in_window"]),
        (
            lanes.IN_FLIGHT,
            {"destination": main, "left": timedelta(seconds=5)},
            ["deliveries_leased"],
        ),
        (lanes.NEXT_DUE, {"destination": main}, ["deliveries_"]),
        (breakers.RECENT, recent, ["attempts_in_window"]),
        (settlements.SETTLE, settled, ["attempts_pkey", *after]),
        (
            endings.OVERDUE,
            {"limit": 500},
            ["deliveries_overdue", "deliveries_held", "deliveries_leased"],
        ),
        (endings.EXPIRE, {"ids": [one["id"]]}, ["deliveries_pkey", *after]),
        (endings.SUPERSEDE, {"tickers": ["T1"]}, ["deliveries_lanes", *after]),
        (steps_of.MERGE, {"ids": [one["id"]]}, ["deliveries_of_position"]),
        (steps_of.LOCK_POSITIONS, {"tickers": ["T1"]}, ["positions_unfinished"]),
        (statistics.BACKLOG, {}, ["signals_undecided"]),
        (pulse.PULSE, {}, ["signals_undecided", "signals_waiting", "deliveries_"]),
        (statistics.RECENT, {}, ["signals_by_time"]),
        (figures.ONE, {}, ["signals_waiting", "positions_unfinished", "signals_seq"]),
        (figures.UNDECIDED, {}, ["signals_undecided"]),
        (figures.UNFINISHED, {}, ["deliveries_"]),
    ]


async def test_the_path_of_a_signal_reads_no_table_whole(full: Rows) -> None:
    (main,) = await full.sql("SELECT id FROM destinations")
    for query, values, indexes in cases(main):
        steps = await plan(full.database, query, **values)
        for index in indexes:
            assert index in steps, f"{index}\n{steps}"
        if query is not statistics.RECENT:
            for table in TABLES:
                assert f"Seq Scan on {table}" not in steps, steps


async def test_an_index_is_searched_by_the_time_not_filtered(full: Rows) -> None:
    """`clock_timestamp()` in the wrong place would read a destination's whole past each time."""
    (main,) = await full.sql("SELECT id FROM destinations")
    given = {query: values for query, values, _ in cases(main)}
    for query in (lanes.USED, breakers.RECENT):
        steps = await plan(full.database, query, **given[query])
        assert "started_at >" in next(line for line in steps.splitlines() if "Index Cond" in line)
    recent = await plan(full.database, statistics.RECENT)
    assert "Index Cond: (received_at >=" in recent


async def test_who_is_before_in_a_lane_is_asked_of_the_lanes(rows: Rows) -> None:
    """A plan stays when a queue grows that was empty when it was made: all its indexes cost alike
    then, and through any other one each delivery would be compared with the whole queue."""
    main = await rows.destination()
    values = next(values for query, values, _ in cases(main.id) if query is lanes.LEASE)
    steps = await plan(rows.database, lanes.LEASE, **values)
    earlier = [line for line in steps.splitlines() if "on deliveries earlier" in line]
    assert len(earlier) == 2, steps
    assert all("using deliveries_lanes" in line for line in earlier), steps


async def test_what_positions_come_to_is_added_up_once(rows: Rows) -> None:
    """Not for each of them anew: a hundred settlements at once would read their sum's sum."""
    main = await rows.destination()
    values = next(values for query, values, _ in cases(main.id) if query is settlements.SETTLE)
    steps = await plan(rows.database, settlements.SETTLE, **values)
    for name in ("entering", "leaving"):
        assert f"CTE {name}" in steps, steps
