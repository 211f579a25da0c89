"""What a pool of connections goes through: plain numbers, for whoever measures."""

from bisect import bisect_left
from dataclasses import dataclass, field

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds up to which commits are counted together; the last ones took longer."""


@dataclass(slots=True)
class Usage:
    """``waiting`` for a connection now, transactions ``begun`` and ``failed`` by the server.

    ``commits`` are counted by how long they took, and ``spent`` is all of that together.
    """

    waiting: int = 0
    begun: int = 0
    failed: int = 0
    commits: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    spent: float = 0.0

    def committed(self, seconds: float) -> None:
        self.commits[bisect_left(BOUNDS, seconds)] += 1
        self.spent += seconds


@dataclass(frozen=True, slots=True)
class Size:
    """How many connections of a pool are in use, how many are open and idle, and the most."""

    used: int
    idle: int
    most: int
