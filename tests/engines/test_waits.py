"""A wish to wait (`Retry-After`): whose it is, what ends it, and what leaves meanwhile."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from database import destinations
from domain.delivery import Answer, Outcome
from domain.destination import Destination
from domain.rate import Room
from tests.database.rows import OK, WITHHELD, Rows
from tests.engines.conditions import until, until_rows
from tests.engines.outside import Outside, Running, ended, forwarding, queued

NEW = "https://destination.example/new"
WAIT = Answer(outcome=Outcome.NOT_PROCESSED, status=503, retry_after=timedelta(hours=1))


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination()


async def held(rows: Rows) -> bool:
    return bool(await rows.sql("SELECT 1 FROM destinations WHERE hold_until > now()"))


async def pressed(relay: Running) -> None:
    """Give the forwarder every chance to send what it should not."""
    for _ in range(5):
        relay.wake()
        await asyncio.sleep(0.02)


def waiting_at(url: str) -> Outside:
    """This address asks us to wait; any other is fine."""
    return Outside(answer=lambda post: WAIT if post.url == url else OK)


async def test_a_wish_of_the_old_address_is_not_kept_towards_the_new_one(
    rows: Rows, main: Destination
) -> None:
    outside = waiting_at(main.url)
    await rows.bought(main, "A")
    await rows.bought(main, "B")
    await queued(rows, "sell A")
    async with forwarding(rows, outside) as relay:
        await until_rows(lambda: held(rows))
        await rows.change(main, url=NEW)
        await queued(rows, "sell B", "buy C")
        relay.wake()
        await ended(rows, "delivered", 4)
    assert [(post.url, post.ticker) for post in outside.posts[1:]] == [(NEW, "B"), (NEW, "C")]


async def test_what_an_older_version_asks_for_does_not_hold_the_present_one(
    rows: Rows, main: Destination
) -> None:
    outside = waiting_at(main.url)
    await queued(rows, "buy A")
    await rows.change(main, url=NEW)
    async with forwarding(rows, outside) as relay:
        await ended(rows, "expired")
        assert not await held(rows)
        await queued(rows, "buy B")
        relay.wake()
        await ended(rows, "delivered")
    assert outside.told == ["buy A", "buy B"]


async def test_the_operator_ends_a_wait(rows: Rows, main: Destination, outside: Outside) -> None:
    outside.answers(WAIT, OK)
    await queued(rows, "buy A")
    async with forwarding(rows, outside) as relay:
        await until_rows(lambda: held(rows))
        await queued(rows, "buy B")
        await pressed(relay)
        assert outside.told == ["buy A"]
        async with rows.database.write() as connection:
            assert await destinations.close_breaker(connection, main.id, actor="a test")
        relay.wake()
        await ended(rows, "delivered")
    assert outside.told == ["buy A", "buy B"]


async def pass_time(rows: Rows, seconds: float) -> None:
    """As if every attempt had been made so much earlier."""
    await rows.sql(
        "UPDATE attempts SET started_at = started_at - CAST(:by AS interval),"
        " finished_at = finished_at - CAST(:by AS interval)",
        by=timedelta(seconds=seconds),
    )


async def told_to_wait(rows: Rows, main: Destination, *names: str) -> None:
    """Positions of these names are open, their exits wait, and so do we."""
    for name in names:
        await rows.bought(main, name)
    await queued(rows, *(f"sell {name}" for name in names), "buy X")
    await rows.sql("UPDATE destinations SET hold_until = now() + interval '1 hour'")


async def test_a_sell_is_tried_once_a_minute_although_told_to_wait(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.answers(WAIT)
    await told_to_wait(rows, main, "A", "B")
    async with forwarding(rows, outside) as relay:
        for told in ([], ["sell A"], ["sell A", "sell B"]):
            await until(lambda told=told: outside.told == told)
            await until_rows(lambda: nothing_on_its_way(rows))
            await pressed(relay)
            await pass_time(rows, 50)
            await pressed(relay)
            assert outside.told == told
            await pass_time(rows, 11)
            relay.wake()
    (longest,) = await rows.sql(
        "SELECT max(due_at - now()) FROM deliveries WHERE side = 'sell' AND attempts > 0"
    )
    assert longest <= timedelta(seconds=61)
    assert outside.told == ["sell A", "sell B"]


async def nothing_on_its_way(rows: Rows) -> bool:
    return "sending" not in await rows.states("deliveries")


async def test_one_sell_leaves_although_told_to_wait_however_many_forwarders_there_are(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.open.clear()
    await told_to_wait(rows, main, "A", "B", "C")
    await pass_time(rows, 61)
    async with AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(forwarding(rows, outside)) for _ in range(3)]
        await until(lambda: bool(outside.posts))
        for relay in relays:
            await pressed(relay)
        assert outside.told == ["sell A"]
        outside.open.set()
        await until_rows(lambda: nothing_on_its_way(rows))
        for relay in relays:
            await pressed(relay)
        assert outside.told == ["sell A"]


async def test_what_was_not_tried_keeps_no_sell_waiting(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.answers(WITHHELD, OK)
    await told_to_wait(rows, main, "A")
    await pass_time(rows, 61)
    async with forwarding(rows, outside):
        await ended(rows, "delivered", 2)
    assert outside.told == ["sell A"] * 2


async def test_who_died_on_the_way_keeps_sells_waiting_no_longer_than_its_lease(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    await told_to_wait(rows, main, "A", "B")
    await pass_time(rows, 61)
    await rows.lease(main, Room(total=1, buys=0))
    async with forwarding(rows, outside) as relay:
        await pass_time(rows, 65)
        await pressed(relay)
        assert outside.told == []
        await pass_time(rows, 11)
        relay.wake()
        await until(lambda: outside.told == ["sell B"])
