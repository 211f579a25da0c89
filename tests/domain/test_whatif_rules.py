"""What-if with rules and pauses: those of the time come out as they were, others as they would."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.asked import Asked, Usual
from domain.gate import Reason
from domain.market import DaysOff
from domain.past import Orders, Past, Recorded
from domain.rules import Direction, Rulebook, Rules
from domain.signal import Signal, SignalStatus
from domain.ticker import Ticker
from domain.whatif import compare
from tests.domain.reality import START, USUAL, Reality, busy_steps, rulebooks
from tests.domain.stories import (
    APPROVED,
    SELL,
    Story,
    a_list,
    a_signal,
    at,
    moved,
    said,
    was,
)

MINUTE = timedelta(minutes=1)
T1, T2 = Ticker("T1"), Ticker("T2")


def book(**every: Any) -> Rulebook:
    return Rulebook(every=Rules(**every))


def story(*signals: Any, orders: tuple[Orders, ...] = (), **past: Any) -> Story:
    one = Story.of(a_list(1, 0), *signals)
    return Story(replace(one.past, orders=orders, **past))


def from_start(**given: Any) -> tuple[Orders]:
    usual: dict[str, Any] = {"rulebook": Rulebook()}
    return (Orders(since=START, **(usual | given)),)


# ── As it was ───────────────────────────────────────────────────────────────────────────────


@given(busy_steps())
def test_to_ask_for_the_rules_of_the_time_is_to_ask_for_nothing(drawn: list[Any]) -> None:
    past = Reality().lived([*drawn[:3], *(one for one in drawn[3:] if one[1][0] != "rules")])
    (orders, *later) = past.orders
    assert all(one.rulebook == orders.rulebook for one in later)
    found = compare(past, Asked(rules=orders.rulebook), USUAL)
    assert (found.flips, found.unexplained) == ([], 0)


@given(busy_steps(), rulebooks)
def test_what_would_be_approved_keeps_to_the_rules_asked_for(
    drawn: list[Any], rules: Rulebook
) -> None:
    past = Reality().lived(drawn)
    found = compare(past, Asked(rules=rules), USUAL)
    assert found.unexplained == 0
    for flip in found.flips:
        signal = flip.recorded.signal
        if flip.would.status is SignalStatus.APPROVED and signal.side is not SELL:
            for of, one in rules.applying(signal.source):
                assert signal.ticker not in one.refused
                assert one.against_price(signal.price) is None
                assert one.max_positions != 0 or (of and others_hold(past, signal))


def others_hold(past: Past, signal: Signal) -> bool:
    """Whether another source may have opened it before: to add to what is open has no limit."""
    before = [one.signal for one in past.signals if one.signal.ticker == signal.ticker]
    earlier = before[: [one.id for one in before].index(signal.id)]
    return any(one.side is not SELL and one.source != signal.source for one in earlier)


def test_a_limit_of_one_source_bounds_what_it_opens_not_what_it_adds_to() -> None:
    first = replace(a_signal(1, "T1", 10), source="tv")
    again = replace(a_signal(2, "T1", 20), source="bot")
    cooling = from_start(rulebook=book(cooldown=MINUTE))
    none = Rulebook(every=Rules(), of_source={"bot": Rules(max_positions=0)})
    one = story(was(first), was(again, Reason.COOLDOWN), orders=cooling)
    assert one.flipped(rules=none) == [(Reason.COOLDOWN, APPROVED)]
    alone = story(was(replace(first, source="bot")), orders=cooling)
    assert alone.flipped(rules=none) == [(APPROVED, Reason.MAX_POSITIONS)]


def test_rules_count_from_the_moment_they_were_made() -> None:
    refused = book(refused=frozenset({T1}))
    orders = (
        *from_start(),
        Orders(since=at(20), rulebook=refused),
        Orders(since=at(40), rulebook=Rulebook()),
    )
    one = story(
        was(a_signal(1, "T1", 10)),
        was(a_signal(2, "T1", 20, SELL)),
        was(a_signal(3, "T1", 30), Reason.REFUSED_TICKER),
        was(a_signal(4, "T1", 40)),
        orders=orders,
    )
    assert one.flipped(rules=Rulebook()) == [(Reason.REFUSED_TICKER, APPROVED)]
    assert one.flipped(rules=refused) == [
        (APPROVED, Reason.REFUSED_TICKER),
        (APPROVED, Reason.NO_POSITION),
        (APPROVED, Reason.REFUSED_TICKER),
    ]


def test_a_pause_stays_what_it_was_whatever_is_asked() -> None:
    orders = (Orders(since=at(5), rulebook=Rulebook(), paused=True, paused_until=at(30)),)
    one = story(
        was(a_signal(1, "T1", 1)),
        was(a_signal(2, "T2", 10), Reason.BUYING_PAUSED),
        was(a_signal(3, "T2", 30)),
        orders=orders,
    )
    assert one.flipped(top_n=30, rules=book(allowed=frozenset({T2}))) == []


# ── What was reached a moment before it was recorded ────────────────────────────────────────


def judged_late(seconds: float, reason: Reason | None) -> Recorded:
    """Reached at 9.999, and recorded so much later than 10."""
    recorded = was(a_signal(2, "T1", 9.99, left=900), reason)
    return replace(recorded, at=at(10 + seconds))


@pytest.mark.parametrize("reason", [Reason.BUYING_PAUSED, None])
def test_a_pause_that_ended_meanwhile_is_told_by_the_reason(reason: Reason | None) -> None:
    orders = from_start(paused=True, paused_until=at(10))
    story(judged_late(0.002, reason), orders=orders).under()


@pytest.mark.parametrize("reason", [Reason.COOLDOWN, None])
def test_a_cooldown_that_ended_meanwhile_is_told_by_the_reason(reason: Reason | None) -> None:
    before = was(a_signal(1, "T1", 1))
    orders = from_start(rulebook=book(cooldown=timedelta(seconds=9)))
    story(before, judged_late(0.002, reason), orders=orders).under()


def test_a_cooldown_that_began_with_a_buy_beside_it_says_nothing_of_a_moment_before() -> None:
    """The first one's cooldown was over to the instant; the second's began with the first."""
    orders = from_start(rulebook=book(cooldown=timedelta(seconds=9)))
    first, again = was(a_signal(2, "T1", 10)), was(a_signal(3, "T1", 10), Reason.COOLDOWN)
    story(was(a_signal(1, "T1", 1)), first, again, orders=orders).under()


@pytest.mark.parametrize("reason", [Reason.OUTSIDE_MARKET_HOURS, None])
@pytest.mark.parametrize("border", ["14:30", "21:00"])
def test_a_session_that_began_or_ended_meanwhile_is_told_by_the_reason(
    border: str, reason: Reason | None
) -> None:
    orders = from_start(rulebook=book(market_hours=True))
    shift = datetime.fromisoformat(f"2030-01-02T{border}:00Z") - at(10)
    late = judged_late(0.002, reason)
    signal = replace(late.signal, received_at=late.at + shift, expires_at=late.at + shift + MINUTE)
    seen = a_list(1, 0)
    moments = {"at": seen.at + shift, "fresh_since": seen.fresh_since + shift}
    one = Story.of(replace(seen, **moments), replace(late, signal=signal, at=late.at + shift))
    early = tuple(replace(order, since=START - timedelta(days=1)) for order in orders)
    Story(replace(one.past, orders=early)).under()


# ── What rules count ────────────────────────────────────────────────────────────────────────


def test_positions_are_counted_over_all_tickers_in_the_order_of_the_signals() -> None:
    """Judged together, the one that came first has the only place, whatever its ticker's name."""
    one = story(
        was(a_signal(1, "T9", 10)),
        was(a_signal(2, "T1", 10), Reason.MAX_POSITIONS),
        orders=from_start(rulebook=book(max_positions=1)),
    )
    assert one.flipped(rules=book(max_positions=2)) == [(Reason.MAX_POSITIONS, APPROVED)]


