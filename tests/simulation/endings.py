"""Deliveries that end, and positions that follow, as in `database.settlements`, `.endings` …"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from database.resolutions import Resolution
from database.settlements import Settlement
from domain.delivery import (
    Delivered,
    DeliveryState,
    DestinationId,
    Ended,
    Guarantee,
    Outcome,
    Retry,
    end_of_life,
)
from domain.position import PositionId, PositionState, Progress, follow, is_moot
from domain.signal import Side
from domain.ticker import Ticker
from tests.simulation.store import DeliveryRow, Key, PositionRow, Store

HELD_FOR = timedelta(hours=24)
LATE = frozenset({DeliveryState.DELIVERED, DeliveryState.SUPERSEDED})


def settle(store: Store, settlements: Sequence[Settlement]) -> list[Settlement]:
    """Record how attempts ended; return those whose lease was still held, or nobody had since."""
    mine = [_settled(store, one) for one in settlements]
    rows = [_row(store, one) for one, was_mine in zip(settlements, mine, strict=True) if was_mine]
    positions_follow(store, rows)
    kept = [
        one
        for one, was_mine in zip(settlements, mine, strict=True)
        if was_mine or _settled_late(store, one)
    ]
    waiting = {
        Ticker(one.delivery.ticker)
        for one in settlements
        if isinstance(one.step, Retry) and one.delivery.side is Side.BUY
    }
    supersede(store, waiting)
    if store.sold_all_at:
        abandon(store, waiting, store.sold_all_at)
    return kept


def _row(store: Store, one: Settlement) -> DeliveryRow:
    return store.deliveries[one.delivery.signal_id, one.delivery.destination_id]


def _settled(store: Store, one: Settlement) -> bool:
    row = _row(store, one)
    _answered(store, row.key, one)
    mine = row.epoch == one.delivery.epoch or not store.rules.epochs
    if row.state is not DeliveryState.SENDING or not mine:
        return False
    outcome = one.answer.outcome
    if store.rules.marks:
        sent = outcome in {Outcome.DELIVERED, Outcome.AMBIGUOUS}
        row.possibly_sent = row.possibly_sent or sent
    _step(store, row, one)
    word = "retrying" if isinstance(one.step, Retry) else None
    store.tell_of(row, word, attempt=row.attempts, outcome=outcome.value)
    return True


def _settled_late(store: Store, one: Settlement) -> bool:
    """What was held for its lost lease, and heard of under it, while nobody said a word."""
    row, outcome = _row(store, one), one.answer.outcome
    held = row.state is DeliveryState.HELD and row.reason == "lease_lost"
    if not held or row.epoch != one.delivery.epoch or outcome is Outcome.AMBIGUOUS:
        return False
    if isinstance(one.step, Retry) and _is_overtaken(store, row):
        return False
    row.possibly_sent = one.delivery.possible_resend or outcome is Outcome.DELIVERED
    _step(store, row, one)
    store.tell_of(row, attempt=row.attempts, outcome=outcome.value, possibly_sent=row.possibly_sent)
    positions_follow(store, [row])
    return True


def _step(store: Store, row: DeliveryRow, one: Settlement) -> None:
    outcome = one.answer.outcome
    row.attempts -= outcome is Outcome.WITHHELD
    match one.step:
        case Delivered():
            dry = outcome is Outcome.DRY_RUN
            store.end(row, DeliveryState.DELIVERED, "dry_run" if dry else None)
        case Retry(at):
            store.end(row, DeliveryState.QUEUED, None)
            row.due_at = at
        case Ended(state, reason):
            store.end(row, state, reason)
            row.due_at = store.now + HELD_FOR if state is DeliveryState.HELD else row.due_at


def _answered(store: Store, key: Key, one: Settlement) -> None:
    attempt = store.attempts[key, one.delivery.epoch]
    if attempt.finished_at is None:
        attempt.finished_at, attempt.outcome = store.now, one.answer.outcome
        attempt.retry_after = one.answer.retry_after
        if one.answer.written is not None:
            attempt.written_at = attempt.started_at + one.answer.written


def expire(store: Store) -> Counter[DeliveryState]:
    """End what is overdue; hold what was leased by somebody who let the lease run out."""
    ended = in_order(row for row in store.all_waiting() if _overdue(store, row))
    for row in ended:
        _expired(store, row)
        store.tell_of(row)
    positions_follow(store, ended)
    return Counter(row.state for row in ended)


def _overdue(store: Store, row: DeliveryRow) -> bool:
    late = row.expires_at <= store.now
    match row.state:
        case DeliveryState.QUEUED:
            return late
        case DeliveryState.SENDING:
            once = row.kept.guarantee is Guarantee.AT_MOST_ONCE
            return row.lost(store.now) and (late or once)
        case _:
            return row.due_at <= store.now


def _expired(store: Store, row: DeliveryRow) -> None:
    sending = row.state is DeliveryState.SENDING
    row.possibly_sent = row.possibly_sent or sending
    if sending and row.kept.guarantee is Guarantee.AT_MOST_ONCE:
        row.due_at = store.now + HELD_FOR
        store.end(row, DeliveryState.HELD, "lease_lost")
    elif row.state is DeliveryState.HELD:
        store.end(row, DeliveryState.DEAD, "unresolved")
    else:
        store.end(row, end_of_life(row.signal.side), "expired")


def abandon(store: Store, tickers: Collection[Ticker] | None, before: datetime) -> None:
    """End buys that surely never left and were approved before this; of all tickers, if None."""
    ended = in_order(
        row
        for row in store.all_waiting()
        if _unsent_buy(row)
        and row.queued_at <= before
        and (tickers is None or row.signal.ticker in tickers)
    )
    for row in ended:
        store.end(row, DeliveryState.SUPERSEDED, "sell_all")
        store.tell_of(row)
    positions_follow(store, ended)


def supersede(store: Store, tickers: Collection[Ticker]) -> None:
    """End buys that surely never arrived and have an exit behind them in their lane."""
    if not tickers or not store.rules.supersede:
        return
    ended = in_order(
        row for row in store.all_waiting() if row.signal.ticker in tickers and _vain(store, row)
    )
    for row in ended:
        store.end(row, DeliveryState.SUPERSEDED, "newer_sell")
        store.tell_of(row)
    positions_follow(store, ended)


def resolve(store: Store, key: Key, resolution: Resolution, life: timedelta) -> bool:
    """The operator's word on a held delivery; False where it cannot be taken."""
    row = store.deliveries[key]
    again = resolution is Resolution.RESEND
    if row.state is not DeliveryState.HELD or (again and not _may_be_resent(store, row)):
        return False
    state, reason = RESOLVED[resolution]
    row.possibly_sent = resolution is not Resolution.DROP
    store.end(row, state, reason)
    if again:
        row.due_at = store.now
        row.expires_at = store.now + life if row.signal.side is Side.SELL else row.expires_at
    store.tell_of(row)
    positions_follow(store, [row])
    return True


