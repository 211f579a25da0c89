"""A deadline that is set and cleared with every request, and hardly ever met."""

import asyncio
from collections.abc import Callable
from typing import Any

Met = Callable[[], Any]


class Deadline:
    """Costs no timer of the loop each time: the one it has rings early, looks, and rings again.

    To make and cancel a timer costs some ten microseconds, as much as a third of a short request.
    """

    __slots__ = ("_due", "_loop", "_met", "_rings", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: float | None = None
        self._met: Met | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings = 0.0

    @property
    def is_set(self) -> bool:
        return self._due is not None

    def set(self, seconds: float, met: Met) -> float:
        """Have ``met`` called in so many seconds, instead of what was to be called before.

        Return when, by the clock of the loop.
        """
        due = self._loop.time() + seconds
        self._met, self._due = met, due
        if self._timer is not None and self._rings > due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._ring_at(due)
        return due

    def clear(self) -> None:
        """Have nothing called."""
        self._due = None

    def close(self) -> None:
        """Let go of the timer too."""
        self._due = self._met = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring_at(self, due: float) -> None:
        self._rings, self._timer = due, self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        due, met = self._due, self._met
        if due is None or met is None:
            return
        if self._loop.time() < due - 0.001:
            self._ring_at(due)
        else:
            self._due = None
            met()
