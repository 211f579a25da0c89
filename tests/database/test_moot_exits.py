"""A sell whose buy ended unsent: alone at the destination it would open a short."""

import pytest

from domain.delivery import Delivery, DeliveryState, Ended
from domain.destination import Destination
from domain.signal import SignalId
from tests.database.rows import BUY, REFUSED, SELL, UNKNOWN, UNSENT, Rows, settlement
from tests.database.test_settlements import overdue

EXPIRED = Ended(DeliveryState.EXPIRED, "expired: no answer")


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination()


async def leaving(rows: Rows, main: Destination) -> tuple[Delivery, SignalId]:
    """An entry that is on the wire, and the id of the exit queued behind it."""
    await rows.alert("AAPL", BUY)
    await rows.decide()
    (entry,) = await rows.lease(main)
    exit_ = await rows.alert("AAPL", SELL)
    await rows.decide()
    assert await rows.states("deliveries") == ["sending", "queued"]
    return entry, exit_


async def test_a_sell_does_not_leave_for_a_buy_that_never_did(
    rows: Rows, main: Destination
) -> None:
    entry, exit_ = await leaving(rows, main)
    await rows.settle(settlement(entry, UNSENT, EXPIRED))
    assert await rows.states("deliveries") == ["expired", "superseded"]
    assert await rows.states("positions") == ["void"]
    assert "delivery.superseded" in await rows.events(exit_)
    assert await rows.lease(main) == []


async def test_a_sell_leaves_when_its_buy_may_have_arrived(rows: Rows, main: Destination) -> None:
    entry, _ = await leaving(rows, main)
    await rows.settle(settlement(entry, UNKNOWN, EXPIRED))
    assert await rows.states("deliveries") == ["expired", "queued"]
    assert [one.side for one in await rows.lease(main)] == [SELL]


async def test_a_partial_sell_without_its_buy_does_not_leave_either(
    rows: Rows, main: Destination
) -> None:
    await rows.alert("AAPL", BUY)
    await rows.alert("AAPL", SELL, partial=True)
    await rows.decide()
    assert await rows.states("deliveries") == ["queued", "queued"]
    await overdue(rows, "buy")
    assert await rows.expire() == 1
    assert await rows.states("deliveries") == ["expired", "superseded"]
    assert await rows.states("positions") == ["void"]
    assert await rows.lease(main) == []


async def test_a_partial_sell_does_not_leave_for_a_buy_that_comes_after_it(
    rows: Rows, main: Destination
) -> None:
    await rows.alert("AAPL", BUY)
    await rows.alert("AAPL", SELL, partial=True)
    await rows.alert("AAPL", BUY)
    await rows.decide()
    (first,) = await rows.lease(main)
    await rows.settle(settlement(first, REFUSED))
    assert await rows.states("deliveries") == ["dead", "superseded", "queued"]
    assert await rows.states("positions") == ["opening"]
    assert [one.side for one in await rows.lease(main)] == [BUY]


async def test_buy_and_sell_overdue_together_end_each_once(rows: Rows, main: Destination) -> None:
    await rows.alert("AAPL", BUY)
    await rows.alert("AAPL", SELL, partial=True)
    await rows.decide()
    await overdue(rows, "buy", "sell")
    assert await rows.expire() == 2
    assert await rows.states("deliveries") == ["expired", "dead"]
    assert await rows.states("positions") == ["void"]
    assert await rows.lease(main) == []
