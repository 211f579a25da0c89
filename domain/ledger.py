"""The ledger of a replay: positions and buys of every ticker, as its verdicts make them."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from domain.asked import MOMENT
from domain.book import Standing
from domain.gate import Verdict
from domain.past import Move, Recorded
from domain.position import Position, PositionId, PositionState
from domain.rules import Rulebook
from domain.signal import Side, SignalId, SignalStatus
from domain.ticker import Ticker


class Ledger:
    """Positions as the replayed verdicts make them, and as their deliveries ended in truth.

    A position of truth is followed by the one its buys are in here. One that has a buy which was
    turned away in truth does not end unsent: what was never sent cannot have failed.
    """

    def __init__(self, judged: Iterable[SignalId]) -> None:
        self._judged = frozenset(judged)
        self._held: dict[Ticker, dict[PositionId, Position]] = {}
        self._unfinished: Counter[str] = Counter()
        self._bought: dict[Ticker, dict[str, datetime]] = {}
        self._here: dict[PositionId, PositionId] = {}
        self._beyond: set[PositionId] = set()

    def of(self, tickers: Iterable[Ticker]) -> list[Position]:
        return [one for name in tickers for one in self._held.get(name, {}).values()]

    def standing(
        self, rulebook: Rulebook, tickers: Collection[Ticker], cooling: Collection[Ticker]
    ) -> Standing:
        """What these rules count; ``cooling`` tickers were in their cooldown a moment before."""
        elsewhere: Counter[str] = Counter()
        if rulebook.counts_positions:
            elsewhere = self._unfinished.copy()
            elsewhere.subtract(one.source for one in self.of(tickers))
        bought: dict[tuple[Ticker, str], datetime] = {}
        if rulebook.cools_down:
            for ticker in tickers:
                later = MOMENT if ticker in cooling else timedelta(0)
                for source, at in self._bought.get(ticker, {}).items():
                    bought[ticker, source] = at + later
        return Standing(positions=elsewhere, bought=bought)

    def put(self, position: Position) -> None:
        self._drop(position.ticker, position.id)
        if position.state.unfinished:
            self._held.setdefault(position.ticker, {})[position.id] = position
            self._unfinished[position.source] += 1

    def _drop(self, ticker: Ticker, id: PositionId) -> None:
        before = self._held.get(ticker, {}).pop(id, None)
        if before:
            self._unfinished[before.source] -= 1

    def buy(self, ticker: Ticker, source: str, at: datetime) -> None:
        self._bought.setdefault(ticker, {})[source] = at

    def approved(self, recorded: Recorded, verdict: Verdict, at: datetime) -> None:
        """Take note of whose deliveries a position follows; what was never sent has arrived."""
        position, signal = verdict.position_id, recorded.signal
        passed = recorded.verdict.status is SignalStatus.APPROVED
        if signal.side is Side.BUY:
            self.buy(signal.ticker, signal.source, at)
            if position is not None:
                self._entered(recorded, position, passed=passed)
        elif position is not None and not signal.partial and not passed:
            self._drop(signal.ticker, position)

    def _entered(self, recorded: Recorded, position: PositionId, *, passed: bool) -> None:
        self._here[PositionId(recorded.signal.id)] = position
        if in_truth := recorded.verdict.position_id:
            self._here.setdefault(in_truth, position)
        if not passed:
            self._beyond.add(position)

    def follow(self, move: Move) -> None:
        if move.was is None:
            if move.signal_id not in self._judged:
                self._repeat(move)
            return
        id = self._here.get(move.position, move.position)
        position = self._held.get(move.ticker, {}).get(id)
        if position and self._concerns(move, position):
            self.put(replace(position, state=move.state))

    def _concerns(self, move: Move, position: Position) -> bool:
        if move.was is PositionState.CLOSING:
            closing = position.state is PositionState.CLOSING
            return closing and position.exit_signal_id == move.signal_id
        return position.state.live and position.id not in self._beyond

    def _repeat(self, move: Move) -> None:
        """What a signal outside the period did, it does here too."""
        position = self._held.get(move.ticker, {}).get(move.position)
        closing = move.state is PositionState.CLOSING
        if position is None:
            position = Position(
                id=move.position,
                ticker=move.ticker,
                state=move.state,
                entry_signal_id=None if closing else move.signal_id,
                source=move.source,
            )
        exit_ = move.signal_id if closing else None
        self.put(replace(position, state=move.state, exit_signal_id=exit_))
