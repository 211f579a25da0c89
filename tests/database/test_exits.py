"""Where exits go, with many destinations: where something was bought and not sold since."""

from collections.abc import Mapping
from uuid import uuid4

import pytest

from domain.delivery import DeliveryState, Ended
from domain.destination import Destination, Mode
from domain.gate import SellPolicy
from domain.signal import SignalId
from tests.database.rows import (
    BUY,
    DRY,
    OK,
    REFUSED,
    SELL,
    UNKNOWN,
    UNSENT,
    Answer,
    Rows,
    settlement,
)

DEAD = Ended(DeliveryState.DEAD, "expired: http 500")
EXPIRED = Ended(DeliveryState.EXPIRED, "expired: ConnectError")

Two = tuple[Destination, Destination]


@pytest.fixture
async def two(rows: Rows) -> Two:
    return await rows.destination("one"), await rows.destination("two")


async def approved(rows: Rows, side: str) -> SignalId:
    """An alert that passed: `buy`, `sell`, or `trim`, which sells a part."""
    id = await rows.alert("AAPL", BUY if side == "buy" else SELL, partial=side == "trim")
    judged = await rows.decide()
    assert judged
    assert judged.verdicts[-1][1].reason is None
    return id


async def goes(rows: Rows, signal: SignalId) -> Mapping[str, str]:
    """The states of a signal's deliveries, by the name of their destination."""
    found = await rows.sql(
        "SELECT name, deliveries.state FROM deliveries JOIN destinations"
        " ON destinations.id = destination_id WHERE signal_id = :id",
        id=signal,
    )
    return {row.name: row.state for row in found}


async def answered(
    rows: Rows, place: Destination, answer: Answer = OK, step: Ended | None = None
) -> str:
    """Lease what is next at a place, settle it so, and tell what it was."""
    (delivery,) = await rows.lease(place)
    await rows.settle(settlement(delivery, answer, step))
    return delivery.side


async def test_an_exit_goes_where_the_buy_arrived_and_nowhere_else(rows: Rows, two: Two) -> None:
    one, other = two
    await approved(rows, "buy")
    await answered(rows, one)
    await answered(rows, other, REFUSED)
    newcomer = await rows.destination("newcomer")
    exit_ = await approved(rows, "sell")
    assert await goes(rows, exit_) == {"one": "queued"}
    assert await rows.lease(other) == await rows.lease(newcomer) == []
    await answered(rows, one)
    assert await rows.states("positions") == ["closed"]


@pytest.mark.parametrize(
    ("answer", "step"), [(UNKNOWN, EXPIRED), (UNKNOWN, None)], ids=["given up", "to be tried again"]
)
async def test_where_the_buy_may_have_arrived_counts_as_bought(
    rows: Rows, two: Two, answer: Answer, step: Ended | None
) -> None:
    one, other = two
    await approved(rows, "buy")
    await answered(rows, one, answer, step)
    await answered(rows, other, UNSENT, EXPIRED)
    assert await goes(rows, await approved(rows, "sell")) == {"one": "queued"}


async def test_an_exit_goes_where_it_was_bought_though_that_is_disabled_now(
    rows: Rows, two: Two
) -> None:
    await approved(rows, "buy")
    for place in two:
        await answered(rows, place)
    await rows.sql("UPDATE destinations SET state = 'disabled' WHERE name = 'two'")
    assert await goes(rows, await approved(rows, "sell")) == {"one": "queued", "two": "queued"}
    assert await goes(rows, await approved(rows, "buy")) == {"one": "queued"}


async def test_a_part_is_sold_where_it_was_bought_and_the_rest_stays(rows: Rows, two: Two) -> None:
    one, other = two
    await approved(rows, "buy")
    await answered(rows, one)
    await answered(rows, other, REFUSED)
    assert await goes(rows, await approved(rows, "trim")) == {"one": "queued"}
    await answered(rows, one)
    assert await rows.states("positions") == ["open"]
    # The part that was sold does not count as the whole.
    assert await goes(rows, await approved(rows, "sell")) == {"one": "queued"}


