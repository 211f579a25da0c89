"""A replay: the signals of a past period judged again by the gate, as they were or as is asked."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush, merge
from itertools import groupby
from typing import TypeAlias, TypeVar

from domain.gate import GatePolicy, Reason, SellPolicy, Verdict, judge_in_order, list_max_age
from domain.past import Listed, ListKey, Move, Past, Recorded, Terms
from domain.position import Position, PositionId, PositionState
from domain.signal import Side, Signal, SignalId, SignalStatus
from domain.ticker import Ticker
from domain.universe import Trust, Universe, succession, trust

_T = TypeVar("_T")

Pause: TypeAlias = Callable[[], None]
"""Called between any two steps of some microseconds, so that others may have their turn."""

AGAIN = frozenset(
    {
        *(None, Reason.EXPIRED, Reason.NOT_IN_LIST, Reason.LIST_STALE, Reason.LIST_UNKNOWN),
        *(Reason.NO_POSITION, Reason.ALREADY_CLOSING, Reason.OPENS_SHORT, Reason.COVERS_SHORT),
    }
)
"""What is judged again. Who was turned away for another reason stays so: its grounds are gone."""

TRUNCATED = timedelta(microseconds=999)
"""Ages are recorded in whole milliseconds; one that was too old was so by up to this more."""

INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """Settings of the environment, which no record holds: those of today stand for those then."""

    list_max_age: timedelta | None = None
    sell_policy: SellPolicy = SellPolicy.WITH_POSITION


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be otherwise; None: as it was at the time. ``longer``: how much longer lives are.

    Those of buys and sells apart; shorter where it is negative.
    """

    top_n: int | None = None
    margin: int | None = None
    wait: timedelta | None = None
    list_max_age: timedelta | None = None
    sell_policy: SellPolicy | None = None
    longer: Mapping[Side, timedelta] = field(default_factory=dict[Side, timedelta])


def passes(verdict: Verdict) -> bool:
    return verdict.status is SignalStatus.APPROVED


class _Rules:
    """The policy at any moment: what is asked, and else what was in force."""

    def __init__(self, terms: Sequence[Terms], asked: Asked, usual: Usual) -> None:
        self._terms, self._asked = terms, asked
        self._since = [one.since for one in terms]
        self._policies = [self._policy(one, usual) for one in terms]

    def _policy(self, terms: Terms, usual: Usual) -> GatePolicy:
        asked = self._asked
        return GatePolicy(
            top_n=_or(asked.top_n, terms.top_n),
            margin=_or(asked.margin, terms.margin),
            wait=_or(asked.wait, terms.wait),
            list_max_age=asked.list_max_age or list_max_age(terms.refresh, usual.list_max_age),
            sell_policy=asked.sell_policy or usual.sell_policy,
        )

    def _index(self, at: datetime) -> int:
        """The first terms known stand for those before them."""
        return max(bisect_right(self._since, at) - 1, 0)

    def key(self, at: datetime) -> ListKey:
        return self._terms[self._index(at)].key

    def policy(self, at: datetime) -> GatePolicy:
        return self._policies[self._index(at)]

    def depth(self, listed: Listed) -> tuple[int, int]:
        """The top N and the margin a version comes under."""
        return _or(self._asked.top_n, listed.top_n), _or(self._asked.margin, listed.margin)


def _or(asked: _T | None, recorded: _T) -> _T:
    return recorded if asked is None else asked


class _Lists:
    """The lists as they followed one another, with who stays in them under the rules."""

    def __init__(self, past: Past, rules: _Rules, pause: Pause) -> None:
        self._listed, self._rules, self._pause = past.lists, rules, pause
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
        universe = self._newest.get(self._rules.key(at))
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
        top_n, margin = self._rules.depth(listed)
        tickers = _split(listed.tickers) if margin else ()
        before = self._newest.get(listed.key)
        fresh = trust(before, at, self._rules.policy(at).list_max_age) is Trust.FRESH
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
        top_n, margin = self._rules.depth(listed)
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


