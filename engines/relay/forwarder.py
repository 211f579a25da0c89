"""The forwarder: leases due deliveries of every destination, and sends them."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Protocol

from database import destinations, lanes
from database.lanes import UnopenedError
from database.pool import Connection, Database
from database.settlements import Settlement
from database.vault import SealError
from domain.delivery import (
    Answer,
    Delivery,
    DeliveryId,
    DestinationId,
    Ended,
    Outcome,
    RetryPolicy,
    Step,
    after_attempt,
)
from domain.destination import Destination, Mode, SigningKeys
from domain.destination_told import hidden
from domain.rate import Room
from engines.clock import Clock, Dice
from engines.failpoints import Point, Reach, passes
from engines.metrics import Metrics
from engines.relay import outgoing
from engines.relay.leasing import POLL, SHORTEST_REST, Leased, Leasing
from engines.relay.outlet import Client, Line, Outlet
from engines.worker import AGAIN, SELDOM

log = logging.getLogger(__name__)

LOOK = timedelta(milliseconds=100)
"""A new destination, or one that was resumed, is not noticed for this long at most."""

UNOPENED = timedelta(seconds=5)
"""So long rests what does not open: a version is changed, or the delivery's life ends."""

LEFT = frozenset({Outcome.DELIVERED, Outcome.AMBIGUOUS})


class Records(Protocol):
    """Who records what ended: `engines.relay.settler.Settler`."""

    def put(self, settlement: Settlement) -> None: ...

    def is_behind(self) -> bool: ...

    def unrecorded(self, id: DestinationId) -> int: ...


@dataclass(slots=True)
class Departure:
    """Asked right before the first byte: whether it may still leave; notes when it did.

    A slot in a window, a lease and a signal's life are all only so long, and connecting takes time.
    """

    began: float
    life: timedelta
    at: timedelta | None = None

    def may_begin(self) -> bool:
        self.at = self.elapsed()
        return self.at <= min(lanes.START_WITHIN, self.life)

    def __call__(self) -> bool:
        self.at = self.elapsed()
        return self.at <= min(lanes.LATEST_WRITE, self.life)

    def elapsed(self) -> timedelta:
        return timedelta(seconds=asyncio.get_running_loop().time() - self.began)