async def test_a_second_buy_brings_in_where_the_first_did_not_arrive(rows: Rows, two: Two) -> None:
    one, other = two
    await approved(rows, "buy")
    await answered(rows, one)
    await answered(rows, other, REFUSED)
    await approved(rows, "buy")
    await answered(rows, one, REFUSED)
    await answered(rows, other)
    assert await rows.states("positions") == ["open"]
    assert await goes(rows, await approved(rows, "sell")) == {"one": "queued", "two": "queued"}


async def test_an_exit_is_moot_in_one_place_and_leaves_in_the_other(rows: Rows, two: Two) -> None:
    one, other = two
    await approved(rows, "buy")
    entries = [(await rows.lease(place))[0] for place in two]
    exit_ = await approved(rows, "sell")
    assert await goes(rows, exit_) == {"one": "queued", "two": "queued"}
    await rows.settle(settlement(entries[0], OK), settlement(entries[1], REFUSED))
    assert await goes(rows, exit_) == {"one": "queued", "two": "superseded"}
    assert await rows.states("positions") == ["closing"]
    assert await answered(rows, one) == SELL
    assert await rows.states("positions") == ["closed"]
    assert await rows.lease(other) == []


async def test_after_an_exit_that_failed_the_next_goes_where_it_is_still_held(
    rows: Rows, two: Two
) -> None:
    one, other = two
    await approved(rows, "buy")
    for place in two:
        await answered(rows, place)
    first = await approved(rows, "sell")
    await answered(rows, one)
    await answered(rows, other, UNSENT, DEAD)
    assert await goes(rows, first) == {"one": "delivered", "two": "dead"}
    assert await rows.states("positions") == ["open"]
    again = await approved(rows, "sell")
    assert await goes(rows, again) == {"two": "queued"}
    await answered(rows, other)
    assert await rows.states("positions") == ["closed"]


async def test_where_it_was_sold_a_second_buy_that_fails_leaves_nothing_to_sell(
    rows: Rows, two: Two
) -> None:
    """The exit would be the second one there: alone, it would open a short."""
    one, other = two
    await approved(rows, "buy")
    for place in two:
        await answered(rows, place)
    await approved(rows, "sell")
    await answered(rows, one)
    await answered(rows, other, UNSENT, DEAD)
    await approved(rows, "buy")
    (second,) = await rows.lease(one)
    await answered(rows, other)
    exit_ = await approved(rows, "sell")
    assert await goes(rows, exit_) == {"one": "queued", "two": "queued"}
    await rows.settle(settlement(second, REFUSED))
    assert await goes(rows, exit_) == {"one": "superseded", "two": "queued"}
    await answered(rows, other)
    assert await rows.states("positions") == ["closed"]


async def test_what_a_position_bought_is_sold_with_the_one_that_stands_for_it(
    rows: Rows, two: Two
) -> None:
    """Bought at both, sold at one only; bought anew there before the other exit failed."""
    one, other = two
    await approved(rows, "buy")
    for place in two:
        await answered(rows, place)
    await approved(rows, "sell")
    await answered(rows, one)
    (exit_,) = await rows.lease(other)
    newer = await approved(rows, "buy")
    await answered(rows, one)
    assert await rows.states("positions") == ["closing", "open"]
    await rows.settle(settlement(exit_, UNSENT, DEAD))
    assert await rows.states("positions") == ["closed", "open"]
    (told,) = await rows.sql(
        "SELECT detail FROM events WHERE event = 'position.closed' ORDER BY id DESC LIMIT 1"
    )
    assert told["successor"] == str(newer)
    await answered(rows, other, REFUSED)
    assert await goes(rows, await approved(rows, "sell")) == {"one": "queued", "two": "queued"}
    for place in two:
        await answered(rows, place)
    assert await rows.states("positions") == ["closed", "closed"]


