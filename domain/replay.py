"""A replay: the signals of a past period judged again by the gate, as they were or as is asked."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush, merge
from itertools import groupby
from typing import TypeAlias

from domain.asked import Asked, Policies, Usual
from domain.gate import Reason, Verdict, judge_in_order
from domain.ledger import Ledger
from domain.past import Listed, ListKey, Past, Recorded
from domain.signal import Side, Signal, SignalId, SignalStatus
from domain.ticker import Ticker
from domain.universe import Trust, Universe, succession, trust

Pause: TypeAlias = Callable[[], None]
"""Called between any two steps of some microseconds, so that others may have their turn."""

_Fact: TypeAlias = tuple[datetime, Callable[[], None]]

TRUNCATED = timedelta(microseconds=999)
"""Ages are recorded in whole milliseconds; one that was too old was so by up to this more."""

INSTANT = timedelta(microseconds=1)


def passes(verdict: Verdict) -> bool:
    return verdict.status is SignalStatus.APPROVED


class _Lists:
    """The lists as they followed one another, with who stays in them under the rules."""

    def __init__(self, past: Past, policies: Policies, pause: Pause) -> None:
        self._listed, self._policies, self._pause = past.lists, policies, pause
        self._steps = merge(past.lists.moments(), past.looks)
        self._next = next(self._steps, None)
        self._newest: dict[ListKey, Universe] = {}
        self._depths: dict[ListKey, tuple[int, int]] = {}
        self._recent: deque[Universe] = deque(maxlen=4)
        self.known_rows: int | None = None

    @property
    def next_at(self) -> datetime | None:
        return self._next and self._next[0]

    def advance(self, to: datetime) -> None:
        while self._next and self._next[0] <= to:
            at, version = self._next
            if listed := self._listed.get(version):
                self._step(at, listed)
            self._next = next(self._steps, None)
            self._pause()

    def in_force(self, at: datetime) -> Universe | None:
        universe = self._newest.get(self._policies.key(at))
        return universe and self._with_tickers(universe)

    def seen_by(self, recorded: Recorded) -> Universe | None:
        """The very list, of the very age, that the gate saw.

        It may have been the one before the last, which was replaced in the same moment.
        """
        verdict, current = recorded.verdict, self.in_force(recorded.judged_at)
        version, age = verdict.universe_version, verdict.list_age
        if recorded.waited or version is None or age is None:
            return current
        if verdict.reason is Reason.LIST_STALE:
            age += TRUNCATED if age >= timedelta(0) else -TRUNCATED
        for one in (current, *self._recent):
            if one and one.version == version:
                return replace(self._with_tickers(one), confirmed_at=recorded.at - age)
        return current

    def _step(self, at: datetime, listed: Listed) -> None:
        """Without a margin nobody looks at the tickers before a signal comes."""
        top_n, margin = self._policies.depth(listed)
        tickers = _split(listed.tickers) if margin else ()
        before = self._newest.get(listed.key)
        fresh = trust(before, at, self._policies.list_max_age(at)) is Trust.FRESH
        universe = Universe(
            version=listed.version,
            tickers=tickers,
            total=listed.total,
            fetched_at=listed.at,
            confirmed_at=at,
            kept=self._kept(before, listed, tickers, fresh=fresh) if margin else frozenset(),
            fresh_since=_fresh_since(before, listed, at, fresh=fresh),
            valid_until=listed.valid_until,
        )
        self._newest[listed.key] = universe
        self._depths[listed.key] = top_n, margin
        self._recent.appendleft(universe)
        rows = listed.tickers.count(" ") + bool(listed.tickers)
        if rows < min(top_n + margin, listed.total):
            self.known_rows = min(rows, self.known_rows or rows)

    def _with_tickers(self, universe: Universe) -> Universe:
        listed = None if universe.tickers else self._listed.get(universe.version)
        return replace(universe, tickers=_split(listed.tickers)) if listed else universe

    def _kept(
        self, before: Universe | None, listed: Listed, tickers: Sequence[Ticker], *, fresh: bool
    ) -> frozenset[Ticker]:
        """The first list we know of a screen brings its own; under other rules they are unknown."""
        top_n, margin = self._policies.depth(listed)
        if before is None:
            known = (top_n, margin) == (listed.top_n, listed.margin)
            return frozenset(_split(listed.kept)) if known else frozenset()
        members = self._with_tickers(before).members(*self._depths[listed.key])
        return succession(members, tickers, top_n=top_n, margin=margin, fresh=fresh).kept


def _split(tickers: str) -> tuple[Ticker, ...]:
    return tuple(map(Ticker, tickers.split()))


def _fresh_since(
    before: Universe | None, listed: Listed, at: datetime, *, fresh: bool
) -> datetime | None:
    if before is None:
        return listed.fresh_since
    return before.fresh_since if fresh else at


class Replay:
    """One pass over a period. Who waits is judged again at every list, every sell, and its end.

    Who was turned away for want of a destination stays so: which there were then is not known.
    """

    def __init__(self, past: Past, asked: Asked, usual: Usual, pause: Pause = lambda: None) -> None:
        self._past, self._longer, self._pause = past, asked.longer, pause
        self._policies = Policies(past, asked, usual)
        self.lists = _Lists(past, self._policies, pause)
        self._recorded = {one.signal.id: one for one in past.signals}
        self._ledger = Ledger(self._recorded)
        self._facts = self._happened()
        self._next_fact = next(self._facts, None)
        self._waiting: dict[Ticker, list[Signal]] = {}
        self._ends: list[tuple[datetime, int, Ticker]] = []
        self._verdicts: dict[SignalId, tuple[Verdict, datetime]] = {}

    def _happened(self) -> Iterator[_Fact]:
        """What deliveries did to positions, and what was bought by signals of other periods."""
        ledger = self._ledger
        moved = ((move.at, partial(ledger.follow, move)) for move in self._past.moves)
        bought = (
            (at, partial(ledger.buy, ticker, source, at))
            for at, ticker, source in self._past.bought
        )
        return merge(moved, bought, key=lambda fact: fact[0])

    def run(self) -> Mapping[SignalId, tuple[Verdict, datetime]]:
        """Every verdict, and when it would have been given."""
        ordered = sorted(self._past.signals, key=_order)
        for at, together in groupby(ordered, key=lambda one: one.judged_at):
            self._until(at)
            self._pause()
            batch = [one for one in together if self._is_judged_again(one)]
            if batch:
                stale = min(batch, key=lambda one: one.verdict.reason is not Reason.LIST_STALE)
                universe = self.lists.seen_by(stale)
                self._judge(at, [], [self._as_asked(one) for one in batch], universe)
        while self._ends:
            self._until(self._ends[0][0])
        return self._verdicts

    def _is_judged_again(self, recorded: Recorded) -> bool:
        """What comes too late to live is expired by the journal, and never before the gate."""
        signal, given = recorded.signal, recorded.verdict
        if given.reason is Reason.NO_DESTINATION:
            self._verdicts[signal.id] = given, recorded.at
        elif self._as_asked(recorded).expires_at <= signal.received_at:
            late = Verdict(status=SignalStatus.EXPIRED, reason=Reason.EXPIRED)
            self._verdicts[signal.id] = late, signal.received_at
        return signal.id not in self._verdicts

    def _as_asked(self, recorded: Recorded) -> Signal:
        """Whoever was judged alive was so, though it took a moment until that was recorded."""
        signal, expires_at = recorded.signal, recorded.signal.expires_at
        if recorded.verdict.reason is not Reason.EXPIRED:
            expires_at = max(expires_at, recorded.judged_at + INSTANT)
        longer = self._longer.get(signal.side, timedelta(0))
        return replace(signal, expires_at=expires_at + longer)

    def _until(self, to: datetime) -> None:
        """Let time pass: lists, deliveries, and verdicts on those that wait."""
        while self._ends:
            end, look = self._ends[0][0], self.lists.next_at
            at = min(end, look or end)
            if at > to:
                break
            self._advance(at)
            universe = self.lists.in_force(at)
            tickers = universe.tickers if universe and look == at else ()
            over = (heappop(self._ends)[2],) if end == at else ()
            those = {ticker for ticker in (*tickers, *over) if ticker in self._waiting}
            if those:
                self._judge(at, those, [], universe)
        self._advance(to)

    def _advance(self, to: datetime) -> None:
        self.lists.advance(to)
        while self._next_fact and self._next_fact[0] <= to:
            self._next_fact[1]()
            self._next_fact = next(self._facts, None)

    def _judge(
        self,
        at: datetime,
        waiting_of: Collection[Ticker],
        signals: Sequence[Signal],
        universe: Universe | None,
    ) -> None:
        """Judge these, and whoever waits for the same tickers or for those given, in order."""
        tickers = {*waiting_of, *(signal.ticker for signal in signals)}
        waiting = [one for ticker in tickers for one in self._waiting.pop(ticker, [])]
        batch = sorted([*waiting, *signals], key=lambda signal: signal.seq)
        reasons = {one.id: self._recorded[one.id].verdict.reason for one in batch}
        policy = self._policies.policy(at, reasons.values())
        cooling = _cooling(batch, reasons)
        judged = judge_in_order(
            batch,
            universe=universe,
            positions=self._ledger.of(tickers),
            policy=policy,
            now=at,
            standing=self._ledger.standing(policy.rulebook, tickers, cooling),
        )
        for position in judged.positions:
            self._ledger.put(position)
        for signal, verdict in judged.verdicts:
            self._verdicts[signal.id] = verdict, at
            if passes(verdict):
                self._ledger.approved(self._recorded[signal.id], verdict, at)
        self._keep_waiting(waiting, judged.waiting)

    def _keep_waiting(
        self, waiting: Iterable[Signal], begin: Iterable[tuple[Signal, Verdict]]
    ) -> None:
        for signal in waiting:
            if signal.id not in self._verdicts:
                self._waiting.setdefault(signal.ticker, []).append(signal)
        for signal, verdict in begin:
            assert verdict.wait
            held = replace(signal, wait=verdict.wait)
            self._waiting.setdefault(signal.ticker, []).append(held)
            heappush(self._ends, (verdict.wait.until, signal.seq, signal.ticker))


def _cooling(batch: Iterable[Signal], reasons: Mapping[SignalId, Reason | None]) -> set[Ticker]:
    """Whose cooldown was there before the batch: of one behind a buy that passed, it began so."""
    cooling: set[Ticker] = set()
    bought: set[Ticker] = set()
    for one in batch:
        if one.side is Side.BUY and reasons[one.id] is None:
            bought.add(one.ticker)
        elif reasons[one.id] is Reason.COOLDOWN and one.ticker not in bought:
            cooling.add(one.ticker)
    return cooling


def _order(recorded: Recorded) -> tuple[datetime, int]:
    """Signals that were judged in the same moment were judged together."""
    return recorded.judged_at, recorded.signal.seq
