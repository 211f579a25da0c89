"""Time and chance. The only module that may look at either; everyone else is handed the result."""

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
Dice: TypeAlias = Callable[[], float]
Entropy: TypeAlias = Callable[[int], bytes]

A_PAGE = 4_096


def utc_now() -> datetime:
    return datetime.now(UTC)


def roll() -> float:
    """Return a number in [0, 1), for jitter: never for anything that must be unguessable."""
    return random.random()


def entropy(count: int) -> bytes:
    """Return ``count`` bytes nobody can guess."""
    return os.urandom(count)


class Chance:
    """Bytes nobody shares, for ids: asked of the system by the page, as each asking costs it 10 µs.

    Not for secrets: what is still to be handed out lies in memory.
    """

    def __init__(self, draw: Entropy = entropy) -> None:
        self._draw, self._left, self._at = draw, b"", 0

    def __call__(self, count: int) -> bytes:
        if self._at + count > len(self._left):
            self._left, self._at = self._draw(max(count, A_PAGE)), 0
        self._at += count
        return self._left[self._at - count : self._at]
