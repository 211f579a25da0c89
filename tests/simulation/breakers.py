"""What a destination lets leave, and what its answers teach: as `Leasing`, and `Settler`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from database.lanes import LONGEST_HOLD, START_WITHIN
from database.settlements import Settlement
from domain.breaker import (
    Breaker,
    BreakerPolicy,
    BreakerState,
    Health,
    Permit,
    Probed,
    Tally,
    after,
    health_of,
    permit,
)
from domain.delivery import (
    LAST_CHANCE,
    SELLS_WAIT,
    Delivery,
    DestinationId,
    Guarantee,
    Outcome,
    cause,
)
from domain.destination import DestinationState, Mode
from domain.rate import Room, room
from engines.clock import Dice
from engines.relay.leasing import LEASE, NO_ROOM
from tests.simulation import endings, lanes
from tests.simulation.destination import DEADLINE
from tests.simulation.lanes import Hold
from tests.simulation.store import DestinationRow, Kept, Store

UNDER_WAY = START_WITHIN + DEADLINE
"""A request has ended this long after its lease, whoever sent it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every replica is told at its start."""

    sell_share: float = 0.1
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)


def lease(
    store: Store, destination: DestinationId, terms: Terms, *, free: int, replica: str
) -> list[Delivery]:
    """Lease what breaker, wish and windows let leave now."""
    held = lanes.hold(store, destination)
    if held is None or free <= 0:
        return []
    allowed = _permitted(store, destination, held, terms, free)
    windows = store.destinations[destination].windows
    if windows and allowed.total:
        used = lanes.usage(store, destination, windows, replica)
        under = room(windows, used, share=terms.sell_share, most=allowed.total)
        allowed = Room(total=under.total, buys=min(under.buys, allowed.buys))
    if not allowed.total:
        return []
    take = partial(lanes.lease, store, destination, lasting=LEASE, replica=replica)
    if not held.pause:
        return take(allowed)
    last = take(allowed, left=LAST_CHANCE)
    lately = store.rules.waits and lanes.tried_lately(store, destination, SELLS_WAIT, LEASE)
    if last or lately:
        return last
    return take(Room(total=1, buys=0))


def _permitted(
    store: Store, destination: DestinationId, held: Hold, terms: Terms, free: int
) -> Room:
    probing = permit(held.breaker, store.now, terms.breaker)
    if not store.rules.breakers or probing is Permit.ALL:
        allowed = Room(total=free, buys=free)
    elif probing is Permit.NONE or lanes.in_flight(store, destination, LEASE - UNDER_WAY):
        return NO_ROOM
    else:
        allowed = Room(total=1, buys=int(probing is Permit.PROBE))
    return Room(total=allowed.total, buys=0) if held.pause else allowed


def settle(
    store: Store, batch: Sequence[Settlement], policy: BreakerPolicy, dice: Dice
) -> list[Settlement]:
    """Record a batch of endings, and what the kept ones say of their destinations."""
    versions = {id: row.version for id, row in store.destinations.items()}
    kept = endings.settle(store, batch)
    for id in sorted({one.delivery.destination_id for one in batch}):
        mine = [one for one in kept if one.delivery.destination_id == id]
        said = [one for one in mine if one.delivery.destination_version == versions[id]]
        _learn(store, store.destinations[id], said, policy, dice)
    return kept


def _learn(
    store: Store,
    row: DestinationRow,
    said: Sequence[Settlement],
    policy: BreakerPolicy,
    dice: Dice,
) -> None:
    for one in said:
        if one.answer.retry_after and one.answer.outcome is Outcome.NOT_PROCESSED:
            until = store.now + min(one.answer.retry_after, LONGEST_HOLD)
            row.hold_until = max(until, row.hold_until or until)
    if any(one.answer.gone for one in said) and row.state is not DestinationState.DISABLED:
        row.state = DestinationState.DISABLED
        store.tell("destination.disabled", destination=row.id)
    before = row.breaker
    row.breaker = _tried(store, row, said, policy, dice)
    if (before.state, before.since) != (row.breaker.state, row.breaker.since):
        store.tell(
            f"destination.breaker_{row.breaker.state}", destination=row.id, breaker=row.breaker
        )


def _tried(
    store: Store,
    row: DestinationRow,
    said: Sequence[Settlement],
    policy: BreakerPolicy,
    dice: Dice,
) -> Breaker:
    probes, breaker, recent = [_probed(one) for one in said], row.breaker, Tally(0, 0)
    failed = any(probed.health is Health.BAD for probed in probes)
    if failed and breaker.state is BreakerState.CLOSED:
        recent = _recent(store, row, policy.recent, breaker.since)
    for probed in probes:
        breaker = after(breaker, probed, recent, now=store.now, policy=policy, jitter=dice())
    return breaker


def _probed(one: Settlement) -> Probed:
    return Probed(
        health=health_of(one.answer), began=one.delivery.leased_at, cause=cause(one.answer)
    )


def _recent(store: Store, row: DestinationRow, within: timedelta, since: datetime | None) -> Tally:
    """Of attempts at its present version."""
    told = {Outcome.DELIVERED, Outcome.NOT_SENT, Outcome.AMBIGUOUS, Outcome.NOT_PROCESSED}
    failures = total = 0
    longest = store.now - within - timedelta(seconds=30)
    for one in store.attempts_since(row.id, max(longest, since or longest)):
        ended = one.finished_at is not None and one.finished_at > store.now - within
        asked = one.outcome is Outcome.NOT_PROCESSED and one.retry_after is not None
        present = one.delivery.version == row.version
        if ended and present and one.outcome in told and not asked:
            failures += one.outcome is not Outcome.DELIVERED
            total += 1
    return Tally(failures, total)


def change(store: Store, destination: DestinationId, mode: Mode, guarantee: Guarantee) -> None:
    """Make the next version of a destination; what is queued keeps its own."""
    store.destinations[destination].versions.append(Kept(mode, guarantee))
    store.tell("destination.changed", destination=destination)


def put(store: Store, destination: DestinationId, state: DestinationState) -> None:
    """Enable, pause or disable a destination."""
    store.destinations[destination].state = state
    store.tell(f"destination.{state}", destination=destination)


def pass_time(row: DestinationRow, by: timedelta) -> None:
    """As if the breaker had changed this much earlier, and a wish to wait had been told then."""
    since, until = row.breaker.since, row.breaker.until
    row.breaker = replace(row.breaker, since=since and since - by, until=until and until - by)
    row.hold_until = row.hold_until and row.hold_until - by
