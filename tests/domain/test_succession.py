"""From one list to the next: who is in, who is kept, who came and left; and what is refused."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.screen import EXAMPLE_URL, UNFILTERED, Screen, looks_unfiltered, parse_screen_url
from domain.ticker import Ticker
from domain.universe import (
    Adopt,
    Succession,
    Suspect,
    Trust,
    Turnover,
    Universe,
    succession,
    trust,
    trusted_since,
    weigh,
)

NOW = datetime(2030, 1, 2, 15, 0, tzinfo=UTC)
AGE = timedelta(minutes=9)
TOP_N, MARGIN = 3, 2

rankings = st.permutations([Ticker(name) for name in "ABCDEFGH"])


def named(names: str) -> tuple[Ticker, ...]:
    return tuple(Ticker(name) for name in names)


def step(
    members: str | None, ranks: str, *, fresh: bool = True, margin: int = MARGIN
) -> Succession:
    before = None if members is None else named(members)
    return succession(before, named(ranks), top_n=TOP_N, margin=margin, fresh=fresh)


def in_list(ranks: tuple[Ticker, ...], kept: frozenset[Ticker]) -> list[Ticker]:
    universe = Universe(
        version=1, tickers=ranks, total=99, fetched_at=NOW, confirmed_at=NOW, kept=kept
    )
    return universe.members(TOP_N, MARGIN)


def test_the_first_list_is_a_beginning() -> None:
    assert step(None, "ABCDE") == Succession(
        kept=frozenset(), changes=Turnover(entered=(), left=())
    )


def test_one_that_falls_stays_in_as_far_as_the_margin() -> None:
    assert step("ABC", "BCDEA").kept == {"A"}
    assert step("ABC", "BCDEA").changes == Turnover(entered=named("D"), left=())
    assert step("ABC", "BCDEFA") == step("ABC", "BCDEF")
    assert step("ABC", "BCDEF").changes == Turnover(entered=named("D"), left=named("A"))


def test_one_that_was_not_in_is_not_kept() -> None:
    assert step("ABC", "ABCDE") == step("ABC", "ABC")
    assert step("ABC", "ABCDE").kept == frozenset()


def test_after_a_gap_nobody_is_kept_but_who_came_is_compared_with_the_last_list_known() -> None:
    gap = step("ABC", "BCDAE", fresh=False)
    assert gap == Succession(
        kept=frozenset(), changes=Turnover(entered=named("D"), left=named("A"))
    )


def test_without_a_margin_the_top_n_is_all() -> None:
    assert step("ABC", "BCDA", margin=0).kept == frozenset()


@given(ranks=st.lists(rankings, min_size=1, max_size=12))
def test_a_walk_along_lists_is_hysteresis_by_its_definition(ranks: list[list[Ticker]]) -> None:
    """In at rank N or better; out beyond N plus margin; in between as it was."""
    expected: set[Ticker] = set()
    members: list[Ticker] | None = None
    for ranking in map(tuple, ranks):
        place = {ticker: rank for rank, ticker in enumerate(ranking, start=1)}
        expected = {t for t in ranking if place[t] <= TOP_N} | {
            t for t in expected if place[t] <= TOP_N + MARGIN
        }
        found = succession(members, ranking, top_n=TOP_N, margin=MARGIN, fresh=True)
        now = in_list(ranking, found.kept)
        assert set(now) == expected
        assert now == sorted(now, key=place.__getitem__)
        if members is not None:
            assert set(found.changes.entered) == expected - set(members)
            assert set(found.changes.left) == set(members) - expected
        members = now


# ── Trust ───────────────────────────────────────────────────────────────────────────────────


def a_universe(*, age: timedelta, ends: datetime | None = None) -> Universe:
    return Universe(
        version=1,
        tickers=named("A"),
        total=1,
        fetched_at=NOW - age,
        confirmed_at=NOW - age,
        fresh_since=NOW - timedelta(hours=3),
        valid_until=ends,
    )


def test_a_fixed_list_ends_when_it_ends_however_young_it_is() -> None:
    second = timedelta(seconds=1)
    assert trust(a_universe(age=second, ends=NOW + second), NOW, AGE) is Trust.FRESH
    assert trust(a_universe(age=second, ends=NOW), NOW, AGE) is Trust.STALE


@given(age=st.timedeltas(timedelta(0), timedelta(hours=2)), left=st.none() | st.integers(-99, 99))
def test_since_when_it_has_the_trust_it_has(age: timedelta, left: int | None) -> None:
    ends = None if left is None else NOW + timedelta(minutes=left)
    universe = a_universe(age=age, ends=ends)
    since = trusted_since(universe, NOW, AGE)
    assert since <= NOW
    if trust(universe, NOW, AGE) is Trust.FRESH:
        assert since == universe.fresh_since
    else:
        instant = timedelta(microseconds=1)
        assert trust(universe, since + instant, AGE) is Trust.STALE
        if ends is None or ends > universe.confirmed_at:  # else it never was
            assert trust(universe, since - instant, AGE) is Trust.FRESH


# ── What time alone does not make believable ────────────────────────────────────────────────


def test_a_refused_list_stays_refused_until_it_no_longer_surprises() -> None:
    current, other = named("ABCDEFGH"), named("STUVWXYZ")
    again = weigh(current, other, other, refused=other)
    assert isinstance(again, Suspect)
    assert again.lasting
    assert "refused" in again.reason
    assert weigh(current, current, other, refused=other) == Adopt()
    another = named("KLMNOPQR")
    assert weigh(current, another, another, refused=other) == Adopt()


def test_the_whole_market_is_never_believed_for_being_seen_twice() -> None:
    answer = named("ABC")
    for pending in (None, answer):
        found = weigh(answer, answer, pending, unfiltered=True)
        assert isinstance(found, Suspect)
        assert found.lasting


def test_what_looks_like_the_whole_market() -> None:
    def screen(query: str, *, whole: bool = False) -> Screen:
        url = parse_screen_url(f"https://finviz.com/screener.ashx?{query}")
        return Screen(url=url, top_n=5, refresh=AGE, whole_market=whole)

    filtered = Screen(url=EXAMPLE_URL, top_n=5, refresh=AGE)
    assert looks_unfiltered(filtered, UNFILTERED)
    assert not looks_unfiltered(filtered, UNFILTERED - 1)
    assert not looks_unfiltered(screen("v=111&o=-change"), 11_532)
    assert looks_unfiltered(screen("v=111&f=misspelt"), 11_532)
    assert not looks_unfiltered(screen("v=111&f=misspelt", whole=True), 11_532)
