"""What wants a look, and what settles it: by example, and for sells every sequence of endings."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.attention import (
    Cause,
    Finding,
    Item,
    Notable,
    Severity,
    findings,
    item_of,
    overs_of,
    rounds,
)
from domain.signal import Side

AT = datetime(2030, 1, 2, 15, tzinfo=UTC)
MAIN, OTHER = UUID(int=1), UUID(int=2)


def an_event(event: str, **given: Any) -> Notable:
    usual: dict[str, Any] = {"ticker": "AAPL", "source": "webhook", "destination": "main"}
    known: dict[str, Any] = {**usual, "destination_id": MAIN, **given}
    return Notable(at=AT, event=event, **known)


def a_sell(event: str, reason: str | None = None, **given: Any) -> Notable:
    return an_event(event, side=Side.SELL, detail={"reason": reason} if reason else {}, **given)


def a_buy(event: str, **given: Any) -> Notable:
    return an_event(event, side=Side.BUY, **given)


def raised(event: Notable) -> tuple[Cause, Severity] | None:
    item = item_of(event)
    return item and (item.cause, item.severity)


URGENT, WARNING, INFO = Severity.URGENT, Severity.WARNING, Severity.INFO

CASES: list[tuple[Notable, tuple[Cause, Severity] | None]] = [
    (a_sell("delivery.dead", "http 404"), (Cause.SELL_UNDELIVERED, URGENT)),
    (a_sell("delivery.expired"), (Cause.SELL_UNDELIVERED, URGENT)),
    (a_sell("delivery.cancelled", "cancelled", actor="me"), (Cause.SELL_UNDELIVERED, URGENT)),
    (a_sell("delivery.superseded", "entry_unsent"), (Cause.SELL_UNDELIVERED, INFO)),
    (a_sell("delivery.superseded", "anything else"), (Cause.SELL_UNDELIVERED, URGENT)),
    (a_sell("signal.expired", "expired"), (Cause.SELL_UNDELIVERED, URGENT)),
    (a_sell("delivery.delivered"), None),
    (a_sell("delivery.held"), (Cause.HELD, URGENT)),
    (a_buy("delivery.held"), (Cause.HELD, WARNING)),
    (a_buy("delivery.dead"), (Cause.BUY_DEAD, WARNING)),
    (a_buy("delivery.expired"), None),
    (a_buy("delivery.superseded"), None),
    (a_buy("signal.expired"), None),
    (a_buy("signal.rejected"), None),
    (a_sell("signal.rejected", "no_position"), (Cause.SELL_REFUSED, WARNING)),
    (a_sell("signal.rejected", "no_position", bought="rejected"), (Cause.SELL_REFUSED, INFO)),
    (a_sell("signal.rejected", "no_position", bought="approved"), (Cause.SELL_REFUSED, WARNING)),
    (a_sell("signal.rejected", "opens_short"), (Cause.SELL_REFUSED, WARNING)),
    (a_sell("signal.rejected", "no_destination"), (Cause.SELL_REFUSED, URGENT)),
    (a_sell("signal.rejected", "already_closing"), None),
    (an_event("signal.invalid", detail={"reason": "no_ticker"}), (Cause.ALERT_INVALID, WARNING)),
    (an_event("position.open", detail={"was": "closing"}), (Cause.POSITION_REOPENED, INFO)),
    (an_event("position.open", detail={"was": "opening"}), None),
    (an_event("position.open", detail={"was": "closing"}, actor="me"), None),
    (an_event("position.closed"), None),
    (an_event("destination.breaker_open"), (Cause.BREAKER_OPEN, WARNING)),
    (
        an_event("destination.disabled", detail={"reason": "http 410"}),
        (Cause.DESTINATION_GONE, URGENT),
    ),
    (an_event("destination.disabled", actor="me"), None),
    (an_event("trust.stale"), (Cause.LIST_STALE, WARNING)),
    (an_event("trust.unknown"), (Cause.LIST_UNKNOWN, WARNING)),
    (an_event("trust.fresh"), None),
    (an_event("list.suspect"), (Cause.LIST_SUSPECT, INFO)),
    (an_event("list.ok"), None),
]


@pytest.mark.parametrize(("event", "expected"), CASES, ids=lambda one: getattr(one, "event", None))
def test_what_wants_a_look(event: Notable, expected: tuple[Cause, Severity] | None) -> None:
    assert raised(event) == expected


def test_a_sell_that_got_nowhere_says_where_why_and_how_often_it_was_tried() -> None:
    item = item_of(a_sell("delivery.dead", "http 404", attempts=3))
    assert item
    assert item.text.startswith(
        "The sell of AAPL did not get to main: dead (http 404), tried 3 times."
    )
    assert (item.ticker, item.destination_id, item.key) == ("AAPL", MAIN, f"{MAIN}:AAPL")


def causes(event: Notable) -> set[tuple[Cause, str | None]]:
    return {(over.cause, over.key) for over in overs_of(event)}


def test_a_whole_sell_that_arrives_settles_those_of_its_ticker_that_did_not() -> None:
    delivery = UUID(int=9)
    arrived = a_sell("delivery.delivered", delivery_id=delivery)
    lane = f"{MAIN}:AAPL"
    assert causes(arrived) == {
        (Cause.HELD, str(delivery)),
        (Cause.SELL_UNDELIVERED, lane),
        (Cause.SELL_UNDELIVERED, ":AAPL"),
        (Cause.SELL_REFUSED, "AAPL"),
    }
    held = {(Cause.HELD, str(delivery))}
    assert causes(a_sell("delivery.delivered", partial=True, delivery_id=delivery)) == held
    assert causes(a_sell("delivery.delivered", "dry_run", delivery_id=delivery)) == held
    assert causes(a_buy("delivery.delivered")) >= {(Cause.BUY_DEAD, lane)}


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (an_event("destination.breaker_closed"), Cause.BREAKER_OPEN),
        (an_event("destination.disabled", actor="me"), Cause.BREAKER_OPEN),
        (an_event("destination.enabled"), Cause.DESTINATION_GONE),
        (an_event("trust.fresh", destination_id=None), Cause.LIST_STALE),
        (an_event("trust.fresh", destination_id=None), Cause.LIST_UNKNOWN),
        (an_event("trust.unknown", destination_id=None), Cause.LIST_STALE),
        (an_event("list.ok", destination_id=None), Cause.LIST_SUSPECT),
        (an_event("list.refused", destination_id=None), Cause.LIST_SUSPECT),
        (a_buy("delivery.queued", actor="me"), Cause.HELD),
        (a_sell("delivery.dead"), Cause.HELD),
        (an_event("position.void"), Cause.POSITION_REOPENED),
    ],
)
def test_what_settles(event: Notable, cause: Cause) -> None:
    assert cause in {over.cause for over in overs_of(event)}


def test_whatever_raises_with_a_key_is_settled_by_that_key() -> None:
    """Each pair speaks of the same thing, or the item would stay for ever."""
    pairs = [
        (an_event("destination.breaker_open"), an_event("destination.breaker_closed")),
        *(
            (an_event(bad, destination_id=None), an_event(good, destination_id=None))
            for bad, good in (("trust.stale", "trust.fresh"), ("list.suspect", "list.ok"))
        ),
        (
            a_sell("delivery.held", delivery_id=OTHER),
            a_sell("delivery.cancelled", delivery_id=OTHER),
        ),
        (a_sell("signal.expired", destination_id=None), a_sell("delivery.delivered")),
        (a_sell("signal.rejected", "no_position"), a_sell("delivery.delivered")),
        (
            an_event("position.open", detail={"was": "closing"}, position_id=OTHER),
            an_event("position.closed", position_id=OTHER),
        ),
    ]
    for bad, good in pairs:
        item = item_of(bad)
        assert item
        assert (item.cause, item.key) in causes(good), bad.event


def test_a_position_closed_by_hand_settles_what_it_was_to_sell() -> None:
    (_, over) = overs_of(an_event("position.closed", actor="me"))
    assert (over.cause, over.key, over.ticker) == (Cause.SELL_UNDELIVERED, None, "AAPL")
    assert len(overs_of(an_event("position.closed"))) == 1


# ── I13: no sell ends in anything but delivered without an item ─────────────────────────────

ENDS = ("delivered", "dead", "expired", "cancelled", "superseded")
REASONS = st.sampled_from((None, "http 404", "entry_unsent", "expired"))
SELLS = st.builds(
    a_sell,
    st.sampled_from(
        [*(f"delivery.{end}" for end in ENDS), "delivery.held", "delivery.queued", "signal.expired"]
    ),
    REASONS,
    ticker=st.sampled_from(("AAPL", "MSFT")),
    destination_id=st.sampled_from((MAIN, OTHER)),
    delivery_id=st.uuids(),
    signal_id=st.uuids(),
    partial=st.booleans(),
    actor=st.sampled_from((None, "me")),
)


def still_open(found: Iterable[Finding]) -> dict[tuple[Cause, str], Item]:
    """The items left open, as the database keeps them."""
    kept: dict[tuple[Cause, str], Item] = {}
    for one in found:
        if isinstance(one, Item):
            kept[one.cause, one.key] = one
        else:
            kept = {key: item for key, item in kept.items() if not one.settles(item)}
    return kept


@given(st.lists(SELLS, max_size=30))
def test_no_sell_ends_undelivered_without_an_item(events: list[Notable]) -> None:
    items = [one for one in findings(events) if isinstance(one, Item)]
    told = {item.delivery_id for item in items if item.cause is Cause.SELL_UNDELIVERED}
    silent = ("delivery.delivered", "delivery.held", "delivery.queued")
    assert told == {event.delivery_id for event in events if event.event not in silent}


@given(st.lists(SELLS, max_size=30))
def test_an_item_stays_until_a_whole_sell_of_its_ticker_arrives(events: list[Notable]) -> None:
    expected: set[str] = set()
    for event in events:
        verb = event.event.partition(".")[2]
        lane = f"{event.destination_id}:{event.ticker}"
        if verb == "delivered" and not event.partial and event.reason != "dry_run":
            expected -= {lane, f":{event.ticker}"}
        elif verb not in {"delivered", "held", "queued"}:
            expected.add(lane)
    kept = still_open(findings(events))
    assert {key for cause, key in kept if cause is Cause.SELL_UNDELIVERED} == expected


@given(st.lists(SELLS, max_size=30))
def test_in_rounds_it_comes_to_the_same(events: list[Notable]) -> None:
    together = [*rounds(findings(events))]
    again = [one for overs, items in together for one in (*overs, *items)]
    assert still_open(again) == still_open(findings(events))
    assert sorted(map(repr, again)) == sorted(map(repr, findings(events)))


def test_what_has_nothing_to_do_with_one_another_is_one_round() -> None:
    events = [a_sell("delivery.dead", ticker=f"T{n}", delivery_id=UUID(int=n)) for n in range(9)]
    assert len([*rounds(findings(events))]) == 1
    assert len([*rounds(findings([*events, a_sell("delivery.delivered", ticker="T3")]))]) == 2
