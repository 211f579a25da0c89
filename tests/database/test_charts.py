"""What charts and the overview count: nothing twice, nothing from outside, all by index."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import TextClause, text

from database import audit, charts, statistics
from database.audit import Filter
from database.pool import Database
from database.tallies import LEAST_FINISHED_FIRST
from domain.charts import Grid, grid
from domain.delivery import DestinationId
from domain.rate import Window
from tests.database.rows import Rows

# A signal a second for three hours, and 30,000 older ones; every third is approved.
SIGNALS = """
    INSERT INTO signals (id, source, ticker, side, content_type, body, body_sealed, hop,
                         received_at, expires_at, status, reason, judged_at)
    SELECT gen_random_uuid(), 'webhook', 'T' || n % 50, 'buy', 'text/plain', '', false, 0, at, at,
           CASE n % 3 WHEN 0 THEN 'approved' WHEN 1 THEN 'rejected' ELSE 'expired' END,
           CASE n % 3 WHEN 1 THEN 'not_in_list' WHEN 2 THEN 'expired' END, at
    FROM (SELECT n, now() - n * interval '1 s'
                 - CASE WHEN n > 10800 THEN interval '2 days' ELSE interval '0' END AS at
          FROM generate_series(1, 40800) AS n) AS moments
    ORDER BY at
"""
# To two destinations; the second has some of the dead and the queued ones.
DELIVERIES = """
    INSERT INTO deliveries (signal_id, destination_id, destination_version, seq, ticker, side,
                            state, queued_at, due_at, expires_at, finished_at)
    SELECT signals.id, destinations.id, 1, seq, ticker, side, fate.state, received_at, received_at,
           'infinity', CASE WHEN fate.state <> 'queued' THEN received_at + interval '20 ms' END
    FROM signals, destinations, LATERAL (
        SELECT CASE WHEN name = 'main' OR seq % 5 > 1 THEN 'delivered'
                    WHEN seq % 5 = 0 THEN 'dead' ELSE 'queued' END AS state) AS fate
    WHERE status = 'approved'
"""
ATTEMPTS = """
    INSERT INTO attempts (delivery_id, epoch, destination_id, side, number, possible_resend,
                          started_at, written_at, finished_at, outcome)
    SELECT id, 1, destination_id, side, 1, false, queued_at, queued_at, finished_at, 'delivered'
    FROM deliveries WHERE state = 'delivered'
"""


SETTLED = """
    INSERT INTO attention (cause, key, severity, text, first_at, last_at, resolved_at)
    SELECT 'held', n, 'warning', '', now(), now(), now() FROM generate_series(1, 5000) AS n
