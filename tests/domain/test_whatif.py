"""What-if: nothing flips unasked, and what is asked flips what it should."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.asked import Asked, Usual
from domain.gate import Reason, SellPolicy
from domain.signal import Side, SignalStatus, Wait
from domain.whatif import compare
from tests.domain.reality import KEY, USUAL, Reality, busy_steps, steps
from tests.domain.stories import (
    APPROVED,
    BUY,
    FELL,
    MISSED,
    SCREEN,
    SELL,
    TOP,
    Story,
    a_list,
    a_signal,
    at,
    entering,
    moved,
    then,
    was,
)

NOTHING = Asked()


# ── Nothing asked, nothing flips ─────────────────────────────────────────────────────────────


@given(steps() | busy_steps())
def test_under_the_settings_of_the_time_nothing_flips(drawn: list[Any]) -> None:
    """And every verdict comes out of the records as it was given, so that this says something."""
    past = Reality().lived(drawn)
    found = compare(past, NOTHING, USUAL)
    assert (found.flips, found.unexplained) == ([], 0)
    assert found.would == found.recorded


@given(steps(one_screen=True))
def test_to_ask_for_what_was_is_to_ask_for_nothing(drawn: list[Any]) -> None:
    past = Reality().lived(drawn)
    terms = past.terms[0]
    asked = Asked(
        top_n=terms.top_n,
        margin=terms.margin,
        wait=terms.wait,
        list_max_age=timedelta(seconds=180),
        sell_policy=USUAL.sell_policy,
        longer=dict.fromkeys(Side, timedelta(0)),
    )
    found = compare(past, asked, USUAL)
    assert (found.flips, found.unexplained) == ([], 0)


@given(steps(), st.integers(1, 6), st.integers(0, 3), st.integers(0, 90))
def test_a_buy_that_would_be_approved_has_its_place_in_the_list_named(
    drawn: list[Any], top_n: int, margin: int, wait: int
) -> None:
    past = Reality().lived(drawn)
    asked = Asked(top_n=top_n, margin=margin, wait=timedelta(seconds=wait))
    found = compare(past, asked, USUAL)
    for flip in found.flips:
        would, signal = flip.would, flip.recorded.signal
        assert would.status is not flip.recorded.verdict.status
        assert flip.waited <= timedelta(seconds=wait)
        if would.status is SignalStatus.APPROVED and signal.side is BUY:
            assert would.universe_version is not None
            listed = past.lists.get(would.universe_version)
            tickers = listed.tickers.split() if listed else []
            assert would.rank == (rank := tickers.index(signal.ticker) + 1)
            assert rank <= (would.cutoff or 0) <= top_n + margin
            assert flip.at < signal.expires_at
    assert sum(found.would.values()) == sum(found.recorded.values()) == len(past.signals)


# ── What flips ───────────────────────────────────────────────────────────────────────────────


def test_a_top_20_takes_rank_17() -> None:
    story = Story.of(a_list(1, 0), was(a_signal(1, "T17", 10), MISSED), was(a_signal(2, "T3", 10)))
    assert story.flipped(top_n=20) == [(MISSED, APPROVED)]
    (flip,) = story.under(top_n=20).flips
    assert (flip.would.rank, flip.would.cutoff, flip.would.universe_version) == (17, 20, 1)
    assert flip.words == "rejected (not in list); would be approved, rank 17 of 20"
    assert story.flipped(top_n=2) == [(APPROVED, MISSED)]
    counts = story.under(top_n=20)
    assert counts.recorded == {"rejected": 1, "approved": 1}
    assert counts.would == {"approved": 2}


def test_a_margin_of_5_keeps_one_that_fell_to_18() -> None:
    story = Story.of(a_list(1, 0), a_list(2, 60, *FELL), was(a_signal(1, "T3", 70), MISSED, seen=2))
    assert story.flipped(margin=5) == [(MISSED, APPROVED)]
    assert story.flipped(margin=2) == []
    (flip,) = story.under(margin=5).flips
    assert (flip.would.rank, flip.would.cutoff) == (18, 20)


def test_who_was_kept_is_forgotten_while_the_list_was_too_old() -> None:
    story = Story.of(
        a_list(1, 0), a_list(2, 600, *FELL), was(a_signal(1, "T3", 610), MISSED, seen=2)
    )
    assert story.flipped(margin=5) == []
    assert story.flipped(margin=5, list_max_age=timedelta(seconds=700)) == [(MISSED, APPROVED)]


def test_another_screen_keeps_nobody_of_the_one_before() -> None:
    other = (KEY[0], "https://finviz.com/screener.ashx?v=111&f=other")
    story = Story.of(
        a_list(1, 0),
        a_list(2, 60, *FELL, key=other),
        SCREEN,
        replace(SCREEN, since=at(60), key=other),
        was(a_signal(1, "T3", 70), MISSED, seen=2),
    )
    assert story.flipped(margin=5) == []


def test_a_wait_approves_one_that_entered_20_s_later() -> None:
    story = entering()
    assert story.flipped(wait=timedelta(seconds=30)) == [(MISSED, APPROVED)]
    (flip,) = story.under(wait=timedelta(seconds=30)).flips
    assert (flip.waited, flip.would.universe_version) == (timedelta(seconds=20), 2)
    assert flip.words.endswith("would be approved, rank 1 of 15, after 20 s")
    assert story.flipped(wait=timedelta(seconds=19)) == []
    assert story.under(wait=timedelta(seconds=19)).would == {"expired": 1}


def test_a_wait_ends_with_a_sell_and_with_the_life_of_the_signal() -> None:
    sold = was(a_signal(2, "T17", 20, SELL), Reason.NO_POSITION)
    assert entering(sold).flipped(wait=timedelta(seconds=30)) == []
    later = was(a_signal(2, "T17", 35, SELL), Reason.NO_POSITION, seen=2, age=5)
    assert entering(later).flipped(wait=timedelta(seconds=30)) == [
        (MISSED, APPROVED),
        (Reason.NO_POSITION, APPROVED),
    ]
    assert entering(when=41).flipped(wait=timedelta(seconds=60)) == []
    hour = {Side.BUY: timedelta(hours=1)}
    assert entering(when=41).flipped(wait=timedelta(seconds=60), longer=hour) == [
        (MISSED, APPROVED)
    ]


def test_who_waited_in_truth_does_not_without_a_wait() -> None:
    waited = Wait(at(10), at(40))
    screen = replace(SCREEN, wait=timedelta(seconds=30))
    story = Story.of(
        screen,
        a_list(1, 0),
        a_list(2, 30, "T17", *TOP[:15]),
        then(was(a_signal(1, "T17", 10), seen=2), 30, waited),
    )
    assert story.flipped(wait=timedelta(0)) == [(APPROVED, MISSED)]
    assert story.flipped(wait=timedelta(seconds=25)) == []


def test_a_list_may_be_younger_or_older() -> None:
    story = Story.of(
        a_list(1, 0),
        (at(100), 1),
        was(a_signal(1, "T1", 300), age=200),
        was(a_signal(2, "T2", 700), Reason.LIST_STALE, age=600),
    )
    assert story.flipped(list_max_age=timedelta(seconds=100)) == [(APPROVED, Reason.LIST_STALE)]
    assert story.flipped(list_max_age=timedelta(seconds=601)) == [(Reason.LIST_STALE, APPROVED)]


def test_a_life_may_be_shorter_or_longer() -> None:
    late = then(was(a_signal(1, "T1", 10), age=35), 35)
    dead = then(was(a_signal(2, "T1", 10), Reason.EXPIRED, age=50), 50)
    arrived = was(a_signal(3, "T2", 60, left=-5), Reason.EXPIRED, seen=None)
    sold = then(was(a_signal(4, "T1", 70, SELL, left=600), age=80), 80)
    story = Story.of(a_list(1, 0), late, dead, arrived, sold)
    less, more = (timedelta(seconds=seconds) for seconds in (-20, 20))
    assert story.flipped(longer={BUY: less}) == [
        (APPROVED, Reason.EXPIRED),
        (APPROVED, Reason.NO_POSITION),
    ]
    assert story.flipped(longer={BUY: more}) == [(Reason.EXPIRED, APPROVED)] * 2
    assert story.flipped(longer={SELL: -timedelta(seconds=595)}) == [(APPROVED, Reason.EXPIRED)]


def test_a_sell_follows_its_buy() -> None:
    story = Story.of(
        a_list(1, 0),
        was(a_signal(1, "T17", 10), MISSED),
        was(a_signal(2, "T17", 20, SELL), Reason.NO_POSITION),
        was(a_signal(3, "T17", 30, SELL), Reason.NO_POSITION),
    )
    flips = story.flipped(top_n=20)
    assert flips == [(MISSED, APPROVED), (Reason.NO_POSITION, APPROVED)]
    assert story.flipped(sell_policy=SellPolicy.ALWAYS) == [(Reason.NO_POSITION, APPROVED)] * 2


def test_positions_live_at_the_start_are_known_and_end_as_they_ended() -> None:
    story = Story.of(
        a_list(1, 0),
        moved(90, "opening", -50, ticker="T1"),
        moved(91, "opening", -40, ticker="T2"),
        moved(91, "void", 15, ticker="T2", before="opening"),
        was(a_signal(1, "T1", 20, SELL)),
        was(a_signal(2, "T2", 20, SELL), Reason.NO_POSITION),
        moved(90, "open", 25, ticker="T1", before="closing", by=1),
        was(a_signal(3, "T1", 30, SELL)),
        moved(90, "closed", 35, ticker="T1", before="closing", by=3),
        was(a_signal(4, "T1", 40, SELL), Reason.NO_POSITION),
    )
    assert story.flipped() == []
    assert story.flipped(longer={SELL: -timedelta(40)}) == [(APPROVED, Reason.EXPIRED)] * 2


def test_a_position_here_ends_as_the_one_did_that_its_buy_was_in() -> None:
    """The buy that opened it is turned away here; the one behind it, unsent too, opens its own."""
    bought = was(a_signal(2, "T3", 80), seen=2, age=20)
    bought = replace(bought, verdict=replace(bought.verdict, position_id=UUID(int=1)))
    story = Story.of(
        a_list(1, 0, *FELL),
        a_list(2, 60),
        replace(SCREEN, top_n=20),
        was(a_signal(1, "T3", 10)),
        moved(1, "opening", 10, ticker="T3"),
        bought,
        moved(1, "void", 90, ticker="T3", before="opening"),
        was(a_signal(3, "T3", 95, SELL), Reason.NO_POSITION, seen=2),
    )
    assert story.flipped(top_n=15) == [(APPROVED, MISSED)]


def test_a_position_with_a_buy_that_was_never_sent_does_not_end_unsent() -> None:
    story = Story.of(
        a_list(1, 0),
        a_list(2, 15, *FELL),
        was(a_signal(1, "T3", 10)),
        moved(1, "opening", 10, ticker="T3"),
        was(a_signal(2, "T3", 20), MISSED, seen=2),
        moved(1, "void", 25, ticker="T3", before="opening"),
        was(a_signal(3, "T3", 30, SELL), Reason.NO_POSITION, seen=2),
    )
    assert story.flipped(top_n=20) == [(MISSED, APPROVED), (Reason.NO_POSITION, APPROVED)]


def test_who_had_nowhere_to_go_stays_so() -> None:
    story = Story.of(a_list(1, 0), was(a_signal(1, "T1", 10), Reason.NO_DESTINATION))
    assert story.flipped(top_n=30, wait=timedelta(seconds=9), sell_policy=SellPolicy.ALWAYS) == []


def test_ranks_that_were_not_recorded_are_not_known() -> None:
    story = Story.of(a_list(1, 0), was(a_signal(1, "T25", 10), MISSED))
    assert story.under(top_n=20).known_rows is None
    assert story.under(top_n=18, margin=3).known_rows == 20
    whole = Story.of(a_list(1, 0, *TOP[:20], total=20))
    assert whole.under(top_n=500).known_rows is None


def test_a_verdict_the_records_do_not_explain_counts_as_given() -> None:
    """LIST_MAX_AGE_SEC was shorter then."""
    stale = was(a_signal(1, "T1", 100), Reason.LIST_STALE, age=100)
    story = Story.of(a_list(1, 0), stale, was(a_signal(2, "T17", 100), MISSED, age=100))
    found = compare(story.past, Asked(top_n=20), Usual())
    assert found.unexplained == 1
    assert [flip.recorded.signal.ticker for flip in found.flips] == ["T17"]
    assert found.would == Counter({SignalStatus.REJECTED: 1, SignalStatus.APPROVED: 1})
    assert story.under(Usual(list_max_age=timedelta(seconds=60))).flips == []


def test_a_fixed_list_ends() -> None:
    story = Story.of(
        a_list(1, 0, valid_until=at(50)),
        was(a_signal(1, "T1", 40), age=40),
        was(a_signal(2, "T1", 60), Reason.LIST_STALE, age=60),
    )
    assert story.flipped(list_max_age=timedelta(hours=1)) == []
