"""The calendar of the New York Stock Exchange, as far as it is known."""

import asyncio
from datetime import date, datetime, timedelta
from functools import cache

from domain.market import HORIZON, NEW_YORK, DaysOff
from domain.market import until_open as until_open_with


async def until_open(now: datetime) -> timedelta | None:
    """How long the market stays closed; None when it is open.

    In a thread: the first time 400 modules are loaded (0.1 s, 12 MB).
    """
    return await asyncio.to_thread(_until_open, now)


def _until_open(now: datetime) -> timedelta | None:
    there = now.astimezone(NEW_YORK)
    return until_open_with(there, days_off(there.year) | days_off((there + HORIZON).year))


@cache
def days_off(year: int) -> DaysOff:
    """Holidays and early closes of a year; none beyond those that are known: rather look often."""
    return DaysOff(closed=_days(year, "public"), short=_days(year, "half_day"))


def days_off_in(first: int, last: int) -> DaysOff:
    """Those of these years and all between them."""
    found = DaysOff()
    for year in range(first, last + 1):
        found |= days_off(year)
    return found


def _days(year: int, category: str) -> frozenset[date]:
    from holidays import financial_holidays  # noqa: PLC0415  only whoever slows down pays for it

    return frozenset(financial_holidays("NYSE", years=year, categories=category))
