import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from database import settlements
from database.following import LOCK_POSITIONS
from domain.delivery import Delivery, DeliveryState, Ended, Retry
from domain.destination import Destination
from domain.gate import SellPolicy
from domain.signal import SignalId
from engines.clock import utc_now
from tests.database.rows import (
    BUY,
    OK,
    REFUSED,
    SELL,
    UNKNOWN,
    UNSENT,
    WITHHELD,
    Rows,
    decide_on,
    ending_arrays,
    settlement,
)

GONE = timedelta(seconds=-1)
EXPIRED = Ended(DeliveryState.EXPIRED, "expired: ConnectError")
DEAD = Ended(DeliveryState.DEAD, "expired: http 500")


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination()


async def leased(rows: Rows, main: Destination, side: str = "buy") -> Delivery:
    await rows.alert("AAPL", SELL if side == "sell" else BUY)
    await rows.decide()
    (delivery,) = await rows.lease(main)
    return delivery


async def closing(rows: Rows, main: Destination) -> Delivery:
    """An open position whose exit is on the wire."""
    await rows.bought(main)
    return await leased(rows, main, "sell")


async def test_a_delivered_buy_opens_its_position(rows: Rows, main: Destination) -> None:
    delivery = await leased(rows, main)
    assert await rows.settle(settlement(delivery, OK)) == {delivery.id}
    assert await rows.states("deliveries") == ["delivered"]
    assert await rows.states("positions") == ["open"]
    (attempt,) = await rows.sql("SELECT * FROM attempts")
    assert (attempt.outcome, attempt.status, attempt.answer) == ("delivered", 200, "ok")
    assert attempt.finished_at
    assert (await rows.events(delivery.signal_id))[-2:] == ["delivery.delivered", "position.open"]


async def test_a_delivered_sell_closes_it(rows: Rows, main: Destination) -> None:
    exit_ = await closing(rows, main)
    assert await rows.states("positions") == ["closing"]
    await rows.settle(settlement(exit_, OK))
    assert await rows.states("positions") == ["closed"]
    assert (await rows.events(exit_.signal_id))[-2:] == ["delivery.delivered", "position.closed"]


@pytest.mark.parametrize(("answer", "step"), [(UNSENT, EXPIRED), (REFUSED, None)])
async def test_a_buy_that_never_left_voids_it(
    rows: Rows, main: Destination, answer: settlements.Answer, step: Ended | None
) -> None:
    delivery = await leased(rows, main)
    await rows.settle(settlement(delivery, answer, step))
    assert await rows.states("positions") == ["void"]
    assert await rows.states("deliveries") == [step.state if step else "dead"]


async def test_a_buy_of_unknown_outcome_counts_as_held(rows: Rows, main: Destination) -> None:
    delivery = await leased(rows, main)
    await rows.settle(settlement(delivery, UNKNOWN, Ended(DeliveryState.EXPIRED, "late")))
    assert await rows.states("positions") == ["open"]


@pytest.mark.parametrize(("answer", "step"), [(REFUSED, None), (UNKNOWN, DEAD), (UNSENT, DEAD)])
async def test_an_exit_that_ends_undelivered_opens_it_again(
    rows: Rows, main: Destination, answer: settlements.Answer, step: Ended | None
) -> None:
    exit_ = await closing(rows, main)
    await rows.settle(settlement(exit_, answer, step))
    assert await rows.states("positions") == ["open"]
    assert (await rows.events(exit_.signal_id))[-1] == "position.open"
    await rows.alert("AAPL", SELL)
    judged = await rows.decide()
    assert judged
    assert judged.verdicts[0][1].reason is None


async def test_a_retry_moves_nothing_but_the_delivery(rows: Rows, main: Destination) -> None:
    delivery = await leased(rows, main)
    due = utc_now() + timedelta(seconds=3)
    await rows.settle(settlement(delivery, UNKNOWN, Retry(due)))
    (kept,) = await rows.sql("SELECT * FROM deliveries")
    assert (kept.state, kept.due_at, kept.attempts, kept.possibly_sent) == ("queued", due, 1, True)
    assert kept.lease_until is None
    assert await rows.states("positions") == ["opening"]
    assert (await rows.events())[-1] == "delivery.retrying"


async def test_what_was_withheld_was_no_attempt(rows: Rows, main: Destination) -> None:
    delivery = await leased(rows, main)
    await rows.settle(settlement(delivery, WITHHELD))
    (again,) = await rows.lease(main)
    assert (again.attempt, again.possible_resend) == (1, False)
    assert again.epoch == delivery.epoch + 1


@pytest.mark.parametrize(
    ("answer", "marked"), [(UNKNOWN, True), (UNSENT, False), (WITHHELD, False)]
)
async def test_only_what_may_have_arrived_is_marked_when_it_is_sent_again(
    rows: Rows, main: Destination, answer: settlements.Answer, *, marked: bool
) -> None:
    await rows.settle(settlement(await leased(rows, main), answer))
    (again,) = await rows.lease(main)
    assert again.possible_resend == marked


