"""The operator's hands on the store: as `engines.relay.desk`, `.replayer`, `database.positions`."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from domain.gate import GatePolicy, Judged
from domain.position import Position, PositionId, PositionState
from domain.signal import OPERATOR, Side, Signal, SignalId, SignalStatus
from domain.ticker import Ticker
from domain.universe import Universe
from tests.simulation import endings, verdicts
from tests.simulation.store import Key, Store, Word
from tests.simulation.trader import traders


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a command is judged by, and how long what it makes may live."""

    life: timedelta
    universe: Universe | None
    policy: GatePolicy


def sellable(store: Store) -> list[Ticker]:
    """The tickers with a live position, the oldest first."""
    live = [row for row in store.positions.values() if row.state.live]
    return [
        row.position.ticker
        for row in sorted(live, key=lambda row: (row.opened_at, row.position.id))
    ]


def sell(
    store: Store,
    made: Mapping[Ticker, SignalId],
    terms: Terms,
    *,
    refuse: bool = True,
) -> bool:
    """Make sells of these tickers, judged at once; with ``refuse`` none, where one may not pass."""
    signals = [
        _sell(store, place, ticker, id, terms.life)
        for place, (ticker, id) in enumerate(made.items())
    ]
    undecided = _undecided(store, made)
    judged = verdicts.decide(
        store, [*undecided, *signals], universe=terms.universe, policy=terms.policy
    )
    passed = {s.id for s, v in judged.verdicts if v.status is SignalStatus.APPROVED}
    if refuse and not passed >= set(made.values()):
        return False
    for signal in signals:
        verdicts.append(store, signal)
    verdicts.record(store, judged)
    return True


def sell_all(store: Store, new: Callable[[Ticker, int], SignalId], terms: Terms) -> None:
    """Pause buying, end every buy that did not leave, and sell what is left to sell."""
    store.paused, store.sold_all_at = True, store.now
    endings.abandon(store, None, store.now)
    made = {ticker: new(ticker, place) for place, ticker in enumerate(sellable(store))}
    if made:
        sell(store, made, terms, refuse=False)


def resend(
    store: Store,
    key: Key,
    id: SignalId,
    terms: Terms,
) -> Judged:
    """The same once more, as a new signal for that destination alone."""
    first = store.signals[key[0]].signal
    undecided = _undecided(store, [first.ticker])
    again = replace(
        first,
        id=id,
        seq=len(store.signals) + 1,
        received_at=store.now,
        expires_at=store.now + terms.life,
    )
    verdicts.append(store, again)
    store.only[id] = key[1]
    if undecided:
        verdicts.record(
            store, verdicts.decide(store, undecided, universe=terms.universe, policy=terms.policy)
        )
    judged = verdicts.decide(store, [again], universe=terms.universe, policy=terms.policy)
    verdicts.record(store, judged)
    return judged


def may_be_resent(store: Store, key: Key) -> bool:
    """A buy where it may be sent; a sell where its position is held, or there is none."""
    row = store.deliveries[key]
    unfinished = store.unfinished[row.signal.ticker].values()
    live = [one.position.id for one in unfinished if one.state.live]
    if row.signal.side is Side.SELL and live and (places := verdicts.held_at(store, live[0])):
        return row.state.final and row.destination in places
    return row.state.final and store.destinations[row.destination].in_use


def enter(store: Store, id: PositionId, ticker: Ticker) -> bool:
    """He says that he holds it; False where there is a live position already."""
    if any(row.state.live for row in store.unfinished[ticker].values()):
        return False
    position = Position(id=id, ticker=ticker, state=PositionState.OPEN, entry_signal_id=None)
    store.keep(position, becomes=position.state)
    store.words.append(Word(len(store.words), ticker, len(store.deliveries)))
    return True


def close(store: Store, id: PositionId) -> bool:
    """He says that it is over; False while anything of it is on its way."""
    row = store.positions[id]
    busy = any(not one.state.final for one in store.of_position[id])
    if busy or not row.state.unfinished:
        return False
    ticker = row.position.ticker
    trader = traders(store)[ticker]
    gone = frozenset(buy.key for buy in trader.left())
    back = frozenset(word.number for word in trader.left_by_hand())
    over = replace(row.position, state=PositionState.CLOSED, exit_signal_id=None)
    store.keep(over, becomes=over.state)
    store.words.append(Word(len(store.words), ticker, len(store.deliveries), gone, back))
    return True


def _undecided(store: Store, tickers: Collection[Ticker]) -> list[Signal]:
    return [row.signal for row in store.undecided.values() if row.signal.ticker in tickers]


def _sell(store: Store, place: int, ticker: Ticker, id: SignalId, life: timedelta) -> Signal:
    return Signal(
        id=id,
        seq=len(store.signals) + 1 + place,
        ticker=ticker,
        side=Side.SELL,
        closes=True,
        partial=False,
        price=None,
        received_at=store.now,
        expires_at=store.now + life,
        source=OPERATOR,
    )
