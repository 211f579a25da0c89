from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ticker import Ticker
from domain.universe import (
    Adopt,
    FetchOutcome,
    Suspect,
    Trust,
    Turnover,
    Universe,
    agree,
    trust,
    turnover,
    weigh,
)

NOW = datetime(2030, 1, 2, 15, 0, tzinfo=UTC)
AGE = timedelta(minutes=9)

lists = st.lists(st.integers(0, 40), unique=True, max_size=25).map(
    lambda numbers: tuple(Ticker(f"T{number}") for number in numbers)
)
filled = lists.filter(bool)


def named(first: int, last: int) -> tuple[Ticker, ...]:
    return tuple(Ticker(f"T{number}") for number in range(first, last + 1))


def a_universe(*tickers: str, confirmed_at: datetime = NOW) -> Universe:
    return Universe(
        version=1,
        tickers=tuple(map(Ticker, tickers)),
        total=len(tickers),
        fetched_at=NOW - timedelta(hours=1),
        confirmed_at=confirmed_at,
    )


def test_the_rank_is_the_place_in_the_list() -> None:
    universe = a_universe("B", "A", "C")
    assert [universe.rank(Ticker(name)) for name in ("B", "A", "C", "D")] == [1, 2, 3, None]
    assert universe == a_universe("B", "A", "C")


def test_a_ticker_cannot_have_two_ranks() -> None:
    with pytest.raises(ValueError, match="twice"):
        a_universe("A", "B", "A")


@pytest.mark.parametrize(
    ("confirmed_ago", "expected"),
    [
        (timedelta(0), Trust.FRESH),
        (AGE, Trust.FRESH),
        (AGE + timedelta(microseconds=1), Trust.STALE),
        (timedelta(seconds=-5), Trust.FRESH),
        (timedelta(seconds=-6), Trust.STALE),
    ],
)
def test_a_list_is_fresh_for_its_time_and_not_before_it_was_seen(
    confirmed_ago: timedelta, expected: Trust
) -> None:
    assert trust(a_universe("A", confirmed_at=NOW - confirmed_ago), NOW, AGE) is expected


def test_without_a_list_nothing_is_known() -> None:
    assert trust(None, NOW, AGE) is Trust.UNKNOWN
    assert trust(a_universe(), NOW, AGE) is Trust.FRESH, "a proven empty list is a list"


def test_only_two_outcomes_are_lists() -> None:
    assert {outcome for outcome in FetchOutcome if outcome.is_list} == {"ok", "empty"}


def test_turnover_keeps_the_order_of_the_ranks() -> None:
    before, after = map(Ticker, "ABC"), map(Ticker, "DCE")
    assert turnover(tuple(before), tuple(after)) == Turnover(
        entered=(Ticker("D"), Ticker("E")), left=(Ticker("A"), Ticker("B"))
    )


@pytest.mark.parametrize(
    ("current", "answer"),
    [
        (None, named(1, 1)),
        (named(1, 20), named(1, 10)),
        (named(1, 20), named(17, 36)),
        (named(1, 1), named(1, 1000)),
        (named(1, 5), named(5, 9)),
        ((), ()),
    ],
)
def test_an_expected_answer_is_adopted_at_once(
    current: tuple[Ticker, ...] | None, answer: tuple[Ticker, ...]
) -> None:
    assert weigh(current, answer, None) == Adopt()


@pytest.mark.parametrize(
    ("current", "answer", "reason"),
    [
        (None, (), "no ticker at all"),
        (named(1, 20), (), "no ticker at all"),
        (named(1, 20), named(1, 9), "9 tickers where there were 20"),
        (named(1, 20), named(18, 37), "only 3 of 20"),
        (named(1, 6), named(6, 11), "only 1 of 6"),
        (named(1, 1), named(2, 2), "only 0 of 1"),
        ((), named(1, 5), "after an empty list"),
    ],
)
def test_a_surprising_answer_must_be_seen_twice(
    current: tuple[Ticker, ...] | None, answer: tuple[Ticker, ...], reason: str
) -> None:
    first = weigh(current, answer, None)
    assert isinstance(first, Suspect)
    assert reason in first.reason
    assert weigh(current, answer, answer) == Adopt()


def test_a_second_answer_confirms_when_four_fifths_are_the_same() -> None:
    current = named(100, 119)
    assert weigh(current, named(1, 10), named(3, 12)) == Adopt()
    assert isinstance(weigh(current, named(1, 10), named(4, 13)), Suspect)
    assert isinstance(weigh(current, named(1, 10), named(1, 7)), Suspect), "it grew by more"
    assert isinstance(weigh(current, named(1, 10), ()), Suspect)
    assert isinstance(weigh(current, (), named(1, 10)), Suspect)


@given(lists, lists)
def test_agreeing_has_no_direction(one: tuple[Ticker, ...], other: tuple[Ticker, ...]) -> None:
    assert agree(one, other) == agree(other, one)
    assert agree(one, one)
    assert agree(one, ()) == (not one)


@given(st.none() | lists, lists)
def test_what_is_seen_twice_is_always_adopted(
    current: tuple[Ticker, ...] | None, answer: tuple[Ticker, ...]
) -> None:
    assert weigh(current, answer, answer) == Adopt()


@given(lists, st.none() | lists)
def test_the_same_list_is_always_adopted(
    current: tuple[Ticker, ...], pending: tuple[Ticker, ...] | None
) -> None:
    assert weigh(current, current, pending) == Adopt()


@given(filled, lists, st.none() | lists)
def test_growth_is_never_a_surprise(
    current: tuple[Ticker, ...], more: tuple[Ticker, ...], pending: tuple[Ticker, ...] | None
) -> None:
    grown = tuple(dict.fromkeys(more + current))
    assert weigh(current, grown, pending) == Adopt()


@given(filled, filled, st.none() | lists)
def test_order_does_not_matter(
    current: tuple[Ticker, ...], answer: tuple[Ticker, ...], pending: tuple[Ticker, ...] | None
) -> None:
    assert weigh(current, answer, pending) == weigh(current[::-1], answer[::-1], pending)


@given(st.none() | filled, st.none() | filled)
def test_nothing_is_never_adopted_on_one_sight(
    current: tuple[Ticker, ...] | None, pending: tuple[Ticker, ...] | None
) -> None:
    assert isinstance(weigh(current, (), pending), Suspect)


@given(filled, filled, st.floats(0, 1))
def test_what_is_adopted_at_once_is_half_as_long_and_a_fifth_the_same(
    current: tuple[Ticker, ...], others: tuple[Ticker, ...], kept: float
) -> None:
    answer = tuple(dict.fromkeys((*current[: round(kept * len(current))], *others)))
    shared = len(set(current) & set(answer))
    alike = len(answer) >= len(current) / 2 and shared >= len(current) / 5
    assert (weigh(current, answer, None) == Adopt()) is alike
