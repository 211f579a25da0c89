from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.rebuild import UNTOLD, PositionFacts, Rebuilt, Told, counters, differences

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BUY, SELL, SPENT = "b", "s", "x"
THERE = {"destination_id": "d", "destination_version": 1, "position_id": BUY}
LEASED = {"attempt": 1, "possible_resend": False, "destination_version": 1}


def told(event: str, signal: str, of: str | None = None, **detail: Any) -> Told:
    kind = event.partition(".")[0]
    delivery, position = (of if kind == one else None for one in ("delivery", "position"))
    return Told(NOON, event, signal, delivery, position, detail)


def received(signal: str, side: str) -> Told:
    return told("signal.received", signal, source="webhook", ticker="AA", side=side)


BOUGHT = (
    received(BUY, "buy"),
    told("signal.approved", BUY, rank=1),
    told("delivery.queued", BUY, "1", **THERE),
    told("position.opening", BUY, BUY, ticker="AA"),
    told("delivery.sending", BUY, "1", **LEASED),
)
ARRIVED = (
    *BOUGHT,
    told("delivery.delivered", BUY, "1", attempt=1, outcome="delivered"),
    told("position.open", BUY, BUY, ticker="AA", was="opening"),
)
SOLD = (
    *ARRIVED,
    received(SELL, "sell"),
    told("signal.duplicate", SELL),
    told("signal.approved", SELL),
    told("delivery.queued", SELL, "2", **THERE),
    told("position.closing", SELL, BUY, ticker="AA"),
    told("delivery.sending", SELL, "2", **LEASED),
    told("delivery.delivered", SELL, "2", attempt=1, outcome="delivered"),
    told("position.closed", SELL, BUY, ticker="AA", was="closing"),
)


def rebuilt(*trail: Told) -> Rebuilt:
    found = Rebuilt()
    found.tell(trail)
    return found


def test_a_whole_story() -> None:
    found = rebuilt(
        *SOLD, received(SPENT, "buy"), told("signal.rejected", SPENT, reason="cooldown")
    )
    assert found.faults == []
    assert {id: row.status for id, row in found.signals.items()} == {
        BUY: "approved",
        SELL: "approved",
        SPENT: "rejected",
    }
    assert found.signals[SELL].side == "sell"
    assert [(d.state, d.epoch, d.attempts) for d in found.deliveries.values()] == [
        ("delivered", 1, 1)
    ] * 2
    assert found.positions == {
        BUY: PositionFacts(opened_at=NOON, ticker="AA", state="closed", entry=BUY, exit=SELL)
    }
    assert counters(found) == {
        ("signals", NOON.date(), "approved", None): 2,
        ("signals", NOON.date(), "rejected", "cooldown"): 1,
        ("deliveries", NOON.date(), "delivered", None): 2,
        ("positions", NOON.date(), "closed", None): 1,
    }


SENDING: Mapping[str, Any] = {"attempt": 2, "possible_resend": True, "destination_version": 1}


@pytest.mark.parametrize(
    ("steps", "ends"),
    [
        ([("retrying", {"attempt": 1, "outcome": "not_sent"})], ("queued", None, 1, 1, False)),
        ([("retrying", {"attempt": 1, "outcome": "ambiguous"})], ("queued", None, 1, 1, True)),
        ([("retrying", {"attempt": 0, "outcome": "withheld"})], ("queued", None, 1, 0, False)),
        ([("sending", SENDING)], ("sending", None, 2, 2, True)),
        (
            [("dead", {"attempt": 1, "outcome": "permanent", "reason": "http 404"})],
            ("dead", "http 404", 1, 1, False),
        ),
        ([("expired", {"attempts": 1, "reason": "expired"})], ("expired", "expired", 1, 1, True)),
        ([("held", {"reason": "lease_lost"})], ("held", "lease_lost", 1, 1, True)),
        (
            [("held", {"reason": "lease_lost"}), ("cancelled", {"reason": "dropped"})],
            ("cancelled", "dropped", 1, 1, False),
        ),
        (
            [("held", {"reason": "lease_lost"}), ("dead", {"reason": "unresolved"})],
            ("dead", "unresolved", 1, 1, True),
        ),
        (
            [
                ("held", {"reason": "lease_lost"}),
                ("queued", {"attempt": 1, "outcome": "not_sent", "possibly_sent": False}),
            ],
            ("queued", None, 1, 1, False),
        ),
        (
            [("held", {"reason": "lease_lost"}), ("queued", {"reason": "resend"})],
            ("queued", "resend", 1, 1, True),
        ),
    ],
)
def test_how_a_leased_delivery_goes_on(
    steps: Sequence[tuple[str, Mapping[str, Any]]], ends: tuple[Any, ...]
) -> None:
    trail = (told(f"delivery.{word}", BUY, "1", **detail) for word, detail in steps)
    row = rebuilt(*BOUGHT, *trail).deliveries["1"]
    assert (row.state, row.reason, row.epoch, row.attempts, row.possibly_sent) == ends