def test_positions_from_before_count_for_who_opened_them_until_they_end() -> None:
    limit = Rulebook(of_source={"webhook": Rules(max_positions=1)})
    mine = moved(90, "opening", -50, ticker="T5")
    moves = (
        replace(mine, source="webhook"),
        replace(moved(91, "opening", -40, ticker="T6"), source="bot"),
        moved(90, "void", 15, ticker="T5", before="opening"),
    )
    one = story(
        *moves,
        was(a_signal(1, "T1", 10), Reason.MAX_POSITIONS),
        was(a_signal(2, "T2", 20)),
        orders=from_start(rulebook=limit),
    )
    assert one.flipped(rules=Rulebook()) == [(Reason.MAX_POSITIONS, APPROVED)]
    assert one.flipped(rules=book(max_positions=1)) == [(APPROVED, Reason.MAX_POSITIONS)]


def test_a_buy_from_before_the_period_has_its_cooldown_in_it() -> None:
    one = story(was(a_signal(1, "T1", 10)), bought=((at(-30), T1, "webhook"),))
    assert one.flipped(rules=book(cooldown=MINUTE)) == [(APPROVED, Reason.COOLDOWN)]
    assert one.flipped(rules=book(cooldown=timedelta(seconds=40))) == []
    own = Rulebook(of_source={"bot": Rules(cooldown=MINUTE)})
    assert one.flipped(rules=own) == []


def test_prices_and_hours_are_those_of_the_signals() -> None:
    priced = was(replace(a_signal(1, "T1", 10), price=Decimal("4.99")))
    one = story(priced, was(a_signal(2, "T2", 10)))
    assert one.flipped(rules=book(min_price=Decimal(4))) == [(APPROVED, Reason.PRICE_LIMIT)]
    assert one.flipped(rules=book(market_hours=True)) == []
    holiday = Usual(days_off=DaysOff(closed=frozenset({START.date()})))
    closed = Reason.OUTSIDE_MARKET_HOURS
    assert one.flipped(holiday, rules=book(market_hours=True)) == [(APPROVED, closed)] * 2


def test_directions_are_those_of_today() -> None:
    one = story(was(a_signal(1, "T1", 10)))
    buys = Usual(directions={"webhook": Direction.SELL})
    found = compare(one.past, Asked(), buys)
    assert (found.unexplained, found.flips) == (1, [])
    assert said(one.past.signals[0].verdict) == APPROVED


@given(st.lists(st.integers(1, 500), min_size=1, max_size=5))
def test_without_orders_there_were_no_rules(moments: list[int]) -> None:
    signals = [was(a_signal(n, f"T{n}", when), age=when) for n, when in enumerate(moments, 1)]
    past: Past = story(*signals).past
    assert compare(past, Asked(), Usual(list_max_age=timedelta(hours=1))).flips == []
