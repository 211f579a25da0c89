from collections.abc import Callable

import pytest

from bench.figures import TIMES, Figure, Line, Round, medians, number, percentile, quiet_rounds


def rounds_of(*others: float) -> Callable[[int], Round]:
    """Rounds number 1, 2, …, each worth its number, with so much work of others."""
    return lambda n: Round({"value": float(n)}, others[n - 1])


@pytest.mark.parametrize(
    ("share", "found"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, found: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == found


def test_the_p99_of_a_few_is_the_worst_of_them() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3


def test_a_round_in_which_others_worked_is_made_again() -> None:
    made, quiet = quiet_rounds(rounds_of(0.0, 0.21, 0.2, 0.1), 3)
    assert quiet
    assert [one.values["value"] for one in made] == [1, 3, 4]


def test_where_quiet_rounds_do_not_come_all_count_and_it_is_said() -> None:
    made, quiet = quiet_rounds(rounds_of(0.5, 0.1, 0.5, 0.5), 2)
    assert (len(made), quiet) == (4, False)
    (figure,) = medians(made, {"value": Line("what", "ms", most=9)}, quiet=quiet)
    assert figure.noisy
    assert (figure.value, figure.low, figure.high) == (2.5, 1, 4)


def test_lines_give_order_and_budget_and_leave_out_what_was_not_measured() -> None:
    lines = {"b": Line("second", TIMES, least=0.3), "a": Line("first"), "c": Line("none")}
    found = medians([Round({"a": 1.0, "b": 0.2}, 0.0)], lines)
    assert [one.what for one in found] == ["second", "first"]
    assert [one.met for one in found] == [False, None]
    assert [one.is_ratio for one in found] == [True, False]


@pytest.mark.parametrize(("value", "met"), [(0.9, False), (1.0, True), (2.0, True), (2.1, False)])
def test_a_budget_may_have_two_ends(value: float, *, met: bool) -> None:
    assert Figure(what="", value=value, least=1, most=2).met is met


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (12_345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (0.123456, "0.123")],
)
def test_three_digits_count(value: float, text: str) -> None:
    assert number(value) == text
