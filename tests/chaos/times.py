"""Invariants of time and size: answers, recoveries, ends of processes, memory, secrets."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence

from tests.chaos.findings import Finding, found, inapplicable
from tests.chaos.records import DATABASE_BLOWS, PROCESS_BLOWS, Blow, Delivery, Evidence, Send
from tests.chaos.wire import TOO_LATE

STATUSES = {200, 202, 503}
LONGEST_LIFE = 600.0
AFTER_DATABASE = 5.0
NEARLY_FULL = 0.85


def answers(evidence: Evidence) -> Finding:
    """I15: every answer in time and one of three, from any replica that is let live."""
    sends = [send for alert in evidence.alerts for send in alert.sends]
    faults: list[str] = []
    for send in sends:
        if send.status is None and not (_excused(evidence, send) or _cut_short(evidence, send)):
            faults.append(
                f"no answer from {send.replica} after {send.latency:.2f} s: {send.problem}"
            )
        if send.status is not None and send.status not in STATUSES:
            faults.append(f"answered {send.status} by {send.replica}")
        late = send.status is not None and _waited(evidence, send) > evidence.terms.answer_within
        if late and not _excused(evidence, send):
            faults.append(f"{send.replica} answered after {send.latency:.2f} s")
    times = sorted(send.latency for send in sends if send.status is not None)
    counts = {status: sum(s.status == status for s in sends) for status in (202, 200, 503, None)}
    words = ", ".join(f"{count:,} times {status or 'none'}" for status, count in counts.items())
    return found("I15", "answer time", f"{words}; {_spread(times)}", faults)


def _waited(evidence: Evidence, send: Send) -> float:
    """Without the seconds in which nothing went on anywhere."""
    return send.latency - evidence.paused(send.at, send.at + send.latency)


def _cut_short(evidence: Evidence, send: Send) -> bool:
    """A pause of ours took so much of the sender's patience that too little was left."""
    return send.problem == TOO_LATE and _waited(evidence, send) < evidence.terms.answer_within


def _excused(evidence: Evidence, send: Send) -> bool:
    if not send.replica:
        return True
    blows = evidence.struck(PROCESS_BLOWS, after=send.at, before=send.at + send.latency)
    return any(blow.target == send.replica for blow in blows)


def _spread(times: Sequence[float]) -> str:
    if not times:
        return "none"
    most = times[int(len(times) * 0.99)]
    return f"99 % ≤ {most * 1000:.0f} ms, slowest {times[-1] * 1000:.0f} ms"


def bounded(evidence: Evidence) -> Finding:
    """I16: memory and descriptors stay below what they may be."""
    terms = evidence.terms
    if not evidence.samples:
        return inapplicable("I16", "bounded", "no process was measured")
    resident = max(sample.resident for sample in evidence.samples)
    descriptors = max(sample.descriptors for sample in evidence.samples)
    faults = [f"{resident:,} bytes resident"] if resident > terms.most_resident else []
    if descriptors > terms.most_descriptors:
        faults.append(f"{descriptors} open descriptors")
    words = f"at most {resident / 1e6:.0f} MB and {descriptors} descriptors a replica"
    return found("I16", "bounded", words, faults)


def recovery(evidence: Evidence) -> Finding:
    """I17: after a kill, or when the database is back, deliveries that wait go on in time."""
    kills = [*_recoveries(evidence, {"kill", "died"}, evidence.terms.recover_within)]
    returns = [*_recoveries(evidence, {"crash", "outage", "full"}, AFTER_DATABASE)]
    words = f"{_slowest(kills)} after a kill, {_slowest(returns)} after a return of the database"
    faults = [fault for _, fault in (*kills, *returns) if fault]
    return found("I17", "recovery", words, faults)


def _slowest(recoveries: Sequence[tuple[float, str]]) -> str:
    if not recoveries:
        return "none waited"
    return f"{len(recoveries):,} waited, at most {max(gap for gap, _ in recoveries):.1f} s"


