"""The checker finds each kind of violation, and only that, in a story made by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from tests.chaos.checker import check, violations
from tests.chaos.records import (
    Alert,
    Arrival,
    Attempt,
    Blow,
    Break,
    Delivery,
    Event,
    Evidence,
    Position,
    Sample,
    Send,
    Signal,
    Terms,
)
from tests.chaos.wire import TOO_LATE

T = TypeVar("T")
BUY, SELL, LATE_BUY = "signal-1", "signal-2", "signal-3"
STORY = (
    "signal.received",
    "signal.approved",
    "delivery.queued",
    "delivery.sending",
    "delivery.delivered",
)


def made(number: int, side: str, at: float) -> dict[str, Any]:
    """All records of one alert that was approved and delivered at once."""
    id, delivery = f"signal-{number}", f"delivery-{number}"
    send = Send(at=at, latency=0.01, replica="replica-1", status=202, id=id)
    return {
        "alerts": Alert(number=number, ticker="AAA", side=side, sends=(send,)),
        "signals": Signal(
            id=id,
            seq=number,
            ticker="AAA",
            side=side,
            status="approved",
            alert=number,
            universe=1,
            rank=2,
            cutoff=3,
            list_age=10.0,
        ),
        "deliveries": Delivery(
            id=delivery,
            signal_id=id,
            destination="main",
            seq=number,
            ticker="AAA",
            side=side,
            state="delivered",
            queued_at=at + 0.1,
            expires_at=at + 30,
            finished_at=at + 0.3,
        ),
        "attempts": Attempt(
            delivery_id=delivery,
            epoch=1,
            started_at=at + 0.1,
            finished_at=at + 0.3,
            outcome="delivered",
        ),
        "arrivals": Arrival(
            at=at + 0.2,
            destination="main",
            id=id,
            resend=False,
            digest="bytes",
            processed=True,
            status=200,
            answered_at=at + 0.2,
        ),
    }


def story(number: int, words: tuple[str, ...] = STORY) -> list[Event]:
    return [
        Event(
            id=number * 100 + place,
            event=word,
            signal_id=f"signal-{number}",
            delivery_id=f"delivery-{number}" if word.startswith("delivery.") else None,
        )
        for place, word in enumerate(words)
    ]


def good() -> Evidence:
    """A buy, a sell and a buy of one ticker, ten seconds apart, each delivered once."""
    alerts = [made(1, "buy", 0), made(2, "sell", 10), made(3, "buy", 20)]
    columns = {name: tuple(each[name] for each in alerts) for name in alerts[0]}
    return Evidence(
        terms=Terms(windows={"main": [(2, 15.0)]}),
        events=[event for number in (1, 2, 3) for event in story(number)],
        positions=[Position(ticker="AAA", state="closed"), Position(ticker="AAA", state="open")],
        universes={1: ["BBB", "AAA", "CCC"]},
        samples=[Sample(at=1, replica="replica-1", resident=100_000_000, descriptors=30)],
        looks=[0.0, 60.0],
        leaks=[],
        retold=[],
        **columns,
    )


def broken(evidence: Evidence) -> set[str]:
    return {finding.id for finding in check(evidence) if not finding.ok}


def changed(records: Any, place: int, **fields: Any) -> list[Any]:
    """These records with one of them different."""
    return [replace(r, **fields) if n == place else r for n, r in enumerate(records)]


def without(records: Any, place: int) -> list[Any]:
    return [record for n, record in enumerate(records) if n != place]


def again(evidence: Evidence, place: int = 0, **fields: Any) -> Evidence:
    """With one more request like that one, five seconds later, and an attempt and events for it."""
    first = evidence.arrivals[place]
    later = {"at": first.at + 5, "answered_at": first.at + 5, "resend": True, **fields}
    number = place + 1
    second = Attempt(delivery_id=f"delivery-{number}", epoch=2, started_at=first.at + 4)
    words = (*STORY[:4], "delivery.sending", "delivery.delivered")
    told = [e for e in evidence.events if e.signal_id != f"signal-{number}"]
    return replace(
        evidence,
        arrivals=[*evidence.arrivals, replace(first, **later)],
        attempts=[*evidence.attempts, second],
        events=[*told, *story(number, words)],
    )


def killed(evidence: Evidence) -> Evidence:
    blow = Blow(kind="kill", target="replica-1", began=0.25, ended=2.0)
    return replace(evidence, blows=[*evidence.blows, blow])


def sent(evidence: Evidence, place: int = 0, **fields: Any) -> Evidence:
    """With that alert's first send different."""
    [send] = evidence.alerts[place].sends
    return replace(
        evidence, alerts=changed(evidence.alerts, place, sends=(replace(send, **fields),))
    )


def told(number: int, *words: str) -> Callable[[Evidence], Evidence]:
    """With this story of that signal."""

    def tell(evidence: Evidence) -> Evidence:
        others = [event for event in evidence.events if event.signal_id != f"signal-{number}"]
        return replace(evidence, events=[*others, *story(number, words)])

    return tell


