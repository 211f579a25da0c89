"""The checker: what holds in every history of the simulation, one line an invariant.

What a run of whole processes is held to as well is counted by `tests.chaos`; the rest stands here,
and in `positions.py`: exact, because the clock is, and nothing is excused by a blow.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise, takewhile

from domain.breaker import Breaker, BreakerPolicy, BreakerState
from domain.delivery import LAST_CHANCE, SELLS_WAIT, DeliveryState, DestinationId, Outcome
from domain.rate import reserved
from domain.signal import Side, SignalStatus
from engines.relay.leasing import LEASE
from tests.chaos import inside, outside
from tests.chaos.findings import Finding, found
from tests.chaos.records import Evidence, grouped
from tests.simulation import positions
from tests.simulation.breakers import UNDER_WAY
from tests.simulation.destination import Request
from tests.simulation.evidence import evidence_of, name, once_only
from tests.simulation.store import AttemptRow, Key
from tests.simulation.trail import replay_equality
from tests.simulation.world import World

LONGEST_HOLD = timedelta(hours=1)


def check(world: World) -> list[Finding]:
    """Count everything, after the world was drained."""
    evidence = evidence_of(world)
    return [*(count(evidence) for count in SHARED), *(count(world) for count in OWN)]


def requests_of(world: World) -> dict[Key, list[Request]]:
    """In the order in which they left."""
    ordered = sorted(world.requests, key=lambda request: request.written_at)
    return grouped((request.key, request) for request in ordered)


def kept_all(world: World) -> Finding:
    """I1: every signal that was journaled is decided, and has its deliveries."""
    faults = [f"{row.signal.seq} has no verdict" for row in world.store.undecided.values()]
    delivered_to = {signal for signal, _ in world.store.deliveries}
    faults += [
        f"{row.signal.seq} is approved and goes nowhere"
        for row in world.store.signals.values()
        if row.status is SignalStatus.APPROVED and row.signal.id not in delivered_to
    ]
    return found("I1", "nothing lost", f"{len(world.store.signals):,} signals", faults)


def leased(world: World) -> Finding:
    """I5: each request has a lease of its own that had not run out; delivered was answered 2xx."""
    faults = [*_unleased(world), *_unanswered(world)]
    return found("I5", "leased, and answered", f"{len(world.requests):,} requests", faults)


def _unleased(world: World) -> Iterator[str]:
    seen = set[tuple[Key, int]]()
    for request in world.requests:
        lease = request.key, request.epoch
        attempt = world.store.attempts.get(lease)
        if attempt is None or lease in seen:
            yield f"{name(request.key)}: a request without a lease of its own"
        elif not attempt.started_at <= request.written_at <= attempt.started_at + LEASE:
            yield f"{name(request.key)}: a request outside of its lease"
        seen.add(lease)


def _unanswered(world: World) -> Iterator[str]:
    answered = {r.key for r in world.requests if r.reply.status == 200}
    for key, row in world.store.deliveries.items():
        told = row.reason in {"resolved", "dry_run"} or key in answered
        if row.state is DeliveryState.DELIVERED and not told:
            yield f"{name(key)} is delivered; nobody answered 2xx"


def duplicates(world: World) -> Finding:
    """I6: what may be there already is marked and the same; at most once means that."""
    faults = [f for key, sent in requests_of(world).items() for f in _repeats(world, key, sent)]
    marked = sum(request.resend for request in world.requests)
    return found("I6", "marked duplicates", f"{marked:,} marked", faults)


def _repeats(world: World, key: Key, sent: Sequence[Request]) -> Iterator[str]:
    row, maybe = world.store.deliveries[key], False
    for request in sent:
        if maybe and not request.resend:
            yield f"{name(key)}: an unmarked duplicate"
        maybe = maybe or not request.surely_undone
    if len({request.body for request in sent}) > 1:
        yield f"{name(key)}: the bytes changed"
    unsure = any(not earlier.surely_undone for earlier in sent[:-1])
    if once_only(row) and unsure and key not in world.resent:
        yield f"{name(key)}: sent again, and at most once was asked for"


def fenced(world: World) -> Finding:
    """I6: whoever holds an older lease records nothing; the newest one's ending is kept."""
    faults: list[str] = []
    for heard in world.heard:
        delivery = heard.settlement.delivery
        newer = world.store.attempts.get((heard.key, delivery.epoch + 1))
        if heard.kept and newer and newer.started_at < heard.at:
            faults.append(
                f"{name(heard.key)}: lease {delivery.epoch} was settled after a newer one"
            )
    return found("I6", "fenced", f"{len(world.heard):,} endings", faults)


def order(world: World) -> Finding:
    """I8: once a request of a lane left, nothing older of that lane leaves."""
    ordered = sorted(world.requests, key=lambda request: request.written_at)
    faults: list[str] = []
    newest: dict[tuple[DestinationId, str], int] = {}
    for request in ordered:
        signal = world.store.signals[request.key[0]].signal
        lane = request.key[1], signal.ticker
        if signal.seq < newest.get(lane, 0):
            faults.append(f"{name(request.key)} left after {newest[lane]}")
        newest[lane] = max(signal.seq, newest.get(lane, 0))
    return found("I8", "order of leaving", f"{len(newest):,} lanes", faults)


