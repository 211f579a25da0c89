"""Outgoing: what a request to a destination consists of, and what may be shown of it."""

from collections.abc import Mapping
from datetime import UTC, datetime

from domain.body import MASK
from domain.delivery import Delivery
from domain.destination import Destination, SigningKeys
from domain.mapping import Facts, content_type, mapped
from domain.signature import sign
from domain.trace import attempt_span, onward


def request(
    destination: Destination, keys: SigningKeys, delivery: Delivery, now: datetime
) -> tuple[bytes, dict[str, str]]:
    """The body, the same bytes at every attempt, and the headers of this one."""
    id = str(delivery.signal_id)
    facts = Facts(
        signal_id=id,
        received_at=delivery.received_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        ticker=delivery.ticker,
        side=delivery.side,
        partial=delivery.partial,
        replay_of=str(delivery.replay_of) if delivery.replay_of else None,
    )
    body = mapped(delivery.body, destination.mapping, facts)
    timestamp = int(now.timestamp())
    span = attempt_span(delivery.id, delivery.attempt)
    signatures = [sign(key, id=id, timestamp=timestamp, body=body) for key in keys.at(now)]
    headers = {
        **destination.headers,
        "content-type": content_type(destination.mapping, delivery.content_type),
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
        "idempotency-key": id,
        "relay-hop": str(delivery.hop + 1),
        "traceparent": onward(delivery.signal_id, delivery.traceparent, span),
    }
    headers |= {"relay-replay-of": facts.replay_of} if facts.replay_of else {}
    return body, headers | ({"relay-poss-resend": "Y"} if delivery.possible_resend else {})


def masked_headers(destination: Destination, headers: Mapping[str, str]) -> dict[str, str]:
    """Headers for people: a destination's own are secrets, and whoever has a signature may send."""
    secret = {*destination.headers, "webhook-signature"}
    return {name: MASK if name in secret else value for name, value in headers.items()}
