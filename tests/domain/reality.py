"""A small reality: looks, signals and deliveries as they happen, and what is recorded of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from domain.gate import GatePolicy, Judged, Reason, Verdict, judge_in_order
from domain.past import Listed, Lists, Move, Past, Recorded, Terms
from domain.position import Position, PositionState
from domain.replay import Usual
from domain.signal import Side, Signal, SignalId, SignalStatus
from domain.ticker import Ticker
from domain.universe import Trust, Universe, succession, trust

START = datetime(2030, 1, 2, 15, tzinfo=UTC)
KEY = (UUID(int=7), "https://finviz.com/screener.ashx?v=111&f=sh_price_o5&o=-change")
NAMES = [Ticker(name) for name in ("AA", "BB", "CC", "DD", "EE", "FF")]
AA = NAMES[0]
USUAL = Usual(list_max_age=timedelta(seconds=180))
MICROSECOND = timedelta(microseconds=1)

signals = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from([Side.BUY, Side.BUY, Side.SELL]),
    st.sampled_from([None, None, None, None, None, None, True, False]),
    st.booleans(),
    st.sampled_from([30.0, 30.0, 30.0, 600.0, 600.0, 0.0, 2.0]),
)
screens = st.tuples(
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from([0, 0, 5, 30, 120]),
    st.sampled_from([KEY, (KEY[0], "another"), (UUID(int=8), "another")]),
)
lists = st.lists(st.sampled_from(NAMES), unique=True, max_size=6)
lags = st.integers(0, 900)
endings = st.sampled_from([PositionState.OPEN, PositionState.CLOSED, PositionState.VOID])


@st.composite
def steps(draw: st.DrawFn, *, one_screen: bool = False) -> list[Any]:
    """What happens, each so many microseconds after what was before."""
    kinds = st.one_of(
        st.tuples(st.just("look"), lists),
        st.tuples(st.just("look"), lists),
        st.tuples(st.just("touch"), st.none()),
        st.tuples(st.just("touch"), st.none()),
        st.tuples(st.just("judge"), st.tuples(st.lists(signals, min_size=1, max_size=4), lags)),
        st.tuples(st.just("judge"), st.tuples(st.lists(signals, min_size=1, max_size=4), lags)),
        st.tuples(st.just("settle"), st.tuples(st.integers(0, 9), endings)),
        *(() if one_screen else (st.tuples(st.just("screen"), screens),)),
    )
    gaps = st.integers(1_000, 3_000_000) | st.integers(1_000, 250_000_000)
    first = [(1_000, ("screen", draw(screens))), (1_000, ("look", draw(lists)))]
    return [*first, *draw(st.lists(st.tuples(gaps, kinds), max_size=30))]


@dataclass
class Reality:
    """What the keeper, the gatekeeper and the settler do, one thing after another."""

    now: datetime = START
    seq: int = 0
    tickers: Sequence[Ticker] = ()
    newest: dict[object, tuple[Universe, Terms]] = field(default_factory=dict[Any, Any])
    waiting: list[Signal] = field(default_factory=list[Signal])
    positions: dict[object, Position] = field(default_factory=dict[Any, Any])
    signals: list[Recorded] = field(default_factory=list[Recorded])
    terms: list[Terms] = field(default_factory=list[Terms])
    lists: dict[int, Listed] = field(default_factory=dict[int, Listed])
    looks: list[tuple[datetime, int]] = field(default_factory=list[tuple[datetime, int]])
    moves: list[Move] = field(default_factory=list[Move])

    def lived(self, drawn: Sequence[Any]) -> Past:
        does: dict[str, Callable[..., None]] = {
            "look": self.look,
            "touch": self.touch,
            "judge": self.judge,
            "settle": self.settle,
            "screen": self.screen,
        }
        for gap, (kind, given) in drawn:
            self.wait_until(self.now + gap * MICROSECOND)
            does[kind](given)
        self.wait_until(self.now + timedelta(hours=1))
        return Past(
            signals=sorted(self.signals, key=lambda one: one.signal.seq),
            terms=self.terms,
            lists=Lists(self.lists.values()),
            looks=self.looks,
            moves=self.moves,
        )

    def wait_until(self, to: datetime) -> None:
        """Those whose wait ends meanwhile are decided at its end."""
        while ends := [s.wait.until for s in self.waiting if s.wait and s.wait.until <= to]:
            self.now = min(ends)
            self.decide([s for s in self.waiting if s.wait and s.wait.until <= self.now], 0)
        self.now = to

    def screen(self, given: tuple[int, int, int, Any]) -> None:
        top_n, margin, wait, key = given
        self.terms.append(
            Terms(
                since=self.now,
                key=key,
                top_n=top_n,
                margin=margin,
                wait=timedelta(seconds=wait),
                refresh=timedelta(seconds=60),
            )
        )

    def in_force(self) -> Universe | None:
        found = self.newest.get(self.terms[-1].key)
        return found and found[0]

    def look(self, tickers: Sequence[Ticker]) -> None:
        """Adopt, as `database.adopting` does."""
        terms = self.terms[-1]
        before, under = self.newest.get(terms.key, (None, terms))
        fresh = trust(before, self.now, timedelta(seconds=180)) is Trust.FRESH
        kept = succession(
            before.members(under.top_n, under.margin) if before else None,
            tickers,
            top_n=terms.top_n,
            margin=terms.margin,
            fresh=fresh,
        ).kept
        since = before.fresh_since if before and fresh else self.now
        was = before and (before.tickers, under.top_n, under.margin, before.kept)
        if before and was == (tuple(tickers), terms.top_n, terms.margin, kept):
            universe = replace(before, confirmed_at=self.now, fresh_since=since)
            self.looks.append((self.now, before.version))
        else:
            universe = self.adopted(tickers, terms, kept, since)
        self.tickers, self.newest[terms.key] = tickers, (universe, terms)
        members = universe.members(terms.top_n, terms.margin)
        self.decide([signal for signal in self.waiting if signal.ticker in members], 0)

    def touch(self, _: None) -> None:
        self.look(self.tickers)

    def adopted(
        self,
        tickers: Sequence[Ticker],
        terms: Terms,
        kept: frozenset[Ticker],
        since: datetime | None,
    ) -> Universe:
        version = len(self.lists) + 1
        self.lists[version] = Listed(
            version=version,
            key=terms.key,
            tickers=" ".join(tickers),
            total=len(tickers),
            at=self.now,
            top_n=terms.top_n,
            margin=terms.margin,
            kept=" ".join(kept),
            fresh_since=since or self.now,
            valid_until=None,
        )
        return Universe(
            version=version,
            tickers=tuple(tickers),
            total=len(tickers),
            fetched_at=self.now,
            confirmed_at=self.now,
            kept=kept,
            fresh_since=since,
        )

    def judge(self, given: tuple[Sequence[Any], int]) -> None:
        """Signals that came are judged at once; the verdict is recorded a moment later."""
        came, lag = given
        batch = [self.signal(one) for one in came]
        for signal in batch:
            if signal.expires_at <= self.now:  # on arrival: the journal says so, nobody judges
                reason = Reason.EXPIRED
                verdict = Verdict(status=SignalStatus.EXPIRED, reason=reason)
                self.signals.append(Recorded(signal=signal, verdict=verdict, at=self.now))
        alive = [signal for signal in batch if signal.expires_at > self.now]
        theirs = {signal.ticker for signal in alive}
        self.decide([*(s for s in self.waiting if s.ticker in theirs), *alive], lag)

    def signal(self, given: tuple[Ticker, Side, bool | None, bool, float]) -> Signal:
        ticker, side, closes, partial, left = given
        self.seq += 1
        return Signal(
            id=SignalId(UUID(int=self.seq)),
            seq=self.seq,
            ticker=ticker,
            side=side,
            closes=closes,
            partial=partial,
            price=None,
            received_at=self.now,
            expires_at=self.now + timedelta(seconds=left),
        )

    def decide(self, batch: Sequence[Signal], lag: int) -> None:
        terms = self.terms[-1]
        judged = judge_in_order(
            batch,
            universe=self.in_force(),
            positions=self.positions.values(),
            policy=GatePolicy(
                top_n=terms.top_n,
                margin=terms.margin,
                wait=terms.wait,
                list_max_age=timedelta(seconds=180),
            ),
            now=self.now,
        )
        self.record(judged, self.now + lag * MICROSECOND)

    def record(self, judged: Judged, at: datetime) -> None:
        decided = {signal.id for signal, _ in judged.verdicts}
        self.waiting = [
            *(signal for signal in self.waiting if signal.id not in decided),
            *(replace(signal, wait=verdict.wait) for signal, verdict in judged.waiting),
        ]
        for signal, verdict in judged.verdicts:
            age = verdict.list_age and timedelta(
                milliseconds=int(verdict.list_age.total_seconds() * 1000)
            )
            self.signals.append(
                Recorded(
                    signal=replace(signal, wait=None),
                    verdict=replace(verdict, list_age=age),
                    at=at,
                    waited=signal.wait,
                )
            )
        for position in judged.positions:
            self.move(position, at, was=None)

    def move(self, position: Position, at: datetime, was: PositionState | None) -> None:
        self.positions[position.id] = position
        self.moves.append(
            Move(
                at=at,
                position=position.id,
                ticker=position.ticker,
                state=position.state,
                was=was,
                signal_id=position.exit_signal_id or position.entry_signal_id,
            )
        )

    def settle(self, given: tuple[int, PositionState]) -> None:
        """How deliveries of an unfinished position end; two live ones of a ticker become one."""
        number, state = given
        ended = {PositionState.CLOSED, PositionState.VOID}
        unfinished = [p for p in self.positions.values() if p.state not in ended]
        if not unfinished:
            return
        position = unfinished[number % len(unfinished)]
        others = [p for p in unfinished if p.ticker == position.ticker and p.id != position.id]
        if state is PositionState.OPEN and any(other.state.live for other in others):
            state = PositionState.CLOSED
        if state is not position.state:
            self.move(replace(position, state=state), self.now, was=position.state)
