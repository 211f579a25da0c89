"""Rate windows: how many requests may still leave, so that no sliding window ever overflows."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = re.compile(r"(\d{1,6})\s*/\s*(\d{1,6})\s*s?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """At most ``limit`` requests in any ``seconds`` seconds."""

    limit: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.limit}/{self.seconds}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What was sent within the last window: by buys, and by all."""

    buys: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What may leave now: ``total`` in all, of which at most ``buys`` buys."""

    total: int
    buys: int


TRADERSPOST = (Window(limit=60, seconds=60), Window(limit=500, seconds=3600))
"""TradersPost's published limits (docs.traderspost.io, core concepts, webhooks)."""


def parse_windows(text: str) -> tuple[Window, ...]:
    """Read `60/60s,500/3600s`. Raises ValueError with an example when it cannot be read."""
    windows = tuple(_parse_window(part.strip()) for part in text.split(",") if part.strip())
    if not windows:
        raise ValueError("names no window: write requests/seconds, such as 60/60s,500/3600s")
    return windows


def _parse_window(text: str) -> Window:
    match = WINDOW.fullmatch(text)
    if not match or not int(match[1]) or not 1 <= int(match[2]) <= 86_400:
        raise ValueError(
            f"{text[:40]!r} is no window: write requests/seconds with 1 to 86400 seconds,"
            " such as 60/60s,500/3600s"
        )
    return Window(limit=int(match[1]), seconds=int(match[2]))


def format_windows(windows: Sequence[Window]) -> str:
    return ",".join(map(str, windows))


def reserved(window: Window, share: float) -> int:
    """The slots of a window that only sells may use: at least one, where there is more than one."""
    if share <= 0 or window.limit < 2:
        return 0
    return min(max(1, math.ceil(window.limit * share)), window.limit - 1)


def room(windows: Sequence[Window], used: Sequence[Used], *, share: float, most: int) -> Room:
    """How many requests may leave now under every window at once, and never more than ``most``."""
    total = min([most, *(w.limit - u.total for w, u in zip(windows, used, strict=True))])
    buys = min(
        [
            total,
            *(w.limit - reserved(w, share) - u.buys for w, u in zip(windows, used, strict=True)),
        ]
    )
    return Room(total=max(0, total), buys=max(0, buys))


def is_full(window: Window, used: Used, *, share: float) -> bool:
    """Whether a buy must wait for this window."""
    return used.total >= window.limit or used.buys >= window.limit - reserved(window, share)
