"""The keeper: looks at Finviz on time, and lets only a proven list replace the one in force."""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta

from database import screens, universes
from database.pool import Database
from database.screens import Kept
from database.universes import Fetch
from domain.pacing import next_wait
from domain.ticker import Ticker
from domain.universe import FetchOutcome, Suspect, weigh
from engines.clock import Dice
from engines.metrics import Metrics
from engines.universe.source import Answer, UniverseSource

log = logging.getLogger(__name__)

LOOK = timedelta(seconds=1)
"""How often the screen's version is checked between two looks at Finviz."""


@dataclass(slots=True)
class Watch:
    """What the keeper remembers between two looks at one version of a screen."""

    version: int = 0
    due: float = 0.0
    failures: int = 0
    doubted: bool = False
    pending: tuple[Ticker, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """A changed screen is fetched at once; what was suspected of the old one is forgotten."""

    database: Database
    source: UniverseSource
    metrics: Metrics
    dice: Dice
    _watch: Watch = field(default_factory=Watch, init=False)

    async def step(self) -> timedelta | None:
        """Look, when it is time; return how long it is not."""
        async with self.database.read() as connection:
            kept = await screens.active(connection)
        if kept is None:
            return LOOK
        if kept.version != self._watch.version:
            self._begin(kept)
        wait = timedelta(seconds=self._watch.due - asyncio.get_running_loop().time())
        if wait > timedelta(0):
            return min(wait, LOOK)
        await self._fetch(kept)
        return LOOK

    def _begin(self, kept: Kept) -> None:
        watch = self._watch
        watch.version, watch.due, watch.failures, watch.pending = kept.version, 0.0, 0, None
        watch.doubted = False

    async def _fetch(self, kept: Kept) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self.source.fetch(kept.screen)
        took = timedelta(seconds=loop.time() - began)
        outcome, detail = await self._weigh(answer)
        wait = self._pace(kept, answer, outcome)
        # Before it is kept: a database that cannot write must not make us ask Finviz at once.
        self._watch.due = loop.time() + wait.total_seconds()
        version = await self._keep(kept, answer, outcome, detail, wait, took)
        self.metrics.fetches.labels(outcome).inc()
        log.log(
            logging.INFO if outcome.is_list else logging.WARNING,
            "list.fetched",
            extra={
                "outcome": str(outcome),
                "detail": detail,
                "tickers": len(answer.tickers),
                "total": answer.total,
                "version": version,
                "next_in_sec": round(wait.total_seconds(), 1),
            },
        )

    async def _weigh(self, answer: Answer) -> tuple[FetchOutcome, str]:
        """A complete answer may still be too surprising to believe at once."""
        if not answer.outcome.is_list:
            return answer.outcome, answer.detail
        async with self.database.read() as connection:
            current = await universes.current(connection)
        in_force = current.universe and current.universe.tickers
        weighed = weigh(in_force, answer.tickers, self._watch.pending)
        if isinstance(weighed, Suspect):
            self._watch.pending = answer.tickers
            return FetchOutcome.SUSPECT, weighed.reason
        self._watch.pending = None
        return answer.outcome, answer.detail

    def _pace(self, kept: Kept, answer: Answer, outcome: FetchOutcome) -> timedelta:
        """A refusal after doubts, or a doubt after refusals, is the first of its kind."""
        watch, doubted = self._watch, outcome is FetchOutcome.SUSPECT
        before = watch.failures if doubted == watch.doubted else 0
        watch.failures, watch.doubted = 0 if outcome.is_list else before + 1, doubted
        return next_wait(
            kept.screen.refresh,
            outcome,
            watch.failures,
            jitter=self.dice(),
            retry_after=answer.retry_after,
        )

    async def _keep(
        self,
        kept: Kept,
        answer: Answer,
        outcome: FetchOutcome,
        detail: str,
        wait: timedelta,
        took: timedelta,
    ) -> int | None:
        async with self.database.write() as connection:
            version = None
            if outcome.is_list:
                version = await universes.adopt(connection, kept, answer.tickers, answer.total or 0)
            fetch = Fetch(
                outcome=outcome,
                detail=detail,
                pages=answer.pages,
                duration=took,
                total=answer.total,
                tickers=len(answer.tickers),
                version=version,
                wait=wait,
            )
            await universes.log(connection, kept.id, fetch)
        return version