async def test_who_lost_the_lease_settles_nothing(rows: Rows, main: Destination) -> None:
    await rows.alert()
    await rows.decide()
    (stopped,) = await rows.lease(main, lasting=GONE)
    (current,) = await rows.lease(main)
    assert await rows.settle(settlement(stopped, OK)) == set()
    assert await rows.states("deliveries") == ["sending"]
    assert await rows.states("positions") == ["opening"]
    assert await rows.settle(settlement(current, REFUSED), settlement(stopped, OK)) == {current.id}
    assert await rows.states("deliveries") == ["dead"]
    assert await rows.settle(settlement(current, OK)) == set()
    assert await rows.states("deliveries") == ["dead"]
    outcomes = await rows.sql("SELECT outcome FROM attempts ORDER BY epoch")
    assert outcomes == ["delivered", "permanent"]


async def test_two_deliveries_of_one_signal_settled_at_once_see_one_another(rows: Rows) -> None:
    places = [await rows.destination("one"), await rows.destination("two")]
    for round_ in range(10):
        await rows.alert(f"T{round_}")
        await rows.decide()
        both = [(await rows.lease(place))[0] for place in places]
        await asyncio.gather(
            *(rows.settle(settlement(delivery, UNSENT, EXPIRED)) for delivery in both)
        )
    assert await rows.states("positions") == ["void"] * 10


async def test_overdue_buys_expire_and_overdue_sells_are_dead(
    rows: Rows, main: Destination
) -> None:
    await rows.bought(main, "HELD")
    for ticker, side in [("HELD", SELL), ("NEW", BUY), ("WAIT", BUY)]:
        await rows.alert(ticker, side)
    await rows.decide()
    await rows.sql("UPDATE deliveries SET expires_at = queued_at WHERE ticker <> 'WAIT'")
    assert await rows.expire() == 2
    assert await rows.states("deliveries") == ["delivered", "dead", "expired", "queued"]
    assert sorted(await rows.sql("SELECT ticker || ' ' || state FROM positions")) == [
        "HELD open",
        "NEW void",
        "WAIT opening",
    ]
    assert await rows.sql("SELECT DISTINCT reason FROM deliveries WHERE reason IS NOT NULL") == [
        "expired"
    ]
    assert await rows.expire() == 0
    assert (await rows.events()).count("delivery.dead") == 1


async def test_what_is_on_the_wire_is_not_ended_before_its_lease(
    rows: Rows, main: Destination
) -> None:
    delivery = await leased(rows, main)
    await rows.sql("UPDATE deliveries SET expires_at = queued_at")
    assert await rows.expire() == 0
    await rows.sql("UPDATE deliveries SET lease_until = clock_timestamp() - interval '1 s'")
    assert await rows.expire() == 1
    # Whoever held the lease may have sent it: the position stays.
    assert await rows.states("positions") == ["open"]
    assert await rows.settle(settlement(delivery, UNSENT)) == set()


async def test_an_end_and_a_settlement_at_once_do_not_block_one_another(
    rows: Rows, main: Destination
) -> None:
    await rows.bought(main)
    await rows.alert("AAPL", SELL)
    await rows.decide()
    (exit_,) = await rows.lease(main, lasting=GONE)
    await rows.sql("UPDATE deliveries SET expires_at = queued_at")
    async with rows.database.write() as settling:
        await settling.execute(LOCK_POSITIONS, {"tickers": ["AAPL"]})
        ending = asyncio.create_task(rows.expire())
        done, _ = await asyncio.wait({ending}, timeout=0.1)
        assert not done
        settled = settlement(exit_, OK)
        assert await settlements.settle(settling, [settled]) == [settled]
    assert await ending == 0
    assert await rows.states("positions") == ["closed"]


async def test_a_delivery_somebody_works_on_is_left_to_him(rows: Rows, main: Destination) -> None:
    await leased(rows, main)
    await rows.sql("UPDATE deliveries SET expires_at = queued_at, lease_until = queued_at")
    async with rows.database.write() as working:
        await working.execute(text("SELECT FROM deliveries FOR UPDATE"))
        async with asyncio.timeout(30):
            assert await rows.expire() == 0
    assert await rows.expire() == 1


async def test_a_judge_and_a_settlement_of_one_position_take_turns(
    rows: Rows, main: Destination
) -> None:
    entry = await leased(rows, main)
    await rows.alert("AAPL", SELL)
    async with rows.database.write() as judging:
        assert await decide_on(judging, 128, SellPolicy.WITH_POSITION)
        settling = asyncio.create_task(rows.settle(settlement(entry, OK)))
        done, _ = await asyncio.wait({settling}, timeout=0.1)
        assert not done
    assert await settling == {entry.id}
    assert await rows.states("positions") == ["closing"]

    async with rows.database.write() as settling_first:
        (exit_,) = await rows.lease(main)
        await settlements.settle(settling_first, [settlement(exit_, OK)])
        await rows.alert("AAPL", SELL)
        judging_after = asyncio.create_task(rows.decide())
        done, _ = await asyncio.wait({judging_after}, timeout=0.1)
        assert not done
    judged = await judging_after
    assert judged
    assert judged.verdicts[0][1].reason == "no_position"


