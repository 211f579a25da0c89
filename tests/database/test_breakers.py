"""Breakers as rows: held by one at a time, kept whole, told of, and what is counted for them."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from database import breakers, lanes
from database.breakers import Held
from domain.breaker import Breaker, BreakerState, Tally
from domain.delivery import Answer, DeliveryState, DestinationId, Ended, Outcome
from domain.destination import Destination
from engines.clock import utc_now
from tests.database.rows import DRY, OK, REFUSED, UNKNOWN, UNSENT, WITHHELD, Rows, settlement
from tests.engines.conditions import until_rows

WITHIN = timedelta(seconds=30)
BUSY = Answer(outcome=Outcome.NOT_PROCESSED, status=503)
ASKED = replace(BUSY, status=429, retry_after=timedelta(seconds=3))


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination()


async def kept(rows: Rows, id: DestinationId) -> Held:
    async with rows.database.write() as connection:
        return (await breakers.hold(connection, [id]))[id]


async def tally(rows: Rows, id: DestinationId, held: Held | None = None) -> Tally:
    async with rows.database.write() as connection:
        found = (await breakers.hold(connection, [id]))[id]
        return await breakers.recent(connection, id, held or found, WITHIN)


async def attempted(rows: Rows, place: Destination, *answers: Answer) -> None:
    """One attempt for each answer, each of a delivery of its own."""
    for number in range(len(answers)):
        await rows.alert(f"T{number}")
    await rows.decide()
    leased = await rows.lease(place)
    await rows.settle(
        *(
            settlement(delivery, answer, Ended(DeliveryState.DEAD, "enough"))
            for delivery, answer in zip(leased, answers, strict=True)
        )
    )


@pytest.mark.parametrize("hold", ["settles", "leases"])
async def test_the_time_is_told_of_when_it_was_held(
    rows: Rows, main: Destination, hold: str
) -> None:
    """What left while one waited for the row left before what is decided then."""

    async def held() -> datetime:
        async with rows.database.write() as connection:
            if hold == "settles":
                return (await breakers.hold(connection, [main.id]))[main.id].now
            found = await lanes.hold(connection, main.id)
            assert found
            return found.now

    async with rows.database.write() as connection:
        await breakers.hold(connection, [main.id])
        waiting = asyncio.create_task(held())
        await until_rows(rows.somebody_waits)
        left = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    assert await waiting > left


async def test_a_breaker_comes_back_as_it_was_kept(rows: Rows, main: Destination) -> None:
    before = await kept(rows, main.id)
    assert (before.version, before.breaker) == (1, Breaker())
    assert abs(before.now - utc_now()) < timedelta(minutes=1)
    now = utc_now()
    opened = Breaker(
        state=BreakerState.OPEN,
        since=now,
        until=now + WITHIN,
        cause="http 500",
        trips=3,
        failures=7,
        successes=1,
    )
    half = replace(opened, state=BreakerState.HALF_OPEN, until=None)
    for breaker in (opened, half, Breaker(since=now)):
        async with rows.database.write() as connection:
            await breakers.keep(connection, main.id, breaker, tell=True)
        assert (await kept(rows, main.id)).breaker == breaker
    events = await rows.sql(
        "SELECT event, detail FROM events WHERE event LIKE '%.breaker%' ORDER BY id"
    )
    assert [event for event, _ in events] == [
        "destination.breaker_open",
        "destination.breaker_half_open",
        "destination.breaker_closed",
    ]
    assert events[0].detail["cause"] == "http 500"
    assert (events[0].detail["name"], events[0].detail["trips"]) == ("main", 3)
    assert "cause" not in events[2].detail


async def test_what_is_only_counted_is_not_told(rows: Rows, main: Destination) -> None:
    async with rows.database.write() as connection:
        await breakers.keep(connection, main.id, Breaker(failures=1), tell=False)
    assert (await kept(rows, main.id)).breaker.failures == 1
    assert not [event for event in await rows.events() if "breaker" in event]


async def test_two_settlers_that_hold_the_same_destinations_take_turns(rows: Rows) -> None:
    places = [(await rows.destination(name)).id for name in ("one", "two")]

    async def learn(order: list[DestinationId]) -> None:
        async with rows.database.write() as connection:
            held = await breakers.hold(connection, order)
            for id in order:
                failures = held[id].breaker.failures + 1
                await breakers.keep(connection, id, Breaker(failures=failures), tell=False)

    await asyncio.gather(*(learn(places[::turn]) for turn in (1, -1) * 10))
    assert [(await kept(rows, id)).breaker.failures for id in places] == [20, 20]


async def test_what_tells_of_the_destination_is_counted_and_nothing_else(
    rows: Rows, main: Destination
) -> None:
    await attempted(rows, main, OK, OK, UNSENT, UNKNOWN, BUSY, ASKED, REFUSED, WITHHELD, DRY)
    assert await tally(rows, main.id) == Tally(failures=3, total=5)


async def test_only_what_ended_lately_and_began_after_it_last_turned_is_counted(
    rows: Rows, main: Destination
) -> None:
    await attempted(rows, main, OK, UNKNOWN, UNSENT)
    held = await kept(rows, main.id)
    after = replace(held, breaker=Breaker(since=held.now))
    assert await tally(rows, main.id, after) == Tally(failures=0, total=0)
    await rows.sql(
        "UPDATE attempts SET finished_at = finished_at - interval '31 s',"
        " started_at = started_at - interval '31 s' WHERE outcome = 'ambiguous'"
    )
    assert await tally(rows, main.id) == Tally(failures=1, total=2)


async def test_attempts_elsewhere_or_at_an_older_version_are_not_counted(
    rows: Rows, main: Destination
) -> None:
    await attempted(rows, main, UNKNOWN, UNSENT)
    other = await rows.destination("other")
    assert await tally(rows, other.id) == Tally(failures=0, total=0)
    await rows.change(main, url="https://destination.example/moved")
    assert await tally(rows, main.id) == Tally(failures=0, total=0)


async def test_a_destination_that_is_gone_is_disabled_once_and_told(
    rows: Rows, main: Destination
) -> None:
    for _ in range(2):
        async with rows.database.write() as connection:
            await breakers.disable(connection, main.id, 1)
    assert await rows.sql("SELECT state FROM destinations") == ["disabled"]
    (told,) = await rows.sql("SELECT * FROM events WHERE event = 'destination.disabled'")
    assert (told.actor, told.detail["reason"], told.detail["name"]) == (
        "the relay",
        "http 410",
        "main",
    )


async def test_a_destination_that_was_changed_since_is_not_disabled(
    rows: Rows, main: Destination
) -> None:
    await rows.change(main, url="https://destination.example/moved")
    async with rows.database.write() as connection:
        await breakers.disable(connection, main.id, 1)
    assert await rows.sql("SELECT state FROM destinations") == ["enabled"]
