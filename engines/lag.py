"""The lag of the event loop: how late it comes to a timer, which is how long everything waits."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

EVERY = 1.0
"""Seconds from one timer to the next; each costs some ten microseconds."""


@dataclass(slots=True)
class Lag:
    """A timer that tells how late it rang, and sets itself again."""

    tell: Callable[[float], None]
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    @contextmanager
    def measured(self) -> Generator[None]:
        """For as long as the block lasts."""
        self._set()
        try:
            yield
        finally:
            if self._timer:
                self._timer.cancel()

    def _set(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + EVERY
        self._timer = loop.call_at(due, self._rang, due)

    def _rang(self, due: float) -> None:
        self.tell(max(0.0, asyncio.get_running_loop().time() - due))
        self._set()
