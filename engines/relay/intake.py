"""The intake: alerts waiting at the same moment share one commit, and none is told before it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import TypeAlias
from uuid import UUID

from database import journal
from database.dedicated import Dedicated
from database.journal import Entry, Receipt
from database.pool import UnavailableError, is_unavailable
from domain.gate import Reason
from domain.signal import SignalId, SignalStatus
from engines.failpoints import Point, Reach, passes
from engines.metrics import Metrics
from engines.relay.early_verdicts import EarlyVerdicts
from engines.worker import AGAIN

log = logging.getLogger(__name__)

PRESSED = 32
"""Alerts at once that mean a flood: some ten thousand a second."""

LASTING = 0.025
"""Seconds after a large commit in which its senders, answered now, may send their next."""

LATE = "the database did not answer in time"

NOBODY = SignalId(UUID(int=0))
"""Asks on behalf of repeats that never became an entry of their own."""

Waiting: TypeAlias = "asyncio.Future[Receipt]"


@dataclass(slots=True)
class _Asked:
    """One alert in a commit, and everybody who sent those very bytes meanwhile.

    ``until`` is when all are told that it was not stored; ``waiting`` is who, and since when.
    """

    entry: Entry
    until: float
    waiting: list[tuple[Waiting, float]]


@dataclass(slots=True)
class _Room:
    """Alerts that wait for their commit, and those whose commit is under way.

    ``alarm`` rings when the time of some is over: one clock for all of them.
    """

    waiting: dict[bytes, _Asked] = field(default_factory=dict[bytes, _Asked])
    taken: list[_Asked] = field(default_factory=list[_Asked])
    alarm: asyncio.TimerHandle | None = None
    flood_until: float = 0.0
    loop: asyncio.AbstractEventLoop | None = None
    """Asked for once: Python asks the system for its process number each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """``put`` may be called by any number of requests; ``step`` commits what they left.

    A batch is whatever arrived while the last one was being written: nothing waits to fill it. Who
    goes away does not take an alert back: the commit runs on without him. But what was refused for
    want of time is not begun later: its life would count anew.
    """

    database: Dedicated
    metrics: Metrics
    wake: Callable[[], None]
    wake_gatekeeper: Callable[[], None]
    batch: int = 256
    most_waiting: int = 4_096
    budget: timedelta = timedelta(seconds=2)
    reach: Reach = passes
    early: EarlyVerdicts = field(default_factory=EarlyVerdicts)
    _room: _Room = field(default_factory=_Room, init=False)

    def put(self, entry: Entry, receipt: Waiting) -> None:
        """Have ``receipt`` set once the alert is on disk, or to UnavailableError.

        Raises UnavailableError where too many wait already.
        """
        room = self._room
        if len(room.waiting) >= self.most_waiting:
            raise UnavailableError("too many alerts are waiting for the database")
        loop = room.loop = room.loop or asyncio.get_running_loop()
        began = loop.time()
        asked = room.waiting.get(entry.key)
        if asked is not None:
            asked.waiting.append((receipt, began))
            return
        asked = _Asked(entry, began + self.budget.total_seconds(), [(receipt, began)])
        room.waiting[entry.key] = asked
        if len(room.waiting) == 1:
            self.wake()
        if room.alarm is None:
            room.alarm = loop.call_at(asked.until, self._refuse_late)

    @property
    def is_pressed(self) -> bool:
        """Whether more alerts wait, or were written together just now, than come one by one."""
        room = self._room
        many = len(room.waiting) + len(room.taken) >= PRESSED
        return many or (room.loop is not None and room.loop.time() < room.flood_until)

    def _refuse_late(self) -> None:
        """Tell those whose time is over, and have the alarm ring for the next of the others."""
        room, loop = self._room, asyncio.get_running_loop()
        now = loop.time()
        late = [asked for asked in (*room.taken, *room.waiting.values()) if asked.until <= now]
        for asked in late:
            _fail(asked, LATE)
            if room.waiting.get(asked.entry.key) is asked:
                del room.waiting[asked.entry.key]  # who sends it again waits anew
        left = [asked.until for asked in (*room.taken, *room.waiting.values()) if asked.until > now]
        room.alarm = loop.call_at(min(left), self._refuse_late) if left else None

    async def step(self) -> timedelta | None:
        """Commit one batch of waiting alerts."""
        room = self._room
        if not room.waiting:
            return None
        room.taken = self._take()
        try:
            if room.taken:
                await self._commit(room.taken)
        finally:
            room.taken = []
        return AGAIN

    def _take(self) -> list[_Asked]:
        """The next batch. Whose time is over is told so here, if the alarm has not yet."""
        room, now = self._room, asyncio.get_running_loop().time()
        found = [room.waiting.pop(key) for key in [*islice(room.waiting, self.batch)]]
        for asked in found:
            if asked.until <= now:
                _fail(asked, LATE)
        return [asked for asked in found if asked.until > now]

    async def _commit(self, taken: Sequence[_Asked]) -> None:
        try:
            receipts = await self._append([asked.entry for asked in taken])
            await self._record_repeats(taken)
        except BaseException as error:
            for asked in taken:
                _fail(asked, type(error).__name__)
            raise
        self.metrics.commit_size.observe(len(taken))
        if len(taken) >= PRESSED:
            self._room.flood_until = asyncio.get_running_loop().time() + LASTING
        now = asyncio.get_running_loop().time()
        for asked, receipt in zip(taken, receipts, strict=True):
            _answer(asked, receipt)
            for _, began in asked.waiting:
                self.metrics.accept_seconds.observe(now - began)
        self._pass_on(receipts)

    def _pass_on(self, receipts: Sequence[Receipt | None]) -> None:
        """To the gate what is left to it; what has its verdict already is counted here."""
        new = [one.status for one in receipts if one is not None and not one.duplicate]
        if early := new.count(SignalStatus.REJECTED):
            self.metrics.verdicts.labels(SignalStatus.REJECTED, Reason.NOT_IN_LIST).inc(early)
        if SignalStatus.RECEIVED in new:
            self.wake_gatekeeper()

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
        receipts = await journal.append(self.database, entries, self.early.of(entries))
        self.reach(Point.INTAKE_AFTER_COMMIT)
        return receipts

    async def _record_repeats(self, taken: Sequence[_Asked]) -> None:
        repeats = [asked.entry.key for asked in taken for _ in asked.waiting[1:]]
        if repeats:
            await journal.fold(self.database, [(NOBODY, key) for key in repeats])


def _answer(asked: _Asked, receipt: Receipt | None) -> None:
    """The first asker made the signal; the others sent its repeats in the same instant."""
    for place, (waiting, _) in enumerate(asked.waiting):
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


def _fail(asked: _Asked, why: str) -> None:
    for waiting, _ in asked.waiting:
        if not waiting.done():
            waiting.set_exception(UnavailableError(why))
