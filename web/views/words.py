"""Words for people: times, durations, numbers with their nouns."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

NOTHING = "\N{EN DASH}"
"""Stands where there is nothing to show."""


def iso(at: datetime) -> str:
    """A time in UTC, to the millisecond: 2026-01-02T15:04:05.678Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Moment:
    """A time: in words for reading, in UTC for hovering and for the browser's own zone."""

    at: datetime
    words: str

    @property
    def iso(self) -> str:
        return iso(self.at)


def duration(span: timedelta | None) -> str:
    """A span in words: "14 s", "3 min", "2 h"."""
    if span is None:
        return NOTHING
    seconds = max(0, span.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(at: datetime, now: datetime) -> Moment:
    return Moment(at, f"{duration(now - at)} ago")


def counted(number: int, one: str, many: str) -> str:
    """A number and its noun: "1 delivery", "2 deliveries"."""
    return f"{number} {one if number == 1 else many}"
