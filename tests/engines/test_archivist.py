"""The archivist at work: round by round, counted, and beside a relay that does not notice."""

import asyncio
import logging
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, Counter

import engine_room
from database.pool import Database
from engines.metrics import Metrics
from engines.relay.archivist import EVERY, Archivist
from engines.worker import AGAIN
from house import House
from tests.database.rows import Rows
from tests.web.stage import cloned, relay, settings
from tests.web.transfer import seed

KEEP = timedelta(days=30)


def an_archivist(database: Database, batch: int = 3) -> tuple[Archivist, CollectorRegistry]:
    registry = CollectorRegistry()
    deleted = Counter("deleted", "Rows", ["table"], registry=registry)
    return Archivist(database=database, keep=KEEP, deleted=deleted, batch=batch), registry


async def a_past(rows: Rows, count: int) -> None:
    """Signals that expired long ago, with their two events each."""
    for n in range(count):
        await rows.alert(f"T{n}", lifetime=timedelta(0))
    await rows.sql("UPDATE signals SET received_at = now() - interval '31 days'")
    await rows.age_events(31)
    await rows.sql("DELETE FROM dedupe_keys")


async def test_a_round_goes_batch_by_batch_and_is_counted_and_told(
    rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await a_past(rows, 7)
    kept = await rows.alert("LATE")
    archivist, registry = an_archivist(rows.database)
    left: list[int] = []
    while await archivist.step() == AGAIN:
        left += await rows.sql("SELECT count(*) FROM signals")
    assert left[:3] == [5, 2, 1]
    assert await rows.sql("SELECT id FROM signals") == [kept]
    assert registry.get_sample_value("deleted_total", {"table": "signals"}) == 7
    assert registry.get_sample_value("deleted_total", {"table": "events"}) == 14
    (told,) = [vars(r) for r in caplog.records if r.message == "archive.pruned"]
    assert (told["signals"], told["events"]) == (7, 14)


async def test_the_next_round_begins_anew_and_one_without_work_is_silent(
    rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    archivist, _ = an_archivist(rows.database)
    while await archivist.step() != EVERY:
        pass
    assert not [r for r in caplog.records if r.message == "archive.pruned"]
    await a_past(rows, 1)
    while await archivist.step() != EVERY:
        pass
    assert await rows.sql("SELECT count(*) FROM signals") == [0]


@pytest.mark.parametrize(("days", "kept"), [(1, 7), (7, 7), (400, 400)])
async def test_signals_are_kept_as_long_as_a_cooldown_looks_back(
    rows: Rows, days: int, kept: int
) -> None:
    house = House(
        settings=settings(retention_days=days),
        intake=rows.database,
        engines=rows.database,
        pages=rows.database,
        desk=rows.database,
        live=rows.database,
        vault=rows.vault,
        metrics=Metrics(),
    )
    assert engine_room.archivist(house).keep == timedelta(days=kept)


OLD_WORK = """
    UPDATE {table} SET {column} = {column} - interval '60 days'
"""


@pytest.mark.slow
async def test_a_relay_at_work_loses_nothing_and_the_past_goes(template: str) -> None:
    """Old finished signals go while new ones pour in; what is old and unfinished stays."""
    async with cloned(template) as url, relay(url, retention_days=KEEP.days) as one:
        tickers = [row["ticker"] for row in (await one.read("/api/universe"))["tickers"]]
        held = (await one.post({"ticker": tickers[0], "action": "buy"})).json()["signal_id"]
        await one.settled(held)  # an open position, made long ago
        for table, column in (
            ("signals", "received_at"),
            ("deliveries", "finished_at"),
            ("positions", "updated_at"),
        ):
            await one.execute(OLD_WORK.format(table=table, column=column))
        await seed(one, 3_000, b"sealed")
        workers = {worker["name"] for worker in (await one.read("/status"))["workers"]}
        assert "archivist" in workers
        archivist, registry = an_archivist(one.database, batch=200)

        async def tidy() -> None:
            while await archivist.step() != EVERY:
                pass

        async def pour() -> list[str]:
            answers = [
                await one.post({"ticker": ticker, "action": "buy", "n": n})
                for n, ticker in enumerate(tickers[1:40])
            ]
            return [answer.json()["signal_id"] for answer in answers]

        posted, _ = await asyncio.gather(pour(), tidy())
        states = {(await one.settled(id))["status"] for id in posted}
        await tidy()
        left = await one.rows("SELECT CAST(id AS text) FROM signals")
        orphans = await one.rows(
            "SELECT count(*) FROM events WHERE signal_id IS NOT NULL"
            " AND NOT EXISTS (SELECT FROM signals WHERE id = signal_id)"
        )
        open_positions = await one.rows("SELECT count(*) FROM positions WHERE state = 'open'")
    assert states == {"delivered"}
    assert {id for (id,) in left} == {held, *posted}
    assert orphans == [(0,)]
    assert open_positions == [(1 + len(posted),)]
    assert registry.get_sample_value("deleted_total", {"table": "signals"}) == 3_000
