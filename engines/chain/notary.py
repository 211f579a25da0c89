"""The notary: binds what is told to all that was told before, and logs each day's head."""

import logging
from dataclasses import dataclass, field
from datetime import timedelta

from database import chain
from database.chain import ClosedDay, Linked, Look
from database.pool import Connection, Database
from engines.worker import AGAIN

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=10)


@dataclass(slots=True)
class _Memory:
    """The look that waits for the transactions of its moment to be over."""

    look: Look | None = None
    has_told_head: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Notary:
    """One of all replicas at a time. Ids are taken before they are seen, and some never are.

    So a look notes the highest id and a transaction's number; once every transaction before that
    number is over, nothing up to that id can appear any more, and it is linked.
    """

    database: Database
    limit: int = chain.A_LINK
    _memory: _Memory = field(default_factory=_Memory, init=False)

    async def step(self) -> timedelta | None:
        """Make one link, if there is anything to bind; again at once where there is more."""
        waited, self._memory.look = self._memory.look, None  # a failure may mean another server
        if await self._is_bound():
            await self._tell_head()
            return EVERY
        async with self.database.write() as connection:
            if not await chain.hold(connection):
                return EVERY
            now = await chain.look(connection)
            due = waited if waited and _is_over(waited, now) else None
            linked = await self._link(connection, due, now)
            closed = await _closed(connection, linked) if linked else None
        if closed:
            _tell("chain.day_closed", closed)
        await self._tell_head()
        more = due is not None and linked is not None and linked.last_id < (due.highest or 0)
        self._memory.look = due if more else _next(waited, due, now)
        return AGAIN if more else EVERY

    async def _is_bound(self) -> bool:
        async with self.database.autocommit() as connection:
            return await chain.is_bound(connection)

    async def _link(self, connection: Connection, due: Look | None, now: Look) -> Linked | None:
        if due is None or due.highest is None:
            return None
        if now.last_id is not None and now.last_id >= due.highest:
            return None
        return await chain.link(connection, due.highest, self.limit)

    async def _tell_head(self) -> None:
        """Once a start, so that the log has an anchor however seldom a day is closed."""
        if self._memory.has_told_head:
            return
        async with self.database.read() as connection:
            head = await chain.head(connection)
        self._memory.has_told_head = True
        if head:
            number, day, hash = head
            log.info("chain.head", extra={"day": str(day), "link": number, "hash": hash.hex()})


def _is_over(waited: Look, now: Look) -> bool:
    """Whether every transaction before that look has ended; not where the numbers begin anew."""
    return waited.bound <= now.oldest and waited.bound < now.bound


def _next(waited: Look | None, due: Look | None, now: Look) -> Look:
    """Go on waiting with a look that is not over yet, else it would never be; or look anew."""
    still = waited is not None and due is None and waited.bound < now.bound
    return waited if still and waited else now


async def _closed(connection: Connection, linked: Linked) -> ClosedDay | None:
    """The day before, where this link is the first of its own."""
    if linked.day_before is None or linked.day_before == linked.day:
        return None
    return await chain.day(connection, linked.day_before)


def _tell(event: str, one: ClosedDay) -> None:
    log.info(
        event,
        extra={
            "day": str(one.day),
            "events": one.events,
            "links": one.links,
            "link": one.number,
            "hash": one.hash.hex(),
        },
    )
