from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.market import NEW_YORK, DaysOff, Session, session_on, until_open

MOMENT = timedelta(microseconds=1)
HOLIDAY, SHORT_DAY = date(2026, 11, 26), date(2026, 11, 27)
OFF = DaysOff(closed=frozenset({HOLIDAY}), short=frozenset({SHORT_DAY}))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def between(first: str, last: str) -> st.SearchStrategy[datetime]:
    return st.timedeltas(timedelta(0), utc(last) - utc(first)).map(utc(first).__add__)


moments = between("1990-01-01", "2200-01-01")
days = st.dates(date(1990, 1, 1), date(2200, 1, 1))
few_days = st.frozensets(st.dates(date(2026, 10, 20), date(2026, 11, 20)), max_size=5)
offs = st.builds(DaysOff, closed=few_days, short=few_days)
autumn = between("2026-10-18", "2026-11-22")
"""New York's clocks went back on 1 November 2026."""


def at(day: str, time: str) -> datetime:
    """A time as the clocks of New York show it."""
    return datetime.fromisoformat(f"{day} {time}").replace(tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2026-03-06", "14:30", "21:00"),  # the Friday before the clocks go forward
        ("2026-03-09", "13:30", "20:00"),
        ("2026-10-30", "13:30", "20:00"),  # the Friday before they go back
        ("2026-11-02", "14:30", "21:00"),
        ("2026-11-27", "14:30", "18:00"),
    ],
)
def test_a_session_follows_the_clocks_of_new_york(day: str, opens: str, closes: str) -> None:
    session = Session(utc(f"{day} {opens}"), utc(f"{day} {closes}"))
    assert session_on(date.fromisoformat(day), OFF) == session


@pytest.mark.parametrize("day", ["2026-11-28", "2026-11-29", "2026-11-26"])
def test_weekends_and_holidays_have_no_session(day: str) -> None:
    assert session_on(date.fromisoformat(day), OFF) is None


@pytest.mark.parametrize(
    ("now", "wait"),
    [
        (at("2026-11-25", "09:29:59"), timedelta(seconds=1)),
        (at("2026-11-25", "09:30"), None),
        (at("2026-11-25", "15:59:59"), None),
        (at("2026-11-25", "16:00"), timedelta(days=1, hours=17.5)),  # over the holiday
        (at("2026-11-26", "12:00"), timedelta(hours=21.5)),
        (at("2026-11-27", "12:59"), None),
        (at("2026-11-27", "13:00"), timedelta(days=2, hours=20.5)),  # over the weekend
        (at("2026-10-30", "16:00"), timedelta(days=2, hours=18.5)),  # an hour longer: winter begins
        (at("2026-03-06", "16:00"), timedelta(days=2, hours=16.5)),  # an hour shorter: summer does
    ],
)
def test_how_long_the_market_stays_closed(now: datetime, wait: timedelta | None) -> None:
    assert until_open(now, OFF) == wait
    assert until_open(now.astimezone(UTC), OFF) == wait


def test_a_market_that_is_not_known_to_open_again_counts_as_open() -> None:
    now = utc("2026-11-24 03:00")
    never = DaysOff(closed=frozenset(now.date() + timedelta(days=n) for n in range(-1, 40)))
    assert until_open(now, never) is None


@given(moments | autumn, offs)
def test_the_wait_ends_with_the_first_open_moment(now: datetime, off: DaysOff) -> None:
    wait = until_open(now, off)
    if wait is None:
        return
    opens = now.astimezone(UTC) + wait
    assert until_open(opens, off) is None
    assert until_open(opens - MOMENT, off) == MOMENT


@given(autumn, offs)
def test_open_is_what_a_session_of_the_day_says(now: datetime, off: DaysOff) -> None:
    session = session_on(now.astimezone(NEW_YORK).date(), off)
    is_open = session is not None and session.opens <= now < session.closes
    assert (until_open(now, off) is None) == is_open


@given(days, st.booleans())
def test_a_session_lasts_six_and_a_half_hours_or_half_a_day(day: date, short: bool) -> None:  # noqa: FBT001  drawn
    session = session_on(day, DaysOff(short=frozenset({day} if short else set[date]())))
    if session is None:
        assert day.weekday() >= 5
    else:
        assert session.closes - session.opens == timedelta(hours=3.5 if short else 6.5)


def test_days_off_of_two_years_add_up() -> None:
    two = DaysOff(closed=frozenset({SHORT_DAY}), short=frozenset({HOLIDAY}))
    both = frozenset({HOLIDAY, SHORT_DAY})
    assert OFF | two == DaysOff(closed=both, short=both)
