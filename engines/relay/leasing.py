"""Leasing: what may leave now for one destination, under its breaker, its wish and its windows."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from database import lanes
from database.lanes import Hold
from database.pool import Connection
from database.vault import Vault
from domain.breaker import BreakerPolicy, Permit, permit
from domain.delivery import LAST_CHANCE, SELLS_WAIT, Delivery, DestinationId
from domain.destination import Destination
from domain.rate import Room, is_full, room
from engines.worker import SELDOM

LEASE = timedelta(seconds=15)
POLL = timedelta(seconds=1)
SHORTEST_REST = timedelta(milliseconds=20)
NO_ROOM = Room(total=0, buys=0)


@dataclass(frozen=True, slots=True)
class Leased:
    """What may leave now, the event loop's time when it was asked for, and the rest after it."""

    deliveries: list[Delivery]
    began: float
    rest: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Leasing:
    """Asks with the destination's row held, so that all replicas together keep to one answer."""

    vault: Vault
    sell_share: float
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)

    async def lease(
        self, connection: Connection, destination: Destination, hold: Hold, free: Room
    ) -> Leased:
        """Lease at most ``free``. Whoever is to wait is not leased: waiting is no attempt."""
        loop = asyncio.get_running_loop()
        open_to, rest = await self._permitted(connection, destination, hold, free)
        available, frees_in = await self._room(connection, destination, open_to)
        # Before the query, so that what it and its commit take counts as time of the request.
        began = loop.time()
        deliveries: list[Delivery] = []
        if available.total:
            deliveries = await self._taken(connection, destination.id, hold, available)
        if rest is None and len(deliveries) < free.buys:
            # What was leased leaves at once; when the next is due is asked a moment later.
            due = lanes.next_due
            rest = SHORTEST_REST if deliveries else await due(connection, destination.id)
        waits = [wait for wait in (rest, frees_in) if wait is not None]
        rest = max(min(waits, default=SELDOM), SHORTEST_REST)
        return Leased(deliveries, began, min(rest, SELDOM))

    async def _taken(
        self, connection: Connection, id: DestinationId, hold: Hold, room: Room
    ) -> list[Delivery]:
        """Asked to wait we send sells at the end of their lives, and one now and then besides."""

        async def take(room: Room, left: timedelta | None = None) -> list[Delivery]:
            return await lanes.lease(connection, self.vault, id, room, LEASE, left)

        if not hold.pause:
            return await take(room)
        last = await take(room, LAST_CHANCE)
        if last or await lanes.tried_lately(connection, id, SELLS_WAIT, LEASE):
            return last
        return await take(Room(total=1, buys=0))

    async def _permitted(
        self, connection: Connection, destination: Destination, hold: Hold, free: Room
    ) -> tuple[Room, timedelta | None]:
        """What breaker and wish let leave, and when to ask again where they hold back."""
        match permit(hold.breaker, hold.now, self.breaker):
            case Permit.ALL:
                allowed = free
            case Permit.NONE:
                return NO_ROOM, POLL
            case _ if await lanes.in_flight(
                connection, destination.id, LEASE - lanes.START_WITHIN - destination.timeout
            ):
                return NO_ROOM, POLL
            case probing:
                allowed = Room(total=1, buys=min(free.buys, int(probing is Permit.PROBE)))
        if hold.pause:
            return Room(total=allowed.total, buys=0), hold.pause
        return allowed, None

    async def _room(
        self, connection: Connection, destination: Destination, allowed: Room
    ) -> tuple[Room, timedelta | None]:
        """What may leave under the windows as well, and how long a full one keeps buys waiting."""
        windows, share = destination.windows, self.sell_share
        if not windows or not allowed.total:
            return allowed, None
        usage = await lanes.usage(connection, destination.id, windows)
        full = [
            frees_in
            for window, used, frees_in in zip(windows, usage.used, usage.frees_in, strict=True)
            if is_full(window, used, share=share)
        ]
        free = room(windows, usage.used, share=share, most=allowed.total)
        return Room(total=free.total, buys=min(free.buys, allowed.buys)), max(full, default=None)