RESOLVED: Mapping[Resolution, tuple[DeliveryState, str]] = {
    Resolution.DELIVERED: (DeliveryState.DELIVERED, "resolved"),
    Resolution.DROP: (DeliveryState.CANCELLED, "dropped"),
    Resolution.RESEND: (DeliveryState.QUEUED, "resend"),
}


def _may_be_resent(store: Store, row: DeliveryRow) -> bool:
    """Not what is too late to buy, nor what something newer of its lane has overtaken."""
    late = row.signal.side is Side.BUY and row.expires_at <= store.now
    return not late and not _is_overtaken(store, row)


def _is_overtaken(store: Store, row: DeliveryRow) -> bool:
    return any(
        newer.attempts
        for newer in store.lane(row.destination, row.signal.ticker)
        if newer.signal.seq > row.signal.seq
    )


def cancel(store: Store, key: Key) -> bool:
    """The operator takes back what is queued; False where it no longer is."""
    row = store.deliveries[key]
    if row.state is not DeliveryState.QUEUED:
        return False
    store.end(row, DeliveryState.CANCELLED, "cancelled")
    store.tell_of(row)
    positions_follow(store, [row])
    return True


def in_order(rows: Iterable[DeliveryRow]) -> list[DeliveryRow]:
    return sorted(rows, key=lambda row: row.signal.seq)


