"""The gatekeeper: claims undecided signals in order, has them judged, records the verdicts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from database import destinations, universes, verdicts
from database.pool import Connection, Database
from database.universes import Current
from database.verdicts import Claimed
from domain.gate import GatePolicy, Judged, SellPolicy, judge_in_order, list_max_age
from domain.ticker import Ticker
from engines.failpoints import Point, Reach, passes
from engines.metrics import Metrics
from engines.worker import AGAIN

RECONSIDER = timedelta(seconds=1)
"""How often it is seen whether a buy that waits has its ticker in the list, or waited enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatekeeper:
    """One batch is one transaction: a crash leaves its signals undecided, never half decided.

    Any number of gatekeepers, here and in replicas, share the work ticker by ticker.
    """

    database: Database
    metrics: Metrics
    current: "CurrentList"
    sell_policy: SellPolicy
    list_max_age: timedelta | None
    wake_forwarder: Callable[[], None]
    wake_another: Callable[[], None]
    batch: int = 128
    poll: timedelta | None = timedelta(seconds=1)
    reach: Reach = passes

    async def step(self) -> timedelta | None:
        """Decide one batch."""
        async with self.database.write() as connection:
            judged = await self._decide(connection)
            if judged is not None:
                self.reach(Point.GATEKEEPER_BEFORE_COMMIT)
        if judged is None:
            return self.poll
        self.reach(Point.GATEKEEPER_AFTER_COMMIT)
        self._count(judged)
        if len(judged.verdicts) >= self.batch:
            self.wake_another()
        self.wake_forwarder()
        return AGAIN

    async def _decide(self, connection: Connection) -> Judged | None:
        claimed = await verdicts.claim(connection, limit=self.batch)
        if claimed is None:
            return None
        return await self._judge(connection, claimed, await self.current.look(connection))

    async def reconsider(self) -> timedelta | None:
        """Decide a batch of the buys that wait (hold-and-see); the step of a worker of its own."""
        async with self.database.write() as connection:
            current = await self.current.look(connection)
            members = _members(current)
            claimed = await verdicts.claim_waiting(connection, members, limit=self.batch)
            judged = claimed and await self._judge(connection, claimed, current)
        if judged is None:
            return RECONSIDER
        self._count(judged)
        if judged.verdicts:
            self.wake_forwarder()
        return AGAIN if len(judged.verdicts) >= self.batch else RECONSIDER

    async def _judge(self, connection: Connection, claimed: Claimed, current: Current) -> Judged:
        self.reach(Point.GATEKEEPER_CLAIMED)
        judged = judge_in_order(
            claimed.signals,
            universe=current.universe,
            positions=claimed.positions,
            policy=await self._policy(connection, current),
            now=claimed.now,
        )
        await verdicts.record(connection, judged)
        return judged

    async def _policy(self, connection: Connection, current: Current) -> GatePolicy:
        return GatePolicy(
            top_n=current.screen.top_n,
            margin=current.screen.margin,
            wait=current.screen.wait,
            list_max_age=list_max_age(current.screen.refresh, self.list_max_age),
            sell_policy=self.sell_policy,
            has_destination=await destinations.any_enabled(connection),
        )

    def _count(self, judged: Judged) -> None:
        for _, verdict in judged.verdicts:
            self.metrics.verdicts.labels(verdict.status, verdict.reason or "").inc()


def _members(current: Current) -> list[Ticker]:
    screen, universe = current.screen, current.universe
    return universe.members(screen.top_n, screen.margin) if universe else []


class CurrentList:
    """The list in force, read again only when its version moved: a list is large, a look is not."""

    def __init__(self) -> None:
        self._seen: Current | None = None

    async def look(self, connection: Connection) -> Current:
        """The active screen and its current universe, as this transaction sees them."""
        mark = await universes.mark(connection)
        seen = self._seen
        if seen is None or seen.key != mark.key:
            seen = self._seen = await universes.current(connection)
        elif seen.universe and seen.universe.confirmed_at != mark.confirmed_at:
            universe = replace(seen.universe, confirmed_at=mark.confirmed_at)
            seen = self._seen = replace(seen, universe=universe)
        return seen
