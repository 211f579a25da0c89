"""A small reality: looks, signals and deliveries as they happen, and what is recorded of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from domain.asked import Usual
from domain.book import Standing
from domain.gate import GatePolicy, Judged, Reason, Verdict, judge_in_order
from domain.market import DaysOff, until_open
from domain.past import Listed, Lists, Move, Orders, Past, Recorded, Terms
from domain.position import Position, PositionState
from domain.rules import Rulebook, Rules
from domain.signal import OPERATOR, Side, Signal, SignalId, SignalStatus
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
    st.sampled_from(["tv", "tv", "bot", OPERATOR]),
    st.sampled_from([None, Decimal(3), Decimal(7)]),
)
cooldowns = st.sampled_from([1, 30, 120, 3_600]).map(lambda seconds: timedelta(seconds=seconds))
rule_sets = st.one_of(  # one at a time, so that each has its say
    st.builds(Rules, refused=st.frozensets(st.sampled_from(NAMES), max_size=1)),
    st.builds(Rules, allowed=st.frozensets(st.sampled_from(NAMES), max_size=3)),
    st.builds(Rules, cooldown=cooldowns),
    st.builds(Rules, cooldown=cooldowns, max_positions=st.integers(0, 3)),
    st.builds(Rules, max_positions=st.integers(0, 3)),
    st.builds(Rules, market_hours=st.just(True), min_price=st.just(Decimal(5))),
)
rulebooks = st.builds(
    Rulebook,
    every=rule_sets,
    of_source=st.dictionaries(st.sampled_from(["tv", "bot"]), rule_sets, max_size=2),
)
pauses = st.sampled_from([None, *[timedelta(0)] * 3, timedelta(seconds=2), timedelta(minutes=3)])
screens = st.tuples(
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from([0, 0, 5, 30, 120]),
    st.sampled_from([KEY, (KEY[0], "another"), (UUID(int=8), "another")]),
)
lists = st.lists(st.sampled_from(NAMES), unique=True, max_size=6) | st.permutations(NAMES)
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
        st.tuples(st.just("rules"), rulebooks),
        st.tuples(st.just("pause"), pauses),
        *(() if one_screen else (st.tuples(st.just("screen"), screens),)),
    )
    hours = st.integers(2, 4).map(lambda hours: hours * 3_600_000_000)
    seconds = st.integers(1_000, 3_000_000)
    gaps = st.one_of(*[seconds] * 6, *[st.integers(1_000, 250_000_000)] * 2, hours)
    first = [(1_000, ("screen", draw(screens))), (1_000, ("look", draw(lists)))]
    return [*first, *draw(st.lists(st.tuples(gaps, kinds), max_size=30))]


plain = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from([Side.BUY, Side.BUY, Side.BUY, Side.SELL]),
    st.none(),
    st.just(False),
    st.just(600.0),
    st.sampled_from(["tv", "bot"]),
    st.sampled_from([None, Decimal(3), Decimal(7)]),
)


@st.composite
def busy_steps(draw: st.DrawFn) -> list[Any]:
    """The list is fresh and most are in it, so that rules and pauses decide."""
    judged = st.tuples(st.just("judge"), st.tuples(st.lists(plain, min_size=1, max_size=4), lags))
    kinds = st.one_of(
        *[judged] * 4,
        st.tuples(st.just("touch"), st.none()),
        st.tuples(st.just("look"), st.permutations(NAMES)),
        st.tuples(st.just("settle"), st.tuples(st.integers(0, 9), endings)),
        st.tuples(st.just("rules"), rulebooks),
        st.tuples(st.just("pause"), pauses),
    )
    gaps = st.integers(1_000, 3_000_000) | st.sampled_from([1_000_000, 29_000_017, 60_000_000])
    wait = draw(st.sampled_from([0, 30]))
    first = [
        (1_000 + draw(st.sampled_from([0, 4 * 3_600_000_000])), ("screen", (4, 1, wait, KEY))),
        (1_000, ("look", draw(st.permutations(NAMES)))),
        (1_000, ("rules", draw(rulebooks))),
    ]
    return [*first, *draw(st.lists(st.tuples(gaps, kinds), min_size=3, max_size=25))]


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
    orders: list[Orders] = field(default_factory=list[Orders])
    bought: dict[tuple[Ticker, str], datetime] = field(default_factory=dict[Any, Any])

    def lived(self, drawn: Sequence[Any]) -> Past:
        does: dict[str, Callable[..., None]] = {
            "look": self.look,
            "touch": self.touch,
            "judge": self.judge,
            "settle": self.settle,
            "screen": self.screen,
            "rules": self.rule,
            "pause": self.pause,
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
            orders=self.orders,
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

    def rule(self, rulebook: Rulebook) -> None:
        last = self.orders[-1] if self.orders else Orders(since=self.now, rulebook=rulebook)
        self.orders.append(replace(last, since=self.now, rulebook=rulebook))

    def pause(self, lasting: timedelta | None) -> None:
        """For so long; zero resumes, None is until somebody does."""
        rulebook = self.orders[-1].rulebook if self.orders else Rulebook()
        until = self.now + lasting if lasting else None
        paused = lasting is None or bool(lasting)
        self.orders.append(
            Orders(since=self.now, rulebook=rulebook, paused=paused, paused_until=until)
        )

    def policy(self) -> GatePolicy:
        terms = self.terms[-1]
        orders = self.orders[-1] if self.orders else Orders(since=START, rulebook=Rulebook())
        until = orders.paused_until
        return GatePolicy(
            top_n=terms.top_n,
            margin=terms.margin,
            wait=terms.wait,
            list_max_age=timedelta(seconds=180),
            buying_paused=orders.paused and (until is None or until > self.now),
            market_open=until_open(self.now, DaysOff()) is None,
            rulebook=orders.rulebook,
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

    def signal(self, given: tuple[Any, ...]) -> Signal:
        ticker, side, closes, partial, left, source, price = given
        self.seq += 1
        return Signal(
            id=SignalId(UUID(int=self.seq)),
            seq=self.seq,
            ticker=ticker,
            side=side,
            closes=closes,
            partial=partial,
            price=price,
            source=source,
            received_at=self.now,
            expires_at=self.now + timedelta(seconds=left),
        )

    def decide(self, batch: Sequence[Signal], lag: int) -> None:
        judged = judge_in_order(
            batch,
            universe=self.in_force(),
            positions=self.positions.values(),
            policy=self.policy(),
            now=self.now,
            standing=Standing(bought=self.bought),
        )
        self.record(judged, self.now + lag * MICROSECOND)

    def record(self, judged: Judged, at: datetime) -> None:
        decided = {signal.id for signal, _ in judged.verdicts}
        self.waiting = [
            *(signal for signal in self.waiting if signal.id not in decided),
            *(replace(signal, wait=verdict.wait) for signal, verdict in judged.waiting),
        ]
        for signal, verdict in judged.verdicts:
            if signal.side is Side.BUY and verdict.status is SignalStatus.APPROVED:
                self.bought[signal.ticker, signal.source] = at
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
                source=position.source,
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
