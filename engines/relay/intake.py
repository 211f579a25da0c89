"""The intake: alerts waiting at the same moment share one commit, and none is told before it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

from database import journal
from database.journal import Entry, Receipt
from database.pool import Database, UnavailableError, is_unavailable
from domain.signal import SignalId
from engines.failpoints import Point, Reach, passes
from engines.metrics import Metrics
from engines.worker import AGAIN

log = logging.getLogger(__name__)

NOBODY = SignalId(UUID(int=0))
"""Asks on behalf of repeats that never became an entry of their own."""

Waiting: TypeAlias = "asyncio.Future[Receipt]"


@dataclass(slots=True)
class _Asked:
    """One alert in a commit, and everybody who sent those very bytes meanwhile.

    ``until`` is when the last of them is told that it was not stored.
    """

    entry: Entry
    waiting: list[Waiting]
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """``accept`` may be called by any number of requests; ``step`` commits what they left.

    A batch is whatever arrived while the last one was being written: nothing waits to fill it.
    """

    database: Database
    metrics: Metrics
    wake: Callable[[], None]
    wake_gatekeeper: Callable[[], None]
    batch: int = 256
    most_waiting: int = 4_096
    budget: timedelta = timedelta(seconds=2)
    reach: Reach = passes
    _asked: dict[bytes, _Asked] = field(default_factory=dict[bytes, _Asked], init=False)

    async def accept(self, entry: Entry) -> Receipt:
        """Return once the alert is on disk. Raises UnavailableError when that takes too long.

        A caller that goes away does not take its alert back: the commit runs on without it. But
        what was refused for want of time is not begun later: its life would count anew.
        """
        if len(self._asked) >= self.most_waiting:
            raise UnavailableError("too many alerts are waiting for the database")
        loop = asyncio.get_running_loop()
        receipt: Waiting = loop.create_future()
        asked = self._asked.setdefault(entry.key, _Asked(entry, [], 0))
        asked.waiting.append(receipt)
        asked.until = loop.time() + self.budget.total_seconds()
        self.wake()
        try:
            async with asyncio.timeout(self.budget.total_seconds()):
                return await receipt
        except TimeoutError:
            raise UnavailableError("the database did not answer in time") from None

    async def step(self) -> timedelta | None:
        """Commit one batch of waiting alerts."""
        keys = list(self._asked)[: self.batch]
        if not keys:
            return None
        now = asyncio.get_running_loop().time()
        taken = [asked for key in keys if (asked := self._asked.pop(key)).until > now]
        if not taken:
            return AGAIN
        try:
            receipts = await self._append([asked.entry for asked in taken])
            await self._record_repeats(taken)
        except BaseException as error:
            _fail(taken, error)
            raise
        self.metrics.commit_size.observe(len(taken))
        for asked, receipt in zip(taken, receipts, strict=True):
            _answer(asked, receipt)
        self.wake_gatekeeper()
        return AGAIN

    async def _append(self, entries: Sequence[Entry]) -> list[Receipt | None]:
        """Append, and once more on a fresh connection when the first was lost.

        Ids are chosen before, so a commit that went through unnoticed is found, not repeated.
        """
        try:
            return await self._append_once(entries)
        except Exception as error:
            if not is_unavailable(error) or isinstance(error, TimeoutError):
                raise
            log.info("intake.retrying", extra={"error": type(error).__name__})
            return await self._append_once(entries)

    async def _append_once(self, entries: Sequence[Entry]) -> list[Receipt | None]:
        self.reach(Point.INTAKE_BEFORE_COMMIT)
        async with self.database.autocommit() as connection:
            receipts = await journal.append(connection, entries)
        self.reach(Point.INTAKE_AFTER_COMMIT)
        return receipts

    async def _record_repeats(self, taken: Sequence[_Asked]) -> None:
        repeats = [asked.entry.key for asked in taken for _ in asked.waiting[1:]]
        if repeats:
            async with self.database.autocommit() as connection:
                await journal.fold(connection, [(NOBODY, key) for key in repeats])


def _answer(asked: _Asked, receipt: Receipt | None) -> None:
    """The first asker made the signal; the others sent its repeats in the same instant."""
    for place, waiting in enumerate(asked.waiting):
        if waiting.done():
            continue
        if receipt is None:
            waiting.set_exception(UnavailableError("the original of a repeat is gone"))
        elif place == 0:
            waiting.set_result(receipt)
        else:
            waiting.set_result(
                Receipt(id=receipt.id, status=receipt.status, ticker=receipt.ticker, duplicate=True)
            )


def _fail(taken: Sequence[_Asked], error: BaseException) -> None:
    for asked in taken:
        for waiting in asked.waiting:
            if not waiting.done():
                waiting.set_exception(UnavailableError(type(error).__name__))
