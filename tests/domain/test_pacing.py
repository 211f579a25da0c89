from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.pacing import calm_refresh, next_wait
from domain.universe import FetchOutcome

FAILURES = [outcome for outcome in FetchOutcome if not outcome.is_list and outcome != "suspect"]

outcomes = st.sampled_from(FetchOutcome)
refreshes = st.timedeltas(timedelta(seconds=1), timedelta(days=1))
jitters = st.floats(0, 1, exclude_max=True)
counts = st.integers(0, 10_000)
closed = st.timedeltas(timedelta(microseconds=1), timedelta(days=6))
wishes = st.none() | st.timedeltas(timedelta(days=-1), timedelta(days=30))


def steady(refresh: float, outcome: FetchOutcome, failures: int) -> float:
    wait = next_wait(timedelta(seconds=refresh), outcome, failures, jitter=0.5)
    return wait.total_seconds()


@pytest.mark.parametrize("outcome", [FetchOutcome.OK, FetchOutcome.EMPTY])
def test_after_a_list_the_refresh_is_kept_within_a_tenth(outcome: FetchOutcome) -> None:
    minute = timedelta(minutes=1)
    assert next_wait(minute, outcome, 0, jitter=0) == timedelta(seconds=54)
    assert next_wait(minute, outcome, 0, jitter=0.5) == minute
    assert minute < next_wait(minute, outcome, 0, jitter=0.999) < timedelta(seconds=66)


@pytest.mark.parametrize("outcome", FAILURES)
def test_failures_double_the_wait_from_half_a_minute_to_a_quarter_of_an_hour(
    outcome: FetchOutcome,
) -> None:
    waits = [steady(180, outcome, failures) for failures in (1, 2, 3, 4, 5, 6, 7, 10_000)]
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]


def test_a_suspect_answer_is_looked_at_again_soon_but_not_for_ever() -> None:
    waits = [steady(60, FetchOutcome.SUSPECT, failures) for failures in (1, 2, 3, 4, 5, 6)]
    assert waits == [5, 10, 20, 40, 60, 60]
    assert steady(1, FetchOutcome.SUSPECT, 9) == 5


def calm(refresh: float, max_age: float, until_open: float | None) -> float:
    opens = None if until_open is None else timedelta(seconds=until_open)
    found = calm_refresh(timedelta(seconds=refresh), timedelta(seconds=max_age), opens)
    return round(found.total_seconds(), 3)


@pytest.mark.parametrize(
    ("refresh", "max_age", "until_open", "wait"),
    [
        (180, 540, None, 180),  # the market is open
        (180, 540, 9_000, 324),  # six tenths of the list's life
        (15, 180, 9_000, 108),
        (15, 86_400, 9_000, 900),  # a quarter of an hour at most
        (180, 86_400, 550, 500),  # even the latest look of those 500 s is at the open
        (180, 86_400, 60, 180),  # never sooner than the refresh
        (3_600, 10_800, 9_000, 3_600),
        (180, 180, 9_000, 180),
    ],
)
def test_while_the_market_is_closed_the_looks_are_fewer(
    refresh: float, max_age: float, until_open: float | None, wait: float
) -> None:
    assert calm(refresh, max_age, until_open) == wait


def test_finviz_is_not_asked_before_it_wishes_up_to_an_hour() -> None:
    def wait(wish: timedelta) -> timedelta:
        minute = timedelta(minutes=1)
        return next_wait(minute, FetchOutcome.THROTTLED, 1, jitter=0, retry_after=wish)

    assert wait(timedelta(seconds=5)) == timedelta(seconds=27)
    assert wait(timedelta(minutes=7)) == timedelta(minutes=7)
    assert wait(timedelta(days=2)) == timedelta(hours=1)


@given(refreshes, outcomes, counts, jitters, wishes)
def test_every_wait_is_bounded(
    refresh: timedelta,
    outcome: FetchOutcome,
    failures: int,
    jitter: float,
    wish: timedelta | None,
) -> None:
    wait = next_wait(refresh, outcome, failures, jitter=jitter, retry_after=wish)
    longest = max(refresh * 1.1, timedelta(hours=1))
    assert timedelta(seconds=0.9) <= wait <= longest
    if wish is not None:
        assert wait >= min(wish, timedelta(hours=1))


@given(refreshes, outcomes, st.integers(1, 100), jitters)
def test_more_failures_never_shorten_the_wait(
    refresh: timedelta, outcome: FetchOutcome, failures: int, jitter: float
) -> None:
    now = next_wait(refresh, outcome, failures, jitter=jitter)
    assert next_wait(refresh, outcome, failures + 1, jitter=jitter) >= now


@given(refreshes, refreshes, closed, jitters)
def test_a_calm_look_is_neither_too_soon_nor_late_for_the_open_or_the_list(
    refresh: timedelta, max_age: timedelta, until_open: timedelta, jitter: float
) -> None:
    rounding = timedelta(milliseconds=1)
    slow = calm_refresh(refresh, max_age, until_open)
    wait = next_wait(refresh, FetchOutcome.OK, 0, jitter=jitter, calm=slow)
    usual = next_wait(refresh, FetchOutcome.OK, 0, jitter=jitter)
    assert wait >= usual
    assert wait <= max(1.1 * refresh, until_open) + rounding
    assert wait <= max(1.1 * refresh, 0.7 * max_age) + rounding


@given(refreshes, outcomes, counts, jitters, wishes)
def test_only_after_a_list_is_a_look_calm(
    refresh: timedelta, outcome: FetchOutcome, failures: int, jitter: float, wish: timedelta | None
) -> None:
    day = timedelta(days=1)
    wait = next_wait(refresh, outcome, failures, jitter=jitter, retry_after=wish, calm=day)
    if outcome.is_list:
        assert wait == next_wait(day, outcome, failures, jitter=jitter, retry_after=wish)
    else:
        assert wait == next_wait(refresh, outcome, failures, jitter=jitter, retry_after=wish)
