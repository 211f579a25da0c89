"""The keeper: looks at Finviz on time, and lets only a proven list replace the one in force."""

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import timedelta

from database import screens, universes, watches
from database.pool import Database
from database.screens import Kept
from database.universes import Fetch
from database.watches import Turn
from domain.pacing import next_wait
from domain.screen import Screen
from domain.universe import FetchOutcome, Suspect, weigh
from engines.clock import Dice
from engines.failpoints import Point, Reach, passes
from engines.metrics import Metrics
from engines.universe.source import Answer, UniverseSource

log = logging.getLogger(__name__)

LOOK = timedelta(seconds=1)
"""How often it is checked whether a look is due or the screen has changed."""

LEASE = timedelta(seconds=60)
A_ROW = timedelta(seconds=0.2)
"""Pages of ten rows, one a second, and all of them twice when the list moves meanwhile."""

TO_RECORD = timedelta(seconds=15)
"""What of a lease is left for weighing and recording when a look takes as long as it may."""


def lease_of(screen: Screen) -> timedelta:
    """How long one look may keep others from looking: a minute, or longer from the top 150 on."""
    return max(LEASE, LEASE / 2 + A_ROW * screen.top_n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """One of any number: a look is leased from the screen's watch, so Finviz is asked by one.

    A changed screen is fetched at once; what was suspected of the old one is forgotten. When we die
    in the middle of a look, or cannot record it, the next is made when the lease has run out.
    """

    database: Database
    source: UniverseSource
    metrics: Metrics
    dice: Dice
    reach: Reach = passes

    async def step(self) -> timedelta | None:
        """Look, when it is time; return how long it is not."""
        async with self.database.read() as connection:
            kept = await screens.active(connection)
            rest = await watches.rest(connection, kept) if kept else LOOK
        if kept is None or rest > timedelta(0):
            return min(rest, LOOK)
        lasting = lease_of(kept.screen)
        over = asyncio.get_running_loop().time() + (lasting - TO_RECORD).total_seconds()
        async with self.database.write() as connection:
            turn = await watches.take(connection, kept, lasting)
        if turn:
            self.reach(Point.KEEPER_TAKEN)
            await self._look(kept, turn, over)
        return LOOK

    async def _look(self, kept: Kept, turn: Turn, over: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._ask(kept.screen, over)
        took = timedelta(seconds=loop.time() - began)
        self.reach(Point.KEEPER_FETCHED)
        outcome, detail = await self._weigh(answer, turn)
        turn = _learnt(turn, answer, outcome)
        fetch = Fetch(
            outcome=outcome,
            detail=detail,
            pages=answer.pages,
            duration=took,
            total=answer.total,
            tickers=len(answer.tickers),
            version=None,
            wait=self._pace(kept, turn, answer, outcome),
        )
        recorded = await self._record(kept, turn, answer, fetch)
        if recorded is None:
            log.warning("list.turn_lost", extra={"outcome": str(outcome), "epoch": turn.epoch})
        else:
            self._tell(recorded)

    async def _ask(self, screen: Screen, over: float) -> Answer:
        """A turn that is over, because we slept through it, asks nothing any more."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(over):
                await asyncio.sleep(0)
                return await self.source.fetch(screen)
        except TimeoutError:
            detail = f"no whole list within {max(over - began, 0):.0f} s"
            return Answer(outcome=FetchOutcome.UNREACHABLE, detail=detail)

    async def _weigh(self, answer: Answer, turn: Turn) -> tuple[FetchOutcome, str]:
        """A complete answer may still be too surprising to believe at once."""
        if not answer.outcome.is_list:
            return answer.outcome, answer.detail
        async with self.database.read() as connection:
            current = await universes.current(connection)
        in_force = current.universe and current.universe.tickers
        weighed = weigh(in_force, answer.tickers, turn.pending)
        if isinstance(weighed, Suspect):
            return FetchOutcome.SUSPECT, weighed.reason
        return answer.outcome, answer.detail

    def _pace(self, kept: Kept, turn: Turn, answer: Answer, outcome: FetchOutcome) -> timedelta:
        return next_wait(
            kept.screen.refresh,
            outcome,
            turn.failures,
            jitter=self.dice(),
            retry_after=answer.retry_after,
        )

    async def _record(self, kept: Kept, turn: Turn, answer: Answer, fetch: Fetch) -> Fetch | None:
        """All of it or nothing: nothing (None) when the turn is somebody else's by now."""
        async with self.database.write() as connection:
            if not await watches.end(connection, turn, fetch.wait):
                return None
            if fetch.outcome.is_list:
                total = answer.total or 0
                version = await universes.adopt(connection, kept, answer.tickers, total)
                fetch = replace(fetch, version=version)
            await universes.log(connection, kept.id, fetch)
            self.reach(Point.KEEPER_BEFORE_COMMIT)
        self.reach(Point.KEEPER_AFTER_COMMIT)
        return fetch

    def _tell(self, fetch: Fetch) -> None:
        self.metrics.fetches.labels(fetch.outcome).inc()
        log.log(
            logging.INFO if fetch.outcome.is_list else logging.WARNING,
            "list.fetched",
            extra={
                "outcome": str(fetch.outcome),
                "detail": fetch.detail,
                "tickers": fetch.tickers,
                "total": fetch.total,
                "version": fetch.version,
                "next_in_sec": round(fetch.wait.total_seconds(), 1),
            },
        )


def _learnt(turn: Turn, answer: Answer, outcome: FetchOutcome) -> Turn:
    """A refusal after doubts, or a doubt after refusals, is the first of its kind."""
    if outcome.is_list:
        return replace(turn, failures=0, doubted=False, pending=None)
    doubted = outcome is FetchOutcome.SUSPECT
    before = turn.failures if doubted == turn.doubted else 0
    pending = answer.tickers if doubted else turn.pending
    return replace(turn, failures=before + 1, doubted=doubted, pending=pending)
