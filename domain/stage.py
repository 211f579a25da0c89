"""A stage of a signal: one event of its life, as a line of the log and as a span of its trace."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from domain.delivery import DeliveryId
from domain.signal import SignalId
from domain.trace import (
    SpanId,
    TraceId,
    attempt_span,
    is_sampled,
    parent_of,
    span_in,
    span_of,
    trace_of,
)

Fields: TypeAlias = Mapping[str, str | int | bool]

TOLD = (
    *("reason", "universe_version", "rank", "cutoff", "list_age_ms", "gate_version", "until"),
    *("attempt", "attempts", "possible_resend", "outcome", "status", "error", "duration_ms"),
    *("due_at", "was"),
)
"""What of an event's detail is told; the rest of it is in the audit trail."""

JUDGED = ("signal.approved", "signal.rejected", "signal.expired")
GOOD = ("delivered", "dry_run")
ENDED = ("delivery.dead", "delivery.expired", "delivery.superseded", "delivery.cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """An audit event of a signal with what it is about.

    ``waits_since`` is since when a delivery that leaves now waited: its last attempt, or its
    verdict.
    """

    at: datetime
    event: str
    signal_id: SignalId
    delivery_id: DeliveryId | None
    traceparent: str | None
    ticker: str | None
    side: str | None
    source: str
    destination: str | None
    actor: str | None
    detail: Mapping[str, Any]
    received_at: datetime
    waits_since: datetime | None

    @property
    def trace_id(self) -> TraceId:
        return trace_of(self.signal_id, self.traceparent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time in a trace. ``failed`` says why, where it did not go well."""

    name: str
    trace_id: TraceId
    id: SpanId
    parent: SpanId | None
    began: datetime
    ended: datetime
    fields: Fields
    failed: str | None = None


def line(stage: Stage) -> dict[str, Any]:
    """What the log says of it, after its time."""
    found: dict[str, Any] = {
        "event": stage.event,
        "signal_id": str(stage.signal_id),
        "trace_id": stage.trace_id.hex(),
        "ticker": stage.ticker,
        "side": stage.side,
    }
    if stage.event.startswith("signal."):
        found["source"] = stage.source
    if stage.delivery_id:
        found |= {"delivery_id": str(stage.delivery_id), "destination": stage.destination}
    if stage.actor:
        found["actor"] = stage.actor
    detail = stage.detail
    return found | {name: detail[name] for name in TOLD if detail.get(name) is not None}


def span(stage: Stage) -> Span | None:
    """The stretch that ended with it; None where none did, or where its sender records none."""
    if not is_sampled(stage.traceparent):
        return None
    if stage.event == "signal.received":
        began = min(made_at(stage.signal_id) or stage.at, stage.at)
        root, parent = span_of(stage.signal_id), parent_of(stage.traceparent)
        return _span(stage, "signal.accept", root, parent, began)
    if stage.event in JUDGED and not stage.detail.get("import"):
        id = span_in(stage.signal_id, "verdict")
        return _in_signal(stage, "signal.verdict", id, stage.received_at)
    return _of_delivery(stage, stage.delivery_id) if stage.delivery_id else None


def made_at(signal: SignalId) -> datetime | None:
    """When its request was read, by the milliseconds in its id (RFC 9562, section 5.7)."""
    if signal.version != 7:
        return None
    return datetime.fromtimestamp((signal.int >> 80) / 1000, UTC)


def _of_delivery(stage: Stage, delivery: DeliveryId) -> Span | None:
    attempt = int(stage.detail.get("attempt", 0))
    outcome = stage.detail.get("outcome")
    if stage.event == "delivery.sending" and stage.waits_since:
        id = span_in(delivery, f"wait {attempt}")
        return _in_signal(stage, "delivery.wait", id, stage.waits_since)
    if outcome and outcome != "withheld":
        took = timedelta(milliseconds=stage.detail.get("duration_ms", 0))
        id, failed = attempt_span(delivery, attempt), None if outcome in GOOD else str(outcome)
        return _in_signal(stage, "delivery.attempt", id, stage.at - took, failed)
    if stage.event in ENDED:
        why = str(stage.detail.get("reason") or stage.event)
        return _in_signal(stage, stage.event, span_in(delivery, stage.event), stage.at, why)
    return None


def _in_signal(
    stage: Stage, name: str, id: SpanId, began: datetime, failed: str | None = None
) -> Span:
    return _span(stage, name, id, span_of(stage.signal_id), min(began, stage.at), failed)


def _span(
    stage: Stage,
    name: str,
    id: SpanId,
    parent: SpanId | None,
    began: datetime,
    failed: str | None = None,
) -> Span:
    told = {f"relay.{name}": value for name, value in line(stage).items() if name != "trace_id"}
    return Span(
        name=name,
        trace_id=stage.trace_id,
        id=id,
        parent=parent,
        began=began,
        ended=stage.at,
        fields={name: value for name, value in told.items() if isinstance(value, str | int)},
        failed=failed,
    )
