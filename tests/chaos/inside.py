"""Invariants of what is kept: acknowledged, judged, ended, told, each exactly once."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.chaos.findings import Finding, found, inapplicable
from tests.chaos.records import Alert, Delivery, Evidence, grouped

SIGNAL_ENDS = {f"signal.{word}" for word in ("invalid", "expired", "rejected", "approved")}
ENDS = ("delivered", "dead", "expired", "superseded", "cancelled")
DELIVERY_ENDS = {f"delivery.{word}" for word in ENDS}
UNFINISHED = {"queued", "sending"}

ANYTIME = {"expired", "dead", "superseded", "cancelled"}
FOLLOWS = {
    "": {"queued"},
    "queued": {"sending", "held"} | ANYTIME,
    "sending": {"sending", "retrying", "held", "delivered"} | ANYTIME,
    "retrying": {"sending", "held"} | ANYTIME,
    "held": {"queued", "retrying", "sending", "delivered"} | ANYTIME,
}
"""What may come after what in the story of a delivery; a lease that ran out is taken again."""

FINISHED_EXITS = {"delivered", "superseded"}
REASONS_AGAINST_SELLS = {"no_position", "already_closing", "opens_short", "no_destination"}


def durable(evidence: Evidence) -> Finding:
    """I1: every acknowledged id is in the journal exactly once."""
    times = Counter(signal.id for signal in evidence.signals)
    acknowledged = {id for alert in evidence.alerts for id in alert.ids if id}
    lost = [f"acknowledged and lost: {id}" for id in acknowledged if not times[id]]
    twice = [f"{count} times in the journal: {id}" for id, count in times.items() if count > 1]
    words = f"{len(acknowledged):,} acknowledged, {len(lost):,} lost"
    return found("I1", "durable ack", words, lost + twice)


def one_end(evidence: Evidence) -> Finding:
    """I2: exactly one verdict, exactly one end of each delivery, and nothing after it."""
    faults = [*_verdicts(evidence), *_ends(evidence)]
    words = f"{len(evidence.signals):,} signals, {len(evidence.deliveries):,} deliveries"
    return found("I2", "one end", words, faults)


def _verdicts(evidence: Evidence) -> Iterator[str]:
    for signal in evidence.signals:
        story = evidence.story_of.get(signal.id, [])
        ends = [event for event in story if event in SIGNAL_ENDS]
        if ends != [f"signal.{signal.status}"]:
            yield f"signal {signal.id} is {signal.status}, its verdicts: {ends}"


def _ends(evidence: Evidence) -> Iterator[str]:
    for delivery in evidence.deliveries:
        story = evidence.story_of_delivery.get(delivery.id, [])
        ends = [event for event in story if event in DELIVERY_ENDS]
        wanted = [] if delivery.state == "held" else [f"delivery.{delivery.state}"]
        if ends != wanted or delivery.state in UNFINISHED:
            yield f"delivery {delivery.id} is {delivery.state}, its ends: {ends}"
        elif ends and story[-1] != ends[0]:
            yield f"delivery {delivery.id} goes on after its end: {story}"


def audit_chain(evidence: Evidence) -> Finding:
    """I3: every story begins with its first event and makes only steps that exist."""
    faults = [*_broken_signals(evidence), *_broken_deliveries(evidence), *_orphans(evidence)]
    return found("I3", "audit chain", f"{len(evidence.events):,} events", faults)


def _broken_signals(evidence: Evidence) -> Iterator[str]:
    for signal in evidence.signals:
        story = evidence.story_of.get(signal.id, [])
        if story[:1] != ["signal.received"] or story.count("signal.received") != 1:
            yield f"the story of signal {signal.id} begins wrongly: {story[:3]}"


def _broken_deliveries(evidence: Evidence) -> Iterator[str]:
    for delivery in evidence.deliveries:
        story = evidence.story_of_delivery.get(delivery.id, [])
        last = ""
        for word in (event.partition(".")[2] for event in story):
            if word not in FOLLOWS.get(last, set()):
                yield f"delivery {delivery.id} goes from {last or 'nothing'} to {word}"
                break
            last = word
        begun, attempts = story.count("delivery.sending"), evidence.attempts_of.get(delivery.id, [])
        if begun != len(attempts):
            yield f"delivery {delivery.id} has {len(attempts)} attempts and {begun} events of them"


def _orphans(evidence: Evidence) -> Iterator[str]:
    known = {delivery.id for delivery in evidence.deliveries}
    for id in evidence.story_of_delivery.keys() - known:
        yield f"events of a delivery that does not exist: {id}"
    for id in evidence.story_of.keys() - evidence.signal.keys():
        yield f"events of a signal that does not exist: {id}"


def conservation(evidence: Evidence) -> Finding:
    """I4: an approved buy has one delivery for each destination, a sell for each that may hold
    what it ends; any other signal has none.
    """
    statuses = Counter(signal.status for signal in evidence.signals)
    words = ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items()))
    faults = [*_deliveries_of_signals(evidence), *_restless(evidence)]
    return found("I4", "conservation", words or "nothing", faults)


def _deliveries_of_signals(evidence: Evidence) -> Iterator[str]:
    made = grouped((each.signal_id, each.destination) for each in evidence.deliveries)
    lanes = grouped(((each.destination, each.ticker), each) for each in evidence.deliveries)
    for signal in evidence.signals:
        to = made.get(signal.id, [])
        missing = set(evidence.terms.windows) - set(to)
        if signal.side == "sell" and to:
            missing = {d for d in missing if _holds(lanes.get((d, signal.ticker), ()), signal.seq)}
        approved = signal.status == "approved"
        if len(to) > len(set(to)) or (missing if approved else to):
            yield f"signal {signal.id} is {signal.status}: {len(to)} deliveries"
    for id in made.keys() - evidence.signal.keys():
        yield f"a delivery of no signal: {id}"


def _holds(lane: Sequence[Delivery], before: int) -> bool:
    """Whether a destination was bought something that it was not told to sell since."""
    arrived = [each for each in lane if each.seq < before and each.state == "delivered"]
    return max(arrived, key=lambda each: each.seq).side == "buy" if arrived else False


def _restless(evidence: Evidence) -> Iterator[str]:
    """After the drain no position is on its way, except where a delivery is held."""
    held = {each.ticker for each in evidence.deliveries if each.state == "held"}
    for position in evidence.positions:
        if position.state in {"opening", "closing"} and position.ticker not in held:
            yield f"the position of {position.ticker} is still {position.state}"
    live = Counter(p.ticker for p in evidence.positions if p.state in {"opening", "open"})
    yield from (
        f"{count} live positions of {ticker}" for ticker, count in live.items() if count > 1
    )


def gate(evidence: Evidence) -> Finding:
    """I11: every approved buy was in the top of a list that was fresh enough."""
    buys = [s for s in evidence.signals if s.status == "approved" and s.side == "buy"]
    faults: list[str] = []
    for signal in buys:
        tickers = list(evidence.universes.get(signal.universe or 0, ()))[: signal.cutoff or 0]
        if signal.ticker not in tickers or tickers.index(signal.ticker) + 1 != signal.rank:
            faults.append(f"buy {signal.id}: {signal.ticker} was not at rank {signal.rank}")
        elif signal.list_age is None or signal.list_age > evidence.terms.list_max_age:
            faults.append(f"buy {signal.id}: the list was {signal.list_age} s old")
    return found("I11", "gate", f"{len(buys):,} approved buys judged again", faults)


def folded(evidence: Evidence) -> Finding:
    """I12: the copies of an alert are one signal, one id, and an event for each repeat."""
    signals = Counter(s.alert for s in evidence.signals if s.alert is not None)
    faults = [f"{count} signals of alert {n}" for n, count in signals.items() if count > 1]
    faults += [fault for alert in evidence.alerts for fault in _copies(evidence, alert)]
    copies = sum(len(alert.sends) - 1 for alert in evidence.alerts)
    return found("I12", "de-duplication", f"{copies:,} copies sent", faults)


def _copies(evidence: Evidence, alert: Alert) -> Iterator[str]:
    if len(alert.ids) > 1:
        yield f"alert {alert.number} has the ids {sorted(filter(None, alert.ids))}"
    for send in alert.sends:
        signal = evidence.signal.get(send.id or "")
        if signal and signal.alert is not None and signal.alert != alert.number:
            yield f"alert {alert.number} was folded into alert {signal.alert}"
    for id in filter(None, alert.ids):
        told = sum(1 for send in alert.sends if send.id == id and send.duplicate)
        events = evidence.story_of.get(id, []).count("signal.duplicate")
        if events < told:
            yield f"{told} repeats of {id} were answered, {events} are in the trail"


def exits(evidence: Evidence) -> Finding:
    """I13: a sell that ends undelivered says so; none is turned away for want of a list."""
    faults: list[str] = []
    sells = [each for each in evidence.deliveries if each.side == "sell"]
    undelivered = [each for each in sells if each.state not in FINISHED_EXITS | {"held"}]
    for sell in undelivered:
        story = evidence.story_of_delivery.get(sell.id, [])
        if story[-1:] != [f"delivery.{sell.state}"] or not sell.reason:
            faults.append(f"sell {sell.id} is {sell.state} and nobody is told why")
    for signal in evidence.signals:
        refused = signal.side == "sell" and signal.status == "rejected"
        if refused and signal.reason not in REASONS_AGAINST_SELLS:
            faults.append(f"sell {signal.id} was rejected: {signal.reason}")
    words = f"{len(sells):,} sells, {len(undelivered):,} told to have ended undelivered"
    return found("I13", "exits survive", words, faults)


def replay_equality(evidence: Evidence) -> Finding:
    """I21: what the events alone tell is what the tables say."""
    if evidence.retold is None:
        return inapplicable("I21", "replay equality", "the trail was not told again")
    return found("I21", "replay equality", f"{len(evidence.events):,} events", evidence.retold)
