"""One axis of time for everything the harness notes, in seconds; it never jumps."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from engines.clock import utc_now

_ALIGNED = utc_now().timestamp() - time.monotonic()


def now() -> float:
    """The monotonic clock, aligned once with the wall clock, as the database writes it."""
    return _ALIGNED + time.monotonic()


def aligned(monotonic: float) -> float:
    """A moment of the monotonic clock on this axis."""
    return _ALIGNED + monotonic


async def until(
    condition: Callable[[], Awaitable[bool]], within: float, *, every: float = 0.05
) -> bool:
    """Wait for a condition with a deadline; return whether it came true."""
    deadline = now() + within
    while not await condition():
        if now() > deadline:
            return False
        await asyncio.sleep(every)
    return True
