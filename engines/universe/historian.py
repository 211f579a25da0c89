"""The historian: lets lists and looks go that are older than anybody wants to know."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from prometheus_client import Counter

from database import retention
from database.pool import Connection, Database
from database.retention import Batch
from engines.worker import AGAIN

log = logging.getLogger(__name__)

EVERY = timedelta(hours=1)
BATCH = 5_000

Prune: TypeAlias = Callable[[Connection, timedelta, int, int], Awaitable[Batch]]

TABLES: Mapping[str, Prune] = {"universes": retention.universes, "fetches": retention.fetches}


@dataclass(slots=True)
class _Round:
    """How far it has come in the tables that are not done yet, and what it deleted."""

    after: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    deleted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))


@dataclass(slots=True)
class _Memory:
    round: _Round = field(default_factory=_Round)


@dataclass(frozen=True, slots=True, kw_only=True)
class Historian:
    """A round every hour, one batch of each table a step, each in a transaction of its own.

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
        for table in list(now.after):
            await self._prune(now, table)
        if now.after:
            return AGAIN
        if any(now.deleted.values()):
            log.info("history.pruned", extra=now.deleted)
        self._memory.round = _Round()
        return EVERY

    async def _prune(self, now: _Round, table: str) -> None:
        async with self.database.autocommit() as connection:
            batch = await TABLES[table](connection, self.keep, now.after[table], self.batch)
        now.deleted[table] += batch.deleted
        self.deleted.labels(table).inc(batch.deleted)
        if batch.after is None:
            del now.after[table]
        else:
            now.after[table] = batch.after