def test_a_good_story_breaks_nothing() -> None:
    findings = check(good())
    assert violations(findings) == []
    assert [finding.id for finding in findings] == [f"I{n}" for n in range(1, 22)]
    assert findings[0].line == "I1 durable ack … ok (3 acknowledged, 0 lost, 0 violations)"


CASES: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "an acknowledged id is lost": ("I1", lambda e: sent(e, id="signal-9")),
    "an id stands twice": ("I1", lambda e: replace(e, signals=[*e.signals, e.signals[0]])),
    "two ends": ("I2", told(1, *STORY, "delivery.dead")),
    "no end": ("I2", told(1, *STORY[:4])),
    "another end than the row says": ("I2", told(1, *STORY[:4], "delivery.dead")),
    "something after the end": ("I2", told(1, *STORY, "delivery.retrying")),
    "two verdicts": ("I2", told(1, STORY[0], "signal.rejected", *STORY[1:])),
    "still unfinished": (
        "I2",
        lambda e: replace(e, deliveries=changed(e.deliveries, 0, state="queued")),
    ),
    "a story without its beginning": ("I3", told(1, *STORY[1:])),
    "a step that does not exist": ("I3", told(1, *STORY[:3], STORY[4])),
    "an attempt without its event": ("I3", lambda e: replace(e, attempts=[*e.attempts, stray()])),
    "events of nothing": ("I3", lambda e: replace(e, events=[*e.events, *story(9)])),
    "an approved signal without a delivery": (
        "I4",
        lambda e: replace(e, deliveries=without(e.deliveries, 2)),
    ),
    "a delivery of a rejected signal": (
        "I4",
        lambda e: replace(e, signals=changed(e.signals, 0, status="rejected", reason="x")),
    ),
    "a position that never settles": (
        "I4",
        lambda e: replace(e, positions=[Position(ticker="AAA", state="closing")]),
    ),
    "two live positions": ("I4", lambda e: replace(e, positions=[e.positions[1]] * 2)),
    "delivered without an arrival": ("I5", lambda e: replace(e, arrivals=without(e.arrivals, 0))),
    "a phantom": ("I5", lambda e: replace(e, attempts=without(e.attempts, 0))),
    "a request before its attempt": (
        "I5",
        lambda e: replace(e, attempts=changed(e.attempts, 0, started_at=2.0)),
    ),
    "an unmarked duplicate": ("I6", lambda e: killed(again(e, resend=False))),
    "changed bytes": ("I6", lambda e: killed(again(e, digest="others"))),
    "a repeat without a cause": ("I6", again),
    "a ghost": (
        "I7",
        lambda e: replace(e, signals=changed(e.signals, 0, status="rejected", reason="x")),
    ),
    "an older one after a newer one": (
        "I8",
        lambda e: replace(e, arrivals=changed(e.arrivals, 0, at=11.0)),
    ),
    "an older one again after a newer one": ("I8", lambda e: killed(again(e, at=11.0))),
    "numbered against the order of acknowledgement": (
        "I8",
        lambda e: replace(e, signals=changed(e.signals, 1, seq=0)),
    ),
    "a full window": ("I9", lambda e: replace(e, arrivals=changed(e.arrivals, 2, at=14.0))),
    "asked again before Retry-After": (
        "I9",
        lambda e: again(
            replace(e, arrivals=changed(e.arrivals, 0, status=429, processed=False, wait=8.0))
        ),
    ),
    "Finviz asked too often": ("I9", lambda e: replace(e, looks=[0.0, 1.0, 2.0, 3.0])),
    "sent after its end": (
        "I10",
        lambda e: replace(e, deliveries=changed(e.deliveries, 0, expires_at=-5.0)),
    ),
    "a buy outside the top": ("I11", lambda e: replace(e, universes={1: ["BBB", "CCC", "DDD"]})),
    "a buy below the cutoff": (
        "I11",
        lambda e: replace(e, signals=changed(e.signals, 0, cutoff=1)),
    ),
    "a buy by an old list": (
        "I11",
        lambda e: replace(e, signals=changed(e.signals, 0, list_age=181.0)),
    ),
    "one alert, two signals": ("I12", lambda e: replace(e, signals=changed(e.signals, 1, alert=1))),
    "two ids for one alert": ("I12", lambda e: doubled(e, SELL)),
    "a repeat that is not in the trail": ("I12", lambda e: doubled(e, BUY)),
    "folded into another alert": ("I12", lambda e: sent(e, id=LATE_BUY)),
    "a sell that ends silently": (
        "I13",
        lambda e: replace(e, deliveries=changed(e.deliveries, 1, state="dead")),
    ),
    "a sell rejected for want of a list": (
        "I13",
        lambda e: replace(e, signals=changed(e.signals, 1, status="rejected", reason="list_stale")),
    ),
    "a late answer": ("I15", lambda e: sent(e, latency=2.6)),
    "a wrong answer": ("I15", lambda e: sent(e, status=500)),
    "no answer": ("I15", lambda e: sent(e, status=None, id=None)),
    "too much memory": (
        "I16",
        lambda e: replace(e, samples=changed(e.samples, 0, resident=400_000_000)),
    ),
    "too many descriptors": (
        "I16",
        lambda e: replace(e, samples=changed(e.samples, 0, descriptors=300)),
    ),
    "nobody took over": ("I17", lambda e: waiting(e, "kill")),
    "not back after the database": ("I17", lambda e: waiting(e, "crash")),
    "a bad end": ("I18", lambda e: struck(e, "terminate", code=1, took=1.0)),
    "a late end": ("I18", lambda e: struck(e, "terminate", code=0, took=15.5)),
    "an end unasked": ("I18", lambda e: struck(e, "died", code=1)),
    "a secret in a log": ("I20", lambda e: replace(e, leaks=["secret number 1 is in a log"])),
    "the trail tells otherwise": ("I21", lambda e: replace(e, retold=["one thing"])),
}