def _vain(store: Store, row: DeliveryRow) -> bool:
    return _unsent_buy(row) and any(_exits_behind(store, row))


def _unsent_buy(row: DeliveryRow) -> bool:
    waiting = row.state is DeliveryState.QUEUED and not row.possibly_sent
    return waiting and row.signal.side is Side.BUY


def _exits_behind(store: Store, row: DeliveryRow) -> Iterator[DeliveryRow]:
    return (
        newer
        for newer in store.waiting[row.destination].values()
        if newer.signal.ticker == row.signal.ticker
        and newer.signal.seq > row.signal.seq
        and newer.signal.side is Side.SELL
        and not newer.signal.partial
    )


def positions_follow(store: Store, settled: Sequence[DeliveryRow]) -> None:
    """What ended deliveries do to the positions they opened or close."""
    if not settled:
        return
    ids = dict.fromkeys(row.position for row in settled if row.position is not None)
    if store.rules.supersede:
        _end_moot(store, ids, settled)
    touched = [store.positions[id] for id in ids if id in store.positions]
    touched += _beside(store, settled, touched)
    changing = {PositionState.OPENING, PositionState.OPEN, PositionState.CLOSING}
    becomes = {row.position.id: _followed(store, row) for row in touched if row.state in changing}
    for ticker in dict.fromkeys(row.position.ticker for row in touched):
        _unite(store, ticker, becomes)
    # The ones that end first: a ticker has one live position at any time.
    for id, state in sorted(becomes.items(), key=lambda item: item[1].live):
        position = store.positions[id].position
        if position.state is not state:
            store.keep(replace(position, state=state))


def _end_moot(
    store: Store, positions: Iterable[PositionId], settled: Sequence[DeliveryRow]
) -> None:
    """Exits that wait where no buy ever left."""
    for position in positions:
        for place in dict.fromkeys(_unsent(settled, position)):
            here = [row for row in store.of_position[position] if row.destination == place]
            for row in here:
                if row not in settled and _moot(store, row, here):
                    store.end(row, DeliveryState.SUPERSEDED, "entry_unsent")
                    store.tell_of(row)


def _moot(store: Store, exit_: DeliveryRow, here: Sequence[DeliveryRow]) -> bool:
    """Whether it waits to sell what is not there. Alone, it would open a short."""
    waits = exit_.state is DeliveryState.QUEUED and not exit_.possibly_sent
    if exit_.signal.side is Side.BUY or not waits:
        return False
    alike = [r for r in here if r.kept.mode is exit_.kept.mode or not store.rules.dry_apart]
    sold = max((row.signal.seq for row in alike if _emptied(row)), default=0)
    if exit_.position and store.positions[exit_.position].by_hand and not sold:
        return False
    buys = (row for row in alike if row.signal.side is Side.BUY)
    bought = progress(row for row in buys if sold < row.signal.seq < exit_.signal.seq)
    return bought is None or is_moot(bought)


def _emptied(row: DeliveryRow) -> bool:
    return row.is_exit and row.state is DeliveryState.DELIVERED


def _unsent(settled: Sequence[DeliveryRow], position: PositionId) -> Iterator[DestinationId]:
    """Where a buy of this position has just ended that surely never arrived."""
    for row in settled:
        if row.position == position and row.signal.side is Side.BUY and not row.may_be_there:
            yield row.destination


