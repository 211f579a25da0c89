"""What-if on its page: the form, the numbers, and the signals that flip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from web.views.shell import Shell
from web.views.words import Moment, counted, moment


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipRow:
    """A signal that would have been decided otherwise; ``gained``: it would have passed."""

    id: str
    at: Moment
    ticker: str
    side: str
    gained: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIfResult:
    """``numbers`` are the verdict, how many there were, and how many there would be."""

    sentence: str
    numbers: Sequence[tuple[str, int, int]]
    flips: Sequence[FlipRow]
    more: int
    notes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIfView:
    """templates/list_whatif.html. What was typed, and beside it what is so now."""

    shell: Shell
    hours: str
    top_n: str
    margin: str
    wait: str
    top_n_now: int
    margin_now: int
    wait_now: str
    result: WhatIfResult | None
    refused: str | None


def result_of(found: Mapping[str, Any], now: datetime) -> WhatIfResult:
    """What the API answers, for people."""
    was, would = found["recorded"], found["would"]
    flips = [_flip(one, now) for one in found["flips"]]
    return WhatIfResult(
        sentence=_sentence(found["judged"], len(flips) + found["more"]),
        numbers=[(name, was[name], would[name]) for name in was],
        flips=flips,
        more=found["more"],
        notes=found["notes"],
    )


def _sentence(judged: int, flips: int) -> str:
    if not judged:
        return "No signal was judged in this period."
    signals = counted(judged, "signal", "signals")
    if not flips:
        return f"Nothing: all of {signals} would have been decided as they were."
    return f"{flips} of {signals} would have been decided otherwise."


def _flip(one: Mapping[str, Any], now: datetime) -> FlipRow:
    return FlipRow(
        id=str(one["signal_id"]),
        at=moment(one["at"], now),
        ticker=one["ticker"],
        side=one["side"],
        gained=one["would"]["status"] == "approved",
        words=one["words"],
    )
