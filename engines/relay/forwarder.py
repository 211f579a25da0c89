"""The forwarder: leases due deliveries of every destination, sends them, settles how they ended."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from typing import Protocol

from database import destinations, lanes, settlements
from database.pool import Connection, Database, is_unavailable
from database.settlements import Settlement
from database.vault import Vault
from domain.body import outgoing
from domain.delivery import (
    LAST_CHANCE,
    Answer,
    Delivery,
    DestinationId,
    Ended,
    Outcome,
    RetryPolicy,
    after_attempt,
)
from domain.destination import Destination
from domain.rate import Room, is_full, room
from domain.signature import sign
from engines.clock import Clock, Dice
from engines.metrics import Metrics
from engines.worker import AGAIN

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)
POLL = timedelta(seconds=1)
SHORTEST_REST = timedelta(milliseconds=20)


class Client(Protocol):
    """What sends for one destination: `engines.destinations.client.DestinationClient`."""

    async def post(self, body: bytes, headers: dict[str, str]) -> Answer: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Outlet:
    """One destination at work: its client, and the deliveries now on the wire."""

    destination: Destination
    client: Client
    sending: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])


@dataclass(frozen=True, slots=True)
class Leased:
    """What may leave now, the event loop's time when it was asked for, and the rest after it."""

    deliveries: list[Delivery]
    began: float
    rest: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarder:
    """No transaction is open while a destination thinks; the lease holds the delivery instead.

    A lease that runs out (we were killed, or stopped for too long) is simply taken again: crash
    recovery is the same query as ordinary work.
    """

    database: Database
    vault: Vault
    connect: Callable[[Destination], Client]
    settle: Callable[[Settlement], None]
    metrics: Metrics
    clock: Clock
    dice: Dice
    workers: int
    sell_share: float
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    _outlets: dict[DestinationId, Outlet] = field(
        default_factory=dict[DestinationId, Outlet], init=False
    )
    _leaving: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]], init=False)

    async def step(self) -> timedelta | None:
        """Start what may leave now, at every destination; return how long nothing more can."""
        await self._refresh()
        rests = [await self._start(outlet) for outlet in self._outlets.values()]
        return min([POLL, *rests])

    async def drain(self, within: timedelta) -> None:
        """Wait for requests on the wire to end and be settled, then close the clients."""
        sending = {task for outlet in self._outlets.values() for task in outlet.sending}
        sending |= self._leaving
        if sending:
            await asyncio.wait(sending, timeout=within.total_seconds())
        for outlet in self._outlets.values():
            await outlet.client.close()

    async def _refresh(self) -> None:
        """Take up new and changed destinations; leave those that are gone."""
        async with self.database.read() as connection:
            versions = await destinations.enabled_versions(connection)
            known = {id: outlet.destination.version for id, outlet in self._outlets.items()}
            if versions == known:
                return
            current = await destinations.enabled(connection, self.vault)
        await self._replace({d.id: d for d in current})

    async def _replace(self, current: dict[DestinationId, Destination]) -> None:
        for id in [*self._outlets]:
            if id not in current or current[id] != self._outlets[id].destination:
                outlet = self._outlets.pop(id)
                task = asyncio.create_task(_close_after(outlet))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)
        for id, destination in current.items():
            if id not in self._outlets:
                self._outlets[id] = Outlet(destination, self.connect(destination))

    async def _start(self, outlet: Outlet) -> timedelta:
        free = self.workers - len(outlet.sending)
        if free <= 0:
            return POLL
        async with self.database.write() as connection:
            leased = await self._lease(connection, outlet.destination, free)
        for delivery in leased.deliveries:
            task = asyncio.create_task(self._attempt(outlet, delivery, leased.began))
            outlet.sending.add(task)
            task.add_done_callback(outlet.sending.discard)
        return leased.rest

    async def _lease(self, connection: Connection, destination: Destination, free: int) -> Leased:
        """Asked to wait we send nothing, but a sell at the end of its life is tried once more."""
        loop = asyncio.get_running_loop()
        hold = await lanes.hold(connection, destination.id)
        if hold is None or hold.version != destination.version:
            return Leased([], loop.time(), SHORTEST_REST if hold else POLL)
        available, frees_in = await self._room(connection, destination, free)
        left = None
        if hold.pause:
            available, left = Room(total=available.total, buys=0), LAST_CHANCE
        # Before the query, so that what it and its commit take counts against the grace.
        began = loop.time()
        deliveries: list[Delivery] = []
        if available.total:
            deliveries = await lanes.lease(
                connection, self.vault, destination.id, available, LEASE, left
            )
        if hold.pause:
            return Leased(deliveries, began, hold.pause)
        due = None
        if len(deliveries) < free:
            due = await lanes.next_due(connection, destination.id)
        waits = [wait for wait in (due, frees_in) if wait is not None]
        return Leased(deliveries, began, max(min(waits, default=POLL), SHORTEST_REST))

    async def _room(
        self, connection: Connection, destination: Destination, free: int
    ) -> tuple[Room, timedelta | None]:
        """What may leave under the windows, and how long a full window keeps buys waiting."""
        windows, share = destination.windows, self.sell_share
        if not windows:
            return Room(total=free, buys=free), None
        usage = await lanes.usage(connection, destination.id, windows)
        full = [
            frees_in
            for window, used, frees_in in zip(windows, usage.used, usage.frees_in, strict=True)
            if is_full(window, used, share=share)
        ]
        return room(windows, usage.used, share=share, most=free), max(full, default=None)

    async def _attempt(self, outlet: Outlet, delivery: Delivery, began: float) -> None:
        loop = asyncio.get_running_loop()
        elapsed = timedelta(seconds=loop.time() - began)
        if elapsed > lanes.GRACE or delivery.leased_at + elapsed >= delivery.expires_at:
            answer = Answer(outcome=Outcome.WITHHELD)
        else:
            if delivery.attempt == 1:
                waited = delivery.leased_at + elapsed - delivery.received_at
                self.metrics.leave_seconds.observe(waited.total_seconds())
            answer = await self._send(outlet, delivery)
        now = delivery.leased_at + timedelta(seconds=loop.time() - began)
        step = after_attempt(delivery, answer, self.policy, now=now, jitter=self.dice())
        self._report(outlet.destination, delivery, answer, step)
        self.settle(Settlement(delivery=delivery, answer=answer, step=step))

    async def _send(self, outlet: Outlet, delivery: Delivery) -> Answer:
        try:
            return await outlet.client.post(*self._request(outlet.destination, delivery))
        except Exception as error:
            # Unsettled, its lease would run out and it would be sent again and again.
            log.exception("delivery.failed", extra={"signal_id": str(delivery.signal_id)})
            return Answer(outcome=Outcome.AMBIGUOUS, error=type(error).__name__)

    def _request(
        self, destination: Destination, delivery: Delivery
    ) -> tuple[bytes, dict[str, str]]:
        """The body, the same bytes at every attempt, and the headers of this one."""
        id = str(delivery.signal_id)
        received_at = delivery.received_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        body = outgoing(delivery.body, signal_id=id, received_at=received_at)
        timestamp = int(self.clock().timestamp())
        headers = {
            "content-type": delivery.content_type,
            "webhook-id": id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(
                destination.signing_key, id=id, timestamp=timestamp, body=body
            ),
            "idempotency-key": id,
            "relay-hop": str(delivery.hop + 1),
        }
        return body, headers | ({"relay-poss-resend": "Y"} if delivery.possible_resend else {})

    def _report(
        self, destination: Destination, delivery: Delivery, answer: Answer, step: object
    ) -> None:
        if answer.outcome is not Outcome.WITHHELD:
            self.metrics.attempts.labels(answer.outcome).inc()
            self.metrics.attempt_seconds.observe(answer.duration.total_seconds())
        if isinstance(step, Ended) or answer.outcome is Outcome.DELIVERED:
            state = step.state if isinstance(step, Ended) else "delivered"
            self.metrics.deliveries.labels(state).inc()
        log.log(
            logging.WARNING if isinstance(step, Ended) else logging.INFO,
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


async def _close_after(outlet: Outlet) -> None:
    """Close a client nobody sends by any more, when the last request on it has ended."""
    if outlet.sending:
        await asyncio.wait(outlet.sending)
    await outlet.client.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """Records ended attempts in batches: what ended while the last batch was being written."""

    database: Database
    wake: Callable[[], None]
    wake_forwarder: Callable[[], None]
    _ended: list[Settlement] = field(default_factory=list[Settlement], init=False)

    def put(self, settlement: Settlement) -> None:
        self._ended.append(settlement)
        self.wake()

    async def step(self) -> timedelta | None:
        """Settle one batch. When that fails it is kept, and tried again before newer ones."""
        if not self._ended:
            return None
        batch = self._ended[:128]
        async with self.database.write() as connection:
            for settlement in batch:
                if (
                    settlement.answer.retry_after
                    and settlement.answer.outcome is Outcome.NOT_PROCESSED
                ):
                    wait = settlement.answer.retry_after
                    await lanes.hold_back(connection, settlement.delivery.destination_id, wait)
            kept = await settlements.settle(connection, batch)
        del self._ended[: len(batch)]
        for settlement in batch:
            if settlement.delivery.id not in kept:
                log.warning(
                    "delivery.lease_lost", extra={"signal_id": str(settlement.delivery.signal_id)}
                )
        self.wake_forwarder()
        return AGAIN

    async def flush(self) -> None:
        """Settle what is left. When the database is gone, leases run out and are taken again."""
        try:
            while self._ended:
                await self.step()
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("delivery.unsettled", extra={"deliveries": len(self._ended)})
