"""Expected time: when the last of so many requests leaves, as fast as the windows let them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A window and what of it is spent: at most ``limit`` requests in any ``span`` seconds.

    ``used`` slots are taken now; ``frees_in`` are the seconds until the first of them are free
    again, ascending: all of them, or at least as many as there are requests to come.
    """

    limit: int
    span: float
    used: int
    frees_in: Sequence[float]


def seconds_until_last(count: int, windows: Sequence[Spent], *, not_before: float = 0) -> float:
    """How long until the last of ``count`` requests leaves, when nothing else does.

    Each leaves at the first moment at which every window has a slot for it: a slot that is free,
    or the one that was taken ``limit`` requests earlier.
    """
    leaving: list[float] = []
    for place in range(count):
        slots = [_slot(window, place, leaving) for window in windows]
        leaving.append(max([not_before, *slots]))
    return leaving[-1] if leaving else 0


def _slot(window: Spent, place: int, leaving: Sequence[float]) -> float:
    taken = place - max(0, window.limit - window.used)
    if taken < 0:
        return 0
    # More may be used than there are slots: when an operator has just narrowed the window.
    over = max(0, window.used - window.limit)
    if taken + over < window.used:
        return max(0, window.frees_in[taken + over])
    return leaving[place - window.limit] + window.span
