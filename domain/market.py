"""Market hours: when the New York Stock Exchange trades, by its own clock."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
OPENS, CLOSES, CLOSES_EARLY = time(9, 30), time(16), time(13)
HORIZON = timedelta(days=14)
"""No pause of the exchange since 1933 was longer."""


@dataclass(frozen=True, slots=True)
class Session:
    """A day's trading, from ``opens`` up to but not including ``closes``."""

    opens: datetime
    closes: datetime


@dataclass(frozen=True, slots=True)
class DaysOff:
    """The days on which the exchange stays closed, and those on which it closes early."""

    closed: frozenset[date] = frozenset()
    short: frozenset[date] = frozenset()

    def __or__(self, other: "DaysOff") -> "DaysOff":
        return DaysOff(self.closed | other.closed, self.short | other.short)


def session_on(day: date, off: DaysOff) -> Session | None:
    """The session of a day in New York, or None when there is none."""
    if day.weekday() >= 5 or day in off.closed:
        return None
    closes = CLOSES_EARLY if day in off.short else CLOSES
    return Session(_in_utc(day, OPENS), _in_utc(day, closes))


def _in_utc(day: date, at: time) -> datetime:
    """In UTC, because times of one zone are subtracted as if its clocks never changed."""
    return datetime.combine(day, at, NEW_YORK).astimezone(UTC)


def until_open(now: datetime, off: DaysOff) -> timedelta | None:
    """How long the market stays closed; None when it is open, or not known to open again."""
    today = now.astimezone(NEW_YORK).date()
    for days in range(HORIZON.days + 1):
        session = session_on(today + timedelta(days=days), off)
        if session and now < session.closes:
            return session.opens - now if now < session.opens else None
    return None
