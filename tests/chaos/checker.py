"""The checker: counts every invariant of a run, one line each."""

from collections.abc import Callable, Sequence

from tests.chaos import inside, outside, times
from tests.chaos.findings import Finding, inapplicable
from tests.chaos.records import Evidence

CHECKS: Sequence[Callable[[Evidence], Finding]] = (
    inside.durable,
    inside.one_end,
    inside.audit_chain,
    inside.conservation,
    outside.sent_and_asked,
    outside.duplicates,
    outside.no_ghost,
    outside.order,
    outside.rate,
    outside.freshness,
    inside.gate,
    inside.folded,
    inside.exits,
    lambda _: inapplicable("I14", "sell-all", "nobody sells everything in this run"),
    times.answers,
    times.bounded,
    times.recovery,
    times.ends,
    lambda _: inapplicable("I19", "config", "nothing is reconfigured during a run"),
    times.secrecy,
    inside.replay_equality,
)


def check(evidence: Evidence) -> list[Finding]:
    """Count all of it; what is not ok has its violations in words."""
    return [count(evidence) for count in CHECKS]


def violations(findings: Sequence[Finding]) -> list[str]:
    return [line for finding in findings if not finding.ok for line in finding.lines]
