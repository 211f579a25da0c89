"""The checker with a second destination, which is sent nothing twice, and an operator for it."""

from dataclasses import replace

import pytest

from tests.chaos.records import Blow, Event, Evidence, Terms
from tests.chaos.test_checker import broken, changed, good


def of_two() -> Evidence:
    """The good story, and the same at a destination named once."""
    one = good()
    attempts = [replace(a, delivery_id=f"{a.delivery_id}-once") for a in one.attempts]
    events = [
        replace(each, id=each.id + 50, delivery_id=f"{each.delivery_id}-once")
        for each in one.events
        if each.delivery_id
    ]
    windows = {"main": [(2, 15.0)], "once": [(2, 15.0)]}
    return replace(
        one,
        terms=Terms(windows=windows, at_most_once=frozenset({"once"})),
        deliveries=[
            *one.deliveries,
            *(replace(d, id=f"{d.id}-once", destination="once") for d in one.deliveries),
        ],
        attempts=[*one.attempts, *attempts],
        arrivals=[*one.arrivals, *(replace(a, destination="once") for a in one.arrivals)],
        events=[*one.events, *events],
    )


def held(evidence: Evidence, end: str) -> Evidence:
    """The last buy was answered 500 by the second destination; the operator said that word."""
    place = len(evidence.deliveries) - 1
    id = evidence.deliveries[place].id
    others = [each for each in evidence.events if each.delivery_id != id]
    words = ("queued", "sending", "held", *([end] if end else []))
    told = [
        Event(id=900 + n, event=f"delivery.{word}", signal_id="signal-3", delivery_id=id)
        for n, word in enumerate(words)
    ]
    fields = {"state": end or "held", "finished_at": 60.0 if end else None}
    return replace(
        evidence,
        deliveries=changed(evidence.deliveries, place, **fields),
        arrivals=changed(evidence.arrivals, len(evidence.arrivals) - 1, status=500),
        events=[*others, *told],
    )


def without_delivery(evidence: Evidence, id: str) -> Evidence:
    return replace(
        evidence,
        deliveries=[each for each in evidence.deliveries if each.id != id],
        attempts=[each for each in evidence.attempts if each.delivery_id != id],
        events=[each for each in evidence.events if each.delivery_id != id],
        arrivals=[a for a in evidence.arrivals if f"{a.id}-{a.destination}" != f"{SELL}-once"],
    )


SELL = "signal-2"


def test_the_good_story_of_two_breaks_nothing() -> None:
    assert broken(of_two()) == set()


def test_what_is_held_may_stay_so_or_end_by_the_operators_word() -> None:
    for end in ("", "delivered", "cancelled"):
        assert broken(held(of_two(), end)) == set()


def test_the_operator_finds_there_only_what_was_processed() -> None:
    wrong = held(of_two(), "delivered")
    last = len(wrong.arrivals) - 1
    assert "I5" in broken(replace(wrong, arrivals=changed(wrong.arrivals, last, processed=False)))


def test_a_sell_goes_wherever_something_was_bought() -> None:
    two = of_two()
    assert "I4" in broken(without_delivery(two, "delivery-2-once"))
    place = next(n for n, d in enumerate(two.deliveries) if d.id == "delivery-1-once")
    dropped = replace(two, deliveries=changed(two.deliveries, place, state="dead"))
    assert "I4" not in broken(without_delivery(dropped, "delivery-2-once"))


@pytest.mark.parametrize(("id", "late"), [("delivery-3-once", set[str]()), ("delivery-3", {"I17"})])
def test_what_is_held_since_a_kill_is_not_waited_for(id: str, late: set[str]) -> None:
    """The last buy is on the wire when its replica is killed, and nothing comes after it."""
    kill = Blow(kind="kill", target="replica-1", began=20.25, ended=22.0)
    two = of_two()
    delivery = next(n for n, each in enumerate(two.deliveries) if each.id == id)
    attempt = next(n for n, each in enumerate(two.attempts) if each.delivery_id == id)
    cut = replace(
        two,
        blows=[kill],
        deliveries=changed(two.deliveries, delivery, state="held", finished_at=None),
        attempts=changed(two.attempts, attempt, finished_at=None, outcome=None),
    )
    assert broken(cut) & {"I17"} == late
