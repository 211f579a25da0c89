"""A stage as a line of the log, and as a span."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from domain.delivery import DeliveryId
from domain.signal import SignalId, uuid7
from domain.stage import Span, Stage, line, span
from domain.trace import attempt_span, span_of

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
SIGNAL = SignalId(uuid7(NOW - timedelta(milliseconds=3), b"0123456789"))
DELIVERY = DeliveryId(UUID("0b1c2d3e-5153-4df5-b339-8fdd5b624d57"))
TRACED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def stage(event: str, detail: dict[str, Any] | None = None, **given: Any) -> Stage:
    usual: dict[str, Any] = {
        "at": NOW,
        "signal_id": SIGNAL,
        "delivery_id": DELIVERY if event.startswith("delivery.") else None,
        "traceparent": None,
        "ticker": "AAPL",
        "side": "buy",
        "source": "webhook",
        "destination": "main" if event.startswith("delivery.") else None,
        "actor": None,
        "received_at": NOW - timedelta(seconds=2),
        "waits_since": None,
    }
    return Stage(event=event, detail=detail or {}, **{**usual, **given})


def made(event: str, detail: dict[str, Any] | None = None, **given: Any) -> Span:
    found = span(stage(event, detail, **given))
    assert found
    return found


def test_a_line_has_the_ids_and_what_was_decided() -> None:
    said = line(stage("signal.rejected", {"reason": "not_in_list", "rank": None, "cutoff": 15}))
    assert said == {
        "event": "signal.rejected",
        "signal_id": str(SIGNAL),
        "trace_id": SIGNAL.hex,
        "ticker": "AAPL",
        "side": "buy",
        "source": "webhook",
        "reason": "not_in_list",
        "cutoff": 15,
    }


def test_a_line_of_a_delivery_says_where_and_no_answer() -> None:
    detail = {"attempt": 2, "outcome": "permanent", "status": 400, "receipt": {"secret": "x"}}
    said = line(stage("delivery.dead", detail, actor="operator"))
    assert (said["destination"], said["attempt"], said["actor"]) == ("main", 2, "operator")
    assert "receipt" not in said


def test_accepting_is_the_span_that_all_others_are_in() -> None:
    accepted = made("signal.received")
    assert (accepted.id, accepted.parent) == (span_of(SIGNAL), None)
    assert accepted.ended - accepted.began == timedelta(milliseconds=3)
    others = [
        made("signal.approved"),
        made("delivery.sending", {"attempt": 1}, waits_since=NOW - timedelta(seconds=1)),
        made("delivery.delivered", {"attempt": 1, "outcome": "delivered", "duration_ms": 40}),
        made("delivery.expired", {"reason": "expired"}),
    ]
    assert {one.parent for one in others} == {span_of(SIGNAL)}
    assert len({one.id for one in others}) == 4
    took = [(one.ended - one.began).total_seconds() for one in others]
    assert took == [2.0, 1.0, 0.04, 0.0]


def test_the_senders_span_is_the_parent_of_ours() -> None:
    accepted = made("signal.received", traceparent=TRACED)
    assert (accepted.trace_id.hex(), (accepted.parent or b"").hex()) == (
        TRACED[3:35],
        TRACED[36:52],
    )
    assert span(stage("signal.received", traceparent=TRACED[:-1] + "0")) is None


def test_an_attempt_has_the_id_that_the_destination_was_told() -> None:
    tried = made("delivery.retrying", {"attempt": 3, "outcome": "not_processed", "status": 503})
    assert tried.id == attempt_span(DELIVERY, 3)
    assert (tried.name, tried.failed) == ("delivery.attempt", "not_processed")
    assert span(stage("delivery.retrying", {"attempt": 3, "outcome": "withheld"})) is None
    assert span(stage("delivery.queued")) is None


def test_clocks_that_differ_make_no_span_end_before_it_began() -> None:
    late = SignalId(uuid7(NOW + timedelta(seconds=9), b"0123456789"))
    for one in (
        made("signal.received", signal_id=late),
        made("signal.received", signal_id=SignalId(DELIVERY)),  # no time in it
        made("signal.approved", received_at=NOW + timedelta(seconds=1)),
    ):
        assert one.began == one.ended == NOW
