"""The expected time against a simulation that tries every moment."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.eta import Spent, seconds_until_last

Case = tuple[int, int, Sequence[int]]
"""A window: its limit, its span, and when requests left, in seconds before now."""


def spent(case: Case, count: int | None = None) -> Spent:
    limit, span, ages = case
    within = sorted(span - age for age in ages if age < span)
    return Spent(limit=limit, span=span, used=len(within), frees_in=within[:count])


def simulated(count: int, cases: Sequence[Case], not_before: int) -> int:
    """Second by second, send whatever leaves no window with more than its limit."""
    left = [[-age for age in ages] for _, _, ages in cases]
    now, last = 0, 0
    while count:
        fits = all(
            sum(at > now - span for at in times) < limit
            for (limit, span, _), times in zip(cases, left, strict=True)
        )
        if fits and now >= not_before:
            for times in left:
                times.append(now)
            count, last = count - 1, now
        else:
            now += 1
    return last


windows = st.tuples(st.integers(1, 5), st.integers(1, 12), st.lists(st.integers(0, 14), max_size=7))


@given(st.integers(0, 12), st.lists(windows, max_size=3), st.integers(0, 9))
@example(5, [(2, 10, [1, 1, 1, 1])], 0)
def test_it_is_what_a_simulation_of_every_second_says(
    count: int, cases: Sequence[Case], not_before: int
) -> None:
    expected = simulated(count, cases, not_before)
    assert seconds_until_last(count, list(map(spent, cases)), not_before=not_before) == expected


@given(st.integers(1, 8), st.lists(windows, max_size=3))
def test_it_needs_to_know_only_the_first_slots_to_be_free(
    count: int, cases: Sequence[Case]
) -> None:
    """Of a window that is not spent beyond its limit."""
    cases = [(limit, span, ages[:limit]) for limit, span, ages in cases]
    few = [spent(case, count) for case in cases]
    assert seconds_until_last(count, few) == seconds_until_last(count, list(map(spent, cases)))


@pytest.mark.parametrize(
    ("count", "seconds"), [(0, 0), (1, 0), (60, 0), (61, 60), (120, 60), (121, 120)]
)
def test_sixty_a_minute(count: int, seconds: float) -> None:
    idle = Spent(limit=60, span=60, used=0, frees_in=[])
    assert seconds_until_last(count, [idle]) == seconds
