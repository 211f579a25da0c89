"""The keeper: looks at Finviz on time, and lets only a proven list replace the one in force."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from database import adopting, screens, universes, watches
from database.adopting import Fetch, Listing
from database.pool import Database
from database.screens import Kept
from database.universes import Current
from database.watches import Learnt, Rest, Suspected, Turn
from domain.gate import list_max_age
from domain.pacing import LONGEST_WISH, calm_refresh, next_wait
from domain.screen import Screen, ScreenKind, looks_unfiltered
from domain.universe import Adopt, FetchOutcome, Trust, fresh_until, trust, weigh
from engines.clock import Clock, Dice
from engines.failpoints import Point, Reach, passes
from engines.metrics import Metrics
from engines.universe.source import Answer, UniverseSource

log = logging.getLogger(__name__)

LOOK = timedelta(seconds=10)
"""How often it is checked whether a look is due, at least; the pulse tells of what has changed."""

A_MOMENT = timedelta(milliseconds=20)
"""Later than the end of something, so that it is over for sure."""

LEASE = timedelta(seconds=60)
A_ROW = timedelta(seconds=0.2)
"""Pages of ten rows, one a second, and all of them twice when the list moves meanwhile."""

TO_RECORD = timedelta(seconds=15)
"""What of a lease is left for weighing and recording when a look takes as long as it may."""


def lease_of(screen: Screen) -> timedelta:
    """How long one look may keep others from looking: a minute, or longer from the top 150 on."""
    return max(LEASE, LEASE / 2 + A_ROW * screen.depth)


async def always_open(_now: datetime) -> None:
    """The hours of a market that never closes."""


def nobody() -> None:
    """Nobody is woken."""


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
    clock: Clock
    list_max_age: timedelta | None = None
    until_open: Callable[[datetime], Awaitable[timedelta | None]] = always_open
    wake_waiting: Callable[[], None] = nobody
    reach: Reach = passes

    async def step(self) -> timedelta | None:
        """Look, when it is time; return how long it is not."""
        async with self.database.read() as connection:
            kept = await screens.active(connection)
            if kept is None:
                return LOOK
            rest = await watches.rest(connection, kept)
            current = await universes.current(connection)
        await self._tell_trust(kept, rest, current)
        if rest.paused or rest.span > timedelta(0):
            return self._until_next(kept, rest, current)
        lasting = lease_of(kept.screen)
        over = asyncio.get_running_loop().time() + (lasting - TO_RECORD).total_seconds()
        async with self.database.write() as connection:
            turn = await watches.take(connection, kept, lasting)
        if turn:
            self.reach(Point.KEEPER_TAKEN)
            await self._look(kept, turn, over)
        return LOOK

    async def _tell_trust(self, kept: Kept, rest: Rest, current: Current) -> None:
        """Let everybody know, once, that the trust in the list is another than before."""
        found = trust(current.universe, current.now, self._max_age(kept.screen))
        self.metrics.list_trust.state(found.value)
        if found is rest.trust:
            return
        detail = _how_old(current)
        async with self.database.write() as connection:
            told = await watches.tell(connection, kept.id, found, detail)
        if told:
            level = logging.INFO if found is Trust.FRESH else logging.WARNING
            extra = {"was": str(rest.trust), "detail": detail}
            log.log(level, "list.trust", extra=extra | {"trust": str(found)})

    def _until_next(self, kept: Kept, rest: Rest, current: Current) -> timedelta:
        """Until a look is due, or the list in force is too old."""
        waits = [LOOK] if rest.paused else [rest.span, LOOK]
        if current.universe:
            fresh = fresh_until(current.universe, self._max_age(kept.screen)) - current.now
            waits += [max(fresh, A_MOMENT)] if fresh >= timedelta(0) else []
        return min(waits)

    def _max_age(self, screen: Screen) -> timedelta:
        return list_max_age(screen.refresh, self.list_max_age)

    async def _look(self, kept: Kept, turn: Turn, over: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._ask(kept.screen, over)
        took = timedelta(seconds=loop.time() - began)
        self.reach(Point.KEEPER_FETCHED)
        suspected = await self._suspect(kept.screen, answer, turn)
        learnt = self._learn(kept.screen, turn, answer, suspected, await self._calm(kept.screen))
        fetch = Fetch(
            outcome=learnt.outcome,
            detail=suspected.reason if suspected else answer.detail,
            pages=answer.pages,
            duration=took,
            total=answer.total,
            tickers=len(answer.rows),
            version=None,
            wait=learnt.wait,
            premium=answer.premium,
        )
        recorded = await self._record(kept, turn, learnt, answer, fetch)
        if recorded is None:
            extra = {"outcome": str(learnt.outcome), "epoch": turn.epoch}
            log.warning("list.turn_lost", extra=extra)
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

    async def _suspect(self, screen: Screen, answer: Answer, turn: Turn) -> Suspected | None:
        """A complete answer may still be too surprising to believe at once."""
        if answer.certain or not answer.outcome.is_list:
            return None
        async with self.database.read() as connection:
            current = await universes.current(connection)
        total = answer.total or 0
        weighed = weigh(
            current.universe and current.universe.tickers,
            answer.tickers,
            turn.suspected and turn.suspected.tickers,
            refused=turn.refused,
            unfiltered=looks_unfiltered(screen, total),
        )
        if isinstance(weighed, Adopt):
            return None
        return Suspected(tickers=answer.tickers, total=total, reason=weighed.reason)

    def _learn(
        self,
        screen: Screen,
        turn: Turn,
        answer: Answer,
        suspected: Suspected | None,
        calm: timedelta | None,
    ) -> Learnt:
        """A refusal after doubts, or a doubt after refusals, is the first of its kind."""
        outcome = FetchOutcome.SUSPECT if suspected else answer.outcome
        doubted = suspected is not None
        before = turn.failures if doubted == turn.doubted else 0
        failures = 0 if outcome.is_list else before + 1
        wait = next_wait(
            screen.refresh,
            outcome,
            failures,
            jitter=self.dice(),
            retry_after=answer.retry_after,
            calm=calm,
        )
        return Learnt(
            outcome=outcome,
            wait=wait,
            failures=failures,
            doubted=doubted,
            suspected=None if outcome.is_list else suspected or turn.suspected,
            refused=None if outcome.is_list else turn.refused,
            asked=answer.retry_after and min(answer.retry_after, LONGEST_WISH),
        )

    async def _calm(self, screen: Screen) -> timedelta | None:
        """The refresh while the market is closed, where a slower one does."""
        if screen.kind is ScreenKind.FIXED or not screen.slow_when_closed:
            return None
        until_open = await self.until_open(self.clock())
        return calm_refresh(screen.refresh, self._max_age(screen), until_open)

    async def _record(
        self, kept: Kept, turn: Turn, learnt: Learnt, answer: Answer, fetch: Fetch
    ) -> Fetch | None:
        """All of it or nothing: nothing (None) when the turn is somebody else's by now."""
        async with self.database.write() as connection:
            if not await watches.end(connection, turn, learnt):
                return None
            if fetch.outcome.is_list:
                listing = Listing(rows=answer.rows, total=answer.total or 0, seen_at=turn.at)
                max_age = self._max_age(kept.screen)
                version = await adopting.adopt(connection, kept, listing, max_age=max_age)
                fetch = replace(fetch, version=version)
            await adopting.log(connection, kept, fetch)
            self.reach(Point.KEEPER_BEFORE_COMMIT)
        self.reach(Point.KEEPER_AFTER_COMMIT)
        if fetch.version is not None:
            self.wake_waiting()
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


def _how_old(current: Current) -> str | None:
    universe = current.universe
    if universe is None:
        return None
    age = (current.now - universe.confirmed_at).total_seconds()
    return f"version {universe.version}, confirmed {age:.0f} s ago"
