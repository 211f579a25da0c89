"""A trace: one id that follows a signal from its sender to its destinations (W3C Trace Context).

Where the sender names none, the signal's own id is the trace's: sixteen bytes, nothing to keep. The
spans of a signal have ids that follow from its rows, so that whoever sends one and whoever tells of
it later mean the same.
"""

import re
from hashlib import blake2b
from typing import NewType
from uuid import UUID

from domain.delivery import DeliveryId
from domain.signal import SignalId

TraceId = NewType("TraceId", bytes)
SpanId = NewType("SpanId", bytes)

HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
LONGEST = 512
SAMPLED = 1


def read_traceparent(header: str) -> str | None:
    """The header as version 00 writes it; None where it says nothing that counts (section 3.2)."""
    found = HEADER.fullmatch(header.strip(" \t")) if len(header) <= LONGEST else None
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not (int(trace, 16) and int(parent, 16)):
        return None
    return f"00-{trace}-{parent}-{int(flags, 16) & SAMPLED:02x}"


def trace_of(signal: SignalId, traceparent: str | None) -> TraceId:
    return TraceId(bytes.fromhex(traceparent[3:35]) if traceparent else signal.bytes)


def parent_of(traceparent: str | None) -> SpanId | None:
    """Whose span the signal's is in: the sender's."""
    return SpanId(bytes.fromhex(traceparent[36:52])) if traceparent else None


def is_sampled(traceparent: str | None) -> bool:
    """Whether the trace is recorded: its sender says, and we do where he names none."""
    return traceparent is None or bool(int(traceparent[53:], 16) & SAMPLED)


def span_of(signal: SignalId) -> SpanId:
    """The span in which all others of a signal are."""
    return SpanId(signal.bytes[8:])


def span_in(whole: UUID, name: str) -> SpanId:
    """A span of a signal or a delivery, by its name."""
    return SpanId(blake2b(whole.bytes + name.encode(), digest_size=8).digest())


def attempt_span(delivery: DeliveryId, attempt: int) -> SpanId:
    return span_in(delivery, f"attempt {attempt}")


def onward(signal: SignalId, traceparent: str | None, span: SpanId) -> str:
    """The header for a destination: the same trace, with ``span`` as the parent of what it does."""
    trace = trace_of(signal, traceparent)
    return f"00-{trace.hex()}-{span.hex()}-{is_sampled(traceparent):02x}"
