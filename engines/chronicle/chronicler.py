"""The chronicler: follows the events, and has each stage of a signal told, off its path.

One line a stage in the log, and one span in the trace, are made from the same record. Nothing on
the path of a signal waits for it, knows of it, or fails with it: it reads what was committed.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from database import chronicle
from database.chronicle import Mark
from database.pool import Connection, Database
from domain.stage import Stage
from engines.worker import AGAIN, SELDOM

log = logging.getLogger(__name__)

BATCH = 200
PRESSED = timedelta(seconds=1)
FAR_BEHIND = 20_000
"""Events; from before the log of signals was turned on, or from a flood: nobody waits for those."""

Tell: TypeAlias = Callable[[Sequence[Stage]], None]


@dataclass(slots=True)
class _Memory:
    began: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chronicler:
    """Of several replicas one tells at a time. ``is_pressed``: alerts come first."""

    database: Database
    tell: Sequence[Tell]
    is_pressed: Callable[[], bool] = lambda: False
    _memory: _Memory = field(default_factory=_Memory, init=False)

    async def step(self) -> timedelta:
        """Tell one batch; after its commit, so that no batch that is rolled back is told."""
        if self.is_pressed():
            return PRESSED
        async with self.database.write() as connection:
            mark = await chronicle.claim(connection)
            if mark is None or await self._jumped(connection, mark):
                return SELDOM
            passage = await chronicle.read(connection, mark, BATCH)
            if passage.mark != mark:
                await chronicle.move(connection, passage.mark)
        if passage.stages:
            for tell in self.tell:
                tell(passage.stages)
        return AGAIN if passage.more else SELDOM

    async def _jumped(self, connection: Connection, mark: Mark) -> bool:
        """At the start alone: later it is never far behind, but in a flood, which it follows."""
        if self._memory.began:
            return False
        self._memory.began = True
        if not await chronicle.is_far_behind(connection, mark, FAR_BEHIND):
            return False
        await chronicle.jump(connection)
        log.info("chronicle.skipped", extra={"reason": "it was far behind"})
        return True
