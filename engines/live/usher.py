"""The usher: shows out whoever holds a socket open and may not any more."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta

from domain.feed import Holder
from engines.live.hub import Hub

LEAST, EVERY = 0.25, timedelta(seconds=3)
"""Seconds between two looks at least; how late a session is missed that ended without an event."""


@dataclass(slots=True, kw_only=True)
class Usher:
    """Asks for everybody at once. Woken by the events that end sessions, in whatever replica."""

    hub: Hub
    ended: Callable[[Collection[Holder]], Awaitable[set[Holder]]]
    _after: float = field(default=0.0, init=False)

    async def step(self) -> timedelta | None:
        if not self.hub:
            return None
        loop = asyncio.get_running_loop()
        if (early := self._after - loop.time()) > 0:
            return timedelta(seconds=early)
        self._after = loop.time() + LEAST
        self.hub.show_out(await self.ended(self.hub.holders), "the session or token has ended")
        return EVERY
