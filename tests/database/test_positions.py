"""Positions read and corrected by hand; and what they look like when the past is judged again."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from database import past, positions
from database.audit import Facts
from database.past import Period
from database.positions import Correction, Wanted
from domain.delivery import DeliveryState, Ended
from domain.destination import Destination
from domain.position import PositionId, PositionState
from domain.ticker import Ticker
from tests.database.rows import BUY, OK, REFUSED, SELL, UNKNOWN, Rows, settlement


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination()


async def enter(
    rows: Rows, ticker: str = "AAPL", price: str | None = None
) -> PositionId | Correction:
    id = PositionId(uuid4())
    async with rows.database.write() as connection:
        refused = await positions.enter(
            connection,
            id,
            Ticker(ticker),
            price=None if price is None else Decimal(price),
            actor="me",
            reason="held before",
        )
    return refused or id


async def close(rows: Rows, id: Any, price: str | None = None) -> Correction | None:
    async with rows.database.write() as connection:
        return await positions.close(
            connection,
            id,
            price=None if price is None else Decimal(price),
            actor="me",
            reason="sold at the broker",
        )


async def shown(rows: Rows, **wanted: Any) -> list[Facts]:
    async with rows.database.read() as connection:
        return await positions.page(connection, Wanted(**wanted))


async def sold(rows: Rows, main: Destination, ticker: str = "AAPL", **given: Any) -> None:
    await rows.alert(ticker, SELL, **given)
    await rows.decide()
    (delivery,) = await rows.lease(main)
    await rows.settle(settlement(delivery, OK))


# ── By hand ─────────────────────────────────────────────────────────────────────────────────


async def test_one_entered_by_hand_can_be_sold(rows: Rows, main: Destination) -> None:
    id = await enter(rows, price="189.50")
    assert await rows.states("positions") == ["open"]
    (told,) = await rows.sql("SELECT * FROM events WHERE event = 'position.open'")
    assert (told.actor, told.position_id, told.signal_id) == ("me", id, None)
    assert told.detail == {
        "ticker": "AAPL",
        "was": None,
        "becomes": "open",
        "price": "189.50",
        "reason": "held before",
    }
    await sold(rows, main, price=Decimal("199.50"))
    (row,) = await shown(rows)
    assert (row["state"], row["source"], row["entry_signal_id"]) == ("closed", "operator", None)
    assert (row["entry_price"], row["exit_price"]) == (Decimal("189.50"), Decimal("199.50"))


@pytest.mark.parametrize("bought", [True, False], ids=["bought", "by hand"])
async def test_there_is_one_live_position_of_a_ticker(
    rows: Rows, main: Destination, *, bought: bool
) -> None:
    await (rows.bought(main) if bought else enter(rows))
    assert await enter(rows) is Correction.ALREADY_OPEN
    assert len(await rows.states("positions")) == 1


async def test_one_closed_by_hand_is_over_and_nothing_is_sent(
    rows: Rows, main: Destination
) -> None:
    entry = await rows.bought(main)
    assert await close(rows, entry, "12.5") is None
    assert await rows.lease(main) == []
    (row,) = await shown(rows)
    assert (row["state"], row["closed_by"], row["exit_price"]) == ("closed", "me", Decimal("12.5"))
    (told,) = await rows.sql("SELECT * FROM events WHERE event = 'position.closed'")
    assert (told.actor, told.signal_id) == ("me", entry)
    assert (told.detail["was"], told.detail["becomes"]) == ("open", "closed")
    assert told.detail["reason"] == "sold at the broker"
    assert await close(rows, entry) is Correction.WRONG_STATE
    await rows.alert("AAPL", SELL)
    await rows.decide()
    assert await rows.sql("SELECT reason FROM signals WHERE side = 'sell'") == ["no_position"]


async def test_it_is_not_closed_while_a_delivery_of_it_is_at_work(
    rows: Rows, main: Destination
) -> None:
    entry = await rows.alert("AAPL", BUY)
    await rows.decide()
    assert await close(rows, entry) is Correction.BUSY
    (buy,) = await rows.lease(main)
    assert await close(rows, entry) is Correction.BUSY
    held = Ended(DeliveryState.HELD, "http 500")
    await rows.settle(settlement(buy, UNKNOWN, held))
    assert await close(rows, entry) is Correction.BUSY
    await rows.sql(
        "UPDATE deliveries SET state = 'delivered', finished_at = now() WHERE state = 'held'"
    )
    assert await close(rows, entry) is None


async def test_an_exit_that_failed_before_is_not_its_exit(rows: Rows, main: Destination) -> None:
    entry = await rows.bought(main)
    exit_ = await rows.alert("AAPL", SELL)
    await rows.decide()
    (delivery,) = await rows.lease(main)
    await rows.settle(settlement(delivery, REFUSED))
    await close(rows, entry)
    (row,) = await shown(rows)
    assert (row["exit_signal_id"], row["closed_by"]) == (None, "me")
    async with rows.database.read() as connection:
        found = await positions.history(connection, PositionId(entry))
    assert found
    assert [one["id"] for one in found.signals] == [entry, exit_]
    assert [one["event"] for one in found.events] == [
        *("position.opening", "position.open", "position.closing", "position.open"),
        "position.closed",
    ]
    assert [one["state"] for one in found.deliveries] == ["delivered", "dead"]


async def test_none_there_is_none(rows: Rows) -> None:
    with pytest.raises(LookupError):
        await close(rows, PositionId(uuid4()))


# ── Read ────────────────────────────────────────────────────────────────────────────────────


async def in_every_state(rows: Rows, count: int = 1) -> None:
    await rows.sql(
        """
        INSERT INTO positions (id, ticker, state, opened_at, updated_at, entry_price, exit_price)
        SELECT gen_random_uuid(), state || number, state, now() - number * interval '1 s', now(),
               100, 110
        FROM unnest(ARRAY['opening', 'open', 'closing', 'closed', 'void']) AS state,
             generate_series(1, :count) AS number
        """,
        count=count,
    )


async def test_pages_part_what_there_is(rows: Rows) -> None:
    await in_every_state(rows, 5)
    seen: list[Facts] = []
    after = None
    while page := await shown(rows, after=after, limit=4):
        seen += page
        after = page[-1]["opened_at"], page[-1]["id"]
    assert len({row["id"] for row in seen}) == len(seen) == 25
    assert [row["opened_at"] for row in seen] == sorted(
        (row["opened_at"] for row in seen), reverse=True
    )
    assert {row["state"] for row in await shown(rows, state=PositionState.VOID)} == {"void"}
    assert [row["ticker"] for row in await shown(rows, ticker=Ticker("open3"))] == ["open3"]


async def test_statistics_of_an_example(rows: Rows) -> None:
    await in_every_state(rows)
    await rows.sql("DELETE FROM positions WHERE state = 'closed'")
    await rows.sql(
        """
        INSERT INTO positions (id, ticker, state, opened_at, updated_at, entry_price, exit_price)
        SELECT gen_random_uuid(), 'C' || held, 'closed', now() - interval '1 day',
               now() - interval '1 day' + held * interval '1 s', 100, exit
        FROM (VALUES (110, 10), (130, 20), (95, 30), (100, 40), (NULL, 999)) AS one (exit, held)
        """
    )
    async with rows.database.read() as connection:
        states, found = await positions.statistics(connection)
    assert states == {"opening": 1, "open": 1, "closing": 1, "void": 1, "closed": 5}
    assert (found["closed"], found["winners"]) == (4, 2)
    assert found["mean_return"] == pytest.approx((10 + 30 - 5 + 0) / 4)
    assert found["median_return"] == pytest.approx((10 + 0) / 2)
    assert found["mean_held"] == pytest.approx(25)


# ── The past judged again ───────────────────────────────────────────────────────────────────


async def test_the_past_knows_what_was_done_by_hand(rows: Rows, main: Destination) -> None:
    await rows.screen()
    by_hand, bought = await enter(rows), await rows.bought(main, "MSFT")
    await close(rows, by_hand)
    await close(rows, bought)
    (now,) = await rows.sql("SELECT clock_timestamp()")
    found = await past.read(rows.database, Period(now - timedelta(hours=1), now))
    moves = [(one.position, one.was, one.state) for one in found.moves]
    assert list(dict.fromkeys(move for move in moves if move[0] == by_hand)) == [
        (by_hand, None, "open"),
        (by_hand, "open", "closed"),
    ]
    assert (bought, "open", "closed") in moves
