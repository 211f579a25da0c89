"""Spans handed to OpenTelemetry: what a receiver gets, and that nothing of the relay waits for it.

Its packages are an extra (requirements-otel.txt): these tests are skipped where they are missing.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from typing import Any
from uuid import UUID

import pytest

from domain.delivery import DeliveryId
from domain.signal import SignalId, uuid7
from domain.stage import Stage
from domain.trace import attempt_span, span_of
from engines.chronicle import spans
from engines.chronicle.spans import Sent

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra is not installed")

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
SIGNAL = SignalId(uuid7(NOW, b"0123456789"))
DELIVERY = DeliveryId(UUID("0b1c2d3e-5153-4df5-b339-8fdd5b624d57"))


def stage(event: str, delivery: DeliveryId | None = None, **detail: Any) -> Stage:
    return Stage(
        at=NOW + timedelta(seconds=1),
        event=event,
        signal_id=SIGNAL,
        delivery_id=delivery,
        traceparent=None,
        ticker="AAPL",
        side="sell",
        source="webhook",
        destination="main" if delivery else None,
        actor=None,
        detail=detail,
        received_at=NOW,
        waits_since=None,
    )


LIFE = [
    stage("signal.received"),
    stage("signal.approved"),
    stage("delivery.dead", DELIVERY, attempt=1, outcome="permanent", status=400, duration_ms=20),
]


@contextmanager
def receiver(status: int = 200) -> Generator[tuple[str, list[tuple[str, Any]]]]:
    """A server that takes OTLP over HTTP; its address, and the paths and bodies it got."""
    got: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, dict(self.headers)))
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    bodies: list[bytes] = []
    got.append(("bodies", bodies))
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_receiver_gets_the_spans_of_a_life() -> None:
    with receiver() as (address, got):
        sent = Sent.to(address, {"x-key": "abc"}, version="1.2", service="mine")
        sent.told(LIFE)
        sent.close()
    (_, bodies), (path, headers) = got
    assert path == "/v1/traces"
    assert {name.lower(): value for name, value in headers.items()}["x-key"] == "abc"
    message = import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    request = message.ExportTraceServiceRequest.FromString(b"".join(bodies))
    (resource,) = request.resource_spans
    named = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert (named["service.name"], named["service.version"]) == ("mine", "1.2")
    found = {one.name: one for one in resource.scope_spans[0].spans}
    assert set(found) == {"signal.accept", "signal.verdict", "delivery.attempt"}
    assert {one.trace_id for one in found.values()} == {SIGNAL.bytes}
    attempt = found["delivery.attempt"]
    assert attempt.span_id == attempt_span(DELIVERY, 1)
    assert attempt.parent_span_id == span_of(SIGNAL) == found["signal.accept"].span_id
    assert attempt.end_time_unix_nano - attempt.start_time_unix_nano == 20_000_000
    assert (attempt.status.code, attempt.status.message) == (2, "permanent")
    told = {one.key for one in attempt.attributes}
    assert {"relay.signal_id", "relay.destination", "relay.status"} <= told


def test_without_a_receiver_nothing_fails_and_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spans, "SECONDS_TO_SEND", 0.2)
    with receiver(500) as (address, _):
        pass  # gone again
    before = set(threading.enumerate())
    sent = Sent.to(address, {}, version="1", service="mine")
    sent.told(LIFE * 5_000)  # more than the queue holds
    sent.close()
    left = set(threading.enumerate()) - before
    assert not any("OtelBatch" in one.name for one in left)


def test_what_is_not_wanted_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    assert spans.wanted(None, {}, version="1", service="mine") is None
    monkeypatch.setattr(spans, "import_module", missing)
    assert spans.wanted("http://127.0.0.1:1", {}, version="1", service="mine") is None
