import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from database.pool import Database
from database.screens import Kept
from domain.gate import SellPolicy
from engines.clock import utc_now
from engines.failpoints import Point
from engines.metrics import Metrics
from engines.relay.gatekeeper import Gatekeeper
from engines.relay.judge import CurrentList, Judge
from engines.supervisor import running
from engines.worker import AGAIN, Worker
from tests.database.rows import BUY, SELL, Rows, a_screen, an_entry
from tests.engines.conditions import until_rows

TICKERS = [f"T{n}" for n in range(10)]


def nothing() -> None:
    return


async def market_is_open(_now: datetime) -> None:
    return


def a_judge() -> Judge:
    return Judge(
        current=CurrentList(),
        sell_policy=SellPolicy.WITH_POSITION,
        list_max_age=None,
        until_open=market_is_open,
    )


def a_gatekeeper(database: Database, **given: object) -> Gatekeeper:
    usual: dict[str, object] = {
        "metrics": Metrics(),
        "judge": a_judge(),
        "wake_forwarder": nothing,
        "wake_another": nothing,
    }
    return Gatekeeper(database=database, **{**usual, **given})  # pyright: ignore[reportArgumentType]


@pytest.fixture
async def kept(rows: Rows) -> Kept:
    await rows.destination()
    kept = await rows.screen(top_n=10)
    await rows.adopt(kept, *TICKERS)
    return kept


async def verdicts(rows: Rows) -> list[tuple[str, str | None]]:
    return [(r.status, r.reason) for r in await rows.sql("SELECT * FROM signals ORDER BY seq")]


async def test_a_verdict_says_by_which_list_it_was_reached(rows: Rows, kept: Kept) -> None:
    version = await rows.adopt(kept, *TICKERS, "LAST")
    await rows.append(an_entry("T9"), an_entry("LAST"), an_entry("NONE"), an_entry("T1", SELL))
    gatekeeper = a_gatekeeper(rows.database)
    assert await gatekeeper.step() == AGAIN
    assert await gatekeeper.step() == gatekeeper.poll
    assert await verdicts(rows) == [
        ("approved", None),
        ("rejected", "not_in_list"),
        ("rejected", "not_in_list"),
        ("rejected", "no_position"),
    ]
    ranks = await rows.sql("SELECT rank FROM signals ORDER BY seq")
    assert ranks == [10, 11, None, 2]
    assert await rows.sql("SELECT DISTINCT universe_version FROM signals") == [version]
    assert await rows.sql("SELECT DISTINCT cutoff FROM signals") == [10]


async def test_only_what_is_approved_gives_the_forwarder_something_to_look_for(
    rows: Rows, kept: Kept
) -> None:
    assert kept
    woken: list[int] = []
    gatekeeper = a_gatekeeper(rows.database, wake_forwarder=lambda: woken.append(1))
    for ticker, times in (("NONE", 0), ("T1", 1), ("NONE", 1)):
        await rows.append(an_entry(ticker))
        assert await gatekeeper.step() == AGAIN
        assert len(woken) == times


async def test_what_a_full_batch_left_is_taken_up_while_it_is_judged(
    rows: Rows, kept: Kept
) -> None:
    assert kept
    told: list[str] = []
    gatekeeper = a_gatekeeper(
        rows.database,
        judge=replace(a_judge(), reach=told.append),
        wake_another=lambda: told.append("woken"),
        batch=2,
    )
    await rows.append(*[an_entry(ticker) for ticker in TICKERS[:3]])
    assert await gatekeeper.step() == AGAIN
    assert told == ["woken", Point.GATEKEEPER_CLAIMED]
    assert await gatekeeper.step() == AGAIN
    assert told == ["woken", Point.GATEKEEPER_CLAIMED, Point.GATEKEEPER_CLAIMED]


async def test_a_new_list_a_confirmation_and_a_new_screen_count_at_once(
    rows: Rows, kept: Kept
) -> None:
    gatekeeper = a_gatekeeper(
        rows.database, judge=replace(a_judge(), list_max_age=timedelta(seconds=30))
    )

    async def reason(ticker: str) -> str | None:
        await rows.alert(ticker)
        await gatekeeper.step()
        return (await verdicts(rows))[-1][1]

    assert await reason("T9") is None
    await rows.adopt(kept, "NEW")
    assert await reason("T9") == "not_in_list"
    assert await reason("NEW") is None
    await rows.sql("UPDATE universes SET confirmed_at = confirmed_at - interval '31 s'")
    assert await reason("NEW") == "list_stale"
    await rows.adopt(kept, "NEW")
    assert await reason("NEW") is None
    await rows.adopt(kept, "TOP", "NEW")
    await rows.change_screen(a_screen(top_n=1))
    assert await reason("NEW") == "not_in_list"
    assert await reason("TOP") is None
    await rows.change_screen(a_screen(url="https://finviz.com/screener.ashx?v=111&f=cap_large"))
    assert await reason("TOP") == "list_unknown"


async def test_without_a_destination_nothing_is_approved(rows: Rows) -> None:
    kept = await rows.screen()
    await rows.adopt(kept, "AAPL")
    await rows.alert("AAPL")
    await a_gatekeeper(rows.database).step()
    assert await verdicts(rows) == [("rejected", "no_destination")]


async def test_what_expired_while_it_waited_is_expired(rows: Rows, kept: Kept) -> None:
    await rows.append(an_entry("T1", lifetime=timedelta(milliseconds=1)))
    await rows.sql("SELECT pg_sleep(0.002)")
    await a_gatekeeper(rows.database).step()
    assert await verdicts(rows) == [("expired", "expired")]
    assert kept


@asynccontextmanager
async def eight_judges(url: str) -> AsyncGenerator[Callable[[], None]]:
    database = Database.connect(url, pool=8, patience=timedelta(seconds=30))
    workers: list[Worker] = []

    def wake() -> None:
        for worker in workers:
            worker.wake()

    judge = a_judge()
    for number in range(8):
        step = a_gatekeeper(database, judge=judge, batch=3, wake_another=wake).step
        workers.append(Worker(f"gatekeeper {number}", step, utc_now))
    async with running(workers, grace=timedelta(seconds=5)):
        yield wake
        assert not any(worker.health.failure for worker in workers)
    await database.close()


async def test_no_sell_is_judged_before_its_buy(rows: Rows, kept: Kept) -> None:
    """500 pairs back to back, eight judges: a sell judged too early would be rejected."""
    sides, long = (BUY, SELL), timedelta(minutes=10)
    pairs = [an_entry(TICKERS[n % 10], one, lifetime=long) for n in range(500) for one in sides]
    async with eight_judges(rows.database.url) as wake:
        for start in range(0, 1_000, 20):
            await rows.append(*pairs[start : start + 20])
            wake()
            await asyncio.sleep(0)
        await until_rows(lambda: decided(rows), within=90)
    assert await rows.sql("SELECT DISTINCT status FROM signals") == ["approved"]
    orders = await rows.sql(
        "SELECT array_agg(signals.seq ORDER BY events.id) FROM events"
        " JOIN signals ON signals.id = signal_id WHERE event = 'signal.approved' GROUP BY ticker"
    )
    assert len(orders) == 10
    assert all(order == sorted(order) for order in orders)
    assert await rows.sql("SELECT state, count(*) FROM positions GROUP BY state") == [("void", 500)]
    left = await rows.sql("SELECT state, count(*) FROM deliveries GROUP BY state")
    assert left == [("superseded", 1_000)]
    assert kept


async def decided(rows: Rows) -> bool:
    return await rows.sql("SELECT count(*) FROM signals WHERE status = 'received'") == [0]
