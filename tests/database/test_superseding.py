"""A buy that surely never arrived makes way for the exit behind it: both end, nothing is sent."""

import asyncio

import pytest
from sqlalchemy import text

from database import endings
from domain.delivery import DeliveryState, Ended
from domain.destination import Destination
from domain.gate import SellPolicy
from tests.database.rows import (
    BUY,
    OK,
    SELL,
    UNKNOWN,
    UNSENT,
    WITHHELD,
    Answer,
    Rows,
    settlement,
)


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination()


async def reasons(rows: Rows) -> list[tuple[str, str | None]]:
    found = await rows.sql("SELECT state, reason FROM deliveries ORDER BY seq")
    return [(row.state, row.reason) for row in found]


BOTH_OVER = [("superseded", "newer_sell"), ("superseded", "entry_unsent")]


async def test_the_verdict_on_an_exit_ends_the_buy_that_waits(
    rows: Rows, main: Destination
) -> None:
    buy, sell = await rows.alert("AAPL", BUY), await rows.alert("AAPL", SELL)
    await rows.decide()
    assert await reasons(rows) == BOTH_OVER
    assert await rows.states("positions") == ["void"]
    assert await rows.lease(main) == []
    assert (await rows.events(buy))[-1] == "delivery.superseded"
    assert {*(await rows.events(sell))[-2:]} == {"delivery.superseded", "position.void"}
    # Nothing is held any more: the next exit has nothing to sell, the next buy opens anew.
    for side, reason in ((SELL, "no_position"), (BUY, None)):
        await rows.alert("AAPL", side)
        judged = await rows.decide()
        assert judged
        assert judged.verdicts[0][1].reason == reason


@pytest.mark.parametrize("answer", [UNSENT, WITHHELD], ids=lambda one: str(one.outcome))
async def test_a_buy_on_the_wire_that_comes_back_unsent_makes_way_then(
    rows: Rows, main: Destination, answer: Answer
) -> None:
    await rows.alert("AAPL", BUY)
    await rows.decide()
    (entry,) = await rows.lease(main)
    await rows.alert("AAPL", SELL)
    await rows.decide()
    assert await rows.states("deliveries") == ["sending", "queued"]
    assert await rows.settle(settlement(entry, answer)) == {entry.id}
    assert await reasons(rows) == BOTH_OVER
    assert await rows.states("positions") == ["void"]


async def test_a_buy_that_may_have_arrived_does_not_make_way(rows: Rows, main: Destination) -> None:
    await rows.alert("AAPL", BUY)
    await rows.decide()
    (entry,) = await rows.lease(main)
    await rows.settle(settlement(entry, UNKNOWN))
    await rows.alert("AAPL", SELL)
    await rows.decide()
    assert await rows.states("deliveries") == ["queued", "queued"]
    (again,) = await rows.lease(main)
    assert (again.id, again.possible_resend) == (entry.id, True)
    await rows.settle(settlement(again, UNSENT))
    assert await rows.states("deliveries") == ["queued", "queued"]


async def test_a_part_makes_no_buy_go_away(rows: Rows, main: Destination) -> None:
    await rows.alert("AAPL", BUY)
    await rows.alert("AAPL", SELL, partial=True)
    await rows.decide()
    assert await rows.states("deliveries") == ["queued", "queued"]
    assert [one.side for one in await rows.lease(main)] == [BUY]


async def test_only_its_own_lane_and_only_what_is_before_it(rows: Rows) -> None:
    one, other = await rows.destination("one"), await rows.destination("two")
    await rows.alert("AAPL", BUY)
    await rows.alert("MSFT", BUY)
    await rows.decide()
    entry = (await rows.lease(one))[0]
    await rows.settle(settlement(entry, OK))
    await rows.alert("AAPL", SELL)
    await rows.alert("AAPL", BUY)
    await rows.decide()
    found = await rows.sql(
        "SELECT name || ' ' || ticker || ' ' || side || ' ' || deliveries.state FROM deliveries"
        " JOIN destinations ON destinations.id = destination_id ORDER BY seq, name"
    )
    assert found == [
        "one AAPL buy delivered",
        "two AAPL buy superseded",
        "one MSFT buy sending",
        "two MSFT buy queued",
        "one AAPL sell queued",
        "two AAPL sell superseded",
        "one AAPL buy queued",
        "two AAPL buy queued",
    ]
    assert await rows.states("positions") == ["closing", "opening", "opening"]
    assert other


async def test_a_second_buy_makes_way_and_the_exit_of_the_first_leaves(
    rows: Rows, main: Destination
) -> None:
    await rows.bought(main)
    await rows.alert("AAPL", BUY)
    await rows.decide()
    await rows.alert("AAPL", SELL)
    await rows.decide()
    assert await rows.states("deliveries") == ["delivered", "superseded", "queued"]
    (exit_,) = await rows.lease(main)
    await rows.settle(settlement(exit_, OK))
    assert await rows.states("positions") == ["closed"]


async def test_a_sell_that_needs_no_position_makes_a_buy_go_away_and_leaves(
    rows: Rows, main: Destination
) -> None:
    """Under `always` the first sell takes the position; the second stands alone, and is sent."""
    for side in (BUY, SELL, SELL):
        await rows.alert("AAPL", side)
    await rows.decide(policy=SellPolicy.ALWAYS)
    assert await rows.states("deliveries") == ["superseded", "superseded", "queued"]
    assert [one.side for one in await rows.lease(main)] == [SELL]


async def test_a_buy_that_is_just_being_leased_is_left_to_the_forwarder(
    rows: Rows, main: Destination
) -> None:
    await rows.alert("AAPL", BUY)
    await rows.alert("AAPL", SELL, partial=True)
    await rows.decide()
    await rows.sql("UPDATE signals SET partial = false")
    async with rows.database.write() as leasing:
        locked = Rows(rows.database, rows.vault)
        await leasing.execute(text("SELECT FROM deliveries WHERE side = 'buy' FOR UPDATE"))
        async with asyncio.timeout(30), locked.database.write() as connection:
            assert not await endings.supersede(connection, ["AAPL"])
    async with rows.database.write() as connection:
        ended = await endings.supersede(connection, ["AAPL"])
    assert ended == {DeliveryState.SUPERSEDED: 1}
    assert await rows.states("deliveries") == ["superseded"] * 2
    assert main


async def test_settled_and_judged_at_once_no_exit_stays_behind_an_unsent_buy(
    rows: Rows, main: Destination
) -> None:
    """Whichever comes first, one of the two sees the other."""
    for round_ in range(12):
        ticker = f"T{round_}"
        await rows.alert(ticker, BUY)
        await rows.decide()
        (entry,) = await rows.lease(main)
        await rows.alert(ticker, SELL)
        step = Ended(DeliveryState.EXPIRED, "late") if round_ % 2 else None
        await asyncio.gather(rows.settle(settlement(entry, UNSENT, step)), rows.decide())
    assert "queued" not in await rows.states("deliveries")
    assert await rows.states("positions") == ["void"] * 12