async def bought_after(rows: Rows, main: Destination) -> SignalId:
    """A position that is closing, and a newer one of the same ticker that is opening."""
    await closing(rows, main)
    newer = await rows.alert("AAPL", BUY)
    await rows.decide()
    assert await rows.states("positions") == ["closing", "opening"]
    return newer


async def test_a_newer_position_that_is_held_stands_for_one_whose_exit_failed(
    rows: Rows, main: Destination
) -> None:
    await bought_after(rows, main)
    await rows.sql("UPDATE positions SET state = 'open' WHERE state = 'opening'")
    await overdue(rows, "sell")
    assert await rows.expire() == 1
    assert await rows.states("positions") == ["closed", "open"]


async def test_a_held_position_stands_for_a_newer_one_that_may_yet_be_void(
    rows: Rows, main: Destination
) -> None:
    await bought_after(rows, main)
    await overdue(rows, "sell")
    assert await rows.expire() == 1
    assert await rows.states("positions") == ["open", "closed"]
    (buy,) = await rows.lease(main)
    await rows.settle(settlement(buy, REFUSED))
    assert await rows.states("positions") == ["open", "closed"]


async def test_a_position_is_not_lost_when_its_exit_and_the_next_buy_end_at_once(
    rows: Rows, main: Destination
) -> None:
    """As after a night in which this relay did not run: everything is overdue in one batch."""
    await bought_after(rows, main)
    await overdue(rows, "sell", "buy")
    assert await rows.expire() == 2
    assert await rows.states("positions") == ["open", "void"]


async def test_a_later_exit_sells_what_an_older_position_has_there_too(
    rows: Rows, main: Destination
) -> None:
    """Its own exit failed, and all there is of the ticker was sold since, in the same batch."""
    await bought_after(rows, main)
    await rows.sql("UPDATE deliveries SET possibly_sent = true WHERE side = 'buy'")
    await rows.alert("AAPL", SELL)
    await rows.decide()
    await rows.sql(
        "UPDATE deliveries SET state = 'sending', epoch = 1, lease_until = 'infinity'"
        " WHERE finished_at IS NULL"
    )
    _, first_exit, buy, exit_ = await rows.sql("SELECT id FROM deliveries ORDER BY seq")
    ends = {first_exit: "dead", buy: "delivered", exit_: "delivered"}
    assert await settle_as(rows, "AAPL", ends) == set(ends)
    assert await rows.states("positions") == ["closed", "closed"]


async def test_of_two_positions_whose_exits_fail_at_once_one_is_open(
    rows: Rows, main: Destination
) -> None:
    await bought_after(rows, main)
    await rows.sql("UPDATE deliveries SET possibly_sent = true WHERE side = 'buy'")
    await rows.alert("AAPL", SELL)
    await rows.decide()
    await overdue(rows, "sell", "buy")
    assert await rows.expire() == 3
    assert await rows.states("positions") == ["closed", "open"]


async def test_an_exit_and_the_next_buy_ending_in_two_transactions(rows: Rows) -> None:
    """Each must see what the other leaves: neither two live positions, nor none."""
    main = await rows.destination()
    for round_ in range(10):
        ticker = f"T{round_}"
        await rows.bought(main, ticker)
        for side in (SELL, BUY):
            await rows.alert(ticker, side)
            await rows.decide()
        await rows.sql(
            "UPDATE deliveries SET state = 'sending', epoch = 1, lease_until = 'infinity'"
            " WHERE finished_at IS NULL"
        )
        exit_, buy = await rows.sql(
            "SELECT id FROM deliveries WHERE ticker = :t AND finished_at IS NULL ORDER BY seq",
            t=ticker,
        )
        await asyncio.gather(
            settle_as(rows, ticker, {exit_: "dead"}), settle_as(rows, ticker, {buy: "expired"})
        )
        states = await rows.sql(
            "SELECT state FROM positions WHERE ticker = :t ORDER BY opened_at", t=ticker
        )
        assert states[0] == "open"
        assert states[1] in {"void", "closed"}


async def overdue(rows: Rows, *sides: str) -> None:
    await rows.sql(
        "UPDATE deliveries SET expires_at = queued_at,"
        " lease_until = CASE WHEN state = 'sending' THEN queued_at END"
        " WHERE finished_at IS NULL AND side = ANY(:sides)",
        sides=list(sides),
    )


async def settle_as(rows: Rows, ticker: str, ends: dict[object, str]) -> set[object]:
    """Settle deliveries of epoch 1: what is not delivered was never sent."""
    outcomes = ["delivered" if state == "delivered" else "not_sent" for state in ends.values()]
    async with rows.database.write() as connection:
        await connection.execute(LOCK_POSITIONS, {"tickers": [ticker]})
        settled = await connection.execute(
            settlements.SETTLE, ending_arrays([*ends], [*ends.values()], outcomes, epoch=1)
        )
    return {row.id for row in settled}
