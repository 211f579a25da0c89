"""Alerts counted: read by Prometheus as the library's own counter and histogram are."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from engines.alert_counts import AlertCounts
from engines.metrics import FAST

SECONDS = st.one_of(st.sampled_from(FAST), st.floats(0, 100))
STATUSES = st.sampled_from([200, 202, 400, 422, 503])


@given(st.lists(STATUSES), st.lists(SECONDS))
def test_they_are_told_as_the_library_tells_them(statuses: list[int], waits: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counts = AlertCounts(FAST)
    ours.register(counts)
    answers = Counter("relay_alerts", "Alerts answered, by answer", ["answer"], registry=theirs)
    seconds = Histogram(
        "relay_accept_seconds", "Alert read to committed", registry=theirs, buckets=FAST
    )
    for status in statuses:
        counts.answered(status)
        answers.labels(str(status)).inc()
    counts.committed(waits)
    for wait in waits:
        seconds.observe(wait)
    assert generate_latest(ours) == generate_latest(theirs)
