"""The settler: records ended attempts in batches, and what they say of their destinations."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from database import breakers, lanes, settlements
from database.breakers import Held
from database.pool import Connection, Database, is_unavailable
from database.settlements import Settlement
from domain.breaker import (
    Breaker,
    BreakerPolicy,
    BreakerState,
    Health,
    Probed,
    Tally,
    after,
    health_of,
)
from domain.delivery import DestinationId, Outcome, cause
from engines.clock import Dice
from engines.failpoints import Point, Reach, passes
from engines.worker import AGAIN

log = logging.getLogger(__name__)

BATCH = 128
BEHIND = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """A batch is what ended while the last one was being written."""

    database: Database
    wake: Callable[[], None]
    wake_forwarder: Callable[[], None]
    dice: Dice
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    reach: Reach = passes
    _ended: list[Settlement] = field(default_factory=list[Settlement], init=False)
    _since: list[float] = field(default_factory=list[float], init=False)

    def put(self, settlement: Settlement) -> None:
        self._ended.append(settlement)
        self._since.append(asyncio.get_running_loop().time())
        self.wake()

    def is_behind(self) -> bool:
        """Whether ended attempts have waited long to be recorded: a lease of theirs may run out."""
        now = asyncio.get_running_loop().time()
        return bool(self._since) and now - self._since[0] > BEHIND.total_seconds()

    def unrecorded(self, id: DestinationId) -> int:
        """How many attempts at a destination have ended and are not recorded yet."""
        return sum(settlement.delivery.destination_id == id for settlement in self._ended)

    async def step(self) -> timedelta | None:
        """Settle one batch. When that fails it is kept, and tried again before newer ones."""
        if not self._ended:
            return None
        batch = self._ended[:BATCH]
        self.reach(Point.SETTLER_BEFORE_SETTLE)
        async with self.database.write() as connection:
            held = await self._held(connection, batch)
            kept = await settlements.settle(connection, batch)
            for id, destination in held.items():
                mine = [s for s in kept if s.delivery.destination_id == id]
                await self._learn(connection, id, destination, mine)
            self.reach(Point.SETTLER_BEFORE_COMMIT)
        self.reach(Point.SETTLER_AFTER_COMMIT)
        del self._ended[: len(batch)]
        del self._since[: len(batch)]
        held_still = {(s.delivery.id, s.delivery.epoch) for s in kept}
        for delivery in (s.delivery for s in batch):
            if (delivery.id, delivery.epoch) not in held_still:
                log.warning("delivery.lease_lost", extra={"signal_id": str(delivery.signal_id)})
        self.wake_forwarder()
        return AGAIN

    async def _held(
        self, connection: Connection, batch: Sequence[Settlement]
    ) -> dict[DestinationId, Held]:
        """Hold the destinations that may learn something; leasing need not wait for the others."""
        ids = [s.delivery.destination_id for s in batch]
        if all(health_of(s.answer) is Health.GOOD for s in batch) and await breakers.are_calm(
            connection, ids
        ):
            return {}
        return await breakers.hold(connection, ids)

    async def _learn(
        self, connection: Connection, id: DestinationId, held: Held, ended: Sequence[Settlement]
    ) -> None:
        """Take what attempts at its present version say of a destination."""
        said = [s for s in ended if s.delivery.destination_version == held.version]
        told = [
            s.answer.retry_after
            for s in said
            if s.answer.retry_after and s.answer.outcome is Outcome.NOT_PROCESSED
        ]
        if told:
            await lanes.hold_back(connection, id, max(told))
        if any(s.answer.gone for s in said):
            await breakers.disable(connection, id, held.version)
        breaker = await self._tried(connection, id, held, said)
        if breaker != held.breaker:
            tell = (breaker.state, breaker.since) != (held.breaker.state, held.breaker.since)
            await breakers.keep(connection, id, breaker, tell=tell)

    async def _tried(
        self, connection: Connection, id: DestinationId, held: Held, said: Sequence[Settlement]
    ) -> Breaker:
        probes, breaker, recent = [_probed(s) for s in said], held.breaker, Tally(0, 0)
        failed = any(probed.health is Health.BAD for probed in probes)
        if failed and breaker.state is BreakerState.CLOSED:
            recent = await breakers.recent(connection, id, held, self.breaker.recent)
        for probed in probes:
            breaker = after(
                breaker, probed, recent, now=held.now, policy=self.breaker, jitter=self.dice()
            )
        return breaker

    async def flush(self) -> None:
        """Settle what is left. When the database is gone, leases run out and are taken again."""
        try:
            while self._ended:
                await self.step()
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("delivery.unsettled", extra={"deliveries": len(self._ended)})


def _probed(settlement: Settlement) -> Probed:
    answer = settlement.answer
    return Probed(
        health=health_of(answer), began=settlement.delivery.leased_at, cause=cause(answer)
    )