async def test_what_was_bought_in_a_dry_run_is_sold_in_one(rows: Rows) -> None:
    dry = await rows.destination("one", mode=Mode.DRY_RUN)
    await approved(rows, "buy")
    await answered(rows, dry, DRY)
    live = await rows.change(dry, mode=Mode.LIVE)
    exit_ = await approved(rows, "sell")
    assert await rows.sql(
        "SELECT destination_version FROM deliveries WHERE signal_id = :id", id=exit_
    ) == [dry.version]
    await answered(rows, live, DRY)
    assert await rows.states("positions") == ["closed"]


async def test_what_was_bought_both_in_a_dry_run_and_live_is_sold_live(rows: Rows) -> None:
    dry = await rows.destination("one", mode=Mode.DRY_RUN)
    await approved(rows, "buy")
    await answered(rows, dry, DRY)
    live = await rows.change(dry, mode=Mode.LIVE)
    await approved(rows, "buy")
    await answered(rows, live)
    live = await rows.change(live, url="https://destination.example/newer")
    await approved(rows, "sell")
    (sell,) = await rows.lease(live)
    assert sell.destination_version == live.version == 3


async def test_what_was_bought_live_is_sold_live_though_the_destination_is_in_a_dry_run_now(
    rows: Rows,
) -> None:
    """Sold in a dry run it would count as sold, and be held for ever."""
    live = await rows.destination("one")
    await approved(rows, "buy")
    await answered(rows, live)
    newer = await rows.change(live, url="https://destination.example/newer")
    await approved(rows, "buy")
    await answered(rows, newer, REFUSED)
    dry = await rows.change(newer, mode=Mode.DRY_RUN)
    await approved(rows, "buy")
    await answered(rows, dry, DRY)
    await approved(rows, "sell")
    (sell,) = await rows.lease(dry)
    assert sell.destination_version == live.version


async def by_hand(rows: Rows) -> None:
    await rows.sql(
        "INSERT INTO positions VALUES (:id, 'AAPL', 'open', NULL, NULL, now(), now())", id=uuid4()
    )


async def test_a_position_entered_by_hand_concerns_every_destination_in_use(
    rows: Rows, two: Two
) -> None:
    one, other = two
    await rows.destination("out of use")
    await rows.sql("UPDATE destinations SET state = 'disabled' WHERE name = 'out of use'")
    await by_hand(rows)
    assert await goes(rows, await approved(rows, "sell")) == {"one": "queued", "two": "queued"}
    await answered(rows, one)
    await answered(rows, other, UNSENT, DEAD)
    assert await rows.states("positions") == ["open"]
    assert await goes(rows, await approved(rows, "sell")) == {"two": "queued"}


async def test_a_buy_that_fails_takes_nothing_from_a_position_entered_by_hand(
    rows: Rows, two: Two
) -> None:
    one, other = two
    await by_hand(rows)
    await approved(rows, "buy")
    entries = [(await rows.lease(place))[0] for place in two]
    exit_ = await approved(rows, "sell")
    await rows.settle(*(settlement(entry, REFUSED) for entry in entries))
    assert await goes(rows, exit_) == {"one": "queued", "two": "queued"}
    assert await rows.states("positions") == ["closing"]
    await answered(rows, one, UNSENT, DEAD)
    await answered(rows, other, UNSENT, DEAD)
    assert await rows.states("positions") == ["open"]


async def test_a_sell_without_a_position_goes_to_every_destination_in_use(
    rows: Rows, two: Two
) -> None:
    await rows.sql("UPDATE destinations SET state = 'disabled' WHERE name = 'one'")
    id = await rows.alert("AAPL", SELL)
    await rows.decide(policy=SellPolicy.ALWAYS)
    assert await goes(rows, id) == {"two": "queued"}
    assert await rows.sql("SELECT position_id FROM deliveries") == [None]
    assert await rows.lease(two[1])
