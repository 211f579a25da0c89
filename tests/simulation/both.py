"""One story told to the store in memory and to the statements in `database/`, step by step."""

import random  # noqa: TID251  chance is drawn from a seed, so that a failure can be repeated
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from database import destinations, lanes, resolutions
from database.resolutions import Resolution
from database.settlements import Settlement
from domain.breaker import BreakerPolicy
from domain.delivery import (
    Answer,
    Delivered,
    Delivery,
    DeliveryId,
    DeliveryState,
    Ended,
    Guarantee,
    Outcome,
    Retry,
    Step,
    end_of_life,
)
from domain.destination import Destination, DestinationState, Mode
from domain.gate import GatePolicy
from domain.rate import Room, Window
from domain.signal import Side, Signal
from domain.ticker import Ticker
from domain.universe import Universe
from engines.clock import utc_now
from engines.failpoints import Point
from engines.relay.leasing import Leasing
from engines.relay.settler import Settler
from tests.database.rows import Rows, an_entry
from tests.simulation import breakers, endings, verdicts
from tests.simulation import lanes as memory
from tests.simulation.store import DeliveryRow, DestinationRow, Kept, Key, Store

HOUR = timedelta(hours=1)
BREAKER = BreakerPolicy(
    in_a_row=3, first=2 * HOUR, longest=2 * HOUR, sells_try_after=HOUR, recent=HOUR
)
"""Nothing depends on how fast a test runs: time passes where the story says so."""
WINDOWS = (Window(limit=6, seconds=3600),)
TICKERS = (Ticker("AA"), Ticker("BB"))


