"""An outlet: one destination at work, with a client for each version that still has deliveries.

So many requests at once as it is wide. Where nothing but its answers limits it, some more are
leased: a transaction for each five requests would cost more than these. They wait for a line, each
sell before all buys, and are given back where a request before them failed.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from domain.delivery import Answer, DeliveryId, DestinationId, Guarantee, Outcome
from domain.destination import Destination
from domain.rate import Room
from domain.signal import Side


class Client(Protocol):
    """What sends for one destination: `engines.destinations.client.DestinationClient`."""

    async def post(
        self, body: bytes, headers: dict[str, str], leaves: Callable[[], bool]
    ) -> Answer: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Line:
    """A version of a destination, its client, and the deliveries on the wire to it."""

    destination: Destination
    client: Client
    sending: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def track(self, task: asyncio.Task[None]) -> None:
        self.sending.add(task)
        task.add_done_callback(self.sending.discard)

    async def close(self) -> None:
        """Close the client when the last request on it has ended."""
        if self.sending:
            await asyncio.wait(self.sending)
        await self.client.close()


AHEAD = timedelta(milliseconds=50)
MOST_AHEAD = 64
"""How much is leased before a line is free for it: what the lines send in this time, at most."""


@dataclass(slots=True)
class Outlet:
    """One destination: its present version, and a line for every version in use.

    ``pace`` is how long a request took lately; None before the first one that arrived, and after
    one that did not. ``unopened`` are deliveries that the keys here did not open.
    """

    destination: Destination
    width: int
    lines: dict[int, Line] = field(default_factory=dict[int, Line])
    pace: timedelta | None = None
    unopened: set[DeliveryId] = field(default_factory=set[DeliveryId])
    _busy: int = 0
    _waiting: dict[Side, deque[asyncio.Future[None]]] = field(
        default_factory=lambda: {Side.SELL: deque(), Side.BUY: deque()}
    )

    @property
    def sending(self) -> set[asyncio.Task[None]]:
        return {task for line in self.lines.values() for task in line.sending}

    def free(self, unrecorded: Callable[[DestinationId], int]) -> Room:
        """How many may be leased now. A sell may be for each buy that waits: it goes before it.

        Where nothing is leased ahead, how many ended and are ``unrecorded`` is asked for, and takes
        room as well: killed now, we would repeat them, or leave them to the operator.
        """
        waiting = len(self._waiting[Side.BUY])
        ours = sum(len(line.sending) for line in self.lines.values())
        if self._is_careful:
            ours += unrecorded(self.destination.id)
        room = max(0, self.width + self._ahead() - ours)
        sells = max(0, min(waiting, self.width) - len(self._waiting[Side.SELL]))
        return Room(total=max(room, sells), buys=room)

    @property
    def _is_careful(self) -> bool:
        """Whether a window is counted, or a lost lease would wait for the operator."""
        at_most_once = self.destination.guarantee is Guarantee.AT_MOST_ONCE
        return bool(self.destination.windows) or at_most_once

    def _ahead(self) -> int:
        if not self.pace or self._is_careful:
            return 0
        return min(MOST_AHEAD, int(self.width * AHEAD / self.pace))

    @asynccontextmanager
    async def turn(self, side: Side) -> AsyncGenerator[bool]:
        """Wait for a line, sells first; tell whether one was free at once."""
        at_once = self._busy < self.width
        if at_once:
            self._busy += 1
        else:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting[side].append(waiting)
            await waiting
        try:
            yield at_once
        finally:
            self._next()

    def _next(self) -> None:
        for waiting in self._waiting.values():
            while waiting and self._busy <= self.width:
                one = waiting.popleft()
                if not one.done():
                    one.set_result(None)
                    return
        self._busy -= 1

    def went(self, answer: Answer) -> None:
        """Learn from an answer; a slower one counts at once."""
        if answer.outcome is not Outcome.DELIVERED:
            self.pace = None
        else:
            took = answer.duration
            self.pace = max(took, (9 * (self.pace or took) + took) / 10)

    def idle(self) -> list[Line]:
        """Take away the lines of older versions on which nothing is on the wire."""
        done = [
            number
            for number, line in self.lines.items()
            if number != self.destination.version and not line.sending
        ]
        return [self.lines.pop(number) for number in done]
