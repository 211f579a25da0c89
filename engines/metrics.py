"""Metrics: counters and gauges the engines keep, rendered as Prometheus text."""

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, generate_latest

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """One registry per application, so that two in one process do not add up."""

    def __init__(self) -> None:
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
        self._add_lists(registry)

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
            "Lists and looks deleted by age, by table",
            ["table"],
            registry=registry,
        )

    def render(self) -> bytes:
        """The text exposition format of Prometheus, version 0.0.4."""
        return generate_latest(self.registry)
