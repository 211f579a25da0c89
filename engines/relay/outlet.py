"""An outlet: one destination at work, with a client for each version that still has deliveries."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from domain.delivery import Answer
from domain.destination import Destination


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


@dataclass(slots=True)
class Outlet:
    """``destination`` is the current version; older ones have lines while they have deliveries."""

    destination: Destination
    lines: dict[int, Line] = field(default_factory=dict[int, Line])

    @property
    def sending(self) -> set[asyncio.Task[None]]:
        return {task for line in self.lines.values() for task in line.sending}

    def idle(self) -> list[Line]:
        """Take away the lines of older versions on which nothing is on the wire."""
        done = [
            number
            for number, line in self.lines.items()
            if number != self.destination.version and not line.sending
        ]
        return [self.lines.pop(number) for number in done]
