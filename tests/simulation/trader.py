"""What a trader would say: how does each ticker stand, going by what arrived where?

He knows nothing of positions, only of what was ordered, where it went, what became of it, and what
he himself said. It is written without a look at `domain.position.follow`, and comes to the same.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from domain.delivery import DeliveryState
from domain.destination import Mode
from domain.position import PositionState
from domain.signal import Side, SignalId
from domain.ticker import Ticker
from tests.chaos.records import grouped
from tests.simulation.store import DeliveryRow, Store, Word


@dataclass(frozen=True, slots=True)
class Says:
    """``live`` is what he could sell now, ``selling`` how many of his sells are on their way."""

    live: PositionState | None
    selling: int


@dataclass(slots=True, kw_only=True)
class Trader:
    """What he knows of one ticker. What a sell on its way is about is as good as sold, until it
    fails. ``alone`` are the sells that were meant for one place only.
    """

    orders: Sequence[DeliveryRow]
    words: Sequence[Word] = ()
    alone: Collection[SignalId] = ()
    on_their_way: Sequence[int] = field(init=False)
    went_well: int = field(init=False)

    def __post_init__(self) -> None:
        sells = grouped((sell.signal.seq, sell) for sell in self._sells())
        self.on_their_way = [seq for seq, each in sells.items() if not _has_ended(each)]
        well = [seq for seq, each in sells.items() if self._went_well(each)]
        self.went_well = max(well, default=0)

    def says(self) -> Says:
        have, will = PositionState.OPEN, PositionState.OPENING
        found = {have if buy.state.final else will for buy in self.left()}
        if have in found or self.left_by_hand():
            return Says(have, len(self.on_their_way))
        return Says(will if found else None, len(self.on_their_way))

    @property
    def is_entangled(self) -> bool:
        """Whether a sell failed while a later one was on its way already.

        The relay has then a position for each. Until the later one arrives it takes the first for
        open, and of one entered by hand it knows only that position's own sells.
        """
        sells = grouped((sell.signal.seq, sell) for sell in self._sells())
        return any(
            not self._went_well(first) and _ended_after(first, later[0].queued_at)
            for seq, first in sells.items()
            for after, later in sells.items()
            if after > seq
        )

    def left(self) -> list[DeliveryRow]:
        """The buys that he has, may have or will have, and could sell."""
        gone = {key for word in self.words for key in word.gone or ()}
        return [
            buy
            for buy in self.orders
            if buy.signal.side is Side.BUY
            and buy.may_be_there
            and buy.key not in gone
            and not self._being_sold(buy.signal.seq)
            and not any(_empties(sell, buy) for sell in self._sells())
            and not (buy.kept.mode is Mode.DRY_RUN and self.went_well > buy.signal.seq)
        ]

    def left_by_hand(self) -> list[Word]:
        """The times he said that he holds it, and neither sold it since nor took that back."""
        back = {number for word in self.words for number in word.back}
        return [
            word
            for word in self.words
            if word.gone is None and word.number not in back and not self._sold_since(word)
        ]

    def _sold_since(self, word: Word) -> bool:
        since = [sell for sell in self._sells() if sell.id.int > word.after]
        sells = grouped((sell.signal.seq, sell) for sell in since).values()
        if any(self._went_well(each) or not _has_ended(each) for each in sells):
            return True
        return any(_is_emptied(each, since) for each in sells)

    def _being_sold(self, seq: int) -> bool:
        return any(later > seq for later in self.on_their_way)

    def _went_well(self, sell: Sequence[DeliveryRow]) -> bool:
        """It arrived wherever there was something to sell: what a dry run bought was not there."""
        states = {one.state for one in sell}
        fine = {DeliveryState.DELIVERED, DeliveryState.SUPERSEDED}
        everywhere = sell[0].signal.id not in self.alone
        return everywhere and DeliveryState.DELIVERED in states and states <= fine

    def _sells(self) -> Iterable[DeliveryRow]:
        return (
            one for one in self.orders if one.signal.side is Side.SELL and not one.signal.partial
        )


def _empties(sell: DeliveryRow, buy: DeliveryRow) -> bool:
    """Whoever sells everything at a place has nothing left there of what he bought before."""
    there = sell.destination == buy.destination and sell.kept.mode is buy.kept.mode
    later = sell.signal.seq > buy.signal.seq
    return there and later and sell.state is DeliveryState.DELIVERED


def _ended_after(sell: Sequence[DeliveryRow], when: datetime) -> bool:
    return any(one.finished_at is None or one.finished_at >= when for one in sell)


def _is_emptied(sell: Sequence[DeliveryRow], since: Sequence[DeliveryRow]) -> bool:
    """Whether, when this one ended, one had arrived wherever he could hold it, each by itself."""
    last = max(sell, key=lambda one: one.finished_at or one.queued_at)
    when = last.finished_at or last.queued_at
    delivered = [one for one in since if one.state is DeliveryState.DELIVERED]
    arrived = {d.destination for d in delivered if d.finished_at and d.finished_at <= when}
    sent = {one.destination for one in since if one.queued_at <= when}
    return bool(last.in_use_then) and last.in_use_then | sent <= arrived


def _has_ended(sell: Sequence[DeliveryRow]) -> bool:
    return all(one.state.final for one in sell)


def stands(store: Store, ticker: Ticker) -> Says:
    """How the relay says it stands."""
    states = [row.state for row in store.unfinished[ticker].values()]
    live = [state for state in states if state.live]
    return Says(live[0] if live else None, len(states) - len(live))


def traders(store: Store) -> dict[Ticker, Trader]:
    orders = grouped((row.signal.ticker, row) for row in store.deliveries.values())
    words = grouped((word.ticker, word) for word in store.words)
    return {
        ticker: Trader(orders=orders.get(ticker, []), words=words.get(ticker, []), alone=store.only)
        for ticker in {*orders, *words, *store.unfinished}
    }


def disagreements(store: Store) -> list[str]:
    said = (
        (ticker, trader.says())
        for ticker, trader in sorted(traders(store).items())
        if not trader.is_entangled
    )
    return [
        f"{ticker}: the relay says {stands(store, ticker)}, the trader {says}"
        for ticker, says in said
        if says != stands(store, ticker)
    ]
