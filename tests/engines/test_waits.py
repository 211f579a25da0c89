"""A wish to wait (`Retry-After`): whose it is, what ends it, and what leaves meanwhile."""

import asyncio
from datetime import timedelta

import pytest

from database import destinations
from domain.delivery import Answer, Outcome
from domain.destination import Destination
from tests.database.rows import OK, Rows
from tests.engines.conditions import until_rows
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