def progress(deliveries: Iterable[DeliveryRow]) -> Progress | None:
    """How far these are; None when there are none."""
    rows = list(deliveries)
    if not rows:
        return None
    states = [row.state for row in rows]
    delivered = DeliveryState.DELIVERED in states
    return Progress(
        any_delivered=delivered,
        possibly_sent=any(row.possibly_sent for row in rows),
        ended=all(state.final for state in states),
        may_have=any(row.possibly_sent and row.state.final for row in rows),
        done=delivered and all(state in LATE for state in states),
    )


def _followed(store: Store, row: PositionRow) -> PositionState:
    deliveries = store.of_position[row.position.id]
    entry = _bought(row, deliveries, store.exits[row.position.ticker])
    exit_ = progress(d for d in deliveries if d.signal.id == row.position.exit_signal_id)
    if exit_ and row.position.exit_signal_id in store.only:
        exit_ = replace(exit_, done=False)
    return follow(row.state, entry, exit_, emptied=_emptied_by_hand(store, row, deliveries))


def _emptied_by_hand(store: Store, row: PositionRow, deliveries: Sequence[DeliveryRow]) -> bool:
    """Whether its exits arrived wherever it was held, and no buy is left."""
    places = {id for id, one in store.destinations.items() if one.in_use}
    if not row.by_hand or not places or not store.rules.emptied:
        return False
    exits = [d for d in deliveries if d.is_exit and d.id.int > row.after]
    places |= {exit_.destination for exit_ in exits}
    sold = {exit_.destination for exit_ in exits if _emptied(exit_)}
    bought = (d for d in deliveries if d.signal.side is Side.BUY and d.may_be_there)
    everything = store.exits[row.position.ticker]
    return places <= sold and all(any(_sells(one, d) for one in everything) for d in bought)


def _beside(
    store: Store, settled: Sequence[DeliveryRow], touched: Sequence[PositionRow]
) -> list[PositionRow]:
    """Other positions of a ticker that was sold: all there was of it there is gone."""
    sold = dict.fromkeys(
        row.signal.ticker
        for row in settled
        if row.signal.side is Side.SELL and row.state is DeliveryState.DELIVERED
    )
    return [row for row in store.positions_of(sold) if row not in touched]


def _bought(
    row: PositionRow, deliveries: Sequence[DeliveryRow], exits: Sequence[DeliveryRow]
) -> Progress | None:
    """How far its buys are that were not sold since; done when all that arrived was."""
    buys = [d for d in deliveries if d.signal.side is Side.BUY]
    if row.position.entry_signal_id is None or not buys:
        return None
    kept = [buy for buy in buys if not any(_sells(one, buy) for one in exits)]
    found = progress(kept) or Progress(any_delivered=False, possibly_sent=False, ended=True)
    return replace(found, done=len(kept) < len(buys) and not any(b.may_be_there for b in kept))


def _sells(exit_: DeliveryRow, buy: DeliveryRow) -> bool:
    there = exit_.destination == buy.destination and exit_.kept.mode is buy.kept.mode
    return _emptied(exit_) and there and exit_.signal.seq > buy.signal.seq


def _unite(store: Store, ticker: Ticker, becomes: dict[PositionId, PositionState]) -> None:
    """Where a position comes alive again beside another live one, one stands for both."""
    alive = [
        (becomes.get(row.position.id, row.state), row) for row in store.unfinished[ticker].values()
    ]
    alive = [(state, row) for state, row in alive if state.live]
    if not any(row.state is PositionState.CLOSING for _, row in alive):
        return
    _, standing = max(alive, key=_stands)
    for _, row in alive:
        if row is not standing:
            becomes[row.position.id] = PositionState.CLOSED
            row.merged = standing.position.id
            if store.rules.reunions:
                store.hand_over(row.position.id, standing.position.id)


def _stands(one: tuple[PositionState, PositionRow]) -> tuple[bool, bool, datetime, PositionId]:
    """What stands before what: no delivery tells that one entered by hand is held everywhere."""
    state, row = one
    return state is PositionState.OPEN, row.by_hand, row.opened_at, row.position.id
