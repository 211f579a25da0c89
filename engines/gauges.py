"""Gauges: figures of the database, workers and pools as families of Prometheus.

docs/monitoring.md explains each. Labels are names that an operator gave, or words of ours: never
tickers, tokens or addresses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from database.figures import Figures, Queue, Standing
from database.pool import Database
from database.usage import BOUNDS, Usage
from domain.breaker import BreakerState
from domain.destination import DestinationState, Mode
from domain.gate import list_max_age
from engines.clock import Clock
from engines.worker import SICK_AFTER, Worker

SIDES = ("buy", "sell")
POSITIONS = ("opening", "open", "closing")

Samples = Sequence[tuple[Sequence[str], float]]


def gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"relay_{name}", words, value=value)


def gauges(name: str, words: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(f"relay_{name}", words, labels=labels)
    for given, value in samples:
        family.add_metric(given, value)
    return family


def _age(now: datetime, since: datetime | None) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Settings that figures are held against."""

    list_max_age: timedelta | None
    retention: timedelta


def of_relay(figures: Figures, limits: Limits) -> Iterator[Metric]:
    """What is true of all replicas together."""
    now, due = figures.now, figures.fetch_due_at
    limit = list_max_age(figures.refresh, limits.list_max_age)
    yield gauge("list_age_limit_seconds", "Older than this a list is stale", limit.total_seconds())
    yield gauge("list_tickers", "Tickers in the list in force", figures.tickers)
    if due:
        yield gauge(
            "list_next_fetch_timestamp_seconds",
            "When the next look at Finviz is due, in Unix time",
            due.timestamp(),
        )
    yield gauge("list_fetching_paused", "1 while Finviz is not asked", figures.fetching_paused)
    yield gauge("buying_paused", "1 while no buy passes the gate", figures.buying_paused)
    yield gauges(
        "positions",
        "Positions that are not over, by state",
        ["state"],
        [([state], figures.positions.get(state, 0)) for state in POSITIONS],
    )
    yield gauge(
        "signals_waiting_for_list",
        "Buys that wait for their ticker (hold-and-see)",
        figures.waiting,
    )
    yield gauge("notices_queued", "Notices to operators not sent yet", figures.notices)
    yield gauge(
        "chain_unlinked_age_seconds",
        "Age of the oldest audit event that is in no link yet; 0: none",
        _age(now, figures.unlinked_since),
    )
    yield gauge(
        "history_oldest_age_seconds", "Age of the oldest signal kept", _age(now, figures.first_at)
    )
    yield gauge("history_retention_seconds", "RETENTION_DAYS", limits.retention.total_seconds())
    yield from _waiting(figures)


def _waiting(figures: Figures) -> Iterator[Metric]:
    now, queues = figures.now, {queue.side: queue for queue in figures.undecided}
    yield gauges(
        "signals_undecided_oldest_age_seconds",
        "Age of the oldest signal without a verdict, by side; 0: none",
        ["side"],
        [([side], _age(now, queues[side].since if side in queues else None)) for side in SIDES],
    )
    everywhere = [*figures.undecided, *(q for one in figures.destinations for q in one.queues)]
    yield gauge(
        "sell_oldest_age_seconds",
        "For how long the oldest sell waits, for its verdict or at a destination; 0: none",
        max((_age(now, queue.since) for queue in everywhere if queue.side == "sell"), default=0),
    )


def of_destinations(figures: Figures) -> Iterator[Metric]:
    """How each destination stands, for all replicas together."""
    known = figures.destinations
    yield _states("destination_state", "state", DestinationState, known)
    yield _states("destination_breaker", "breaker", BreakerState, known)
    yield gauges(
        "destination_live",
        "1 where requests leave, 0 in a dry run",
        ["destination"],
        [([one.name], one.mode == Mode.LIVE) for one in known],
    )
    yield gauges(
        "destination_held_back_seconds",
        "How long it asked us to wait from now on (Retry-After); 0: not",
        ["destination"],
        [([one.name], one.held_back.total_seconds()) for one in known],
    )
    yield from _queues(figures)
    windows = [
        (one.name, window, used)
        for one in known
        for window, used in zip(one.windows, one.used, strict=True)
    ]
    yield gauges(
        "destination_window_limit",
        "Requests that a rate window allows",
        ["destination", "window"],
        [([name, f"{window.seconds}s"], window.limit) for name, window, _ in windows],
    )
    yield gauges(
        "destination_window_used",
        "Requests that left within a rate window, of all replicas",
        ["destination", "window"],
        [([name, f"{window.seconds}s"], used.total) for name, window, used in windows],
    )


def _states(
    name: str,
    label: str,
    states: type[DestinationState] | type[BreakerState],
    known: Sequence[Standing],
) -> Metric:
    samples = [
        ([one.name, str(state)], getattr(one, label) == state) for one in known for state in states
    ]
    return gauges(name, f"1 at its {label}", ["destination", label], samples)