def rate(world: World) -> Finding:
    """I9: no sliding window at the receiver holds more than its limit; buys leave sells theirs."""
    faults: list[str] = []
    for id, row in world.store.destinations.items():
        here = [r for r in world.requests if r.key[1] == id and r.arrived_at]
        buys = [r for r in here if world.store.signals[r.key[0]].signal.side is Side.BUY]
        for window in row.windows:
            spared = reserved(window, world.terms.sell_share)
            for which, limit in ((here, window.limit), (buys, window.limit - spared)):
                worst = _worst(which, timedelta(seconds=window.seconds))
                if worst > limit:
                    faults.append(f"{id.int}: {worst} in {window.seconds} s, at most {limit}")
    return found("I9", "rate", f"{len(world.store.destinations)} destinations", faults)


def _worst(requests: Sequence[Request], span: timedelta) -> int:
    times = sorted(request.arrived_at for request in requests if request.arrived_at)
    worst = begin = 0
    for end, at in enumerate(times):
        while times[begin] <= at - span:
            begin += 1
        worst = max(worst, end - begin + 1)
    return worst


def patience(world: World) -> Finding:
    """I9: asked to wait, nothing leaves but a sell's last chance, and a sell now and then."""
    faults: list[str] = []
    told = 0
    for heard in world.heard:
        answer = heard.settlement.answer
        wish = answer.retry_after if answer.outcome is Outcome.NOT_PROCESSED else None
        if not (heard.kept and heard.present and wish):
            continue
        told += 1
        until = heard.at + min(wish, LONGEST_HOLD)
        for attempt in _attempts(world, heard.key[1], heard.at, until):
            last = attempt.expires_at <= attempt.started_at + LAST_CHANCE
            if attempt.side is Side.BUY or not (last or _is_first_in_a_while(world, attempt)):
                row = attempt.delivery
                faults.append(f"{name(row.key)} was leased although we were asked to wait")
    return found("I9", "patience", f"{told:,} times asked to wait", faults)


def _is_first_in_a_while(world: World, attempt: AttemptRow) -> bool:
    """Whether nothing was tried there, or was on its way, for as long as a sell has to wait."""
    at, since = attempt.started_at, attempt.started_at - SELLS_WAIT
    near = _attempts(world, attempt.delivery.destination, since - LEASE, at + datetime.resolution)
    for one in takewhile(lambda one: one is not attempt, near):
        ended = one.finished_at
        if ended is None or ended > at:
            return False
        if ended > since and one.outcome is not Outcome.WITHHELD:
            return False
    return True


def _attempts(
    world: World, destination: DestinationId, after: datetime, before: datetime
) -> Sequence[AttemptRow]:
    """Those that began between, in order."""
    attempts = world.store.attempts_at[destination]
    first = bisect_right(attempts, after, key=lambda one: one.started_at)
    last = bisect_right(attempts, before, key=lambda one: one.started_at)
    return [one for one in attempts[first:last] if after < one.started_at < before]


def breakers(world: World) -> Finding:
    """I9: what is not closed lets one at a time through; an open one sells, each five seconds."""
    faults: list[str] = []
    opened = 0
    for id in world.store.destinations:
        story = [
            (event.at, event.detail["breaker"])
            for event in world.store.events
            if event.event.startswith("destination.breaker_") and event.detail["destination"] == id
        ]
        opened += sum(breaker.state is BreakerState.OPEN for _, breaker in story)
        for (since, breaker), (until, _) in pairwise([*story, (world.store.now, Breaker())]):
            if breaker.state is not BreakerState.CLOSED:
                tried = _attempts(world, id, since, until)
                faults += _impatient(world, breaker, tried)
    return found("I9", "breaker", f"opened {opened:,} times", faults)


def _impatient(world: World, breaker: Breaker, tried: Sequence[AttemptRow]) -> Iterator[str]:
    policy: BreakerPolicy = world.terms.breaker
    for attempt in tried:
        at, row = attempt.started_at, attempt.delivery
        if breaker.state is BreakerState.OPEN and breaker.until and at < breaker.until:
            assert breaker.since is not None
            if row.signal.side is Side.BUY or at < breaker.since + policy.sells_try_after:
                yield f"{name(row.key)} left while the breaker was open"
    for one, other in pairwise(tried):
        latest = one.started_at + UNDER_WAY
        if min(one.finished_at or latest, latest) > other.started_at:
            yield f"{name(other.delivery.key)} left beside the probe {name(one.delivery.key)}"


def freshness(world: World) -> Finding:
    """I10: nothing leaves at or after its end of life."""
    faults = [
        f"{name(request.key)} left {request.written_at - attempt.expires_at} late"
        for request in world.requests
        if (attempt := world.store.attempts.get((request.key, request.epoch)))
        and request.written_at > attempt.expires_at
    ]
    return found("I10", "freshness", f"{len(world.requests):,} requests", faults)


SHARED: Sequence[Callable[[Evidence], Finding]] = (
    inside.one_end,
    inside.audit_chain,
    outside.no_ghost,
    outside.order,
    inside.gate,
    inside.exits,
)
OWN: Sequence[Callable[[World], Finding]] = (
    kept_all,
    leased,
    duplicates,
    fenced,
    order,
    rate,
    patience,
    breakers,
    freshness,
    positions.closed,
    positions.no_short,
    positions.not_in_vain,
    positions.nothing_bought_after,
    lambda world: replay_equality(world.store),
)