def stray() -> Attempt:
    return Attempt(delivery_id="delivery-1", epoch=2, started_at=0.2)


def doubled(evidence: Evidence, id: str) -> Evidence:
    """The first alert was sent twice, and the second answer named this id."""
    [first] = evidence.alerts[0].sends
    second = replace(first, at=5.0, id=id, duplicate=True, status=200)
    return replace(evidence, alerts=changed(evidence.alerts, 0, sends=(first, second)))


def struck(evidence: Evidence, kind: str, **how: Any) -> Evidence:
    blow = Blow(kind=kind, target="replica-1", began=30.0, ended=46.0, **how)
    return replace(evidence, blows=[*evidence.blows, blow])


def waiting(evidence: Evidence, kind: str) -> Evidence:
    """A buy waits from second 29 on; somebody is struck at 30; it leaves at second 70."""
    late = {"at": 70.0, "answered_at": 70.0}
    columns = {"queued_at": 29.0, "expires_at": 99.0, "finished_at": 70.1}
    return replace(
        struck(evidence, kind),
        arrivals=changed(evidence.arrivals, 2, **late),
        deliveries=changed(evidence.deliveries, 2, **columns),
        attempts=changed(evidence.attempts, 2, started_at=69.9, finished_at=70.1),
    )


@pytest.mark.parametrize("case", CASES)
def test_each_violation_is_found(case: str) -> None:
    id, spoil = CASES[case]
    assert id in broken(spoil(good()))


def test_what_may_happen_is_no_violation() -> None:
    """Resends with a cause, answers cut short by a kill, alerts nobody acknowledged."""
    allowed = killed(again(good()))
    assert broken(replace(allowed, terms=replace(allowed.terms, windows={"main": []}))) <= {"I4"}
    assert broken(killed(sent(good(), at=0.2, latency=1.0, status=None, id=None))) == set()
    ambiguous = again(
        replace(good(), arrivals=changed(good().arrivals, 0, status=None, processed=True)),
        status=200,
    )
    assert "I6" not in broken(ambiguous)


def test_a_pause_of_ours_is_nobodys_delay() -> None:
    """Half a second in which the machine stood still; what is left of the answer's time counts."""
    late, gone = sent(good(), latency=2.9), sent(good(), latency=3.0, status=None, id=None)
    gone = sent(gone, problem=TOO_LATE)
    for spoilt in (late, gone):
        assert "I15" in broken(spoilt)
        assert "I15" in broken(replace(spoilt, pauses=[(1.0, 1.2), (8.0, 9.0)]))
        assert "I15" not in broken(replace(spoilt, pauses=[(1.0, 1.6)]))


def test_an_at_most_once_destination_is_never_sent_a_thing_twice() -> None:
    once = replace(good(), terms=replace(good().terms, at_most_once=frozenset({"main"})))
    assert "I6" not in broken(once)
    assert "I6" in broken(killed(again(once)))


def test_a_recovery_is_not_blamed_for_what_else_was_broken() -> None:
    slow = waiting(good(), "kill")
    assert "I17" in broken(slow)
    outage = Blow(kind="outage", target="database", began=30.0, ended=67.0)
    assert "I17" not in broken(replace(slow, blows=[*slow.blows, outage]))
    breaks = [Break(destination="main", began=20.0, ended=55.0)]
    assert "I17" not in broken(replace(slow, breaks=breaks))
    assert "I17" in broken(replace(slow, breaks=[replace(breaks[0], ended=45.0)]))


def test_a_frozen_replica_may_let_go_of_what_it_had_in_hand() -> None:
    full = replace(good(), arrivals=changed(good().arrivals, 2, at=14.0))
    assert "I9" in broken(full)
    thawed = replace(full, blows=[Blow(kind="stop", target="replica-1", began=-5, ended=12.0)])
    assert "I9" not in broken(thawed)
