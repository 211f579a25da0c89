"""Invariants of what arrives: nothing unasked or unmarked, in order, in time, not too fast."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.chaos.findings import Finding, found
from tests.chaos.records import (
    DATABASE_BLOWS,
    PROCESS_BLOWS,
    Alert,
    Arrival,
    Delivery,
    Evidence,
    grouped,
)

SLACK = 0.25
"""What two clocks on one machine may differ by after hours of slewing, in seconds."""
LATE = 1.0
AFTERMATH = 2.0
"""A database that is back is not at once everybody's again."""
EXCUSES = (PROCESS_BLOWS - {"terminate"}) | DATABASE_BLOWS
JITTER = 0.1


def sent_and_asked(evidence: Evidence) -> Finding:
    """I5: what is delivered was answered 2xx, and no request arrives that was not begun before."""
    faults: list[str] = []
    for key, delivery in evidence.delivery.items():
        arrivals = evidence.arrivals_of.get(key, [])
        if delivery.state == "delivered" and not _arrived(evidence, delivery, arrivals):
            faults.append(f"delivery {delivery.id} is delivered; nobody answered 2xx")
    for key, arrivals in evidence.arrivals_of.items():
        delivery = evidence.delivery.get(key)
        begun = (
            sorted(a.started_at for a in evidence.attempts_of.get(delivery.id, ()))
            if (delivery)
            else []
        )
        if len(arrivals) > len(begun):
            faults.append(f"{len(arrivals)} requests of {key[1]}, {len(begun)} attempts")
        elif any(a.at + SLACK < at for a, at in zip(arrivals, begun, strict=False)):
            faults.append(f"a request of {key[1]} arrived before its attempt was begun")
    return found("I5", "at least once, no phantom", f"{len(evidence.arrivals):,} requests", faults)


def _arrived(evidence: Evidence, delivery: Delivery, arrivals: Sequence[Arrival]) -> bool:
    """What is held the operator calls delivered when he finds it there, whatever was answered."""
    held = "delivery.held" in evidence.story_of_delivery.get(delivery.id, ())
    return any(_accepted(each) or (held and each.processed) for each in arrivals)


def _accepted(arrival: Arrival) -> bool:
    return arrival.status is not None and 200 <= arrival.status < 300


def duplicates(evidence: Evidence) -> Finding:
    """I6: a repeat is marked, has the same bytes, has a cause; none where none is allowed."""
    faults = [
        fault
        for arrivals in evidence.arrivals_of.values()
        for fault in _repeats(evidence, arrivals)
    ]
    doubled = sum(map(_doubled, evidence.arrivals_of.values()))
    ambiguous = sum(1 for arrival in evidence.arrivals if arrival.ambiguous)
    blows = sum(1 for blow in evidence.blows if blow.kind in EXCUSES)
    most = ambiguous + blows * evidence.terms.in_flight * max(1, len(evidence.terms.windows))
    if doubled > most:
        faults.append(f"{doubled} processed twice, at most {most} can be explained")
    unmarked = sum("unmarked" in fault for fault in faults)
    marked = sum(1 for arrival in evidence.arrivals if arrival.resend)
    words = f"{doubled:,} processed twice of at most {most:,}, {marked:,} marked as possible resend"
    return found("I6", "duplicates", f"{words}, {unmarked:,} unmarked", faults)


def _doubled(arrivals: Sequence[Arrival]) -> int:
    return max(0, sum(arrival.processed for arrival in arrivals) - 1)


def _repeats(evidence: Evidence, arrivals: Sequence[Arrival]) -> Iterator[str]:
    """Only what was surely not processed may come again without the mark."""
    id = arrivals[0].id
    for place, arrival in enumerate(arrivals):
        earlier = arrivals[:place]
        if not arrival.resend and any(each.processed or each.ambiguous for each in earlier):
            yield f"unmarked duplicate of {id}"
        told = [each for each in earlier if each.final]
        if told and not _explained(evidence, told[-1], arrival):
            yield f"{id} came again although it was answered {told[-1].status}"
    if len({arrival.digest for arrival in arrivals if arrival.digest}) > 1:
        yield f"the bytes of {id} changed"
    if arrivals[0].destination in evidence.terms.at_most_once and _doubled(arrivals):
        yield f"{id} was processed twice by an at-most-once destination"


def _explained(evidence: Evidence, earlier: Arrival, later: Arrival) -> bool:
    """Whoever heard the answer was struck before it could be recorded."""
    return bool(evidence.struck(EXCUSES, after=earlier.at - AFTERMATH, before=later.at))


def no_ghost(evidence: Evidence) -> Finding:
    """I7: nothing arrives that was not approved."""
    approved = {signal.id for signal in evidence.signals if signal.status == "approved"}
    ghosts = {arrival.id for arrival in evidence.arrivals} - approved
    words = f"{len(approved):,} approved"
    return found("I7", "no ghost", words, (f"never approved: {id}" for id in ghosts))


