"""Cadence: what the rhythm of a source's alerts says: too many, too few, or out of step."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.attention import Cause, Finding, Item, Over, Severity
from domain.signal import Side

SPAN = timedelta(minutes=3)
LIMIT, NEAR = 15, 12
"""TradingView stops an alert that triggers more than 15 times in three minutes (its help,
43000690939): what the operator notices next is silence. So we say it three before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """How many alerts of a source and ticker came within SPAN."""

    source: str
    ticker: str
    count: int

    @property
    def key(self) -> str:
        return f"{self.source}:{self.ticker}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """A source that is expected to send at least once in ``every``; ``last_at`` is when it did."""

    source: str
    every: timedelta
    in_hours: bool
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A signal of a source whose buys and sells take turns, and the side of the one before."""

    source: str
    ticker: str
    side: Side
    before: Side | None
    at: datetime
    signal_id: UUID


def near_limit(bursts: Iterable[Burst], open_keys: Iterable[str], now: datetime) -> list[Finding]:
    """Who comes near the limit; whoever was and is not any more."""
    near = {burst.key: burst for burst in bursts if burst.count >= NEAR}
    calm = [key for key in open_keys if key not in near]
    return [
        *(Over(cause=Cause.NEAR_LIMIT, key=key, why="it is calm again") for key in calm),
        *(_near(burst, now) for burst in near.values()),
    ]


def _near(burst: Burst, now: datetime) -> Item:
    return Item(
        cause=Cause.NEAR_LIMIT,
        key=burst.key,
        severity=Severity.WARNING,
        text=f"{burst.source} sent {burst.count} alerts of {burst.ticker} within 3 minutes:"
        f" TradingView stops an alert above {LIMIT}.",
        at=now,
        source=burst.source,
        ticker=burst.ticker,
    )


def silent(rhythm: Rhythm, now: datetime) -> Item:
    """A source that let its time pass."""
    hours = " of market hours" if rhythm.in_hours else ""
    return Item(
        cause=Cause.SOURCE_SILENT,
        key=rhythm.source,
        severity=Severity.WARNING,
        text=f"Nothing came from {rhythm.source} for more than {in_words(rhythm.every)}{hours}:"
        " are its alerts still active?",
        at=now,
        source=rhythm.source,
    )


def heard(source: str) -> Over:
    return Over(cause=Cause.SOURCE_SILENT, key=source, why="it was heard, or is not waited for")


def out_of_step(step: Step) -> list[Finding]:
    """A signal that does not follow its other half, and what a signal that does so settles."""
    key = f"{step.source}:{step.ticker}"
    settled = Cause.SELL_WITHOUT_BUY if step.side is Side.BUY else Cause.BUY_AFTER_BUY
    found: list[Finding] = [Over(cause=settled, key=key, why=f"a {step.side} came")]
    if step.side is Side.BUY and step.before is Side.BUY:
        words = f"{step.source} sent a second buy of {step.ticker} without a sell between."
        found.append(_missed(step, Cause.BUY_AFTER_BUY, key, words))
    elif step.side is Side.SELL and step.before is not Side.BUY:
        words = f"{step.source} sent a sell of {step.ticker} without a buy before it."
        found.append(_missed(step, Cause.SELL_WITHOUT_BUY, key, words))
    return found


def _missed(step: Step, cause: Cause, key: str, words: str) -> Item:
    return Item(
        cause=cause,
        key=key,
        severity=Severity.WARNING,
        text=f"{words} An alert may have been missed.",
        at=step.at,
        signal_id=step.signal_id,
        source=step.source,
        ticker=step.ticker,
    )


def in_words(span: timedelta) -> str:
    """A span for people: "45 min", "1.5 h", "2 d"."""
    minutes = span.total_seconds() / 60
    for size, unit in ((1440, "d"), (60, "h")):
        if minutes >= size:
            return f"{minutes / size:.3g} {unit}"
    return f"{minutes:.3g} min"
