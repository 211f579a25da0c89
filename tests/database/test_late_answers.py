"""At most once: the database was away, the sweeper was first, and the answer is known all the same.

What is held for its lost lease is ended by what was heard under that lease, unless somebody said a
word on it since, or something newer of its lane was sent.
"""

import asyncio
from datetime import timedelta

import pytest

from database import lanes, rebuilding, resolutions
from database.resolutions import Resolution
from domain.delivery import Answer, Delivery, DeliveryState, Ended, Guarantee, Outcome, Retry
from domain.destination import Destination
from tests.database.rows import (
    ALL,
    BUY,
    DRY,
    LEASE,
    OK,
    REFUSED,
    SELL,
    UNKNOWN,
    UNSENT,
    WITHHELD,
    Rows,
    settlement,
)
from tests.engines.conditions import until_rows

GONE = timedelta(seconds=-1)
HELD = Ended(DeliveryState.HELD, "http 500")
EXPIRED = Ended(DeliveryState.EXPIRED, "expired: ConnectError")
ASKED = Answer(outcome=Outcome.NOT_PROCESSED, status=503)


@pytest.fixture
async def once(rows: Rows) -> Destination:
    return await rows.destination(guarantee=Guarantee.AT_MOST_ONCE)


async def lost(rows: Rows, once: Destination, side: str) -> Delivery:
    """A delivery whose lease ran out while its answer waited for the database."""
    await rows.alert("AAPL", SELL if side == "sell" else BUY)
    await rows.decide()
    (delivery,) = await rows.lease(once, lasting=GONE)
    assert await rows.expire() == 1
    assert (await rows.states("deliveries"))[-1] == "held"
    return delivery


async def exit_lost(rows: Rows, once: Destination) -> Delivery:
    await rows.bought(once)
    return await lost(rows, once, "sell")


async def untold(rows: Rows) -> list[str]:
    """Where the trail and the tables do not say the same."""
    async with rows.database.read() as connection:
        return list((await rebuilding.compare(connection)).differences)


@pytest.mark.parametrize(
    ("answer", "becomes", "position", "sent"),
    [
        (OK, "delivered", "closed", True),
        (DRY, "delivered", "closed", False),
        (REFUSED, "dead", "open", False),
        (UNSENT, "queued", "closing", False),
        (ASKED, "queued", "closing", False),
        (WITHHELD, "queued", "closing", False),
    ],
    ids=lambda one: getattr(one, "outcome", None),
)
async def test_what_is_known_counts(
    rows: Rows, once: Destination, answer: Answer, becomes: str, position: str, *, sent: bool
) -> None:
    exit_ = await exit_lost(rows, once)
    assert await rows.settle(settlement(exit_, answer)) == {exit_.id}
    (kept,) = await rows.sql("SELECT * FROM deliveries WHERE side = 'sell'")
    assert (kept.state, kept.possibly_sent) == (becomes, sent)
    assert (kept.finished_at is None) == (becomes == "queued")
    assert kept.attempts == (0 if answer is WITHHELD else 1)
    assert await rows.states("positions") == [position]
    (told,) = await rows.sql(
        "SELECT event, actor, detail FROM events WHERE delivery_id = :id ORDER BY id DESC LIMIT 1",
        id=exit_.id,
    )
    # What waits for its next try is not held any more: `queued` is what settles that somebody look.
    assert (told.event, told.actor) == (f"delivery.{becomes}", "the relay")
    assert (told.detail["was"], told.detail["outcome"]) == ("held", answer.outcome)
    assert await untold(rows) == []
    # Settled again, because nobody heard of the commit, it stays as it is.
    assert await rows.settle(settlement(exit_, answer)) == set()


async def test_what_never_left_is_sent_in_time(rows: Rows, once: Destination) -> None:
    exit_ = await exit_lost(rows, once)
    await rows.settle(settlement(exit_, UNSENT))
    (again,) = await rows.lease(once)
    assert (again.id, again.epoch, again.possible_resend) == (exit_.id, 2, False)
    await rows.settle(settlement(again, OK))
    assert await rows.states("positions") == ["closed"]


async def test_what_may_have_arrived_once_stays_so(rows: Rows, once: Destination) -> None:
    """Sent again at the operator's word, that attempt never left: the first one may have."""
    exit_ = await exit_lost(rows, once)
    await said(rows, exit_, Resolution.RESEND)
    (again,) = await rows.lease(once, lasting=GONE)
    await rows.expire()
    assert await rows.settle(settlement(exit_, UNSENT)) == set()
    assert await rows.settle(settlement(again, UNSENT)) == {again.id}
    assert await rows.sql("SELECT possibly_sent FROM deliveries WHERE side = 'sell'") == [True]
    assert await untold(rows) == []


