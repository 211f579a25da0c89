"""Alerts counted for Prometheus: as plain numbers, for a flood brings thousands a second."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily


class AlertCounts:
    """A collector. The library's own counters lock and check each time, for threads; this has one.

    ``bounds`` are the upper ends of the buckets, in seconds.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._answers = Counter[int]()
        self._within = [0] * (len(bounds) + 1)
        self._seconds = 0.0

    def answered(self, status: int) -> None:
        """Count an answer to an alert."""
        self._answers[status] += 1

    def committed(self, seconds: Iterable[float]) -> None:
        """Count alerts that were committed so long after they had been read."""
        for each in seconds:
            self._within[bisect_left(self._bounds, each)] += 1
            self._seconds += each

    def describe(self) -> list[Metric]:
        """No names are known beforehand: asking would collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        answers = CounterMetricFamily(
            "relay_alerts", "Alerts answered, by answer", labels=["answer"]
        )
        for status, number in self._answers.items():
            answers.add_metric([str(status)], number)
        yield answers
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        yield HistogramMetricFamily(
            "relay_accept_seconds",
            "Alert read to committed",
            buckets=list(zip(bounds, accumulate(self._within), strict=True)),
            sum_value=self._seconds,
        )
