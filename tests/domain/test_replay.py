"""The replay: verdicts come out of the records as they were given, down to the millisecond."""

from datetime import timedelta

from domain.gate import Reason
from tests.domain.stories import (
    APPROVED,
    BUY,
    FELL,
    MISSED,
    SELL,
    TOP,
    Story,
    a_list,
    a_signal,
    entering,
    moved,
    then,
    was,
)


def test_an_age_recorded_in_milliseconds_was_a_little_more() -> None:
    story = Story.of(a_list(1, 0), was(a_signal(1, "T1", 540), Reason.LIST_STALE, age=540))
    assert story.under().flips == []


def test_the_age_is_the_recorded_one_though_the_looks_are_forgotten() -> None:
    story = Story.of(a_list(1, 0), was(a_signal(1, "T1", 9_000), age=5))
    assert story.flipped(list_max_age=timedelta(seconds=4)) == [(APPROVED, Reason.LIST_STALE)]


def test_a_verdict_may_be_recorded_just_after_the_end_of_a_life() -> None:
    story = Story.of(a_list(1, 0), then(was(a_signal(1, "T1", 10)), 40.002))
    assert story.flipped(longer={BUY: -timedelta(seconds=1)}) == [(APPROVED, Reason.EXPIRED)]


def test_a_list_may_have_been_replaced_in_the_moment_of_the_verdict() -> None:
    story = Story.of(a_list(1, 0), a_list(2, 10, *FELL), then(was(a_signal(1, "T3", 9.9)), 10.001))
    assert story.flipped(top_n=2) == [(APPROVED, MISSED)]


def test_a_list_that_is_back_after_an_outage_tells_of_no_entering() -> None:
    story = Story.of(
        a_list(1, 0),
        a_list(2, 560, "T17", *TOP[:15]),
        was(a_signal(1, "T17", 530, left=600), MISSED, age=530),
    )
    wait = timedelta(seconds=300)
    assert story.flipped(wait=wait) == []
    assert story.flipped(wait=wait, list_max_age=timedelta(seconds=560)) == [(MISSED, APPROVED)]


def test_a_sell_that_was_too_late_on_arrival_ends_no_wait() -> None:
    """The journal turned it away; the gate never saw it."""
    late = was(a_signal(2, "T17", 20, SELL, left=-5), Reason.EXPIRED, seen=None)
    assert entering(late).flipped(wait=timedelta(seconds=30)) == [(MISSED, APPROVED)]


def test_what_the_verdicts_of_the_period_did_to_positions_is_not_done_again() -> None:
    story = Story.of(
        a_list(1, 0),
        was(a_signal(1, "T3", 10)),
        moved(1, "opening", 10, ticker="T3"),
        was(a_signal(2, "T3", 20, SELL)),
        moved(1, "closing", 20, ticker="T3", by=2),
    )
    assert story.flipped(top_n=2) == [(APPROVED, MISSED), (APPROVED, Reason.NO_POSITION)]


def test_an_exit_that_failed_brings_back_what_it_closed_and_nothing_else() -> None:
    """The first exit is too late here: the second buy adds, and the second exit closes it all."""
    story = Story.of(
        a_list(1, 0),
        was(a_signal(1, "T1", 1)),
        moved(1, "opening", 1, ticker="T1"),
        then(was(a_signal(2, "T1", 2, SELL, left=600), age=20), 20),
        moved(1, "closing", 20, ticker="T1", by=2),
        was(a_signal(3, "T1", 25)),
        moved(3, "opening", 25, ticker="T1"),
        was(a_signal(4, "T1", 30, SELL, left=600)),
        moved(3, "closing", 30, ticker="T1", by=4),
        moved(1, "open", 31, ticker="T1", before="closing", by=2),
        was(a_signal(5, "T1", 35, SELL, left=600)),
    )
    assert story.flipped(longer={SELL: -timedelta(seconds=585)}) == [
        (APPROVED, Reason.EXPIRED),
        (APPROVED, Reason.ALREADY_CLOSING),
    ]
