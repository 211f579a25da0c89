from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.breaker import (
    Breaker,
    BreakerPolicy,
    BreakerState,
    Health,
    Permit,
    Probed,
    Tally,
    after,
    health_of,
    permit,
)
from domain.delivery import Answer, Outcome

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POLICY = BreakerPolicy()
NONE = Tally(0, 0)
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
OPENED = Breaker(
    state=OPEN, since=NOW, until=NOW + 2 * SECOND, cause="http 500", trips=1, failures=5
)


def told(breaker: Breaker, health: Health, *, at: datetime = NOW, recent: Tally = NONE) -> Breaker:
    """After an answer to a request that began and ended at this moment."""
    probed = Probed(health=health, began=at, cause="http 500")
    return after(breaker, probed, recent, now=at, policy=POLICY, jitter=0.5)


def failed(breaker: Breaker, times: int, at: datetime = NOW) -> Breaker:
    for _ in range(times):
        breaker = told(breaker, Health.BAD, at=at)
    return breaker


def test_it_opens_at_the_fifth_failure_in_a_row() -> None:
    four = failed(Breaker(), 4)
    assert (four.state, four.failures) == (CLOSED, 4)
    five = told(four, Health.BAD)
    assert (five.state, five.trips, five.cause) == (OPEN, 1, "http 500")
    assert (five.since, five.until) == (NOW, NOW + 2 * SECOND)


def test_a_success_begins_the_row_anew() -> None:
    assert failed(told(failed(Breaker(), 4), Health.GOOD), 4).state is CLOSED


@pytest.mark.parametrize(
    ("recent", "state"),
    [
        (Tally(5, 10), OPEN),
        (Tally(4, 10), CLOSED),
        (Tally(9, 9), CLOSED),
        (Tally(10, 20), OPEN),
        (Tally(10, 21), CLOSED),
    ],
)
def test_it_opens_when_half_of_at_least_ten_recent_ones_failed(
    recent: Tally, state: BreakerState
) -> None:
    assert told(Breaker(), Health.BAD, recent=recent).state is state
    assert told(Breaker(), Health.GOOD, recent=recent).state is CLOSED


def test_it_opens_at_once_where_no_other_request_would_fare_better() -> None:
    assert told(Breaker(), Health.FATAL).state is OPEN


def test_silence_changes_nothing() -> None:
    for breaker in (Breaker(), failed(Breaker(), 3), OPENED):
        assert told(breaker, Health.SILENT, at=NOW + 9 * SECOND) is breaker


def test_two_successes_close_it_and_a_failure_between_opens_it_longer() -> None:
    later = NOW + 3 * SECOND
    half = told(OPENED, Health.GOOD, at=later)
    assert (half.state, half.successes, half.until) == (HALF_OPEN, 1, None)
    assert told(half, Health.GOOD, at=later) == Breaker(since=later)
    again = told(half, Health.BAD, at=later)
    assert (again.state, again.trips, again.until) == (OPEN, 2, later + 4 * SECOND)
    assert again.successes == 0


def test_news_of_what_began_before_it_opened_is_old() -> None:
    early = Probed(health=Health.GOOD, began=NOW - SECOND, cause="")
    late = NOW + 5 * SECOND
    for health in Health:
        news = replace(early, health=health)
        assert after(OPENED, news, NONE, now=late, policy=POLICY, jitter=0) is OPENED


def test_once_closed_the_next_trip_is_short_again() -> None:
    breaker, at = OPENED, NOW
    for _ in range(3):
        at += 40 * SECOND
        breaker = told(breaker, Health.BAD, at=at)
    assert breaker.trips == 4
    for _ in range(2):
        breaker = told(breaker, Health.GOOD, at=at + SECOND)
    assert failed(breaker, 5, at + 2 * SECOND).trips == 1


@given(st.integers(1, 1_000), st.floats(0, 1, exclude_max=True))
def test_the_open_time_doubles_up_to_half_a_minute(trips: int, jitter: float) -> None:
    middle = min(2 * 2 ** min(trips - 1, 16), 30)
    wait = POLICY.open_time(trips, jitter).total_seconds()
    assert 0.8 * middle <= wait <= 1.2 * middle


def test_the_open_times_are_those_of_the_table() -> None:
    times = [POLICY.open_time(trips, 0.5).total_seconds() for trips in range(1, 8)]
    assert times == [2, 4, 8, 16, 30, 30, 30]


LONG = replace(OPENED, until=NOW + 30 * SECOND)


@pytest.mark.parametrize(
    ("breaker", "seconds", "allowed"),
    [
        (Breaker(), 0, Permit.ALL),
        (failed(Breaker(), 4), 0, Permit.ALL),
        (OPENED, 0, Permit.NONE),
        (OPENED, 1.999, Permit.NONE),
        (OPENED, 2, Permit.PROBE),
        (LONG, 4.999, Permit.NONE),
        (LONG, 5, Permit.SELL_PROBE),
        (LONG, 29.999, Permit.SELL_PROBE),
        (LONG, 30, Permit.PROBE),
        (replace(OPENED, state=HALF_OPEN, until=None), 0, Permit.PROBE),
    ],
)
def test_what_may_leave(breaker: Breaker, seconds: float, allowed: Permit) -> None:
    assert permit(breaker, NOW + seconds * SECOND, POLICY) is allowed


WELL, ILL = Answer(outcome=Outcome.DELIVERED, status=200), Outcome.AMBIGUOUS


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (WELL, Health.GOOD),
        (Answer(outcome=ILL, status=500), Health.BAD),
        (Answer(outcome=ILL, error="ReadTimeout"), Health.BAD),
        (Answer(outcome=Outcome.NOT_SENT, error="ConnectError"), Health.BAD),
        (Answer(outcome=Outcome.NOT_SENT, error="TLS refused", fatal=True), Health.FATAL),
        (Answer(outcome=Outcome.NOT_PROCESSED, status=503), Health.BAD),
        (Answer(outcome=Outcome.NOT_PROCESSED, status=503, retry_after=SECOND), Health.SILENT),
        (Answer(outcome=Outcome.PERMANENT, status=422), Health.GOOD),
        (Answer(outcome=Outcome.PERMANENT, status=302), Health.BAD),
        (Answer(outcome=Outcome.PERMANENT, status=401, fatal=True), Health.FATAL),
        (Answer(outcome=Outcome.PERMANENT, error="forbidden", fatal=True), Health.FATAL),
        (Answer(outcome=Outcome.WITHHELD), Health.SILENT),
        (Answer(outcome=Outcome.DRY_RUN), Health.SILENT),
    ],
)
def test_what_an_answer_says_of_its_destination(answer: Answer, health: Health) -> None:
    assert health_of(answer) is health


stories = st.lists(st.tuples(st.floats(0, 20), st.sampled_from(Health)), max_size=40)


@given(stories)
def test_an_open_one_always_says_until_when_and_is_tried_in_time(
    story: list[tuple[float, Health]],
) -> None:
    breaker, at, seen = Breaker(), NOW, [Breaker()]
    for seconds, health in story:
        at += seconds * SECOND
        breaker = told(breaker, health, at=at)
        seen.append(breaker)
        assert (breaker.state is OPEN) == (breaker.until is not None)
        assert permit(breaker, at + 36 * SECOND, POLICY) in {Permit.ALL, Permit.PROBE}
        assert (permit(breaker, at, POLICY) is Permit.ALL) == (breaker.state is CLOSED)
    steps = {(one.state, other.state) for one, other in pairwise(seen)}
    assert (CLOSED, HALF_OPEN) not in steps