@dataclass(slots=True)
class Both:
    """One story, told to both."""

    rows: Rows
    chance: random.Random
    store: Store
    leasing: Leasing
    places: list[Destination] = field(default_factory=list[Destination])
    leased: list[Delivery] = field(default_factory=list[Delivery])
    story: list[str] = field(default_factory=list[str])

    async def begin(self) -> None:
        for number in range(2):
            guarantee = self.chance.choice(tuple(Guarantee))
            windows = self.chance.choice((WINDOWS, ()))
            place = await self.rows.destination(
                f"place {number}", windows=windows, guarantee=guarantee
            )
            self.places.append(place)
            self.store.destinations[place.id] = DestinationRow(
                id=place.id, windows=windows, versions=[Kept(Mode.LIVE, guarantee)]
            )

    async def step(self) -> None:
        self.store.now = utc_now()
        await self.chance.choice(STORY)(self)

    async def alert(self) -> None:
        side = Side.BUY if self.chance.random() < 0.65 else Side.SELL
        partial = side is Side.SELL and self.chance.random() < 0.2
        ticker = self.chance.choice(TICKERS)
        entry = an_entry(ticker, side, partial=partial, lifetime=HOUR)
        self.story.append(f"{side} {ticker} {'in part' if partial else ''}")
        await self.rows.append(entry)
        verdicts.append(
            self.store,
            Signal(
                id=entry.id,
                seq=len(self.store.signals) + 1,
                ticker=ticker,
                side=side,
                closes=None,
                partial=partial,
                price=None,
                received_at=self.store.now,
                expires_at=self.store.now + HOUR,
            ),
        )

    async def judge(self) -> None:
        limit = self.chance.randint(1, 6)
        anywhere = verdicts.any_enabled(self.store)
        judged = await self.rows.decide(limit, anywhere=anywhere)
        self.store.now = utc_now()
        listed = Universe(
            version=1,
            tickers=TICKERS,
            total=2,
            fetched_at=self.store.now,
            confirmed_at=self.store.now,
        )
        policy = GatePolicy(top_n=9, list_max_age=HOUR, has_destination=anywhere)
        mine = verdicts.judge(self.store, limit=limit, universe=listed, policy=policy)
        self.story.append(f"judge {limit}")
        words = [
            one and [(s.id, v.reason, v.position_id) for s, v in one.verdicts]
            for one in (judged, mine)
        ]
        assert words[0] == words[1]

    async def lease(self) -> None:
        place = self.chance.choice(self.places)
        free = self.chance.randint(1, 4)
        async with self.rows.database.write() as connection:
            held = await lanes.hold(connection, place.id)
            assert (held is None) == (memory.hold(self.store, place.id) is None)
            if held is None:
                return
            mine = memory.usage(self.store, place.id, place.windows, "")
            if place.windows:
                usage = await lanes.usage(connection, place.id, place.windows)
                assert usage.used == mine
            leased = await self.leasing.lease(connection, place, held, Room(total=free, buys=free))
        terms = breakers.Terms(breaker=BREAKER)
        same = breakers.lease(self.store, place.id, terms, free=free, replica="")
        assert [_words(one) for one in leased.deliveries] == [_words(one) for one in same]
        self.story.append(f"lease {len(same)} of {free} at {place.name}")
        self.leased += leased.deliveries
        # Leases run out when the story says so.
        await self.rows.sql(
            "UPDATE deliveries SET lease_until = now() + interval '1 hour'"
            " WHERE state = 'sending' AND lease_until > now()"
        )
        for row in self.store.all_waiting():
            if row.lease_until and not row.lost(self.store.now):
                row.lease_until = self.store.now + HOUR

    async def settle(self) -> None:
        chosen = self.chance.sample(self.leased, min(len(self.leased), self.chance.randint(1, 3)))
        batch = list({one.id: self.ended(one) for one in chosen}.values())
        if not batch:
            return
        self.story.append(f"settle {[(s.answer.outcome, type(s.step).__name__) for s in batch]}")
        settler = self.settler()
        for one in batch:
            settler.put(one)
        await settler.step()
        self.store.now = utc_now()
        breakers.settle(self.store, batch, BREAKER, lambda: 0.5)
        if self.chance.random() < 0.8:
            settled = {(one.delivery.id, one.delivery.epoch) for one in batch}
            self.leased = [one for one in self.leased if (one.id, one.epoch) not in settled]

    def settler(self) -> Settler:
        return Settler(
            database=self.rows.database,
            wake=lambda: None,
            wake_forwarder=lambda: None,
            dice=lambda: 0.5,
            breaker=BREAKER,
            reach=self.reach,
        )

    def reach(self, _point: Point) -> None:
        """A point on the way; nothing happens there."""

    def ended(self, delivery: Delivery) -> Settlement:
        answer = self.chance.choice(ANSWERS)
        late = self.chance.random() < 0.2
        step: Step
        match answer.outcome:
            case Outcome.DELIVERED | Outcome.DRY_RUN:
                step = Delivered()
            case Outcome.PERMANENT:
                step = Ended(DeliveryState.DEAD, "http 404")
            case Outcome.AMBIGUOUS if delivery.guarantee is Guarantee.AT_MOST_ONCE:
                step = Ended(DeliveryState.HELD, "http 500")
            case _ if late:
                step = Ended(end_of_life(delivery.side), "expired")
            case _:
                step = Retry(self.store.now + self.chance.choice((-1, 1)) * HOUR)
        return Settlement(delivery=delivery, answer=answer, step=step)

    async def expire(self) -> None:
        ended = await self.rows.expire()
        assert ended == endings.expire(self.store).total()
        self.story.append(f"{ended} expired")

    async def lose_leases(self) -> None:
        await self.rows.sql(
            "UPDATE deliveries SET lease_until = now() - interval '1 second'"
            " WHERE state = 'sending'"
        )
        for row in self.store.all_waiting():
            if row.lease_until is not None:
                row.lease_until = self.store.now - timedelta(seconds=1)
        self.story.append("leases run out")

    async def overdue(self) -> None:
        row = self._any_waiting()
        if row is None:
            return
        delivery = self.store.deliveries[row]
        await self.rows.sql(
            "UPDATE deliveries SET due_at = now() - interval '1 second',"
            " expires_at = CASE WHEN CAST(:ends AS boolean) THEN now() - interval '1 second'"
            " ELSE expires_at END WHERE signal_id = :signal AND destination_id = :place",
            signal=row[0],
            place=row[1],
            ends=(ends := self.chance.random() < 0.6),
        )
        past = self.store.now - timedelta(seconds=1)
        delivery.due_at = past
        delivery.expires_at = past if ends else delivery.expires_at
        self.story.append(f"{delivery.signal.side} is {'over' if ends else 'due'}")

    async def resolve(self) -> None:
        held = [row for row in self.store.all_waiting() if row.state is DeliveryState.HELD]
        for row in sorted(held, key=lambda row: row.signal.seq):
            resolution = self.chance.choice(tuple(Resolution))
            async with self.rows.database.write() as connection:
                said = await resolutions.resolve(
                    connection,
                    await self.id_of(row.key),
                    resolution,
                    actor="a test",
                    why=None,
                    life=HOUR,
                )
            done = endings.resolve(self.store, row.key, resolution, HOUR)
            assert isinstance(said, DeliveryState) == done
            self.story.append(f"{row.signal.side} is held: {resolution}, {said}")

    async def cancel(self) -> None:
        key = self._any_waiting()
        if key is not None:
            async with self.rows.database.write() as connection:
                id = await self.id_of(key)
                said = await resolutions.cancel(connection, id, actor="a test", why=None)
            assert isinstance(said, DeliveryState) == endings.cancel(self.store, key)
            self.story.append(f"cancel: {said}")

    async def id_of(self, key: Key) -> DeliveryId:
        (id,) = await self.rows.sql(
            "SELECT id FROM deliveries WHERE signal_id = :signal AND destination_id = :place",
            signal=key[0],
            place=key[1],
        )
        return DeliveryId(id)

    async def pass_time(self) -> None:
        hours = self.chance.choice((1.5, 3))
        await self.rows.sql(
            "UPDATE destinations SET breaker_since = breaker_since - CAST(:by AS interval),"
            " breaker_until = breaker_until - CAST(:by AS interval),"
            " hold_until = hold_until - CAST(:by AS interval)",
            by=hours * HOUR,
        )
        for row in self.store.destinations.values():
            breakers.pass_time(row, hours * HOUR)
        self.story.append(f"{hours} hours pass for breakers")

    async def put(self) -> None:
        place = self.chance.choice(self.places)
        state = self.chance.choice((*(DestinationState.ENABLED,) * 4, *DestinationState))
        await self.rows.sql(
            "UPDATE destinations SET state = :state WHERE id = :id", state=state, id=place.id
        )
        breakers.put(self.store, place.id, state)
        self.story.append(f"{place.name} is {state}")

    async def change(self) -> None:
        number = self.chance.randrange(len(self.places))
        place = self.places[number]
        mode, guarantee = self.chance.choice(tuple(Mode)), self.chance.choice(tuple(Guarantee))
        wanted = replace(place, mode=mode, guarantee=guarantee)
        async with self.rows.database.write() as connection:
            assert await destinations.change(connection, self.rows.vault, wanted, actor="a test")
        self.places[number] = replace(wanted, version=place.version + 1)
        breakers.change(self.store, place.id, mode, guarantee)
        self.story.append(f"{place.name} is {mode}, {guarantee}")

    def _any_waiting(self) -> Key | None:
        waiting = sorted(self.store.all_waiting(), key=self.place_of)
        return self.chance.choice(waiting).key if waiting else None

    def place_of(self, row: DeliveryRow) -> tuple[int, int]:
        return row.signal.seq, [place.id for place in self.places].index(row.destination)

    async def compare(self) -> None:
        real, mine = await self._in_database(), self._in_memory()
        differences = [
            f"{table} {id}: {row} in the database, {mine[table].get(id)} in memory"
            for table, rows in real.items()
            for id, row in rows.items()
            if mine[table].get(id) != row
        ]
        differences += [
            f"{table} {id}: {row} in memory only"
            for table, rows in mine.items()
            for id, row in rows.items()
            if id not in real[table]
        ]
        assert not differences, "\n".join([*differences, "after", *self.story])

    async def _in_database(self) -> Mapping[str, Mapping[Any, Any]]:
        return {
            "deliveries": {
                (row.signal_id, row.destination_id): tuple(row)[2:]
                for row in await self.rows.sql(
                    "SELECT signal_id, destination_id, state, reason, epoch, attempts,"
                    " possibly_sent, destination_version FROM deliveries"
                )
            },
            "positions": dict(
                [tuple(row) for row in await self.rows.sql("SELECT id, state FROM positions")]
            ),
            "signals": dict(
                [tuple(row) for row in await self.rows.sql("SELECT id, status FROM signals")]
            ),
            "destinations": {
                row.id: tuple(row)[1:]
                for row in await self.rows.sql(
                    "SELECT id, state, breaker, breaker_trips, breaker_failures,"
                    " breaker_successes, coalesce(hold_until > now(), false) FROM destinations"
                )
            },
        }

    def _in_memory(self) -> Mapping[str, Mapping[Any, Any]]:
        store = self.store
        return {
            "deliveries": {
                key: (
                    *(row.state, row.reason, row.epoch, row.attempts),
                    *(row.possibly_sent, row.version),
                )
                for key, row in store.deliveries.items()
            },
            "positions": {id: row.state for id, row in store.positions.items()},
            "signals": {id: row.status for id, row in store.signals.items()},
            "destinations": {
                id: (
                    *(row.state, row.breaker.state, row.breaker.trips),
                    *(row.breaker.failures, row.breaker.successes),
                    bool(row.hold_until and row.hold_until > store.now),
                )
                for id, row in store.destinations.items()
            },
        }