def _queues(figures: Figures) -> Iterator[Metric]:
    labels = ["destination", "side"]
    empty = {side: Queue(side=side, waiting=0, since=None) for side in SIDES}
    each = [
        ([one.name, side], queue)
        for one in figures.destinations
        for side, queue in (empty | {queue.side: queue for queue in one.queues}).items()
    ]
    yield gauges(
        "destination_waiting",
        "Deliveries queued or being sent",
        labels,
        [(given, queue.waiting) for given, queue in each],
    )
    yield gauges(
        "destination_held",
        "Deliveries whose outcome is unknown, until an operator's word",
        labels,
        [(given, queue.held) for given, queue in each],
    )
    yield gauges(
        "destination_oldest_age_seconds",
        "For how long the oldest of them waits; 0: none",
        labels,
        [(given, _age(figures.now, queue.since)) for given, queue in each],
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Process:
    """A collector: workers and pools of this process, read when somebody asks."""

    workers: Sequence[Worker]
    pools: Mapping[str, Database]
    clock: Clock

    def kept_in(self, registry: CollectorRegistry) -> None:
        registry.register(self)

    def describe(self) -> list[Metric]:
        """Nothing is looked at before somebody asks."""
        return []

    def collect(self) -> Iterator[Metric]:
        sick = any(w.health.failures_in_row >= SICK_AFTER for w in self.workers)
        yield gauge("ready", "1 while no worker of this process keeps failing", not sick)
        yield from self._of_workers()
        yield from self._of_pools()

    def _of_workers(self) -> Iterator[Metric]:
        """By the first word of their names: gatekeepers are counted together."""
        kinds: dict[str, list[Worker]] = {}
        for worker in self.workers:
            kinds.setdefault(worker.name.split()[0], []).append(worker)
        now = self.clock()
        steps = CounterMetricFamily(
            "relay_worker_steps", "Steps that a worker finished", labels=["worker"]
        )
        failures = CounterMetricFamily(
            "relay_worker_failures", "Steps of a worker that failed", labels=["worker"]
        )
        for kind, same in kinds.items():
            steps.add_metric([kind], sum(one.health.steps for one in same))
            failures.add_metric([kind], sum(one.health.failures for one in same))
        yield steps
        yield failures
        yield gauges(
            "worker_failures_in_row",
            "Steps of a worker that failed since the last one that did not",
            ["worker"],
            [([kind], max(w.health.failures_in_row for w in same)) for kind, same in kinds.items()],
        )
        yield gauges(
            "worker_step_running_seconds",
            "For how long the step under way has been; 0: none is",
            ["worker"],
            [
                ([kind], max(_age(now, w.health.begun_at) for w in same))
                for kind, same in kinds.items()
            ],
        )
        yield gauges(
            "worker_last_step_timestamp_seconds",
            "When a worker last finished a step, in Unix time",
            ["worker"],
            [
                ([kind], max(stepped))
                for kind, same in kinds.items()
                if (
                    stepped := [
                        w.health.stepped_at.timestamp() for w in same if w.health.stepped_at
                    ]
                )
            ],
        )

    def _of_pools(self) -> Iterator[Metric]:
        sizes = {name: pool.size for name, pool in self.pools.items()}
        yield gauges(
            "database_connections",
            "Open connections of a pool",
            ["pool", "state"],
            [
                ([name, state], number)
                for name, size in sizes.items()
                for state, number in (("used", size.used), ("idle", size.idle))
            ],
        )
        yield gauges(
            "database_connections_limit",
            "The most connections of a pool",
            ["pool"],
            [([name], size.most) for name, size in sizes.items()],
        )
        usages = {name: pool.usage for name, pool in self.pools.items()}
        yield gauges(
            "database_waiting",
            "Who waits for a connection of a pool",
            ["pool"],
            [([name], usage.waiting) for name, usage in usages.items()],
        )
        yield from _transactions(usages)


def _transactions(usages: Mapping[str, Usage]) -> Iterator[Metric]:
    begun = CounterMetricFamily(
        "relay_database_transactions", "Transactions, and looks, begun", labels=["pool"]
    )
    failed = CounterMetricFamily(
        "relay_database_failures",
        "Of them, those that the database did not answer: lost, refused, or out of time",
        labels=["pool"],
    )
    took = HistogramMetricFamily(
        "relay_database_commit_seconds", "A commit, asked to answered", labels=["pool"]
    )
    for name, usage in usages.items():
        begun.add_metric([name], usage.begun)
        failed.add_metric([name], usage.failed)
        took.add_metric([name], _cumulated(usage.commits), usage.spent)
    yield begun
    yield failed
    yield took


def _cumulated(counts: Sequence[int]) -> list[tuple[str, float]]:
    bounds = [*(str(float(bound)) for bound in BOUNDS), "+Inf"]
    return [(bound, sum(counts[: place + 1])) for place, bound in enumerate(bounds)]