@dataclass(slots=True)
class Look:
    """When destinations were looked at last: not before each lease of a busy time."""

    at: float = -math.inf

    def due_in(self) -> timedelta:
        since = asyncio.get_running_loop().time() - self.at
        return max(timedelta(0), LOOK - timedelta(seconds=min(since, 1e6)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarder:
    """No transaction is open while a destination thinks; the lease holds the delivery instead.

    A lease that runs out (we were killed, or stopped for too long) is simply taken again: crash
    recovery is the same query as ordinary work.
    """

    database: Database
    leasing: Leasing
    connect: Callable[[Destination], Client]
    records: Records
    metrics: Metrics
    clock: Clock
    dice: Dice
    workers: int
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    reach: Reach = passes
    _outlets: dict[DestinationId, Outlet] = field(
        default_factory=dict[DestinationId, Outlet], init=False
    )
    _look: Look = field(default_factory=Look, init=False)
    _shut: dict[DestinationId, int] = field(default_factory=dict[DestinationId, int], init=False)
    _leaving: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]], init=False)

    async def step(self) -> timedelta | None:
        """Start what may leave now, at every destination; return how long nothing more can.

        Not before what ended is recorded: after an outage we would lease it again ourselves.
        """
        if self.records.is_behind():
            return SHORTEST_REST
        for outlet in self._outlets.values():
            self._leave(outlet.idle())
        rests = [await self._start(outlet) for outlet in self._outlets.values()]
        if rest := self._look.due_in():
            return min([rest, *rests])
        return AGAIN if await self._refresh() else min([SELDOM, *rests])

    async def drain(self, within: timedelta) -> None:
        """Wait for requests on the wire to end and be settled, then close the clients."""
        sending = {task for outlet in self._outlets.values() for task in outlet.sending}
        sending |= self._leaving
        if sending:
            await asyncio.wait(sending, timeout=within.total_seconds())
        for outlet in self._outlets.values():
            for line in outlet.lines.values():
                await line.client.close()

    async def _refresh(self) -> bool:
        """Take up new and changed destinations, leave those that are gone; tell whether any did.

        A moment late does no harm: whoever leases holds the destination's row, and sees.
        """
        async with self.database.autocommit() as connection:
            versions = await destinations.enabled_versions(connection)
            known = {id: outlet.destination.version for id, outlet in self._outlets.items()}
            changed = versions != known | self._shut
            if changed:
                shut: list[Destination] = []
                current = await destinations.enabled(connection, self.leasing.vault, shut.append)
                self._replace({one.id: one for one in current})
                self._leave_out(shut)
        self._look.at = asyncio.get_running_loop().time()
        return changed

    def _replace(self, current: dict[DestinationId, Destination]) -> None:
        for id in [*self._outlets]:
            if id not in current:
                self._leave([*self._outlets.pop(id).lines.values()])
        for id, destination in current.items():
            if id in self._outlets:
                self._outlets[id].destination = destination
                self._outlets[id].width = destination.concurrency or self.workers
            else:
                self._outlets[id] = Outlet(destination, destination.concurrency or self.workers)

    def _leave_out(self, shut: list[Destination]) -> None:
        """Say once of each version that it does not open; what is queued for it stays queued."""
        for one in shut:
            if self._shut.get(one.id) != one.version:
                told = {"destination": one.name, "version": one.version}
                log.error("destination.does_not_open", extra=told)
        self._shut.clear()
        self._shut.update({one.id: one.version for one in shut})

    def _leave(self, lines: list[Line]) -> None:
        for line in lines:
            task = asyncio.create_task(line.close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _start(self, outlet: Outlet) -> timedelta:
        free = outlet.free(self.records.unrecorded)
        if not free.total:
            return POLL
        try:
            leased = await self._lease(outlet, free)
        except UnopenedError as error:
            return await self._put_off(outlet, error)
        for delivery in leased.deliveries:
            line = outlet.lines[delivery.destination_version]
            attempt = self._attempt(outlet, line, delivery, leased.began)
            line.track(asyncio.create_task(attempt))
        return min(leased.rest, UNOPENED) if outlet.unopened else leased.rest

    async def _put_off(self, outlet: Outlet, error: UnopenedError) -> timedelta:
        """Let the others of this destination go on, each behind what is before it in its lane."""
        async with self.database.write() as connection:
            await lanes.put_off(connection, error.ids, UNOPENED)
        if new := set(error.ids) - outlet.unopened:
            told = {"destination": outlet.destination.name, "number": len(new)}
            log.error("delivery.does_not_open", extra=told)
            outlet.unopened.update(new)
        return SHORTEST_REST

    async def _lease(self, outlet: Outlet, free: Room) -> Leased:
        destination = outlet.destination
        async with self.database.write() as connection:
            hold = await lanes.hold(connection, destination.id)
            self.reach(Point.FORWARDER_HELD)
            if hold is None or hold.version != destination.version:
                self._look.at = -math.inf
                return Leased([], 0.0, SHORTEST_REST if hold else POLL)
            leased = await self.leasing.lease(connection, destination, hold, free)
            await self._connect(connection, outlet, leased.deliveries)
            if leased.deliveries:
                self.reach(Point.FORWARDER_BEFORE_COMMIT)
        if leased.deliveries:
            self.reach(Point.FORWARDER_AFTER_COMMIT)
        return leased

    async def _connect(
        self, connection: Connection, outlet: Outlet, deliveries: Sequence[Delivery]
    ) -> None:
        """Have a line for each of these. Raises UnopenedError."""
        shut: list[DeliveryId] = []
        for delivery in deliveries:
            try:
                await self._connected(connection, outlet, delivery.destination_version)
            except SealError:
                shut.append(delivery.id)
        if shut:
            raise UnopenedError(shut)

    async def _connected(self, connection: Connection, outlet: Outlet, version: int) -> None:
        """Have a line for the destination as it was when a delivery was approved."""
        if version in outlet.lines:
            return
        found: Destination | None = outlet.destination
        if version != outlet.destination.version:
            found = await destinations.at_version(
                connection, self.leasing.vault, outlet.destination.id, version
            )
        assert found is not None, "the version of a delivery is kept with it"
        outlet.lines[version] = Line(found, self.connect(found))

    async def _attempt(self, outlet: Outlet, line: Line, delivery: Delivery, began: float) -> None:
        departure = Departure(began, delivery.expires_at - delivery.leased_at)
        keys = outlet.destination.keys
        async with outlet.turn(delivery.side) as at_once:
            if at_once or outlet.pace:
                answer = await self._send(line, keys, delivery, departure)
            else:  # leased ahead, and one before it failed: whether it may leave is asked anew
                answer = Answer(outcome=Outcome.WITHHELD)
        outlet.went(answer)
        self.reach(Point.SEND_AFTER_ANSWER)
        if answer.status is not None or answer.outcome in LEFT:
            answer = replace(answer, written=departure.at)
            if delivery.attempt == 1 and departure.at is not None:
                waited = delivery.leased_at + departure.at - delivery.received_at
                self.metrics.leave_seconds.observe(waited.total_seconds())
        now = delivery.leased_at + departure.elapsed()
        step = after_attempt(delivery, answer, self.policy, now=now, jitter=self.dice())
        self._report(line.destination, delivery, answer, step)
        self.records.put(Settlement(delivery=delivery, answer=answer, step=step))

    async def _send(
        self, line: Line, keys: SigningKeys, delivery: Delivery, departure: Departure
    ) -> Answer:
        if not departure.may_begin():
            return Answer(outcome=Outcome.WITHHELD)
        if line.destination.mode is Mode.DRY_RUN:
            return Answer(outcome=Outcome.DRY_RUN)
        try:
            body, headers = outgoing.request(line.destination, keys, delivery, self.clock())
            answer = await line.client.post(body, headers, departure)
            excerpt = answer.excerpt and hidden(answer.excerpt, line.destination)
            return replace(answer, excerpt=excerpt)
        except Exception as error:
            # Unsettled, its lease would run out and it would be sent again and again.
            log.exception("delivery.failed", extra={"signal_id": str(delivery.signal_id)})
            return Answer(outcome=Outcome.AMBIGUOUS, error=type(error).__name__)

    def _report(
        self, destination: Destination, delivery: Delivery, answer: Answer, step: Step
    ) -> None:
        """What went well is told by the log of signals, for a tenth of what a line here costs."""
        self.metrics.attempted(destination.name, answer, step)
        level = _level(answer, step)
        if not log.isEnabledFor(level):
            return
        log.log(
            level,
            "delivery.attempted",
            extra={
                "signal_id": str(delivery.signal_id),
                "destination": destination.name,
                "ticker": delivery.ticker,
                "attempt": delivery.attempt,
                "outcome": str(answer.outcome),
                "status": answer.status,
                "error": answer.error,
                "ms": int(answer.duration.total_seconds() * 1000),
                "next": type(step).__name__.lower(),
            },
        )


def _level(answer: Answer, step: Step) -> int:
    if isinstance(step, Ended):
        return logging.WARNING
    went = answer.outcome in {Outcome.DELIVERED, Outcome.DRY_RUN, Outcome.WITHHELD}
    return logging.DEBUG if went else logging.INFO