def order(evidence: Evidence) -> Finding:
    """I8: in a lane nothing older arrives after something newer; and `seq` is as acknowledged."""
    faults: list[str] = []
    lanes = 0
    for destination, arrivals in evidence.arrivals_at.items():
        known = [(a, evidence.signal[a.id]) for a in arrivals if a.id in evidence.signal]
        for ticker, lane in grouped((signal.ticker, (a, signal)) for a, signal in known).items():
            lanes += 1
            faults += [
                f"{destination}/{ticker}: {after.id} (seq {after.seq}) came after seq {before.seq}"
                for (_, before), (_, after) in pairwise(lane)
                if after.seq < before.seq
            ]
    faults += _acknowledged_order(evidence)
    return found("I8", "order", f"{lanes:,} lanes", faults)


def _acknowledged_order(evidence: Evidence) -> Iterator[str]:
    """What was sent after another was acknowledged has the higher number."""
    for ticker, alerts in grouped((alert.ticker, alert) for alert in evidence.alerts).items():
        kept = [(alert, seq) for alert in alerts if (seq := _seq(evidence, alert)) is not None]
        kept.sort(key=lambda pair: pair[0].sends[0].at)
        for (before, first), (after, second) in pairwise(kept):
            told = before.acknowledged_at
            if told is not None and told < after.sends[0].at and second < first:
                yield f"{ticker}: alert {after.number} is numbered before alert {before.number}"


def _seq(evidence: Evidence, alert: Alert) -> int | None:
    signals = (evidence.signal.get(id or "") for id in alert.ids)
    return next((signal.seq for signal in signals if signal), None)


def rate(evidence: Evidence) -> Finding:
    """I9: no sliding window holds more than its limit; who asks for time gets it; Finviz too."""
    faults: list[str] = []
    words: list[str] = []
    for destination, windows in evidence.terms.windows.items():
        times = [arrival.at for arrival in evidence.arrivals_at.get(destination, [])]
        for limit, seconds in windows:
            worst = 0
            for began, count in _sliding(times, seconds):
                worst = max(worst, count)
                if count > limit + _thawed(evidence, began, seconds):
                    faults.append(f"{destination}: {count} in {seconds:g} s, at most {limit}")
            words.append(f"{destination} worst {worst} of {limit}/{seconds:g}s")
    faults += [*_impatient(evidence), *_curious(evidence)]
    return found("I9", "rate", ", ".join(words) or "no limits", faults)


def _sliding(times: Sequence[float], seconds: float) -> Iterator[tuple[float, int]]:
    """How many fall into each window that begins with a request."""
    end = 0
    for begin, at in enumerate(times):
        while end < len(times) and times[end] < at + seconds:
            end += 1
        yield at, end - begin


def _thawed(evidence: Evidence, began: float, seconds: float) -> int:
    """What a frozen replica may have had in its hands when it went on inside this window."""
    stops = evidence.struck({"stop"}, after=began, before=began + seconds)
    return sum(evidence.terms.in_flight for stop in stops if stop.ended <= began + seconds)


def _impatient(evidence: Evidence) -> Iterator[str]:
    for (_, id), arrivals in evidence.arrivals_of.items():
        for before, after in pairwise(arrivals):
            if before.wait and after.at < before.answered_at + before.wait - 0.01:
                yield f"{id} came again before the Retry-After of its destination had passed"


def _curious(evidence: Evidence) -> Iterator[str]:
    """Finviz is asked once a refresh by all replicas together, and anew after a blow."""
    if len(evidence.looks) < 2:
        return
    lasted = max(evidence.looks) - min(evidence.looks)
    blows = sum(1 for blow in evidence.blows if blow.kind in PROCESS_BLOWS | DATABASE_BLOWS)
    most = 2 + blows + lasted / (evidence.terms.refresh * (1 - JITTER))
    if len(evidence.looks) > most:
        yield f"Finviz was asked {len(evidence.looks)} times, at most {most:.0f} were due"


def freshness(evidence: Evidence) -> Finding:
    """I10: nothing arrives after its time."""
    faults: list[str] = []
    for arrival in evidence.arrivals:
        delivery = evidence.delivery.get((arrival.destination, arrival.id))
        if not delivery:
            continue
        late = arrival.at - delivery.expires_at
        if late - evidence.paused(delivery.expires_at, arrival.at) > LATE:
            faults.append(f"{delivery.side} {arrival.id} arrived {late:.1f} s after its end")
    ended = Counter(delivery.state for delivery in evidence.deliveries)
    return found("I10", "freshness", f"{ended['expired']:,} expired unsent", faults)
