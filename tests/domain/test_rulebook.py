"""A rulebook as JSON: it comes back as it went, and what cannot be is refused by its name."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rulebook import RuleError, checked_rulebook, merged, read_rulebook, shown_rulebook
from domain.rules import Direction, Rulebook, Rules
from domain.ticker import Ticker

prices = st.none() | st.decimals("0.0001", "1000000", places=4)
rule_sets = st.builds(
    Rules,
    refused=st.frozensets(st.sampled_from(["AA", "BB"]).map(Ticker)),
    allowed=st.frozensets(st.sampled_from(["CC", "DD"]).map(Ticker)),
    cooldown=st.integers(0, 604_800_000).map(lambda n: timedelta(milliseconds=n)),
    max_positions=st.none() | st.integers(0, 100),
    market_hours=st.booleans(),
    min_price=prices,
)
rulebooks = st.builds(
    Rulebook, every=rule_sets, of_source=st.dictionaries(st.sampled_from(["tv", "bot"]), rule_sets)
)


@given(rulebooks)
def test_what_is_shown_reads_back(rulebook: Rulebook) -> None:
    shown = shown_rulebook(rulebook)
    assert read_rulebook(shown, {}) == rulebook
    assert checked_rulebook(shown, {"tv", "bot"}) == rulebook


def test_of_nothing_there_are_no_rules() -> None:
    assert read_rulebook({}, {"tv": "buy"}) == Rulebook(directions={"tv": Direction.BUY})


def test_a_price_is_shown_in_digits() -> None:
    tiny = Rulebook(every=Rules(min_price=Decimal("1E-7"), max_price=Decimal("1E+3")))
    every = shown_rulebook(tiny)["every"]
    assert (every["min_price"], every["max_price"]) == ("0.0000001", "1000")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"every": {"refused": ["A", "no ticker"]}}, "every.refused.1"),
        ({"every": {"refused": ["BRK.B"], "allowed": ["A", "NYSE:BRK/B"]}}, "every.allowed"),
        ({"every": {"min_price": "2", "max_price": "1"}}, "every.min_price"),
        ({"sources": {"tv": {"allowed": [""]}}}, "sources.tv.allowed.0"),
        ({"sources": {"who": {}}}, "sources.who"),
    ],
)
def test_what_cannot_be_is_named(given: dict[str, Any], field: str) -> None:
    with pytest.raises(RuleError) as caught:
        checked_rulebook(given, {"tv"})
    assert caught.value.field == field


def test_a_ticker_may_be_refused_to_one_and_allowed_to_every_source() -> None:
    found = checked_rulebook(
        {"every": {"allowed": ["A"]}, "sources": {"tv": {"refused": ["A"]}}}, {"tv"}
    )
    assert found.every.allowed == found.of_source["tv"].refused


@pytest.mark.parametrize(
    ("kept", "change", "becomes"),  # RFC 7396, appendix A
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_change_is_a_merge_patch(
    kept: dict[str, Any], change: dict[str, Any], becomes: dict[str, Any]
) -> None:
    assert merged(kept, change) == becomes
