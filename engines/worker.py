"""One loop for every engine: work until there is none, then rest until woken or rested."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from database.pool import is_unavailable
from engines.clock import Clock

log = logging.getLogger(__name__)

AGAIN = timedelta(0)

SICK_AFTER = 3
"""Failures in a row after which a worker counts as not working."""

SELDOM = timedelta(seconds=30)
"""How often a worker looks by itself whom the pulse wakes, for whatever that may miss."""

LONGEST_BACK = 1.0
"""Seconds a worker stands back at most: a step that waited for a lock took nobody's time."""

Step: TypeAlias = Callable[[], Awaitable[timedelta | None]]
"""Do one batch; return how long there is nothing more to do: AGAIN for "there may be more",
None for "until somebody wakes me"."""


@dataclass(slots=True)
class Health:
    """What a person wants to know of a worker: is it alive, and what went wrong last.

    ``begun_at`` is when the step under way began; None between two of them.
    """

    steps: int = 0
    failures: int = 0
    begun_at: datetime | None = None
    stepped_at: datetime | None = None
    failed_at: datetime | None = None
    failure: str | None = None
    failures_in_row: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """Runs ``step`` until stopped. A failing step is reported, waited out, and tried again.

    ``share``: how much of the time its steps may take at most, whoever wakes it. What follows the
    alerts stands back in a flood of them, and comes after.
    """

    name: str
    step: Step
    clock: Clock
    after_failure: timedelta = timedelta(seconds=0.25)
    share: float = 1.0
    health: Health = field(default_factory=Health, init=False)
    _woken: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def wake(self) -> None:
        """There may be work: do not finish the rest."""
        self._woken.set()

    def stop(self) -> None:
        """Finish the step under way, then return from `run`."""
        self._stopped.set()
        self._woken.set()

    async def run(self) -> None:
        """Return only between steps, so that stopping never tears one apart."""
        while not self._stopped.is_set():
            self._woken.clear()
            began = asyncio.get_running_loop().time()
            rest = await self._step_safely()
            if self.share < 1:
                await self._stand_back(asyncio.get_running_loop().time() - began)
            if rest is None or rest > AGAIN:
                await self._rest(rest)

    async def _stand_back(self, took: float) -> None:
        """Leave the others their share of the time; who wakes it meanwhile is heard after."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(took * (1 / self.share - 1), LONGEST_BACK)):
                await self._stopped.wait()

    async def _rest(self, rest: timedelta | None) -> None:
        """Wait until woken, or until the rest is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if rest is None else rest.total_seconds()):
                await self._woken.wait()

    async def _step_safely(self) -> timedelta | None:
        health = self.health
        health.begun_at = self.clock()
        try:
            rest = await self.step()
        except Exception as error:
            return self._failed(error)
        finally:
            health.begun_at = None
        health.steps += 1
        health.stepped_at = self.clock()
        health.failures_in_row = 0
        return rest

    def _failed(self, error: Exception) -> timedelta:
        health = self.health
        health.failed_at = self.clock()
        health.failure = f"{type(error).__name__}: {error}"[:300]
        health.failures += 1
        health.failures_in_row += 1
        # A database that is busy or away: the place in the code says nothing.
        passing = is_unavailable(error) and not isinstance(error, OSError)
        log.log(
            logging.WARNING if passing and health.failures_in_row < SICK_AFTER else logging.ERROR,
            "worker.failed",
            extra={
                "worker": self.name,
                "failures_in_row": health.failures_in_row,
                "error": type(error).__name__,
            },
            exc_info=None if passing or health.failures_in_row > 1 else error,
        )
        return min(
            self.after_failure * 2 ** min(health.failures_in_row - 1, 2), timedelta(seconds=1)
        )


class Bell:
    """Wakes workers by name, so that engines can ring for one another without knowing them."""

    def __init__(self) -> None:
        self._workers: dict[str, list[Worker]] = {}
        self._beside: dict[str, list[Worker]] = {}

    def hung(self, worker: Worker, beside: str = "") -> Worker:
        """Let this worker be woken by the first word of its name, and whenever ``beside`` is."""
        self._workers.setdefault(worker.name.split()[0], []).append(worker)
        if beside:
            self._beside.setdefault(beside, []).append(worker)
        return worker

    def rings(self, name: str, place: int = 0) -> Callable[[], None]:
        """What wakes the worker of this name at this place; nobody when there is none."""

        def ring() -> None:
            for worker in self._workers.get(name, [])[place : place + 1]:
                worker.wake()
            for worker in self._beside.get(name, ()):
                worker.wake()

        return ring