class _Positions:
    """Positions as the replayed verdicts make them, and as their deliveries ended in truth.

    A position of truth is followed by the one its buys are in here. One that has a buy which was
    turned away in truth does not end unsent: what was never sent cannot have failed.
    """

    def __init__(self, judged: Iterable[SignalId]) -> None:
        self._judged = frozenset(judged)
        self._held: dict[Ticker, dict[PositionId, Position]] = {}
        self._here: dict[PositionId, PositionId] = {}
        self._beyond: set[PositionId] = set()

    def of(self, ticker: Ticker) -> Iterable[Position]:
        return self._held.get(ticker, {}).values()

    def put(self, position: Position) -> None:
        held = self._held.setdefault(position.ticker, {})
        if position.state in {PositionState.CLOSED, PositionState.VOID}:
            held.pop(position.id, None)
        else:
            held[position.id] = position

    def approved(self, recorded: Recorded, verdict: Verdict) -> None:
        """Take note of whose deliveries a position follows; what was never sent has arrived."""
        position, signal = verdict.position_id, recorded.signal
        if position is None:
            return
        if signal.side is Side.BUY:
            self._here[PositionId(signal.id)] = position
            if in_truth := recorded.verdict.position_id:
                self._here.setdefault(in_truth, position)
            if not passes(recorded.verdict):
                self._beyond.add(position)
        elif not signal.partial and not passes(recorded.verdict):
            self._held[signal.ticker].pop(position, None)

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
            entry = None if closing else move.signal_id
            position = Position(
                id=move.position, ticker=move.ticker, state=move.state, entry_signal_id=entry
            )
        exit_ = move.signal_id if closing else None
        self.put(replace(position, state=move.state, exit_signal_id=exit_))


class Replay:
    """One pass over a period. Who waits is judged again at every list, every sell, and its end."""

    def __init__(self, past: Past, asked: Asked, usual: Usual, pause: Pause = lambda: None) -> None:
        self._past, self._longer, self._pause = past, asked.longer, pause
        self._rules = _Rules(past.terms, asked, usual)
        self.lists = _Lists(past, self._rules, pause)
        self._recorded = {one.signal.id: one for one in past.signals}
        self._positions = _Positions(self._recorded)
        self._moves: Iterator[Move] = iter(past.moves)
        self._next_move = next(self._moves, None)
        self._waiting: dict[Ticker, list[Signal]] = {}
        self._ends: list[tuple[datetime, int, Ticker]] = []
        self._verdicts: dict[SignalId, tuple[Verdict, datetime]] = {}

    def run(self) -> Mapping[SignalId, tuple[Verdict, datetime]]:
        """Every verdict, and when it would have been given."""
        ordered = sorted(self._past.signals, key=_order)
        for (at, ticker), together in groupby(ordered, key=lambda one: _order(one)[:2]):
            self._until(at)
            self._pause()
            batch = [one for one in together if self._is_judged_again(one)]
            if batch:
                universe = next(map(self.lists.seen_by, batch))
                self._judge(at, ticker, [self._as_asked(one) for one in batch], universe)
        while self._ends:
            self._until(self._ends[0][0])
        return self._verdicts

    def _is_judged_again(self, recorded: Recorded) -> bool:
        """What comes too late to live is expired by the journal, and never before the gate."""
        signal, given = recorded.signal, recorded.verdict
        if given.reason not in AGAIN:
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
            for ticker in (*tickers, *over):
                if ticker in self._waiting:
                    self._judge(at, ticker, [], universe)
        self._advance(to)

    def _advance(self, to: datetime) -> None:
        self.lists.advance(to)
        while self._next_move and self._next_move.at <= to:
            self._positions.follow(self._next_move)
            self._next_move = next(self._moves, None)

    def _judge(
        self, at: datetime, ticker: Ticker, signals: list[Signal], universe: Universe | None
    ) -> None:
        waiting = self._waiting.pop(ticker, [])
        judged = judge_in_order(
            [*waiting, *signals],
            universe=universe,
            positions=self._positions.of(ticker),
            policy=self._rules.policy(at),
            now=at,
        )
        for position in judged.positions:
            self._positions.put(position)
        for signal, verdict in judged.verdicts:
            self._verdicts[signal.id] = verdict, at
            if passes(verdict):
                self._positions.approved(self._recorded[signal.id], verdict)
        self._keep_waiting(ticker, waiting, judged.waiting)

    def _keep_waiting(
        self,
        ticker: Ticker,
        waiting: Iterable[Signal],
        begin: Iterable[tuple[Signal, Verdict]],
    ) -> None:
        still = [signal for signal in waiting if signal.id not in self._verdicts]
        for signal, verdict in begin:
            assert verdict.wait
            still.append(replace(signal, wait=verdict.wait))
            heappush(self._ends, (verdict.wait.until, signal.seq, ticker))
        if still:
            self._waiting[ticker] = still


def _order(recorded: Recorded) -> tuple[datetime, Ticker, int]:
    """Signals of a ticker that were judged in the same moment were judged together."""
    return recorded.judged_at, recorded.signal.ticker, recorded.signal.seq
