"""Failpoints in words: `intake.after_commit:kill:0.01,send.before_write:stop#3`."""

import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engines.clock import Dice
from engines.failpoints import Point

WORDS = re.compile(
    r"(?P<point>[a-z_.]+):(?P<action>kill|stop|raise|stall=(?P<seconds>[\d.]+))"
    r"(?::(?P<probability>[\d.]+))?(?:#(?P<count>\d+))?"
)


class StruckError(RuntimeError):
    """Raised at a failpoint: a defect in the middle of the path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """What happens at a point: always, by chance, or only at its n-th reach."""

    point: Point
    action: str
    seconds: float = 0.0
    probability: float = 1.0
    count: int | None = None

    def hits(self, reach: int, dice: Dice) -> bool:
        return self.count in {None, reach} and dice() < self.probability


def parse(words: str) -> list[Strike]:
    """Read a comma list of strikes. Raises ValueError for words that name none."""
    return [_strike(word.strip()) for word in words.split(",") if word.strip()]


def _strike(word: str) -> Strike:
    match = WORDS.fullmatch(word)
    if not match:
        raise ValueError(f"{word!r} is no strike: write point:action[:probability][#count]")
    return Strike(
        point=Point(match["point"]),
        action=match["action"].partition("=")[0],
        seconds=float(match["seconds"] or 0),
        probability=float(match["probability"] or 1),
        count=int(match["count"]) if match["count"] else None,
    )


@dataclass(frozen=True, slots=True)
class Failures:
    """A `Reach` that strikes."""

    strikes: list[Strike]
    dice: Dice
    perform: Callable[[Strike], None]
    _reached: Counter[Point] = field(default_factory=Counter[Point], init=False)

    def __call__(self, point: Point) -> None:
        self._reached[point] += 1
        for strike in self.strikes:
            if strike.point is point and strike.hits(self._reached[point], self.dice):
                self.perform(strike)


@dataclass(frozen=True, slots=True)
class Armed:
    """A `Reach` that strikes once where a file says so; of several replicas the first there."""

    file: Path
    perform: Callable[[Strike], None]

    def __call__(self, point: Point) -> None:
        try:
            strikes = parse(self.file.read_text())
        except FileNotFoundError:
            return
        for strike in strikes:
            if strike.point is point and self._is_first():
                self.perform(strike)

    def _is_first(self) -> bool:
        try:
            self.file.unlink()
        except FileNotFoundError:
            return False
        return True


def perform(strike: Strike) -> None:
    """Strike this process, and say so first: nothing may be said after."""
    sys.stderr.write(f"failpoint {strike.point} {strike.action}\n")
    sys.stderr.flush()
    match strike.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "stall":
            time.sleep(strike.seconds)
        case _:
            raise StruckError(strike.point)
