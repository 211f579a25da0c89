"""Time and chance. The only module that may look at either; everyone else is handed the result."""

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
Dice: TypeAlias = Callable[[], float]
Entropy: TypeAlias = Callable[[int], bytes]


def utc_now() -> datetime:
    return datetime.now(UTC)


def roll() -> float:
    """Return a number in [0, 1), for jitter: never for anything that must be unguessable."""
    return random.random()


def entropy(count: int) -> bytes:
    """Return ``count`` bytes nobody can guess."""
    return os.urandom(count)
