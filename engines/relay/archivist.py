"""The archivist: lets signals and all that came of them go when nobody wants to know any more."""

import logging
from collections import Counter as Tally
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from prometheus_client import Counter

from database import forgetting
from database.forgetting import Place
from database.pool import Connection, Database
from engines.worker import AGAIN

log = logging.getLogger(__name__)

EVERY = timedelta(hours=1)
BATCH = 500


@dataclass(slots=True)
class _Round:
    """Signals first, then events of none, then the rest; how far it is, and what it deleted."""

    signals: Place | None = field(default_factory=Place)
    events: int | None = 0
    deleted: Tally[str] = field(default_factory=Tally[str])


@dataclass(slots=True)
class _Memory:
    round: _Round = field(default_factory=_Round)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archivist:
    """A round every hour, a batch a step, each in a transaction of its own.

    ``keep`` is RETENTION_DAYS; ``deleted`` counts rows by table.
    """

    database: Database
    keep: timedelta
    deleted: Counter
    batch: int = BATCH
    _memory: _Memory = field(default_factory=_Memory, init=False)

    async def step(self) -> timedelta | None:
        """Go on with the round; again at once until it is done."""
        now = self._memory.round
        async with self.database.write() as connection:
            gone, more = await self._batch(connection, now)
        for table, count in gone.items():
            now.deleted[table] += count
            self.deleted.labels(table).inc(count)
        if more:
            return AGAIN
        if now.deleted.total():
            log.info("archive.pruned", extra=dict(now.deleted))
        self._memory.round = _Round()
        return EVERY

    async def _batch(self, connection: Connection, now: _Round) -> tuple[Mapping[str, int], bool]:
        """One batch of what is next, and whether there is more to do in this round."""
        if now.signals is not None:
            signals = await forgetting.signals(connection, self.keep, now.signals, self.batch)
            now.signals = signals.after
            return signals.deleted, True
        if now.events is not None:
            events = await forgetting.events(connection, self.keep, now.events, self.batch)
            now.events = events.after
            return events.deleted, True
        rest = await forgetting.rest(connection, self.keep, self.batch)
        return rest, self.batch in rest.values()