def test_what_was_bought_for_a_merged_position_belongs_to_the_one_that_stands_for_it() -> None:
    other = told("position.open", "c", "c", ticker="AA")
    merged = told("position.closed", BUY, BUY, ticker="AA", successor="c")
    found = rebuilt(*ARRIVED, received("c", "buy"), other, merged)
    assert found.deliveries["1"].position == "c"
    assert found.positions[BUY].state == "closed"


def test_a_position_entered_by_hand_has_no_entry() -> None:
    told_of = Told(NOON, "position.open", None, None, "p", {"ticker": "AA"})
    assert rebuilt(told_of).positions["p"].entry is None


def test_a_retarget_is_a_version_and_nothing_else() -> None:
    moved = told("delivery.retargeted", BUY, "1", was_version=1, destination_version=2)
    found, before = rebuilt(*BOUGHT[:4], moved), rebuilt(*BOUGHT[:4])
    assert found.deliveries["1"] == replace(before.deliveries["1"], version=2)


@pytest.mark.parametrize("missing", range(len(SOLD)))
def test_no_event_can_be_missed(missing: int) -> None:
    trail = [one for place, one in enumerate(SOLD) if place != missing]
    same = SOLD[missing].event in {"signal.duplicate", "position.open"}
    assert bool([*differences(rebuilt(*trail), rebuilt(*SOLD))]) is not same


@pytest.mark.parametrize(
    ("again", "words"),
    [
        (received(BUY, "buy"), "signal.received is told twice of b"),
        (told("signal.rejected", BUY), "signal b is approved, and signal.rejected"),
        (told("delivery.dead", BUY, "1"), "delivery 1 is delivered, and delivery.dead"),
        (told("delivery.queued", BUY, "1", **THERE), "delivery.queued is told twice of 1"),
    ],
)
def test_what_cannot_be_is_said(again: Told, words: str) -> None:
    found = rebuilt(*ARRIVED, again)
    assert found.faults == [words]
    assert words in differences(found, rebuilt(*ARRIVED))


def test_rows_and_words_that_differ_are_named() -> None:
    kept = rebuilt(*SOLD)
    assert [*differences(rebuilt(*SOLD), kept)] == []
    changed = deepcopy(kept)
    changed.deliveries["1"].attempts = 3
    changed.positions[BUY].state = "open"
    del changed.signals[SELL]
    assert [*differences(kept, changed)] == [
        f"signal {SELL} was told of, and is not in its table",
        "delivery 1: attempts is 3 in its table, 1 by the events",
        f"position {BUY}: state is open in its table, closed by the events",
    ]
    assert counters(kept) != counters(changed)


def test_what_an_earlier_version_did_not_say_is_equal_to_anything() -> None:
    there = {name: value for name, value in THERE.items() if name != "position_id"}
    old = rebuilt(
        told("signal.received", BUY),
        *ARRIVED[1:2],
        told("delivery.queued", BUY, "1", **there),
        *ARRIVED[3:],
    )
    assert old.signals[BUY].side == UNTOLD
    assert [*differences(old, rebuilt(*ARRIVED))] == []
