"""The sell list, and sells made again: only what failed, only what is still held."""

import asyncio
from uuid import uuid4

import pytest

from database import sells
from database.batches import BatchId
from domain.destination import Destination
from domain.ticker import Ticker
from engines.metrics import Metrics
from engines.relay.desk import Command, RefusedError
from engines.relay.sweeper import Sweeper
from tests.conftest import FrozenClock
from tests.database.rows import BUY, OK, REFUSED, SELL, Rows, settlement
from tests.engines.desks import ME, a_desk, listed, sells_of

AAPL, MSFT, NVDA = Ticker("AAPL"), Ticker("MSFT"), Ticker("NVDA")


@pytest.fixture
async def main(rows: Rows) -> Destination:
    await listed(rows, "AAPL", "MSFT", "NVDA")
    return await rows.destination()


async def put(rows: Rows, *tickers: Ticker) -> None:
    async with rows.database.write() as connection:
        await sells.add(connection, tickers, actor="a test")


async def drafted(rows: Rows) -> list[str]:
    return list(await rows.sql("SELECT ticker FROM sell_list ORDER BY ticker"))


# ── The sell list ───────────────────────────────────────────────────────────────────────────


async def test_what_is_sold_leaves_the_list(rows: Rows, main: Destination) -> None:
    await rows.bought(main, "AAPL")
    await rows.bought(main, "MSFT")
    await put(rows, AAPL, NVDA)
    placed = await a_desk(rows).sell_list(ME)
    assert await sells_of(rows, placed.batch.id) == [("AAPL", "approved", None)]
    assert [(one["ticker"], one["state"]) for one in placed.batch.snapshot] == [
        ("AAPL", "open"),
        ("NVDA", None),
    ]
    assert await drafted(rows) == ["NVDA"]
    assert await rows.sql("SELECT paused_at FROM gate") == [None]
    assert await rows.sql(
        "SELECT detail->>'why' FROM events WHERE event = 'sell_list.removed'"
    ) == ["sold"]


async def test_it_can_pause_buying_too(rows: Rows, main: Destination) -> None:
    await rows.bought(main, "AAPL")
    await put(rows, AAPL)
    await a_desk(rows).sell_list(ME, pause_buying=True)
    assert await rows.sql("SELECT paused_by FROM gate") == ["a test"]


@pytest.mark.usefixtures("main")
async def test_a_buy_of_it_that_is_undecided_is_judged_first(rows: Rows) -> None:
    await put(rows, AAPL)
    await rows.alert("AAPL", BUY)
    placed = await a_desk(rows).sell_list(ME)
    assert await sells_of(rows, placed.batch.id) == [("AAPL", "approved", None)]
    assert await rows.states("positions") == ["void"]


@pytest.mark.usefixtures("main")
async def test_an_empty_list_sells_nothing(rows: Rows) -> None:
    with pytest.raises(RefusedError, match="empty_list"):
        await a_desk(rows).sell_list(ME, pause_buying=True)
    assert await rows.sql("SELECT paused_at FROM gate") == [None]


async def test_what_expired_is_never_sold_and_is_swept(
    rows: Rows, main: Destination, clock: FrozenClock
) -> None:
    await rows.bought(main, "AAPL")
    await rows.bought(main, "MSFT")
    await put(rows, AAPL, MSFT)
    await rows.sql("UPDATE sell_list SET expires_at = now() WHERE ticker = 'AAPL'")
    placed = await a_desk(rows).sell_list(ME)
    assert await sells_of(rows, placed.batch.id) == [("MSFT", "approved", None)]
    await Sweeper(database=rows.database, metrics=Metrics(), clock=clock).step()
    assert await drafted(rows) == []
    (told,) = await rows.sql("SELECT actor, detail FROM events WHERE actor = 'its end'")
    assert told.detail == {"tickers": ["AAPL"], "why": "expired"}


# ── Made again ──────────────────────────────────────────────────────────────────────────────


async def test_what_failed_is_sold_again(rows: Rows, main: Destination) -> None:
    for ticker in ("AAPL", "MSFT", "NVDA"):
        await rows.bought(main, ticker)
    desk = a_desk(rows)
    first = await desk.sell_all(ME)
    aapl, msft, _ = await rows.lease(main)
    await rows.settle(settlement(aapl, REFUSED), settlement(msft, OK))
    second = await desk.retry(first.batch.id, ME)
    assert second.batch.retry_of == first.batch.id
    assert await sells_of(rows, second.batch.id) == [("AAPL", "approved", None)]
    (replayed,) = await rows.sql(
        "SELECT replay_of FROM signals WHERE batch_id = :id", id=second.batch.id
    )
    assert replayed == aapl.signal_id
    assert {one["ticker"]: one["skipped"] for one in second.batch.snapshot} == {
        "AAPL": None,
        "MSFT": "delivered",
        "NVDA": "unfinished",
    }
    # Its own failure can be retried, and only one of many at once comes through.
    (again,) = await rows.lease(main)
    assert again.possible_resend is False
    await rows.settle(settlement(again, REFUSED))
    ended = await asyncio.gather(
        *(desk.retry(second.batch.id, ME) for _ in range(3)), return_exceptions=True
    )
    refused = [one for one in ended if isinstance(one, RefusedError)]
    assert [one.code for one in refused] == ["nothing_failed"] * 2


async def test_a_later_position_is_not_sold_for_an_earlier_one(
    rows: Rows, main: Destination
) -> None:
    await rows.bought(main)
    desk = a_desk(rows)
    first = await desk.sell(AAPL, ME)
    (exit_,) = await rows.lease(main)
    await rows.settle(settlement(exit_, REFUSED))
    await rows.alert("AAPL", SELL)
    await rows.decide()
    (sold,) = await rows.lease(main)
    await rows.settle(settlement(sold, OK))
    await rows.bought(main)
    with pytest.raises(RefusedError, match="nothing_failed"):
        await desk.retry(first.batch.id, ME)
    assert await rows.states("positions") == ["closed", "open"]


async def test_a_retry_has_its_own_key(rows: Rows, main: Destination) -> None:
    await rows.bought(main)
    desk, keyed = a_desk(rows), Command(actor="a test", key="same")
    first = await desk.sell(AAPL, keyed)
    (exit_,) = await rows.lease(main)
    await rows.settle(settlement(exit_, REFUSED))
    second = await desk.retry(first.batch.id, keyed)
    assert not second.duplicate
    assert (await desk.retry(first.batch.id, keyed)).batch.id == second.batch.id


async def test_a_batch_that_is_not_there_is_not_retried(rows: Rows) -> None:
    placed = await a_desk(rows).sell_all(ME)
    with pytest.raises(RefusedError, match="nothing_failed"):
        await a_desk(rows).retry(placed.batch.id, ME)
    with pytest.raises(RefusedError, match="no_such_batch"):
        await a_desk(rows).retry(BatchId(uuid4()), ME)