"""


@pytest.fixture
async def full(rows: Rows) -> Rows:
    await rows.destination(name="main", windows=(Window(limit=60, seconds=60),))
    await rows.destination(name="other")
    for statement in (SIGNALS, DELIVERIES, ATTEMPTS, SETTLED):
        await rows.sql(statement)
    async with rows.database.autocommit() as connection:
        await connection.execute(text("ANALYZE"))
    return rows


async def hour(rows: Rows) -> Grid:
    """The hour up to the newest signal, whatever minute it is by now; to now without one."""
    (newest,) = await rows.sql("SELECT max(received_at) FROM signals")
    async with rows.database.read() as connection:
        return grid(60, newest.timestamp() if newest else await charts.now(connection))


async def test_every_signal_of_the_period_is_in_one_step_once(full: Rows) -> None:
    over = await hour(full)
    async with full.database.read() as connection:
        found = await charts.outcomes(connection, over)
        there = await audit.page(connection, Filter(limit=5000))
    inside = [one for one in there if one["received_at"].timestamp() >= over.since]
    expected = Counter(
        (int((one["received_at"].timestamp() - over.since) // 60), one["shown"]) for one in inside
    )
    counted = Counter[tuple[int, str]]()
    for one in found:
        counted[one.place, one.state or one.status] += one.signals
    assert counted == expected
    assert {state for _, state in counted} >= {"delivered", "dead", "queued", "rejected", "expired"}


async def test_the_day_adds_up(full: Rows) -> None:
    """What became of the approved is as many as were; nothing older is among them."""
    async with full.database.read() as connection:
        recent = {one.status: one.signals for one in await statistics.recent(connection)}
        fates = await statistics.fates(connection)
    assert recent == {"approved": 3600, "rejected": 3600, "expired": 3600}
    assert sum(fates.values()) == 3600
    assert fates == {"delivered": 2160, "dead": 720, "queued": 720}


def test_the_order_of_states_is_that_of_the_lists_of_signals() -> None:
    assert " ".join(LEAST_FINISHED_FIRST.split()) in " ".join(audit.SHOWN.split())


async def test_latency_is_told_for_each_step_with_deliveries(full: Rows) -> None:
    over = await hour(full)
    async with full.database.read() as connection:
        found = await charts.latencies(connection, over)
    assert set(found) <= set(range(60))
    assert len(found) >= 59
    assert set(found.values()) == {(20.0, 20.0)}


async def test_requests_are_counted_by_slot_from_before_the_period_on(full: Rows) -> None:
    over = await hour(full)
    async with full.database.read() as connection:
        (main,) = await charts.limited(connection, "main")
        assert [str(window) for window in main.windows] == ["60/60s"]
        sent = await charts.sent(connection, main.id, over.since, 60, timedelta(minutes=2))
    assert {slot for slot in sent if slot < 0} == {-1, -2}
    assert {number for slot, number in sent.items() if 0 <= slot < 59} == {20}


async def test_a_list_is_confirmed_by_looks_that_brought_one(rows: Rows) -> None:
    screen = await rows.screen()
    over = await hour(rows)
    looks = [(-90, "ok"), (30, "ok"), (70, "empty"), (100, "blocked"), (110, "blocked")]
    looks += [(200, "ok"), (300, "broken"), (400, "blocked")]
    for after, outcome in looks:
        await rows.sql(
            "INSERT INTO fetches (screen_id, at, outcome, detail, pages, duration_ms, next_at)"
            " VALUES (:screen, to_timestamp(:at), :outcome, '', 1, 1, now())",
            screen=screen.id,
            at=over.since + after,
            outcome=outcome,
        )
    async with rows.database.read() as connection:
        found = await charts.looks(connection, over)
    assert found.before == over.since - 90
    inside = {place: one for place, one in found.confirmed.items() if place >= 0}
    assert {place: waited for place, (waited, _) in inside.items()} == {0: 120, 1: 40, 3: 130}
    assert [(at - over.since, *rest) for at, *rest in found.failed] == [
        (100, "blocked", 2),
        (300, "broken", 1),
        (400, "blocked", 1),
    ]


async def plan(database: Database, query: TextClause, given: Mapping[str, object]) -> str:
    async with database.write() as connection:
        explained = await connection.execute(text(f"EXPLAIN {query.text}"), given)
        return "\n".join(explained.scalars())


async def test_a_period_is_found_by_index(full: Rows) -> None:
    over = await hour(full)
    period = {"since": float(over.since), "step": 60.0}
    (main,) = await full.sql("SELECT id FROM destinations WHERE name = 'main'")
    sending = {"destination": DestinationId(main), "slot": 1.0, "span": timedelta(minutes=1)}
    for query, given, indexes in (
        (charts.OUTCOMES, period, ["signals_seq", "signals_by_time", "deliveries_failed"]),
        (statistics.RECENT, {}, ["signals_seq", "signals_by_time", "signals_imported"]),
        (statistics.FATES, {}, ["signals_seq", "signals_by_time", "deliveries_failed"]),
        (charts.LATENCIES, period, ["signals_by_time"]),
        (charts.SENT, sending | {"since": period["since"]}, ["attempts_in_window"]),
        (statistics.WORST, {"limit": 4}, ["attention_open"]),
    ):
        found = await plan(full.database, query, given)
        for index in indexes:
            assert index in found, found
        for table in ("signals", "deliveries", "attempts"):
            assert f"Seq Scan on {table}" not in found, found
