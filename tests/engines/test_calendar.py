import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.market import NEW_YORK
from engines.universe.calendar import days_off, until_open

MOMENT = timedelta(microseconds=1)
LOADED = (
    "import sys; import engines.universe.calendar; sys.exit('holidays' in sys.modules and 'loaded')"
)


def between(first: int, last: int) -> st.SearchStrategy[datetime]:
    begin, end = (datetime(year, 1, 1, tzinfo=UTC) for year in (first, last))
    return st.timedeltas(timedelta(0), end - begin).map(begin.__add__)


def at(text: str) -> datetime:
    """A time as the clocks of New York show it."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2025-01-08 16:00", "2025-01-10 09:30"),  # a day of mourning
        ("2026-11-25 16:00", "2026-11-27 09:30"),
        ("2026-11-27 12:59", None),
        ("2026-11-27 13:00", "2026-11-30 09:30"),
        ("2026-12-24 12:59", None),
        ("2026-12-24 13:00", "2026-12-28 09:30"),
        ("2026-12-31 16:00", "2027-01-04 09:30"),  # the next year's holiday
        ("2027-03-12 16:00", "2027-03-15 09:30"),  # the clocks go forward
        ("2027-07-02 15:59", None),  # Friday before a Monday off: not short
        ("2027-07-02 16:00", "2027-07-06 09:30"),
    ],
)
async def test_the_market_opens_again(now: str, opens: str | None) -> None:
    wait = await until_open(at(now))
    assert wait == (opens and at(opens).astimezone(UTC) - at(now).astimezone(UTC))


async def test_a_new_year_elsewhere_is_not_yet_one_in_new_york() -> None:
    assert await until_open(datetime(2027, 1, 1, 2, tzinfo=UTC)) == timedelta(days=3, hours=12.5)


@given(between(2013, 2099))
async def test_the_wait_ends_with_the_first_open_moment(now: datetime) -> None:
    wait = await until_open(now)
    if wait is not None:
        assert timedelta(0) < wait < timedelta(days=5)
        assert await until_open(now + wait) is None
        assert await until_open(now + wait - MOMENT) == MOMENT


@given(between(2, 9990))
async def test_any_year_has_an_answer(now: datetime) -> None:
    await until_open(now)


async def test_beyond_the_years_that_are_known_every_weekday_is_a_trading_day() -> None:
    assert days_off(2101).closed == frozenset()
    christmas = at("2102-12-25 12:00")
    assert christmas.weekday() == 0
    assert await until_open(christmas) is None


@pytest.mark.parametrize("year", range(2020, 2035))
def test_a_year_has_the_days_that_every_year_has(year: int) -> None:
    off = days_off(year)
    assert 8 <= len(off.closed) <= 11
    assert len(off.short) <= 3
    assert {day.year for day in off.closed | off.short} == {year}
    assert date(year, 11, 1) not in off.closed
    thanksgiving = next(d for d in sorted(off.closed) if d.month == 11)
    assert thanksgiving.weekday() == 3
    assert thanksgiving + timedelta(days=1) in off.short


def test_nothing_is_loaded_before_somebody_asks() -> None:
    subprocess.run([sys.executable, "-c", LOADED], check=True)
