"""The sweeper: ends what is overdue, forgets what is too old, and knows how much waits."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from database import endings, gate, journal, sells, statistics, universes
from database.pool import Connection, Database
from database.statistics import Backlog
from domain.delivery import DeliveryState
from engines.clock import Clock
from engines.failpoints import Point, Reach, passes
from engines.metrics import Metrics
from engines.worker import AGAIN

EVERY = timedelta(seconds=10)
"""Where nothing waits; while something does, the pulse rings every second."""

KEYS_EVERY = timedelta(minutes=1)
OVER_EVERY = timedelta(seconds=5)
BATCH = 500


@dataclass(slots=True)
class _Memory:
    backlog: int = 0
    keys_at: datetime | None = None
    over_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeper:
    """What nobody waits for, but must happen."""

    database: Database
    metrics: Metrics
    clock: Clock
    reach: Reach = passes
    _memory: _Memory = field(default_factory=_Memory, init=False)

    @property
    def backlog(self) -> int:
        """Signals undecided plus deliveries unfinished, at most a second ago."""
        return self._memory.backlog

    async def step(self) -> timedelta | None:
        """One round; again at once while there is more to end."""
        async with self.database.write() as connection:
            ended = await endings.expire(connection, limit=BATCH)
            await self._end_what_is_over(connection)
            waiting = await statistics.backlog(connection)
            age = await universes.age(connection)
            self.reach(Point.SWEEPER_BEFORE_COMMIT)
        self.reach(Point.SWEEPER_AFTER_COMMIT)
        self._memory.backlog = waiting.undecided + waiting.unfinished
        self._measure(ended, waiting, age)
        if await self._forget_keys() or ended.total() >= BATCH:
            return AGAIN
        return EVERY

    async def _end_what_is_over(self, connection: Connection) -> None:
        """A pause and drafts whose time is over: nobody obeys them any more, only the rows stay."""
        now, last = self.clock(), self._memory.over_at
        if last is None or now - last >= OVER_EVERY:
            await gate.clear_over(connection)
            await sells.forget_expired(connection)
            self._memory.over_at = now

    def _measure(
        self, ended: Counter[DeliveryState], waiting: Backlog, age: timedelta | None
    ) -> None:
        for state, count in ended.items():
            self.metrics.deliveries.labels(state).inc(count)
        if dead := ended[DeliveryState.DEAD]:
            self.metrics.dead.labels("overdue").inc(dead)
        self.metrics.undecided.set(waiting.undecided)
        self.metrics.undelivered.set(waiting.unfinished)
        self.metrics.list_age.set(-1 if age is None else age.total_seconds())

    async def _forget_keys(self) -> int:
        now, last = self.clock(), self._memory.keys_at
        if last is not None and now - last < KEYS_EVERY:
            return 0
        async with self.database.autocommit() as connection:
            forgotten = await journal.forget_keys(connection)
        if not forgotten:
            self._memory.keys_at = now
        return forgotten
