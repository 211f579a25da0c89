"""The announcer: reads what is new once for all clients, and tells other replicas to look."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from database import feed
from database.feed import Passage
from database.pool import Database, ReadConnection
from domain.feed import Cursor, Facts, Frame, Why, cursor_of, hello, reread, told
from engines.live.hub import Client, Hub
from engines.metrics import Metrics
from engines.worker import AGAIN

LEAST, POLL = 0.05, timedelta(seconds=1)
"""Seconds between two reads at least; how late is seen what no bell told of."""

LEAST_UNHEARD = 0.25
"""Seconds between two rings for others, where nobody here follows."""

MOST_PASTS = 32
"""Different cursors that are looked at in one step; whoever comes beyond waits for the next."""

ENDINGS = ("session.", "token.")
"""Events after which somebody may have to be shown out."""


@dataclass(slots=True, kw_only=True)
class Announcer:
    """While nobody is connected it reads nothing; a ring for others is all it does."""

    database: Database
    hub: Hub
    metrics: Metrics
    version: str
    name: str
    wake: Callable[[], None]
    wake_usher: Callable[[], None]
    _written: bool = field(default=False, init=False)
    _after: float = field(default=0.0, init=False)

    def written(self) -> None:
        """This replica committed what may be events; more commits say no more than the first."""
        if not self._written:
            self._written = True
            self.wake()

    async def step(self) -> timedelta | None:
        loop = asyncio.get_running_loop()
        if (early := self._after - loop.time()) > 0:
            return timedelta(seconds=early)
        followed = len(self.hub) > 0
        self._after = loop.time() + (LEAST if followed else LEAST_UNHEARD)
        written, self._written = self._written, False
        if followed:
            await self._read()
        if written:
            async with self.database.autocommit() as connection:
                await feed.ring(connection, self.name)
        if self.hub.arriving():
            return AGAIN
        return POLL if followed else None

    async def _read(self) -> None:
        """Tell those who follow; then greet who has come, from the same snapshot on."""
        arriving = self.hub.arriving()
        if not arriving:
            async with self.database.autocommit() as connection:
                await self._tell(connection)
            return
        async with self.database.read() as connection:
            cursor = await self._tell(connection)
            pasts = await _pasts(connection, arriving)
        for client in arriving:
            self._greet(client, cursor, pasts)

    async def _tell(self, connection: ReadConnection) -> Cursor:
        """Return how far everybody is now."""
        if self.hub.cursor is None:
            self.hub.tell(cursor := await feed.now(connection), None)
            return cursor
        passage = await feed.since(connection, self.hub.cursor)
        if passage.events is None or _ends_something(passage.events):
            self.wake_usher()
        self.hub.tell(passage.cursor, self._frame(passage))
        return passage.cursor

    def _frame(self, passage: Passage) -> Frame | None:
        if passage.events is None:
            return self._reread(passage.cursor, Why.CURSOR if passage.ahead else Why.MANY)
        if not passage.events:
            return None
        return told(passage.cursor, passage.events) or self._reread(passage.cursor, Why.MANY)

    def _greet(self, client: Client, cursor: Cursor, pasts: dict[str, Passage | None]) -> None:
        """Whoever can go on where it was, does: it is greeted with its own cursor."""
        if client.since is None:
            self.hub.greet(client, hello(cursor, self.version))
            return
        if client.since not in pasts:
            return
        past, come_to = pasts[client.since], cursor_of(client.since)
        if past is None or past.events is None or come_to is None:
            why = Why.BEHIND if past and not past.ahead else Why.CURSOR
            self.hub.greet(client, hello(cursor, self.version), self._reread(cursor, why))
            return
        frame = self._frame(past)
        self.hub.greet(client, hello(come_to, self.version), *([frame] if frame else []))

    def _reread(self, cursor: Cursor, why: Why) -> Frame:
        self.metrics.live_rereads.labels(why).inc()
        return reread(cursor, why)


async def _pasts(
    connection: ReadConnection, arriving: Sequence[Client]
) -> dict[str, Passage | None]:
    """What happened since the cursors of those who come; None for what is no cursor."""
    wanted = list(dict.fromkeys(client.since for client in arriving if client.since is not None))
    return {text: await _past(connection, text) for text in wanted[:MOST_PASTS]}


async def _past(connection: ReadConnection, text: str) -> Passage | None:
    cursor = cursor_of(text)
    return None if cursor is None else await feed.since(connection, cursor)


def _ends_something(events: Sequence[Facts]) -> bool:
    return any(event["event"].startswith(ENDINGS) for event in events)
