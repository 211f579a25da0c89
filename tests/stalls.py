"""How long this machine stood still: where a bound on time is the claim, nobody is to blame."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

TICK, SLIGHT = 0.01, 0.03
"""Seconds between two looks at the clock; how much later than that is nothing."""


@dataclass(slots=True)
class Stalls:
    """Who only wanted to sleep a moment slept from ``began`` to ``ended``: so did the others."""

    found: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def seconds(self, began: float, ended: float) -> float:
        """Those of a stretch of the monotonic clock in which nothing went on."""
        return sum(
            max(0.0, min(ended, after) - max(began, before)) for before, after in list(self.found)
        )

    def at_work(self, began: float) -> float:
        """Seconds since then without those, nor what is left of one: twice as much is forgiven,
        for whoever was behind has to catch up.
        """
        ended = time.monotonic()
        time.sleep(3 * TICK)  # the look that is under way is noted
        return ended - began - 2 * self.seconds(began, ended)


@contextmanager
def stalls() -> Generator[Stalls]:
    """Look at the clock all the time, from a thread that does nothing else."""
    noted, over = Stalls(), threading.Event()

    def look() -> None:
        while not over.is_set():
            before = time.monotonic()
            time.sleep(TICK)
            after = time.monotonic()
            if after - before > TICK + SLIGHT:
                noted.found.append((before + TICK, after))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield noted
    finally:
        over.set()
        looking.join()