def _words(delivery: Delivery) -> tuple[Any, ...]:
    return (
        *(delivery.signal_id, delivery.destination_id, delivery.destination_version),
        *(delivery.guarantee, delivery.epoch, delivery.attempt, delivery.possible_resend),
    )


WRITTEN = timedelta(milliseconds=5)
ANSWERS = (
    *(Answer(outcome=Outcome.DELIVERED, status=200, written=WRITTEN),) * 3,
    Answer(outcome=Outcome.DRY_RUN),
    *(Answer(outcome=Outcome.NOT_SENT, error="ConnectError"),) * 2,
    Answer(outcome=Outcome.NOT_PROCESSED, status=503, written=WRITTEN),
    Answer(outcome=Outcome.NOT_PROCESSED, status=429, written=WRITTEN, retry_after=HOUR / 2),
    Answer(outcome=Outcome.PERMANENT, status=404, written=WRITTEN),
    *(Answer(outcome=Outcome.AMBIGUOUS, status=500, written=WRITTEN),) * 2,
    Answer(outcome=Outcome.WITHHELD),
    Answer(outcome=Outcome.PERMANENT, status=410, fatal=True, gone=True, written=WRITTEN),
)

STORY: list[Callable[[Both], Awaitable[None]]] = [
    *(Both.alert,) * 6,
    *(Both.judge,) * 4,
    *(Both.lease,) * 9,
    *(Both.settle,) * 8,
    *(Both.expire, Both.lose_leases, Both.overdue, Both.overdue, Both.pass_time),
    *(Both.put, Both.change, Both.resolve, Both.resolve, Both.cancel),
]
