"""Traces: what a sender's header says, what a destination is told, and ids that agree."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.delivery import DeliveryId
from domain.signal import SignalId
from domain.trace import (
    attempt_span,
    is_sampled,
    onward,
    parent_of,
    read_traceparent,
    span_of,
    trace_of,
)

SIGNAL = SignalId(UUID("01a1fc1f-5153-7df5-b339-8fdd5b624d57"))
DELIVERY = DeliveryId(UUID("0b1c2d3e-5153-4df5-b339-8fdd5b624d57"))
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (GIVEN, GIVEN),
        (f" {GIVEN}\t", GIVEN),
        (f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
        (f"00-{TRACE}-{PARENT}-ff", GIVEN),  # flags that version 00 does not know
        (f"cc-{TRACE}-{PARENT}-01-what-comes-later", GIVEN),
        (f"cc-{TRACE}-{PARENT}-01", GIVEN),
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"cc-{TRACE}-{PARENT}-01.more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        (f"00-{TRACE[1:]}-{PARENT}-01", None),
        (f"{GIVEN},{GIVEN}", None),
        (f"cc-{TRACE}-{PARENT}-01-{'x' * 600}", None),
        ("", None),
        ("\u0660" * 55, None),
    ],
)
def test_a_header_is_read_by_the_standard(header: str, read: str | None) -> None:
    assert read_traceparent(header) == read


@given(st.text())
def test_any_text_is_read_or_passed_over(header: str) -> None:
    assert read_traceparent(header) is None or len(read_traceparent(header) or "") == 55


def test_the_senders_trace_goes_on_with_our_attempt_as_parent() -> None:
    sent = onward(SIGNAL, GIVEN, attempt_span(DELIVERY, 1))
    assert sent == f"00-{TRACE}-{attempt_span(DELIVERY, 1).hex()}-01"
    assert read_traceparent(sent) == sent
    assert (trace_of(SIGNAL, GIVEN).hex(), (parent_of(GIVEN) or b"").hex()) == (TRACE, PARENT)


def test_without_one_the_signals_id_is_the_traces() -> None:
    assert trace_of(SIGNAL, None) == SIGNAL.bytes
    assert parent_of(None) is None
    assert onward(SIGNAL, None, span_of(SIGNAL)).startswith(f"00-{SIGNAL.hex}-")
    assert is_sampled(None)
    assert not is_sampled(f"00-{TRACE}-{PARENT}-00")


def test_each_attempt_is_a_span_of_its_own() -> None:
    spans = {attempt_span(DELIVERY, number) for number in range(1, 50)} | {span_of(SIGNAL)}
    assert len(spans) == 50
    assert all(len(one) == 8 and any(one) for one in spans)