def _recoveries(
    evidence: Evidence, kinds: Collection[str], within: float
) -> Iterator[tuple[float, str]]:
    """The gap after each such blow during which something waited, and whether it was too long."""
    for destination, arrivals in evidence.arrivals_at.items():
        times = [arrival.at for arrival in arrivals]
        waiting = sorted(
            (each for each in evidence.deliveries if each.destination == destination),
            key=lambda each: each.queued_at,
        )
        for blow in (blow for blow in evidence.blows if blow.kind in kinds):
            origin = blow.ended if blow.kind in DATABASE_BLOWS else blow.began
            place = bisect_right(times, origin)
            until = times[place] if place < len(times) else float("inf")
            if not _somebody_waits(evidence, waiting, origin, until):
                continue
            until = min(until, origin + LONGEST_LIFE)
            if _is_full(evidence, times, destination, until):
                continue
            gap = until - origin - _disturbed(evidence, blow, origin, until)
            slow = f"{gap:.1f} s after a {blow.kind} of {blow.target}" if gap > within else ""
            yield gap, slow


def _somebody_waits(
    evidence: Evidence, deliveries: Sequence[Delivery], origin: float, until: float
) -> bool:
    """Whether a head of a lane could have left from the blow until the next arrival."""
    end = bisect_left(deliveries, origin, key=lambda each: each.queued_at)
    begin = bisect_left(deliveries, origin - LONGEST_LIFE, key=lambda each: each.queued_at)
    open_then = [d for d in deliveries[begin:end] if _finished(d) > origin]
    heads: dict[str, Delivery] = {}
    for delivery in sorted(open_then, key=lambda each: each.seq):
        heads.setdefault(delivery.ticker, delivery)
    return any(
        _finished(head) >= until and not _rests(evidence, head, origin) for head in heads.values()
    )


def _finished(delivery: Delivery) -> float:
    return float("inf") if delivery.finished_at is None else delivery.finished_at


def _rests(evidence: Evidence, delivery: Delivery, at: float) -> bool:
    """Whether its last attempt had ended, so that it waited for its next try and not for us."""
    before = [a for a in evidence.attempts_of.get(delivery.id, ()) if a.started_at <= at]
    if before and delivery.destination in evidence.terms.at_most_once:
        return True  # until the operator says what became of it
    last = max(before, key=lambda attempt: attempt.started_at, default=None)
    return last is not None and last.finished_at is not None and last.finished_at <= at


def _is_full(evidence: Evidence, times: Sequence[float], destination: str, until: float) -> bool:
    for limit, seconds in evidence.terms.windows.get(destination, ()):
        within = bisect_left(times, until) - bisect_left(times, until - seconds)
        if within >= limit * NEARLY_FULL:
            return True
    return False


def _disturbed(evidence: Evidence, blow: Blow, since: float, until: float) -> float:
    """Seconds of the gap for which something else is to blame, overlaps counted once."""
    others = (each for each in evidence.blows if each is not blow and each.kind in DATABASE_BLOWS)
    spans = [(other.began, other.ended + AFTER_DATABASE) for other in others]
    spans += [*((each.began, each.ended) for each in evidence.breaks), *evidence.pauses]
    total, reached = 0.0, since
    for began, ended in sorted(span for span in spans if span[0] < until and span[1] > since):
        total += max(0.0, min(ended, until) - max(began, reached))
        reached = max(reached, ended)
    return total


def ends(evidence: Evidence) -> Finding:
    """I18: asked to end, a replica ends well and soon; unasked, none ends."""
    asked = [blow for blow in evidence.blows if blow.kind == "terminate"]
    died = [blow for blow in evidence.blows if blow.kind == "died"]
    faults = [f"{b.target} ended with code {b.code} after SIGTERM" for b in asked if b.code]
    slow = [
        blow
        for blow in asked
        if (blow.took or 0) - evidence.paused(blow.began, blow.ended) > evidence.terms.end_within
    ]
    faults += [f"{blow.target} took {blow.took:.1f} s to end" for blow in slow]
    faults += [f"{blow.target} ended by itself with code {blow.code} {blow.note}" for blow in died]
    slowest = max((blow.took or 0.0 for blow in asked), default=0.0)
    words = f"{len(asked):,} by SIGTERM, slowest {slowest:.1f} s, {len(died):,} died unasked"
    return found("I18", "shutdown", words, faults)


def secrecy(evidence: Evidence) -> Finding:
    """I20: no secret is in what the replicas wrote."""
    if evidence.leaks is None:
        return inapplicable("I20", "secrecy", "nothing was written")
    return found("I20", "secrecy", "logs and output searched", evidence.leaks)
