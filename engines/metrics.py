"""Metrics: counters and gauges the engines keep, rendered as Prometheus text.

docs/monitoring.md explains each. What the rows of the database tell is read when somebody asks
(`engines.gauges`).
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from domain.delivery import Answer, DeliveryState, Ended, Outcome, Retry, Step

disable_created_metrics()  # a second series for each of ours, which nobody reads

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


CAUSES = ("overdue", "unanswered", "http_4xx", "http_5xx")
"""There from the start: of what begins at one, nobody sees the increase."""


def _class(answer: Answer) -> str:
    """A destination may answer with any status; its first digit says enough here."""
    return f"http_{answer.status // 100}xx" if answer.status else "unanswered"


class Metrics:
    """One registry per application, so that two in one process do not add up."""

    def __init__(self, version: str = "unknown", revision: str | None = None) -> None:
        registry = self.registry = CollectorRegistry()
        self.accepted = Counter(
            "relay_alerts", "Alerts answered, by answer", ["answer"], registry=registry
        )
        self.accept_seconds = Histogram(
            "relay_accept_seconds", "Alert read to committed", registry=registry, buckets=FAST
        )
        self.commit_size = Histogram(
            "relay_commit_alerts",
            "Alerts in one commit",
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
        )
        self.verdicts = Counter(
            "relay_verdicts",
            "Verdicts, by status and reason",
            ["status", "reason"],
            registry=registry,
        )
        self.attempts = Counter(
            "relay_attempts", "Delivery attempts, by outcome", ["outcome"], registry=registry
        )
        self.attempt_seconds = Histogram(
            "relay_attempt_seconds", "Request sent to answer read", registry=registry, buckets=SLOW
        )
        self.leave_seconds = Histogram(
            "relay_leave_seconds",
            "Alert received to its first request leaving",
            registry=registry,
            buckets=SLOW,
        )
        self.deliveries = Counter(
            "relay_deliveries_ended", "Deliveries ended, by state", ["state"], registry=registry
        )
        self.undecided = Gauge(
            "relay_signals_undecided", "Signals waiting for a verdict", registry=registry
        )
        self.undelivered = Gauge(
            "relay_deliveries_unfinished", "Deliveries queued, sending or held", registry=registry
        )
        self._answers: dict[int, Counter] = {}
        self._add_destinations(registry)
        self._add_process(registry)
        self.build.labels(version, revision or "unknown").set(1)
        self._add_lists(registry)
        self._add_notices(registry)
        self._add_live(registry)

    def answered(self, status: int) -> None:
        """Count an answer to an alert."""
        counter = self._answers.get(status)
        if counter is None:
            counter = self._answers[status] = self.accepted.labels(str(status))
        counter.inc()

    def attempted(self, destination: str, answer: Answer, step: Step) -> None:
        """Count an attempt that ended, and what that made of its delivery."""
        if answer.outcome is not Outcome.WITHHELD:
            self.attempts.labels(answer.outcome).inc()
            self.sent.labels(destination, answer.outcome).inc()
            self.attempt_seconds.observe(answer.duration.total_seconds())
            if isinstance(step, Retry):
                self.retried.labels(destination).inc()
        if isinstance(step, Ended) or answer.outcome is Outcome.DELIVERED:
            state = step.state if isinstance(step, Ended) else DeliveryState.DELIVERED
            self.deliveries.labels(state).inc()
            if state is DeliveryState.DEAD:
                self.dead.labels(_class(answer)).inc()

    def _add_destinations(self, registry: CollectorRegistry) -> None:
        self.sent = Counter(
            "relay_destination_attempts",
            "Delivery attempts, by destination and outcome",
            ["destination", "outcome"],
            registry=registry,
        )
        self.retried = Counter(
            "relay_destination_retries",
            "Deliveries queued again after an attempt, by destination",
            ["destination"],
            registry=registry,
        )
        self.dead = Counter(
            "relay_deliveries_dead",
            "Deliveries given up, by cause: the class of the answer, unanswered, or overdue",
            ["cause"],
            registry=registry,
        )
        for cause in CAUSES:
            self.dead.labels(cause)

    def _add_process(self, registry: CollectorRegistry) -> None:
        ProcessCollector(registry=registry)
        self.build = Gauge(
            "relay_build_info", "Which relay this is", ["version", "revision"], registry=registry
        )
        self.lag = Histogram(
            "relay_event_loop_lag_seconds",
            "How late the event loop came to a timer, once a second",
            registry=registry,
            buckets=FAST,
        )
        self.refused = Counter(
            "relay_tokens_refused",
            "Requests with no token that is taken, by why; limited: beyond the rate of wrong ones",
            ["why"],
            registry=registry,
        )
        for why in ("wrong", "limited", "missing", "elsewhere"):
            self.refused.labels(why)

    def _add_lists(self, registry: CollectorRegistry) -> None:
        self.fetches = Counter(
            "relay_list_fetches", "Fetches of the list, by outcome", ["outcome"], registry=registry
        )
        self.list_age = Gauge(
            "relay_list_age_seconds",
            "Age of the current list; -1 when there is none",
            registry=registry,
        )

        self.list_trust = Enum(
            "relay_list_trust",
            "How far buys may rely on the list",
            states=["unknown", "stale", "fresh"],
            registry=registry,
        )

        self.deleted = Counter(
            "relay_history_deleted",
            "Rows deleted by age, by table",
            ["table"],
            registry=registry,
        )

    def _add_notices(self, registry: CollectorRegistry) -> None:
        self.attention_open = Gauge(
            "relay_attention_open",
            "Items that want a look, by severity",
            ["severity"],
            registry=registry,
        )
        self.notices = Counter(
            "relay_notices",
            "Notices to operators, by kind of channel and outcome",
            ["kind", "outcome"],
            registry=registry,
        )
        self.heartbeat = Counter(
            "relay_heartbeat", "Calls of HEARTBEAT_URL, by outcome", ["outcome"], registry=registry
        )

    def _add_live(self, registry: CollectorRegistry) -> None:
        self.live_clients = Gauge(
            "relay_live_clients", "Sockets of live pages and programs", registry=registry
        )
        self.live_dropped = Counter(
            "relay_live_frames_dropped",
            "Frames not sent to clients that were too slow",
            registry=registry,
        )
        self.live_rereads = Counter(
            "relay_live_rereads",
            "Times that clients were told to read everything again, by why",
            ["why"],
            registry=registry,
        )

    def render(self) -> bytes:
        """The text exposition format of Prometheus, version 0.0.4."""
        return generate_latest(self.registry)