async def test_an_unknown_outcome_stays_with_the_operator(rows: Rows, once: Destination) -> None:
    exit_ = await exit_lost(rows, once)
    assert await rows.settle(settlement(exit_, UNKNOWN, HELD)) == set()
    assert await rows.sql("SELECT reason FROM deliveries WHERE state = 'held'") == ["lease_lost"]


async def said(rows: Rows, delivery: Delivery, word: Resolution) -> None:
    async with rows.database.write() as connection:
        await resolutions.resolve(
            connection, delivery.id, word, actor="me", why=None, life=timedelta(hours=1)
        )


@pytest.mark.parametrize("word", Resolution)
@pytest.mark.parametrize("answer", [OK, UNSENT, REFUSED], ids=lambda one: one.outcome)
async def test_no_word_of_the_operator_is_overwritten(
    rows: Rows, once: Destination, word: Resolution, answer: Answer
) -> None:
    exit_ = await exit_lost(rows, once)
    await said(rows, exit_, word)
    before = await rows.sql("SELECT state, reason, epoch, possibly_sent FROM deliveries")
    assert await rows.settle(settlement(exit_, answer)) == set()
    assert await rows.sql("SELECT state, reason, epoch, possibly_sent FROM deliveries") == before


async def test_what_nobody_resolved_is_over(rows: Rows, once: Destination) -> None:
    exit_ = await exit_lost(rows, once)
    await rows.sql("UPDATE deliveries SET due_at = now() WHERE state = 'held'")
    assert await rows.expire() == 1
    assert await rows.settle(settlement(exit_, OK)) == set()
    assert await rows.states("deliveries") == ["delivered", "dead"]


# ── The order of the lane ───────────────────────────────────────────────────────────────────


async def test_what_something_newer_has_overtaken_is_not_sent_after_it(
    rows: Rows, once: Destination
) -> None:
    """A held delivery keeps no sell waiting: the older one would be sold a second time."""
    exit_ = await exit_lost(rows, once)
    await newer_sell(rows, once)
    (newer,) = await rows.lease(once)
    assert await rows.settle(settlement(exit_, UNSENT)) == set()
    assert await rows.states("deliveries") == ["delivered", "held", "sending"]
    assert await rows.settle(settlement(exit_, OK), settlement(newer, OK)) == {exit_.id, newer.id}


async def newer_sell(rows: Rows, once: Destination) -> None:
    """Another sell of the ticker, waiting behind; as one of another position would."""
    await rows.sql("UPDATE positions SET state = 'open'")
    await rows.alert("AAPL", SELL, partial=True)
    await rows.decide()
    assert once


async def test_nothing_newer_is_leased_while_it_is_put_back(rows: Rows, once: Destination) -> None:
    exit_ = await exit_lost(rows, once)
    await newer_sell(rows, once)
    async with rows.database.write() as leasing:
        assert await lanes.hold(leasing, once.id)
        settling = asyncio.create_task(rows.settle(settlement(exit_, UNSENT)))
        await until_rows(rows.somebody_waits)
        (newer,) = await lanes.lease(leasing, rows.vault, once.id, ALL, LEASE)
    assert newer.id != exit_.id
    assert await settling == set()
    assert await rows.states("deliveries") == ["delivered", "held", "sending"]


async def test_a_buy_that_never_left_makes_way_for_its_exit(rows: Rows, once: Destination) -> None:
    buy = await lost(rows, once, "buy")
    await rows.alert("AAPL", SELL)
    await rows.decide()
    again = Retry(buy.leased_at)
    assert await rows.settle(settlement(buy, UNSENT, again)) == {buy.id}
    assert await rows.states("deliveries") == ["superseded", "superseded"]
    assert await rows.states("positions") == ["void"]
    assert await untold(rows) == []


async def test_a_buy_that_never_left_and_is_late_takes_its_exit_along(
    rows: Rows, once: Destination
) -> None:
    buy = await lost(rows, once, "buy")
    await rows.alert("AAPL", SELL)
    await rows.decide()
    await rows.settle(settlement(buy, UNSENT, EXPIRED))
    assert await rows.states("deliveries") == ["expired", "superseded"]
    assert await rows.states("positions") == ["void"]
