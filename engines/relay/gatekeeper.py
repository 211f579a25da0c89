"""The gatekeeper: claims undecided signals in order, has them judged, records the verdicts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from database import verdicts
from database.pool import Connection, Database
from database.universes import Current
from domain.gate import Judged
from domain.signal import SignalStatus
from domain.ticker import Ticker
from engines.failpoints import Point, Reach, passes
from engines.metrics import Metrics
from engines.relay.judge import Judge
from engines.relay.precedence import GLANCE, Precedence
from engines.worker import AGAIN, SELDOM

RECONSIDER = SELDOM
"""How often it is seen by itself whether a buy that waits has its ticker in the list, or waited
enough; the pulse tells each second while some wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatekeeper:
    """One batch is one transaction: a crash leaves its signals undecided, never half decided.

    Any number of gatekeepers, here and in replicas, share the work ticker by ticker.
    """

    database: Database
    metrics: Metrics
    judge: Judge
    wake_forwarder: Callable[[], None]
    wake_another: Callable[[], None]
    batch: int = 128
    poll: timedelta | None = timedelta(seconds=1)
    reach: Reach = passes
    precedence: Precedence = field(default_factory=Precedence)

    async def step(self) -> timedelta | None:
        """Decide one batch, after a pause."""
        if pause := self.precedence.pause():
            return min(pause, GLANCE)
        with self.precedence.turn():
            return await self._step()

    async def _step(self) -> timedelta | None:
        async with self.database.write() as connection:
            judged = await self._decide(connection)
            if judged is not None:
                self.reach(Point.GATEKEEPER_BEFORE_COMMIT)
        if judged is None:
            return self.poll
        self.reach(Point.GATEKEEPER_AFTER_COMMIT)
        self._count(judged)
        full = len(judged.verdicts) >= self.batch
        self.precedence.judged(len(judged.verdicts), full=full)
        self._ring(judged)
        return AGAIN

    async def _decide(self, connection: Connection) -> Judged | None:
        claimed = await verdicts.claim(connection, limit=self.batch)
        if claimed is None:
            return None
        if len(claimed.signals) >= self.batch:
            self.wake_another()  # what is left need not wait until these are recorded
        return await self.judge.judge(connection, claimed, await self.judge.look(connection))

    async def reconsider(self) -> timedelta | None:
        """Decide a batch of the buys that wait (hold-and-see); the step of a worker of its own."""
        async with self.database.write() as connection:
            current = await self.judge.look(connection)
            members = _members(current)
            claimed = await verdicts.claim_waiting(connection, members, limit=self.batch)
            judged = claimed and await self.judge.judge(connection, claimed, current)
        if judged is None:
            return RECONSIDER
        self._count(judged)
        self._ring(judged)
        return AGAIN if len(judged.verdicts) >= self.batch else RECONSIDER

    def _ring(self, judged: Judged) -> None:
        """Most alerts are turned away, and leave the forwarder nothing to look for."""
        if any(verdict.status is SignalStatus.APPROVED for _, verdict in judged.verdicts):
            self.wake_forwarder()

    def _count(self, judged: Judged) -> None:
        for _, verdict in judged.verdicts:
            self.metrics.verdicts.labels(verdict.status, verdict.reason or "").inc()


def _members(current: Current) -> list[Ticker]:
    screen, universe = current.screen, current.universe
    return universe.members(screen.top_n, screen.margin) if universe else []
