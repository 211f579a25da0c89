"""What is leased ahead of a free line: how much, in which order it leaves, when it comes back."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.delivery import Answer, Guarantee, Outcome
from domain.destination import Destination
from domain.rate import Room, Window
from domain.signal import Side
from engines.relay.outlet import MOST_AHEAD, Outlet
from tests.database.rows import BUY, OK, SELL, UNKNOWN, Rows, a_destination
from tests.engines.conditions import until
from tests.engines.outside import PATIENT, Outside, Post, ended, forwarding, queued

QUICK = replace(OK, duration=timedelta(milliseconds=10))
SLOW = replace(OK, duration=timedelta(seconds=1))


def paced(*answers: Answer, **given: Any) -> Outlet:
    outlet = Outlet(a_destination(**given), 5)
    for answer in answers:
        outlet.went(answer)
    return outlet


def all_recorded(_: object) -> int:
    return 0


def test_nothing_is_leased_ahead_of_what_is_not_known_to_be_quick() -> None:
    assert paced().free(all_recorded) == paced(SLOW).free(all_recorded) == Room(total=5, buys=5)
    assert paced(QUICK).free(all_recorded) == Room(total=30, buys=30)
    assert paced(QUICK, SLOW).free(all_recorded).total == 5
    assert paced(SLOW, QUICK).free(all_recorded).total == 5
    assert paced(QUICK, UNKNOWN).free(all_recorded).total == 5
    instant = replace(OK, duration=timedelta(microseconds=1))
    assert paced(instant).free(all_recorded).total == 5 + MOST_AHEAD


CAREFUL: list[dict[str, object]] = [
    {"windows": (Window(limit=60, seconds=60),)},
    {"guarantee": Guarantee.AT_MOST_ONCE},
]


@pytest.mark.parametrize("given", CAREFUL)
def test_a_window_and_at_most_once_let_nothing_wait_for_a_line(given: dict[str, object]) -> None:
    assert paced(QUICK, **given).free(all_recorded).total == 5


@pytest.mark.parametrize("given", CAREFUL)
def test_there_what_is_answered_and_not_recorded_takes_room(given: dict[str, object]) -> None:
    assert paced(QUICK, **given).free(lambda _: 3) == Room(total=2, buys=2)
    assert paced(QUICK, **given).free(lambda _: 7) == Room(total=0, buys=0)
    assert paced(QUICK).free(lambda _: 7) == paced(QUICK).free(all_recorded)


async def test_sells_go_before_buys_that_wait_and_never_more_than_it_is_wide() -> None:
    outlet, went = paced(QUICK), list[str]()
    outlet.width = 2
    hold, at_work, most = asyncio.Event(), 0, 0

    async def send(side: Side, name: str) -> None:
        nonlocal at_work, most
        async with outlet.turn(side):
            at_work += 1
            most = max(most, at_work)
            went.append(name)
            await hold.wait()
            at_work -= 1

    names = ["buy 1", "buy 2", "buy 3", "buy 4"]
    tasks = [asyncio.create_task(send(BUY, name)) for name in names]
    await asyncio.sleep(0)
    assert outlet.free(all_recorded).total - outlet.free(all_recorded).buys == 0
    tasks += [asyncio.create_task(send(SELL, "sell"))]
    await asyncio.sleep(0)
    hold.set()
    await asyncio.gather(*tasks)
    assert went == ["buy 1", "buy 2", "sell", "buy 3", "buy 4"]
    assert most == 2


async def test_a_sell_is_leased_though_buys_wait_for_every_line() -> None:
    outlet = paced(SLOW)
    outlet.width = 1
    async with outlet.turn(BUY):
        waiting = asyncio.create_task(one_turn(outlet))
        await asyncio.sleep(0)
        outlet.width = 0  # as full as can be
        assert outlet.free(all_recorded) == Room(total=0, buys=0)
        outlet.width = 1
        assert outlet.free(all_recorded).total == 1
    await waiting


async def one_turn(outlet: Outlet) -> bool:
    async with outlet.turn(BUY) as at_once:
        return at_once


async def test_what_was_leased_ahead_of_a_failure_is_given_back(rows: Rows) -> None:
    """It did not leave, is no attempt, and is leased anew under what the breaker says by then."""
    main, outside = await rows.destination(), Outside()

    def answer(post: Post) -> Answer:
        return replace(UNKNOWN, duration=QUICK.duration) if post.ticker == "T7" else QUICK

    outside.answer = answer
    await queued(rows, "buy FIRST")
    async with forwarding(rows, outside, breaker=PATIENT) as relay:
        await ended(rows, "delivered")
        outside.open.clear()
        await queued(rows, *(f"buy T{n}" for n in range(20)))
        relay.wake()
        await until(lambda: len(outside.posts) == 6)
        assert len(await rows.sql("SELECT 1 FROM deliveries WHERE state = 'sending'")) == 20
        outside.open.set()
        await until(lambda: any(post.ticker == "T7" for post in outside.posts))
        outside.answer = lambda _: QUICK
        await ended(rows, "delivered", 21)
    outcomes = await rows.sql("SELECT outcome FROM attempts")
    assert outcomes.count(Outcome.AMBIGUOUS) == 1
    assert outcomes.count(Outcome.WITHHELD) > 0
    resent = [post.ticker for post in outside.posts if "relay-poss-resend" in post.headers]
    assert resent == ["T7"]
    assert len(outside.posts) == 22
    assert await rows.sql("SELECT DISTINCT attempts FROM deliveries ORDER BY 1") == [1, 2]
    assert isinstance(main, Destination)
