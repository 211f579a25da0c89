"""What runs out of time: expired, dead, held, unresolved; each once, guarded, and told."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from database import endings
from database.following import LOCK_POSITIONS
from domain.delivery import DeliveryState, Ended, Guarantee
from domain.destination import Destination
from tests.database.rows import BUY, OK, SELL, UNKNOWN, UNSENT, Rows, settlement

GONE = timedelta(seconds=-1)
HELD = Ended(DeliveryState.HELD, "http 500")
DAY = timedelta(hours=24)


@pytest.fixture
async def once(rows: Rows) -> Destination:
    return await rows.destination(guarantee=Guarantee.AT_MOST_ONCE)


@pytest.fixture
async def twice(rows: Rows) -> Destination:
    return await rows.destination()


async def told(rows: Rows) -> list[tuple[str, dict[str, object]]]:
    """The events of deliveries that ended or are held, with their details."""
    found = await rows.sql(
        "SELECT event, detail FROM events WHERE event LIKE 'delivery.%'"
        " AND event NOT IN ('delivery.queued', 'delivery.sending') ORDER BY id"
    )
    return [(row.event, row.detail) for row in found]


async def overdue(rows: Rows) -> None:
    await rows.sql("UPDATE deliveries SET expires_at = queued_at WHERE finished_at IS NULL")


async def test_an_unknown_outcome_is_held_for_a_day(rows: Rows, once: Destination) -> None:
    await rows.alert()
    await rows.decide()
    (buy,) = await rows.lease(once)
    await rows.settle(settlement(buy, UNKNOWN, HELD))
    (kept,) = await rows.sql("SELECT *, due_at - clock_timestamp() AS waits FROM deliveries")
    assert (kept.state, kept.reason, kept.possibly_sent) == ("held", "http 500", True)
    assert kept.finished_at is kept.lease_until is None
    assert DAY - timedelta(minutes=1) < kept.waits <= DAY
    ((event, detail),) = await told(rows)
    assert (event, detail["outcome"], "due_at" in detail) == ("delivery.held", "ambiguous", True)
    assert await rows.states("positions") == ["opening"]
    assert await rows.expire() == 0


async def test_what_is_held_outlives_its_signal_and_ends_dead_when_nobody_resolves_it(
    rows: Rows, once: Destination
) -> None:
    await rows.alert()
    await rows.decide()
    (buy,) = await rows.lease(once)
    await rows.settle(settlement(buy, UNKNOWN, HELD))
    await overdue(rows)
    assert await rows.expire() == 0
    await rows.sql("UPDATE deliveries SET due_at = clock_timestamp()")
    async with rows.database.write() as connection:
        assert await endings.expire(connection, limit=9) == {DeliveryState.DEAD: 1}
    (kept,) = await rows.sql("SELECT * FROM deliveries")
    assert (kept.state, kept.reason) == ("dead", "unresolved")
    assert kept.finished_at
    detail = {"was": "held", "reason": "unresolved", "attempts": 1}
    assert (await told(rows))[-1] == ("delivery.dead", detail)
    # It may have arrived: the position can be sold.
    assert await rows.states("positions") == ["open"]
    assert await rows.expire() == 0


@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
async def test_at_most_once_a_lost_lease_is_held_late_or_not(
    rows: Rows, once: Destination, *, late: bool
) -> None:
    await rows.bought(once)
    await rows.alert("AAPL", SELL)
    await rows.decide()
    (exit_,) = await rows.lease(once, lasting=GONE)
    if late:
        await overdue(rows)
    assert await rows.lease(once) == []
    async with rows.database.write() as connection:
        assert await endings.expire(connection, limit=9) == {DeliveryState.HELD: 1}
    (kept,) = await rows.sql(
        "SELECT *, due_at - clock_timestamp() AS waits FROM deliveries WHERE side = 'sell'"
    )
    assert (kept.state, kept.reason, kept.possibly_sent) == ("held", "lease_lost", True)
    assert kept.finished_at is kept.lease_until is None
    assert DAY - timedelta(minutes=1) < kept.waits <= DAY
    event, detail = (await told(rows))[-1]
    assert (event, detail["reason"], "due_at" in detail) == ("delivery.held", "lease_lost", True)
    assert await rows.states("positions") == ["closing"]
    # Whoever lost the lease comes back, and nobody said a word meanwhile: what he knows counts.
    assert await rows.settle(settlement(exit_, OK)) == {exit_.id}
    assert await rows.expire() == 0
    assert await rows.states("deliveries") == ["delivered", "delivered"]


async def test_at_most_once_a_lease_that_runs_is_left_alone(rows: Rows, once: Destination) -> None:
    await rows.alert()
    await rows.decide()
    await rows.lease(once)
    await overdue(rows)
    assert await rows.expire() == 0


async def test_at_least_once_a_lost_lease_is_taken_again_while_it_lives(
    rows: Rows, twice: Destination
) -> None:
    await rows.alert()
    await rows.decide()
    (lost,) = await rows.lease(twice, lasting=GONE)
    assert await rows.expire() == 0
    (again,) = await rows.lease(twice)
    assert (again.id, again.possible_resend) == (lost.id, True)


async def test_at_least_once_a_lost_lease_that_is_late_ends_as_one_that_may_have_arrived(
    rows: Rows, twice: Destination
) -> None:
    await rows.bought(twice, "B")
    await rows.alert("A", BUY)
    await rows.alert("B", SELL)
    await rows.decide()
    await rows.lease(twice, lasting=GONE)
    await overdue(rows)
    async with rows.database.write() as connection:
        ended = await endings.expire(connection, limit=9)
    assert ended == {DeliveryState.EXPIRED: 1, DeliveryState.DEAD: 1}
    kept = await rows.sql(
        "SELECT ticker, state, reason, possibly_sent FROM deliveries WHERE state <> 'delivered'"
        " ORDER BY ticker"
    )
    assert [tuple(row) for row in kept] == [
        ("A", "expired", "expired", True),
        ("B", "dead", "expired", True),
    ]
    assert sorted(await rows.states("positions")) == ["open", "open"]


async def test_the_version_it_was_approved_for_says_whether_a_lost_lease_is_held(
    rows: Rows, once: Destination
) -> None:
    await rows.alert("A")
    await rows.decide()
    changed = await rows.change(once, guarantee=Guarantee.AT_LEAST_ONCE)
    await rows.alert("B")
    await rows.decide()
    assert len(await rows.lease(changed, lasting=GONE)) == 2
    assert [one.ticker for one in await rows.lease(changed, lasting=GONE)] == ["B"]
    assert await rows.expire() == 1
    assert await rows.states("deliveries") == ["held", "sending"]


async def test_a_held_buy_keeps_later_buys_waiting_not_sells(rows: Rows, once: Destination) -> None:
    await rows.alert("AAPL", BUY)
    await rows.decide()
    (buy,) = await rows.lease(once)
    await rows.settle(settlement(buy, UNKNOWN, HELD))
    for side, partial in ((BUY, False), (SELL, True)):
        await rows.alert("AAPL", side, partial=partial)
        await rows.decide()
    await rows.alert("MSFT", BUY)
    await rows.decide()
    # The part is behind the second buy, and in its turn.
    assert [(one.ticker, one.side) for one in await rows.lease(once)] == [("MSFT", BUY)]
    await rows.alert("AAPL", SELL)
    await rows.decide()
    assert await rows.states("deliveries") == [
        "held",
        "superseded",
        "queued",
        "sending",
        "queued",
    ]
    part, full = [await rows.lease(once), await rows.lease(once)]
    assert ([one.partial for one in part], full) == ([True], [])


async def test_what_is_ended_at_once_is_ended_once(rows: Rows, twice: Destination) -> None:
    for number in range(20):
        await rows.alert(f"T{number}")
    await rows.decide()
    await overdue(rows)
    counts = await asyncio.gather(*(rows.expire() for _ in range(4)))
    assert sum(counts) == 20
    assert (await rows.events()).count("delivery.expired") == 20
    assert (await rows.events()).count("position.void") == 20
    assert twice


async def test_what_was_seen_overdue_and_settled_meanwhile_stays_settled(
    rows: Rows, twice: Destination
) -> None:
    await rows.alert()
    await rows.decide()
    (buy,) = await rows.lease(twice, lasting=GONE)
    await overdue(rows)
    async with rows.database.write() as settling:
        await settling.execute(LOCK_POSITIONS, {"tickers": ["AAPL"]})
        sweeping = asyncio.create_task(rows.expire())
        done, _ = await asyncio.wait({sweeping}, timeout=0.1)
        assert not done
        await settling.execute(
            text(
                "UPDATE deliveries SET state = 'delivered', lease_until = NULL,"
                " finished_at = clock_timestamp() WHERE id = :id"
            ),
            {"id": buy.id},
        )
    assert await sweeping == 0
    assert await rows.states("deliveries") == ["delivered"]


async def test_a_limit_leaves_the_rest_for_the_next_round(rows: Rows, twice: Destination) -> None:
    for number in range(5):
        await rows.alert(f"T{number}")
    await rows.decide()
    await overdue(rows)
    async with rows.database.write() as connection:
        assert (await endings.expire(connection, limit=2)).total() == 2
    assert await rows.states("deliveries") == ["expired"] * 2 + ["queued"] * 3
    assert await rows.expire() == 3
    assert twice


async def test_a_buy_that_expires_while_it_waits_takes_its_part_sale_along(
    rows: Rows, twice: Destination
) -> None:
    await rows.alert("AAPL", BUY)
    await rows.decide()
    (buy,) = await rows.lease(twice)
    await rows.settle(settlement(buy, UNSENT))
    await rows.alert("AAPL", SELL, partial=True)
    await rows.decide()
    await rows.sql("UPDATE deliveries SET expires_at = queued_at WHERE side = 'buy'")
    assert await rows.expire() == 1
    assert [event for event, _ in await told(rows)] == [
        "delivery.retrying",
        "delivery.expired",
        "delivery.superseded",
    ]
