"""A destination begins afresh by hand and at another address: in one statement, and told of."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from database import breakers, destinations, lanes, pending_addresses
from domain.breaker import Breaker, BreakerState
from domain.destination import Destination
from engines.clock import utc_now
from engines.destinations.relocator import Relocator
from tests.database.rows import Rows
from tests.engines.conditions import until_rows

HOUR = timedelta(hours=1)
NEW = "https://new.example/hook"
BY = "a test"


def an_open_one() -> Breaker:
    now = utc_now()
    return Breaker(
        state=BreakerState.OPEN, since=now, until=now + HOUR, cause="http 500", trips=4, failures=7
    )


async def failing(rows: Rows, *, breaker: Breaker | None = None, waits: bool = True) -> Destination:
    """A destination whose breaker is open, unless told otherwise, and that asked us to wait."""
    one = await rows.destination()
    async with rows.database.write() as connection:
        await breakers.keep(connection, one.id, breaker or an_open_one(), tell=False)
        if waits:
            await lanes.hold_back(connection, one.id, HOUR)
    return one


async def standing(rows: Rows) -> tuple[Breaker, Any]:
    (row,) = await rows.sql("SELECT * FROM destinations")
    return breakers.of(row), row.hold_until


async def told(rows: Rows) -> list[tuple[str, str, str, str]]:
    return [
        tuple(row)
        for row in await rows.sql(
            "SELECT event, actor, detail->>'reason', detail->>'was' FROM events"
            " WHERE event = 'destination.wait_ended' OR event = 'destination.breaker_closed'"
            " ORDER BY event"
        )
    ]


async def by_hand(rows: Rows, one: Destination) -> bool:
    async with rows.database.write() as connection:
        return await destinations.close_breaker(connection, one.id, actor=BY)


async def applied(rows: Rows, one: Destination) -> None:
    """The address is entered on the page, and counts."""
    async with rows.database.write() as connection:
        await destinations.hold(connection, rows.vault, one.id)
        wanted = replace(one, url=NEW)
        assert await pending_addresses.enter(connection, rows.vault, one, wanted, actor=BY)
    await rows.sql("UPDATE pending_addresses SET due_at = now()")
    await Relocator(database=rows.database).step()


async def begun_afresh(rows: Rows, how: str, one: Destination) -> None:
    match how:
        case "by hand":
            assert await by_hand(rows, one)
        case "address":
            await rows.change(one, url=NEW)
        case "headers":
            await rows.change(one, headers={"authorization": "Bearer new"})
        case _:
            await applied(rows, one)


WAYS = ("by hand", "address", "headers", "pending address")


@pytest.mark.parametrize("how", WAYS)
async def test_the_breaker_is_closed_the_wish_forgotten_and_both_told(rows: Rows, how: str) -> None:
    one = await failing(rows)
    was = (await standing(rows))[1]
    await begun_afresh(rows, how, one)
    breaker, wish = await standing(rows)
    assert breaker.since is not None
    assert (breaker, wish) == (Breaker(since=breaker.since), None)
    reason = how if how == "by hand" else "another address"
    closed, ended = await told(rows)
    assert closed == ("destination.breaker_closed", BY, reason, "open")
    assert ended[:3] == ("destination.wait_ended", BY, reason)
    assert ended[3].startswith(f"{was:%Y-%m-%dT%H:%M:%S}")


@pytest.mark.parametrize("how", WAYS)
async def test_only_what_was_so_is_told(rows: Rows, how: str) -> None:
    since = utc_now()
    one = await failing(rows, breaker=Breaker(since=since, failures=4))
    await begun_afresh(rows, how, one)
    assert await standing(rows) == (Breaker(since=since), None)
    assert [event for event, *_ in await told(rows)] == ["destination.wait_ended"]


async def test_where_there_is_nothing_to_end_nothing_is_told(rows: Rows) -> None:
    one = await failing(rows, breaker=Breaker(), waits=False)
    await rows.sql("UPDATE destinations SET hold_until = now()")
    assert not await by_hand(rows, one)
    await rows.change(one, url=NEW)
    assert await told(rows) == []


async def test_at_the_same_address_everything_stays(rows: Rows) -> None:
    one = await failing(rows)
    was = await standing(rows)
    await rows.change(one, name="renamed", timeout=timedelta(seconds=3))
    async with rows.database.write() as connection:
        wanted = replace(one, name="renamed", version=2)
        await destinations.rotate(connection, rows.vault, wanted, one.keys, actor=BY)
    assert await standing(rows) == was
    assert await told(rows) == []


async def test_a_breaker_that_opens_while_the_address_moves_is_closed_too(rows: Rows) -> None:
    one = await rows.destination()
    async with rows.database.write() as connection:
        await breakers.hold(connection, [one.id])
        moving = asyncio.create_task(rows.change(one, url=NEW))
        await until_rows(rows.somebody_waits)
        await breakers.keep(connection, one.id, an_open_one(), tell=True)
    await moving
    assert (await standing(rows))[0].state is BreakerState.CLOSED
    assert await told(rows) == [("destination.breaker_closed", BY, "another address", "open")]


async def test_another_change_meanwhile_is_not_overwritten(rows: Rows) -> None:
    one = await failing(rows)

    async def moved(url: str) -> bool:
        async with rows.database.write() as connection:
            wanted = replace(one, url=url)
            return await destinations.change(connection, rows.vault, wanted, actor=BY)

    assert sorted(await asyncio.gather(*(moved(f"{NEW}/{n}") for n in range(3)))) == [
        *(False, False, True)
    ]
    assert len(await told(rows)) == 2
