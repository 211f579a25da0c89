"""The demo's own time: minutes since Monday, 00:00; faster than ours by `speed`."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

DAY = 24 * 60
OPENS, CLOSES = 9 * 60 + 30, 16 * 60
WAKES, SLEEPS = 9 * 60 + 15, 16 * 60 + 15
"""Between these the clock goes at its speed; nights and weekends pass quicker."""

NIGHT = 40
WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def is_trading_day(day: int) -> bool:
    return day % 7 < 5


def is_open(at: float) -> bool:
    """Whether the made-up exchange trades then."""
    return is_trading_day(int(at // DAY)) and OPENS <= at % DAY < CLOSES


def in_words(at: float) -> str:
    """Such as "Mon 09:31"."""
    day, minute = divmod(int(at), DAY)
    return f"{WEEK[day % 7]} {minute // 60:02}:{minute % 60:02}"


def rate(at: float, speed: float) -> tuple[float, float]:
    """How many minutes a second of ours is then, and until when."""
    day, minute = divmod(at, DAY)
    if is_trading_day(int(day)) and WAKES <= minute < SLEEPS:
        return speed / 60, day * DAY + SLEEPS
    begins = day * DAY + WAKES if minute < WAKES else (day + 1) * DAY
    return speed / 60 * (NIGHT if speed > 1 else 1), begins


def after(at: float, seconds: float, speed: float) -> float:
    """The demo's time ``seconds`` of ours later."""
    while True:
        minutes, until = rate(at, speed)
        needs = (until - at) / minutes
        if seconds < needs:
            return at + seconds * minutes
        at, seconds = until, seconds - needs


def seconds_until(at: float, then: float, speed: float) -> float:
    """How long we wait for it; 0 when it is over."""
    seconds = 0.0
    while at < then:
        minutes, until = rate(at, speed)
        end = min(until, then)
        at, seconds = end, seconds + (end - at) / minutes
    return seconds


def _running() -> float:
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class DemoClock:
    """Goes from ``begins`` on, at ``speed``, from when it is first asked."""

    speed: float
    begins: float = float(OPENS)
    ticks: Callable[[], float] = _running
    _started: float | None = field(default=None)

    def now(self) -> float:
        ticks = self.ticks()
        if self._started is None:
            self._started = ticks
        return after(self.begins, ticks - self._started, self.speed)

    def seconds_until(self, then: float) -> float:
        return seconds_until(self.now(), then, self.speed)

    def said(self) -> str:
        return in_words(self.now())
