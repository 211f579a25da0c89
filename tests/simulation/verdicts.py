"""Signals appended, judged in order and recorded, as `database.journal` and `database.verdicts`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from domain.delivery import DeliveryState, DestinationId
from domain.destination import Mode
from domain.gate import GatePolicy, Judged, Verdict, judge_in_order
from domain.position import PositionId
from domain.signal import Side, Signal, SignalStatus
from domain.ticker import Ticker
from domain.universe import Universe
from tests.simulation import endings
from tests.simulation.store import (
    DeliveryRow,
    DestinationRow,
    Kept,
    PositionRow,
    SignalRow,
    Store,
)


def append(store: Store, signal: Signal) -> None:
    row = store.signals[signal.id] = SignalRow(signal)
    store.tell(
        "signal.received",
        signal.id,
        source=signal.source,
        ticker=signal.ticker,
        side=signal.side,
    )
    if signal.expires_at <= store.now:
        row.status = SignalStatus.EXPIRED
        store.tell("signal.expired", signal.id, reason="expired")
    else:
        store.undecided[signal.id] = row


def judge(
    store: Store, *, limit: int, universe: Universe | None, policy: GatePolicy
) -> Judged | None:
    """Claim the earliest undecided, judge them in order, record the verdicts."""
    signals = [row.signal for row in list(store.undecided.values())[:limit]]
    if not signals:
        return None
    judged = decide(store, signals, universe=universe, policy=policy)
    record(store, judged)
    return judged


def decide(
    store: Store, signals: Sequence[Signal], *, universe: Universe | None, policy: GatePolicy
) -> Judged:
    """What becomes of these, as the gate has it; nothing is written."""
    held = store.positions_of(signal.ticker for signal in signals)
    return judge_in_order(
        signals,
        universe=universe,
        positions=[row.position for row in held],
        policy=replace(policy, buying_paused=store.paused),
        now=store.now,
    )


def any_enabled(store: Store) -> bool:
    return any(row.in_use for row in store.destinations.values())


@dataclass(frozen=True, slots=True)
class Entered:
    """A buy that a destination has, may have, or will get."""

    position: PositionId | None
    destination: DestinationId
    seq: int
    version: int
    kept: Kept


def record(store: Store, judged: Judged) -> None:
    """Write verdicts, the deliveries and positions they make; exits overtake waiting buys."""
    decided = [
        (signal, verdict) for signal, verdict in judged.verdicts if signal.id in store.undecided
    ]
    entered = list(_entered(store, decided))
    queued = [row for one in decided for row in _deliveries(store, *one, entered)]
    for signal, verdict in decided:
        row = store.undecided.pop(signal.id)
        row.status, row.verdict = verdict.status, verdict
        store.tell(f"signal.{verdict.status}", signal.id, reason=verdict.reason)
    for delivery in queued:
        delivery.id = store.new_delivery_id()
        store.queue(delivery)
    _move(store, judged, {signal.id for signal, _ in decided})
    exits = {
        signal.ticker
        for signal, verdict in judged.verdicts
        if verdict.status is SignalStatus.APPROVED and signal.side is Side.SELL
    }
    endings.supersede(store, exits)


def _entered(store: Store, decided: Sequence[tuple[Signal, Verdict]]) -> Iterator[Entered]:
    """The buys of the positions that are judged about, those of this batch among them."""
    positions = {v.position_id for _, v in decided if v.position_id is not None}
    yield from _by_hand(store, positions)
    for position in positions:
        for row in store.of_position[position]:
            if row.signal.side is Side.BUY and row.may_be_there:
                yield Entered(position, row.destination, row.signal.seq, row.version, row.kept)
    for signal, verdict in decided:
        if verdict.status is SignalStatus.APPROVED and signal.side is Side.BUY:
            for row in (one for one in _meant(store, signal) if one.in_use):
                kept = row.kept(row.version)
                yield Entered(verdict.position_id, row.id, signal.seq, row.version, kept)


def held_at(store: Store, position: PositionId) -> set[DestinationId]:
    """Where an exit of this position is to go."""
    buys = [
        Entered(position, row.destination, row.signal.seq, row.version, row.kept)
        for row in store.of_position[position]
        if row.signal.side is Side.BUY and row.may_be_there
    ]
    everything = [*buys, *_by_hand(store, [position])]
    ticker = store.positions[position].position.ticker
    return {one.destination for one in everything if not _is_sold(store, ticker, one)}


def _by_hand(store: Store, positions: Iterable[PositionId]) -> Iterator[Entered]:
    """What an operator holds, he holds everywhere in use, and where its exit was to go before."""
    for position in positions:
        known = store.positions.get(position)
        if known and known.position.entry_signal_id is None:
            for row in _held_at(store, known):
                yield Entered(position, row.id, 0, row.version, row.kept(row.version))


def _held_at(store: Store, known: PositionRow) -> Iterator[DestinationRow]:
    exits = [one for one in store.of_position[known.position.id] if one.is_exit]
    mine = [one for one in exits if one.id.int > known.after]
    sold = {one.destination for one in mine if one.state is DeliveryState.DELIVERED}
    before = {one.destination for one in mine}
    every = all(row.id in sold for row in store.destinations.values() if row.in_use)
    return (row for row in store.destinations.values() if every or row.in_use or row.id in before)


def _meant(store: Store, signal: Signal) -> Sequence[DestinationRow]:
    """Where a signal is to go, as far as it is its own: everywhere, or to one destination only."""
    only = store.only.get(signal.id)
    return [row for row in store.destinations.values() if only in {None, row.id}]


def _deliveries(
    store: Store, signal: Signal, verdict: Verdict, entered: Iterable[Entered]
) -> Iterator[DeliveryRow]:
    if verdict.status is not SignalStatus.APPROVED:
        return
    holding = dict(_holding(store, signal, verdict, entered))
    for row in _meant(store, signal):
        held = holding.get(row.id)
        if held if holding else row.in_use:
            version = _version(store, row, held or [])
            yield DeliveryRow(
                id=store.new_delivery_id(),
                signal=signal,
                destination=row.id,
                version=version,
                kept=row.kept(version),
                position=verdict.position_id,
                queued_at=store.now,
                due_at=store.now,
                expires_at=signal.expires_at,
            )


def _holding(
    store: Store, signal: Signal, verdict: Verdict, entered: Iterable[Entered]
) -> Iterator[tuple[DestinationId, list[Entered]]]:
    """Where the position of a sell was bought and not sold since."""
    if signal.side is Side.BUY or verdict.position_id is None or not store.rules.exits_where_held:
        return
    mine = [e for e in entered if e.position == verdict.position_id and e.seq < signal.seq]
    for destination in {one.destination for one in mine}:
        here = (one for one in mine if one.destination == destination)
        left = [one for one in here if not _is_sold(store, signal.ticker, one)]
        if left:
            yield destination, left


def _version(store: Store, row: DestinationRow, held: Sequence[Entered]) -> int:
    """The current one, unless what is sold was bought in the other mode."""
    live = [one.version for one in held if one.kept.mode is Mode.LIVE]
    is_dry = row.kept(row.version).mode is Mode.DRY_RUN
    if held and not live:
        return row.version if is_dry else max(one.version for one in held)
    return max(live) if live and is_dry and store.rules.dry_apart else row.version


def _is_sold(store: Store, ticker: Ticker, bought: Entered) -> bool:
    """Whether a full exit was delivered there since; what is held by hand, only its own sells."""
    return any(
        row.destination == bought.destination
        and not row.signal.partial
        and row.state is DeliveryState.DELIVERED
        and row.signal.seq > bought.seq
        and (_is_its_own(store, row, bought) or _is_alike(row, bought))
        for row in store.exits[ticker]
    )


def _is_its_own(store: Store, row: DeliveryRow, bought: Entered) -> bool:
    """Of one entered by hand only those since: an older position may have been merged into it."""
    if row.position is None or row.position != bought.position:
        return False
    return bought.seq > 0 or row.id.int > store.positions[row.position].after


def _is_alike(row: DeliveryRow, bought: Entered) -> bool:
    return bought.seq > 0 and row.kept.mode is bought.kept.mode


def _move(store: Store, judged: Judged, decided: set[object]) -> None:
    """Positions as the gate left them. One that settled meanwhile cannot be: it was locked."""
    for position in judged.positions:
        if (position.exit_signal_id or position.entry_signal_id) in decided:
            known = store.positions.get(position.id)
            if known is None or known.state.live:
                store.keep(position)
