"""Invariants of positions: closed means sold everywhere; no exit opens a short; no vain buys."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from domain.delivery import DeliveryState, Outcome
from domain.destination import Mode
from domain.position import PositionId, PositionState
from domain.signal import Side
from engines.relay.leasing import LEASE
from tests.chaos.findings import Finding, found
from tests.chaos.records import grouped
from tests.simulation.destination import Request
from tests.simulation.evidence import name
from tests.simulation.store import AttemptRow, DeliveryRow
from tests.simulation.world import World


def closed(world: World) -> Finding:
    """What is closed was sold wherever it may have been bought; what is void was bought nowhere."""
    faults: list[str] = []
    gone = {key for word in world.store.words for key in word.gone or ()}
    for id, members in _united(world).items():
        state = world.store.positions[id].state
        deliveries = [row for member in members for row in world.store.of_position[member]]
        holders = [row for row in _holders(deliveries) if row.key not in gone]
        if state is PositionState.VOID and holders:
            faults.append(f"{id.int} is void; {name(holders[0].key)} may have arrived")
        if state is PositionState.CLOSED:
            faults += [
                f"{id.int} is closed; {name(row.key)} may have arrived, and was not sold there"
                for row in holders
                if not any(_sold(row, exit_) for exit_ in world.store.exits[row.signal.ticker])
            ]
    return found("I13", "closed is sold", f"{len(world.store.positions):,} positions", faults)


def _united(world: World) -> dict[PositionId, list[PositionId]]:
    """Every position that stands for itself, with those it stands for."""
    groups: dict[PositionId, list[PositionId]] = defaultdict(list)
    for id in world.store.positions:
        standing = id
        while merged := world.store.positions[standing].merged:
            standing = merged
        groups[standing].append(id)
    return groups


def _holders(deliveries: Sequence[DeliveryRow]) -> Iterator[DeliveryRow]:
    for row in deliveries:
        arrived = row.state is DeliveryState.DELIVERED or row.possibly_sent
        if row.signal.side is Side.BUY and row.kept.mode is Mode.LIVE and arrived:
            yield row


def _sold(buy: DeliveryRow, exit_: DeliveryRow) -> bool:
    """Whether this is a whole exit, after that buy, at the same place, and it really went there."""
    whole = exit_.signal.side is Side.SELL and not exit_.signal.partial
    there = exit_.destination == buy.destination and exit_.signal.seq > buy.signal.seq
    went = exit_.state is DeliveryState.DELIVERED and exit_.kept.mode is Mode.LIVE
    return whole and there and went


def no_short(world: World) -> Finding:
    """No whole exit leaves for a destination that surely never had the buy, or sold it since."""
    attempts = grouped(
        ((one.delivery.position, one.delivery.destination), one)
        for one in world.store.attempts.values()
        if one.side is Side.BUY
    )
    members = {id: group for group in _united(world).values() for id in group}
    faults: list[str] = []
    for request in world.requests:
        row = world.store.deliveries[request.key]
        if row.signal.side is Side.SELL and not row.signal.partial and row.position:
            group = members[row.position]
            buys = [one for id in group for one in attempts.get((id, row.destination), ())]
            since = _held_since(world, group, request)
            if since is None:
                continue
            if not any(_may_have_arrived(one) for one in buys if one.delivery.signal.seq > since):
                faults.append(f"{name(request.key)} left where nothing was bought")
    return found("I13", "no short", f"{len(world.requests):,} requests", faults)


def _held_since(world: World, group: Sequence[PositionId], request: Request) -> int | None:
    """Of one entered by hand: the exit that arrived there since, which sold it; None without one.

    Any other is held only by what was bought.
    """
    row, store = world.store.deliveries[request.key], world.store
    entered = [store.positions[id].after for id in group if store.positions[id].by_hand]
    if not entered:
        return 0
    return max(
        (
            exit_.signal.seq
            for id in group
            for exit_ in store.of_position[id]
            if exit_.destination == row.destination and exit_.signal.seq < row.signal.seq
            if exit_.id.int > max((one for one in entered if one < row.id.int), default=0)
            if _has_sold(exit_, request)
        ),
        default=None,
    )


def _has_sold(exit_: DeliveryRow, request: Request) -> bool:
    """Whether it had arrived when the other one left."""
    over = exit_.finished_at is not None and exit_.finished_at <= request.written_at
    return exit_.is_exit and exit_.state is DeliveryState.DELIVERED and over


def _may_have_arrived(attempt: AttemptRow) -> bool:
    """As far as the relay knows; what it heard after its lease ran out counts for nothing."""
    late = attempt.finished_at is None or attempt.finished_at >= attempt.started_at + LEASE
    return late or attempt.outcome in {Outcome.DELIVERED, Outcome.AMBIGUOUS}


def not_in_vain(world: World) -> Finding:
    """No buy is sent for the first time with its exit already behind it in the lane."""
    exits = grouped(
        ((row.destination, row.signal.ticker), row)
        for row in world.store.deliveries.values()
        if row.signal.side is Side.SELL and not row.signal.partial
    )
    faults = [
        f"{name(one.delivery.key)} was leased only to be sold by {name(exit_.key)}"
        for one in world.store.attempts.values()
        if one.side is Side.BUY and one.epoch == 1
        for exit_ in exits.get((one.delivery.destination, one.delivery.signal.ticker), ())
        if exit_.signal.seq > one.delivery.signal.seq and _waited(exit_, one)
    ]
    return found("I13", "not in vain", f"{len(world.store.attempts):,} attempts", faults)


def nothing_bought_after(world: World) -> Finding:
    """I14: after everything was sold no buy approved before leaves, unless it had been tried."""
    sold_at, faults = world.store.sold_all_at, list[str]()
    for one in world.store.attempts.values():
        first = one.side is Side.BUY and one.epoch == 1
        if sold_at and first and one.started_at > sold_at > one.delivery.queued_at:
            faults.append(f"{name(one.delivery.key)} was leased after everything was sold")
    return found("I14", "sell-all", f"last at {sold_at}", faults)


def _waited(exit_: DeliveryRow, buy: AttemptRow) -> bool:
    ended = exit_.finished_at is None or exit_.finished_at > buy.started_at
    return exit_.queued_at < buy.started_at and ended
