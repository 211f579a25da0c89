"""Any day at two destinations, against what they would hold: no short is opened, no sell is lost.

A model of each destination notes what surely and what possibly arrived there. Whatever happens, an
exit only leaves for where something may be held, and at the end, once all is well again, one more
exit leaves nothing anywhere.
"""

import random  # noqa: TID251  seeded, so that every day can be had again
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text

from domain.delivery import Delivery, DeliveryState, Ended, Guarantee, Retry, Step
from domain.destination import Destination
from tests.database.rows import (
    BUY,
    OK,
    REFUSED,
    SELL,
    UNKNOWN,
    UNSENT,
    WITHHELD,
    Answer,
    Rows,
    settlement,
)

OVERDUE = text("UPDATE deliveries SET expires_at = queued_at WHERE id = :id")


@dataclass(slots=True)
class Book:
    """What a destination holds: what arrived for certain, and what may have."""

    surely: bool = False
    possibly: bool = False

    def hears(self, delivery: Delivery, answer: Answer, *, arrived: bool) -> None:
        if answer is OK or (answer is UNKNOWN and arrived):
            if delivery.side is BUY:
                self.surely = self.possibly = True
            elif not delivery.partial:
                self.surely = False
        if answer is UNKNOWN and delivery.side is BUY:
            self.possibly = True
        if answer is OK and delivery.side is SELL and not delivery.partial:
            self.possibly = False


@dataclass(slots=True)
class Day:
    """A day of one ticker, as chance has it."""

    rows: Rows
    chance: random.Random
    places: list[Destination]
    books: dict[str, Book] = field(default_factory=dict[str, Book])
    wire: list[Delivery] = field(default_factory=list[Delivery])
    story: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.books = {str(place.id): Book() for place in self.places}

    async def alert(self) -> None:
        side, partial = self.chance.choice([(BUY, False), (SELL, False), (SELL, True)])
        await self.rows.alert("AAPL", side, partial=partial)
        self.story.append(f"{side}{' part' if partial else ''}")
        if self.chance.random() < 0.8:
            await self.rows.decide()

    async def lease(self) -> None:
        place = self.chance.choice(self.places)
        (state,) = await self.rows.sql("SELECT state FROM destinations WHERE id = :i", i=place.id)
        if state == "enabled":
            await self.leave(place)

    async def leave(self, place: Destination) -> list[Delivery]:
        leased = await self.rows.lease(place)
        for delivery in leased:
            self.story.append(f"{delivery.side} leaves for {place.name}")
            book = self.books[str(place.id)]
            assert delivery.side is BUY or book.possibly, self.story
        self.wire += leased
        return leased

    async def settle(self) -> None:
        if not self.wire:
            return
        delivery = self.wire.pop(self.chance.randrange(len(self.wire)))
        answer = self.chance.choice([OK, OK, REFUSED, UNKNOWN, UNSENT, WITHHELD])
        await self.end(delivery, answer, self.step(delivery, answer))

    def step(self, delivery: Delivery, answer: Answer) -> Step | None:
        if answer is UNKNOWN and delivery.guarantee is Guarantee.AT_MOST_ONCE:
            return Ended(DeliveryState.HELD, "http 500")
        if answer in (UNKNOWN, UNSENT) and self.chance.random() < 0.4:
            state = DeliveryState.EXPIRED if delivery.side is BUY else DeliveryState.DEAD
            return Ended(state, "expired")
        return Retry(delivery.leased_at) if answer in (UNKNOWN, UNSENT) else None

    async def end(self, delivery: Delivery, answer: Answer, step: Step | None) -> None:
        arrived = self.chance.random() < 0.5
        self.story.append(f"{delivery.side} {answer.outcome} {arrived=} {step}")
        self.books[str(delivery.destination_id)].hears(delivery, answer, arrived=arrived)
        assert await self.rows.settle(settlement(delivery, answer, step))

    async def lose(self) -> None:
        """Who had the lease dies: what he had on the wire may have arrived."""
        if not self.wire:
            return
        delivery = self.wire.pop()
        self.story.append(f"{delivery.side} lost")
        arrived = self.chance.random() < 0.5
        self.books[str(delivery.destination_id)].hears(delivery, UNKNOWN, arrived=arrived)
        await self.rows.sql(
            "UPDATE deliveries SET lease_until = clock_timestamp() - interval '1 s' WHERE id = :id",
            id=delivery.id,
        )
        await self.rows.expire()

    async def overdue(self) -> None:
        waiting = await self.rows.sql(
            "SELECT id FROM deliveries WHERE state = 'queued' ORDER BY seq"
        )
        if waiting:
            late = self.chance.choice(list(waiting))
            self.story.append("one is late")
            async with self.rows.database.write() as connection:
                await connection.execute(OVERDUE, {"id": late})
            await self.rows.expire()

    async def unresolved(self) -> None:
        """Nobody resolved what was held."""
        await self.rows.sql("UPDATE deliveries SET due_at = now() WHERE state = 'held'")
        await self.rows.expire()

    async def switch(self) -> None:
        place = self.chance.choice(self.places)
        state = self.chance.choice(["enabled", "enabled", "paused", "disabled"])
        others = await self.rows.sql(
            "SELECT id FROM destinations WHERE id <> :id AND state <> 'disabled'", id=place.id
        )
        if others or state != "disabled":
            self.story.append(f"{place.name} {state}")
            await self.rows.sql(
                "UPDATE destinations SET state = :state WHERE id = :id", state=state, id=place.id
            )

    async def evening(self) -> None:
        """All is well again: everything that waits is sent, and arrives."""
        await self.rows.sql("UPDATE destinations SET state = 'enabled'")
        await self.unresolved()
        await self.rows.decide()
        while self.wire:
            await self.end(self.wire.pop(), OK, None)
        while sum([len(await self.leave(place)) for place in self.places]):
            while self.wire:
                await self.end(self.wire.pop(), OK, None)
        assert await self.rows.sql("SELECT 1 FROM deliveries WHERE finished_at IS NULL") == []


ACTS: dict[Callable[[Day], Awaitable[None]], int] = {
    Day.alert: 6,
    Day.lease: 6,
    Day.settle: 6,
    Day.lose: 1,
    Day.overdue: 1,
    Day.unresolved: 1,
    Day.switch: 1,
}


@pytest.mark.parametrize("seed", range(24))
async def test_no_short_is_opened_and_no_sell_is_lost(rows: Rows, seed: int) -> None:
    chance = random.Random(seed)
    guarantees = [chance.choice(list(Guarantee)) for _ in range(2)]
    places = [
        await rows.destination(name, guarantee=guarantee)
        for name, guarantee in zip(("one", "two"), guarantees, strict=True)
    ]
    day = Day(rows, chance, places)
    for act in chance.choices([*ACTS], [*ACTS.values()], k=60):
        await act(day)
    await day.evening()
    live = await rows.sql("SELECT state FROM positions WHERE state IN ('opening', 'open')")
    day.story.append(f"evening {live}")
    if live:
        await rows.alert("AAPL", SELL)
        await day.evening()
    assert not any(book.surely for book in day.books.values()), day.story
    assert set(await rows.states("positions")) <= {"closed", "void"}, day.story
