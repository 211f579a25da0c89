"""Spans: the stages of signals as OpenTelemetry's, where its packages and a receiver are there.

Handed to OpenTelemetry's own queue, which is bounded and sent from a thread of its own: what does
not fit, or cannot be sent, is dropped. Its packages are an extra: they are looked for only here.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any, Self

from domain.stage import Span, Stage, span

log = logging.getLogger(__name__)

MOST_WAITING, A_BATCH = 8_192, 512
SECONDS_TO_SEND = 5
KINDS = {"signal.accept": "SERVER", "delivery.attempt": "CLIENT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Where spans go. ``processor`` is OpenTelemetry's BatchSpanProcessor, or takes its place."""

    processor: Any
    resource: Any
    scope: Any
    sdk: Any
    api: Any

    @classmethod
    def to(cls, endpoint: str, headers: dict[str, str], *, version: str, service: str) -> Self:
        """Send to a receiver of OTLP over HTTP. Raises ImportError where the extra is missing."""
        exporting = import_module("opentelemetry.sdk.trace.export")
        otlp = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        exporter = otlp.OTLPSpanExporter(
            endpoint=f"{endpoint.rstrip('/')}/v1/traces", headers=headers, timeout=SECONDS_TO_SEND
        )
        processor = exporting.BatchSpanProcessor(
            exporter, max_queue_size=MOST_WAITING, max_export_batch_size=A_BATCH
        )
        return cls.by(processor, version=version, service=service)

    @classmethod
    def by(cls, processor: Any, *, version: str, service: str) -> Self:
        resources = import_module("opentelemetry.sdk.resources")
        scopes = import_module("opentelemetry.sdk.util.instrumentation")
        named = {"service.name": service, "service.version": version}
        return cls(
            processor=processor,
            resource=resources.Resource.create(named),
            scope=scopes.InstrumentationScope("trading-signal-processor", version),
            sdk=import_module("opentelemetry.sdk.trace"),
            api=import_module("opentelemetry.trace"),
        )

    def told(self, stages: Sequence[Stage]) -> None:
        """Hand over what ended with them."""
        for stage in stages:
            if found := span(stage):
                self.processor.on_end(self._made(found))

    def _made(self, one: Span) -> Any:
        status = self.api.StatusCode.ERROR if one.failed else self.api.StatusCode.UNSET
        return self.sdk.ReadableSpan(
            name=one.name,
            context=self._context(one.trace_id, one.id, remote=False),
            parent=self._context(one.trace_id, one.parent, remote=True) if one.parent else None,
            resource=self.resource,
            attributes=dict(one.fields),
            kind=self.api.SpanKind[KINDS.get(one.name, "INTERNAL")],
            status=self.api.Status(status, one.failed),
            start_time=_nanoseconds(one.began),
            end_time=_nanoseconds(one.ended),
            instrumentation_scope=self.scope,
        )

    def _context(self, trace: bytes, span: bytes, *, remote: bool) -> Any:
        return self.api.SpanContext(
            int.from_bytes(trace), int.from_bytes(span), remote, self.api.TraceFlags(1)
        )

    def close(self) -> None:
        """Send what waits, and stop the thread; a receiver that does not answer is left soon."""
        hurry = threading.Timer(SECONDS_TO_SEND, self.processor.span_exporter.shutdown)
        hurry.start()
        self.processor.shutdown()
        hurry.cancel()


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1_000


def wanted(
    endpoint: str | None, headers: dict[str, str], *, version: str, service: str
) -> Sent | None:
    """None where no endpoint is named; where the extra is missing that is said, and no more."""
    if endpoint is None:
        return None
    try:
        return Sent.to(endpoint, headers, version=version, service=service)
    except ImportError:
        log.warning("traces.not_installed", extra={"install": "requirements-otel.txt"})
        return None
