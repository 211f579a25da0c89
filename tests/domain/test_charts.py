"""What is reckoned before a chart is drawn: steps, windows that slide, and how old a list grew."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.charts import MOST_STEPS, Grid, ages, grid, peaks, spread


@pytest.mark.parametrize(
    ("minutes", "step", "count"),
    [(10, 60, 10), (60, 60, 60), (100, 60, 100), (101, 300, 21), (360, 300, 72), (1440, 900, 96)],
)
def test_a_period_has_steps_that_can_be_told_apart(minutes: int, step: int, count: int) -> None:
    over = grid(minutes, 1_000_000_030.0)
    assert (over.step, over.count) == (step, count)


@given(minutes=st.integers(10, 1440), now=st.floats(1e9, 2e9))
def test_the_last_step_is_the_one_that_runs(minutes: int, now: float) -> None:
    over = grid(minutes, now)
    assert over.until - over.step <= now < over.until
    assert len(over.x) == over.count <= MOST_STEPS
    assert all(after - before == over.step for before, after in pairwise(over.x))
    assert over.since % over.step == 0
    assert over.until - over.since >= minutes * 60


def test_what_is_outside_is_not_counted() -> None:
    assert spread([(0, 2), (2, 1), (0, 1), (-1, 9), (3, 9)], 3) == [3, 0, 1]


def test_a_window_slides_over_the_steps() -> None:
    """Four slots a step, a window of three: what was sent before the first step counts in it."""
    sent = {-2: 5, 0: 1, 3: 2, 4: 4, 7: 1}
    assert peaks(sent, 3, 4, 2) == [6, 6]
    assert peaks(sent, 1, 4, 2) == [2, 4]
    assert peaks({}, 3, 4, 2) == [0, 0]


@given(
    sent=st.dictionaries(st.integers(-20, 30), st.integers(1, 9)),
    span=st.integers(1, 20),
    slots=st.integers(1, 5),
    steps=st.integers(1, 6),
)
def test_a_peak_is_the_most_of_any_window_that_ends_in_the_step(
    sent: dict[int, int], span: int, slots: int, steps: int
) -> None:
    def used(slot: int) -> int:
        return sum(number for at, number in sent.items() if slot - span < at <= slot)

    expected = [max(map(used, range(n * slots, (n + 1) * slots))) for n in range(steps)]
    assert peaks(sent, span, slots, steps) == expected


def test_a_list_ages_until_it_is_confirmed() -> None:
    over = Grid(since=0, step=60, count=4)
    confirmed = {0: (40.0, 50.0), 2: (90.0, 140.0)}
    assert ages(confirmed, 10.0, over, now=200.0) == [40.0, 70.0, 90.0, 60.0]


def test_before_there_was_a_list_it_has_no_age() -> None:
    over = Grid(since=0, step=60, count=3)
    assert ages({1: (0.0, 90.0)}, None, over, now=170.0) == [None, 30.0, 80.0]
    assert ages({}, None, over, now=170.0) == [None, None, None]
