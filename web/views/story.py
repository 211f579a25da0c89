"""What happened to a signal, in plain words: one sentence for each event it can have."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from domain.why import REASONS

SENTENCES = {
    "signal.received": "Received from {source}",
    "signal.invalid": "No signal could be read from it: {reason}",
    "signal.expired": "Expired before it was approved",
    "signal.approved": "Approved",
    "signal.rejected": "Rejected: {reason}",
    "signal.duplicate": "The same alert came again, and was folded into this one",
    "signal.replayed": "Replayed as a new signal",
    "signal.tested": "Sent from the doctor's page, as a test that counts",
    "signal.waiting": "Waits for its ticker to come into the list",
    "delivery.queued": "Queued for {destination}",
    "delivery.sending": "On its way to {destination}, attempt {attempt}",
    "delivery.retrying": "Not taken by {destination}; it is tried again",
    "delivery.held": "Held: it may have arrived at {destination}, nobody knows",
    "delivery.delivered": "Delivered to {destination}",
    "delivery.dead": "Given up at {destination}",
    "delivery.expired": "Too old to be sent to {destination}",
    "delivery.superseded": "Made moot at {destination} by something else",
    "delivery.cancelled": "Cancelled at {destination} by an operator",
    "delivery.retargeted": "Goes to the current version of {destination}",
    "position.opening": "Its position is opening",
    "position.open": "Its position is open",
    "position.closing": "Its position is closing",
    "position.closed": "Its position is closed",
    "position.void": "Its position never came to be: nothing was sent",
}

_SAID = {"source", "ticker", "side", "attempt", "position_id", "destination_id", "batch_id", "rule"}
_NAMES = {
    "universe_version": "list",
    "gate_version": "gate version",
    "destination_version": "version",
    "list_age_ms": "list age",
    "duration_ms": "took",
    "due_at": "not before",
    "was": "it was",
}


def sentence(event: str, detail: Mapping[str, Any], destination: str) -> str:
    """What an event says; one that is not known here keeps its name."""
    told = {
        "source": detail.get("source") or "somebody",
        "reason": _reason(event, detail),
        "destination": destination or "a destination",
        "attempt": detail.get("attempt") or "?",
    }
    return SENTENCES.get(event, event).format_map(told)


def _reason(event: str, detail: Mapping[str, Any]) -> str:
    reason = str(detail.get("reason") or "no reason is kept")
    known = REASONS.get(reason) if event == "signal.rejected" else None
    return (known or reason).removesuffix(".")


def rest(event: str, detail: Mapping[str, Any]) -> str:
    """What else an event tells: names and values, without what its sentence said."""
    said = _SAID | {"reason"} if "{reason}" in SENTENCES.get(event, "") else _SAID
    told = {name: value for name, value in detail.items() if name not in said and _tells(value)}
    return ", ".join(
        f"{_NAMES.get(name, _plain(name))} {_value(name, told[name])}" for name in told
    )


def _tells(value: Any) -> bool:
    return value is not None and value is not False and value != {}


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _value(name: str, value: Any) -> str:
    if name.endswith("_ms"):
        return f"{value} ms" if name == "duration_ms" else f"{value / 1000:.0f} s"
    if name.endswith("_at") or name == "until":
        return _time(value)
    if isinstance(value, bool):
        return "yes"
    if isinstance(value, Mapping):
        return ", ".join(f"{_plain(str(k))} {v}" for k, v in value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  json
    return _plain(value) if name in {"outcome", "was"} else str(value)


def _time(value: Any) -> str:
    try:
        return f"{datetime.fromisoformat(value).astimezone(UTC):%H:%M:%S} UTC"
    except (TypeError, ValueError):
        return str(value)
