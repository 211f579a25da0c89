"""The exposition: everything that is measured, as one text; what it asks of the database is little.

A look is a few statements in one snapshot, and answers everybody who asks within a second of it.
"""

import asyncio
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest

from database import figures
from database.figures import Figures
from database.pool import Database, is_unavailable
from domain.attention import Severity
from engines.clock import Clock
from engines.gauges import Limits, gauge, of_destinations, of_relay
from engines.metrics import Metrics
from engines.siblings import Siblings

log = logging.getLogger(__name__)

FRESH = 1.0
"""Seconds for which a look is told again."""

PATIENCE = 3.0
"""Seconds for the database to answer; who asks gives up after ten."""

SIZE_EVERY = timedelta(minutes=1)


@dataclass(slots=True)
class _Look:
    """What was seen last, and when by the loop's clock."""

    at: float = float("-inf")
    figures: Figures | None = None
    skew: float = 0.0
    size: int = 0
    sized_at: datetime | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class _Families(CollectorRegistry):
    """Families made already."""

    families: Iterable[Metric]

    def collect(self) -> Iterator[Metric]:
        yield from self.families


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposition:
    """``siblings`` tell what is counted in each process; what rows tell, whoever is asked reads."""

    database: Database
    metrics: Metrics
    clock: Clock
    limits: Limits
    data_dir: Path
    siblings: Siblings | None = None
    _look: _Look = field(default_factory=_Look, init=False)

    async def render(self) -> bytes:
        """The text exposition format of Prometheus, version 0.0.4."""
        await self._refresh()
        wide = generate_latest(_Families(list(self._wide())))
        own = await self.siblings.render() if self.siblings else self.metrics.render()
        return own + wide

    async def _refresh(self) -> None:
        look, loop = self._look, asyncio.get_running_loop()
        async with look.turn:
            if loop.time() - look.at < FRESH:
                return
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._read()
            except Exception as error:
                if not is_unavailable(error):
                    raise
                look.figures = None
            look.at = loop.time()
        if look.figures:
            self._follow(look.figures)

    async def _read(self) -> None:
        look, began = self._look, self.clock()
        async with self.database.read() as connection:
            look.figures = await figures.read(connection)
            ended = self.clock()
            if look.sized_at is None or ended - look.sized_at >= SIZE_EVERY:
                look.size, look.sized_at = await figures.size(connection), ended
        look.skew = (look.figures.now - (began + (ended - began) / 2)).total_seconds()

    def _follow(self, found: Figures) -> None:
        """What workers tell now and then is told as it is now."""
        metrics = self.metrics
        unfinished = [queue for one in found.destinations for queue in one.queues]
        metrics.undecided.set(sum(queue.waiting for queue in found.undecided))
        metrics.undelivered.set(sum(queue.waiting + queue.held for queue in unfinished))
        age = found.now - found.confirmed_at if found.confirmed_at else None
        metrics.list_age.set(-1 if age is None else age.total_seconds())
        for severity in Severity:
            metrics.attention_open.labels(severity).set(found.attention.get(severity, 0))

    def _wide(self) -> Iterator[Metric]:
        look = self._look
        place = self.data_dir.absolute()  # what is not there yet will be on the disk of its parent
        disk = shutil.disk_usage(next(one for one in (place, *place.parents) if one.exists()))
        yield gauge("data_free_bytes", "Free on the disk of DATA_DIR", disk.free)
        yield gauge("data_disk_bytes", "Size of the disk of DATA_DIR", disk.total)
        yield gauge("database_up", "1 when PostgreSQL answered this look", look.figures is not None)
        if look.figures is None:
            return
        yield gauge(
            "database_clock_skew_seconds",
            "How far PostgreSQL's clock is ahead of this machine's",
            look.skew,
        )
        yield gauge("database_size_bytes", "Size of the database, at most a minute ago", look.size)
        yield from of_relay(look.figures, self.limits)
        yield from of_destinations(look.figures)
