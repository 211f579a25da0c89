"""Who goes first: alerts in a flood are accepted before those that are here are judged."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

PAUSE, PAUSE_IN_FLOOD = 1, 4
"""So many times as long as a batch of verdicts took until the next one begins."""

GLANCE = timedelta(milliseconds=10)
"""How often who gives way looks whether the flood, or another's batch in it, is over."""

LONGEST = 0.2
"""Seconds that count of a batch: one that waited for a lock says nothing of what judging costs."""


@dataclass(slots=True)
class Precedence:
    """Shared by all gatekeepers of a process.

    A sender waits for his 202 and gives up after seconds; a verdict may wait for the end of a
    flood, but not for ever. In a steady stream the pause makes batches: what one signal costs is
    mostly what a batch costs. Whoever comes after a pause is judged at once. ``usual``: how many
    times as long as a batch of one it lasts while no flood is; a batch of more shows that more
    come, and a longer pause gathers them.
    """

    is_pressed: Callable[[], bool] = lambda: False
    usual: int = 0
    _ended: float = field(default=0.0, init=False)
    _took: float = field(default=0.0, init=False)
    _full: bool = field(default=False, init=False)
    _size: int = field(default=1, init=False)
    _under_way: int = field(default=0, init=False)

    def pause(self) -> timedelta | None:
        """How long judging has to wait; None when it may begin."""
        pressed = self.is_pressed()
        if pressed and self._under_way:
            return GLANCE
        usual = 0 if self._full else min(self.usual * self._size, PAUSE_IN_FLOOD)
        times = PAUSE_IN_FLOOD if pressed else usual
        left = self._ended + times * self._took - asyncio.get_running_loop().time()
        return timedelta(seconds=left) if left > 0 else None

    def judged(self, size: int, *, full: bool) -> None:
        """What the batch was. After a ``full`` one no pause makes the next larger."""
        self._size, self._full = max(1, size), full

    @contextmanager
    def turn(self) -> Generator[None]:
        """A batch, whose time counts."""
        self._size, self._full = 1, False
        clock = asyncio.get_running_loop().time
        began = clock()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._ended = clock()
            self._took = min(self._ended - began, LONGEST)
