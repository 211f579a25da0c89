from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.gate import (
    Asked,
    GatePolicy,
    Judged,
    Reason,
    SellPolicy,
    Verdict,
    judge_in_order,
    list_max_age,
    unlisted,
)
from domain.position import Position, PositionId, PositionState
from domain.rules import Direction, Rulebook, Rules
from domain.signal import Side, Signal, SignalId, SignalStatus
from domain.ticker import Ticker
from domain.universe import Trust, Universe, trust

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
TICKERS = [Ticker(name) for name in ("AA", "BB", "CC", "DD")]
POLICY = GatePolicy(top_n=2, list_max_age=timedelta(seconds=180))
LIST_REASONS = {Reason.NOT_IN_LIST, Reason.LIST_STALE, Reason.LIST_UNKNOWN}


def a_signal(
    seq: int = 1,
    ticker: str = "AA",
    side: Side = Side.BUY,
    *,
    closes: bool | None = None,
    partial: bool = False,
    left: float = 30,
) -> Signal:
    return Signal(
        id=SignalId(UUID(int=seq)),
        seq=seq,
        ticker=Ticker(ticker),
        side=side,
        closes=closes,
        partial=partial,
        price=None,
        received_at=NOW,
        expires_at=NOW + timedelta(seconds=left),
    )


def a_universe(*tickers: Ticker, age: float = 10) -> Universe:
    seen = NOW - timedelta(seconds=age)
    return Universe(version=7, tickers=tickers, total=99, fetched_at=seen, confirmed_at=seen)


def a_position(number: int, state: PositionState, ticker: str = "AA") -> Position:
    entry = SignalId(UUID(int=number))
    return Position(id=PositionId(entry), ticker=Ticker(ticker), state=state, entry_signal_id=entry)


def judged(
    *signals: Signal,
    universe: Universe | None = None,
    positions: tuple[Position, ...] = (),
    policy: GatePolicy = POLICY,
) -> Judged:
    return judge_in_order(signals, universe=universe, positions=positions, policy=policy, now=NOW)


def verdict(
    signal: Signal,
    *,
    universe: Universe | None = None,
    positions: tuple[Position, ...] = (),
    policy: GatePolicy = POLICY,
) -> Verdict:
    ((_, one),) = judged(signal, universe=universe, positions=positions, policy=policy).verdicts
    return one


LISTED = a_universe(*TICKERS[:3])
SELL = a_signal(side=Side.SELL)
NOWHERE = replace(POLICY, has_destination=False)
TOP_N = replace(POLICY, sell_policy=SellPolicy.TOP_N)
ALWAYS = replace(POLICY, sell_policy=SellPolicy.ALWAYS)
OPEN = (a_position(90, PositionState.OPEN),)
OPENING = (a_position(90, PositionState.OPENING),)
CLOSING = (a_position(90, PositionState.CLOSING),)
OVER = (a_position(90, PositionState.CLOSED), a_position(91, PositionState.VOID))


@pytest.mark.parametrize(
    ("signal", "universe", "positions", "policy", "reason"),
    [
        (a_signal(), LISTED, (), POLICY, None),
        (a_signal(ticker="BB"), LISTED, (), POLICY, None),
        (a_signal(), LISTED, OPEN, POLICY, None),
        (a_signal(), LISTED, CLOSING, POLICY, None),
        (a_signal(closes=False), LISTED, (), POLICY, None),
        (a_signal(ticker="CC"), LISTED, (), POLICY, Reason.NOT_IN_LIST),
        (a_signal(ticker="DD"), LISTED, (), POLICY, Reason.NOT_IN_LIST),
        (a_signal(), a_universe(), (), POLICY, Reason.NOT_IN_LIST),
        (a_signal(), None, (), POLICY, Reason.LIST_UNKNOWN),
        (a_signal(), a_universe(*TICKERS, age=180), (), POLICY, None),
        (a_signal(), a_universe(*TICKERS, age=180.001), (), POLICY, Reason.LIST_STALE),
        (a_signal(), a_universe(*TICKERS, age=-5.001), (), POLICY, Reason.LIST_STALE),
        (a_signal(closes=True), LISTED, OPEN, POLICY, Reason.COVERS_SHORT),
        (a_signal(), LISTED, (), NOWHERE, Reason.NO_DESTINATION),
        (a_signal(left=0), LISTED, (), POLICY, Reason.EXPIRED),
        (a_signal(left=1e-6), LISTED, (), POLICY, None),
        (a_signal(left=-1), None, (), NOWHERE, Reason.EXPIRED),
        (SELL, None, OPEN, POLICY, None),
        (SELL, None, OPENING, POLICY, None),
        (SELL, None, (), POLICY, Reason.NO_POSITION),
        (SELL, None, OVER, POLICY, Reason.NO_POSITION),
        (SELL, None, CLOSING, POLICY, Reason.ALREADY_CLOSING),
        (SELL, None, (*CLOSING, a_position(91, PositionState.OPEN)), POLICY, None),
        (a_signal(side=Side.SELL, ticker="BB"), LISTED, OPEN, POLICY, Reason.NO_POSITION),
        (replace(SELL, closes=True), None, OPEN, POLICY, None),
        (replace(SELL, closes=False), LISTED, OPEN, POLICY, Reason.OPENS_SHORT),
        (replace(SELL, closes=False), LISTED, OPEN, ALWAYS, Reason.OPENS_SHORT),
        (SELL, None, (), ALWAYS, None),
        (SELL, None, (), TOP_N, Reason.NOT_IN_LIST),
        (SELL, a_universe(*TICKERS, age=9_999), (), TOP_N, None),
        (a_signal(side=Side.SELL, ticker="CC"), LISTED, OPEN, TOP_N, Reason.NOT_IN_LIST),
        (SELL, None, OPEN, NOWHERE, None),
        (SELL, None, (), replace(ALWAYS, has_destination=False), Reason.NO_DESTINATION),
        (SELL, None, (), NOWHERE, Reason.NO_POSITION),
        (a_signal(side=Side.SELL, left=0), None, OPEN, POLICY, Reason.EXPIRED),
    ],
)
def test_every_reason_the_gate_can_give(
    signal: Signal,
    universe: Universe | None,
    positions: tuple[Position, ...],
    policy: GatePolicy,
    reason: Reason | None,
) -> None:
    one = verdict(signal, universe=universe, positions=positions, policy=policy)
    status = {None: SignalStatus.APPROVED, Reason.EXPIRED: SignalStatus.EXPIRED}
    assert (one.reason, one.status) == (reason, status.get(reason, SignalStatus.REJECTED))


def test_a_verdict_carries_what_explains_it() -> None:
    one = verdict(a_signal(ticker="CC"), universe=LISTED)
    assert (one.universe_version, one.rank, one.cutoff) == (7, 3, 2)
    assert one.list_age == timedelta(seconds=10)
    assert verdict(a_signal(ticker="DD"), universe=LISTED).rank is None
    unknown = verdict(a_signal())
    assert (unknown.universe_version, unknown.rank, unknown.list_age) == (None, None, None)
    assert unknown.cutoff == 2


def test_the_list_may_be_three_refreshes_old_and_always_180_seconds() -> None:
    assert list_max_age(timedelta(seconds=15), None) == timedelta(seconds=180)
    assert list_max_age(timedelta(seconds=180), None) == timedelta(seconds=540)
    assert list_max_age(timedelta(seconds=180), timedelta(seconds=20)) == timedelta(seconds=20)


def test_a_day_of_one_ticker() -> None:
    buy, more, part, out, again, rebuy = (
        a_signal(1),
        a_signal(2),
        a_signal(3, side=Side.SELL, partial=True),
        a_signal(4, side=Side.SELL),
        a_signal(5, side=Side.SELL),
        a_signal(6),
    )
    day = judged(buy, more, part, out, again, rebuy, universe=LISTED)
    assert [v.reason for _, v in day.verdicts] == [
        None,
        None,
        None,
        None,
        Reason.ALREADY_CLOSING,
        None,
    ]
    assert [(p.id, p.state, p.entry_signal_id, p.exit_signal_id) for p in day.positions] == [
        (buy.id, PositionState.CLOSING, buy.id, out.id),
        (rebuy.id, PositionState.OPENING, rebuy.id, None),
    ]


def test_a_verdict_says_which_position_it_is_about() -> None:
    buy, more, out, rebuy = (
        a_signal(1),
        a_signal(2),
        a_signal(3, side=Side.SELL),
        a_signal(4),
    )
    day = judged(buy, more, out, rebuy, universe=LISTED)
    assert [v.position_id for _, v in day.verdicts] == [buy.id, buy.id, buy.id, rebuy.id]
    part = a_signal(side=Side.SELL, partial=True)
    assert verdict(part, positions=OPEN).position_id == OPEN[0].id
    assert verdict(SELL, positions=CLOSING).position_id is None
    assert verdict(a_signal(closes=True), universe=LISTED, positions=OPEN).position_id is None
    assert verdict(SELL, policy=ALWAYS).position_id is None


def test_a_rejected_signal_moves_no_position() -> None:
    assert judged(a_signal(closes=True), universe=LISTED, positions=OPEN).positions == ()
    assert judged(SELL, policy=NOWHERE).positions == ()


HELD = [
    [],
    [PositionState.OPENING],
    [PositionState.OPEN],
    [PositionState.CLOSING],
    [PositionState.CLOSING, PositionState.OPEN],
    [PositionState.CLOSING, PositionState.CLOSING, PositionState.OPENING],
]

faces = st.tuples(
    st.sampled_from(TICKERS),
    st.sampled_from(Side),
    st.sampled_from([None, None, None, True, False]),
    st.booleans(),
    st.sampled_from([30.0, 30.0, 30.0, 0.0]),
)
lists = st.lists(st.sampled_from(TICKERS), unique=True)
universes = st.none() | st.tuples(lists, st.floats(-10, 400)).map(
    lambda drawn: a_universe(*drawn[0], age=drawn[1])
)
policies = st.builds(
    GatePolicy,
    top_n=st.integers(1, 4),
    list_max_age=st.just(timedelta(seconds=180)),
    sell_policy=st.sampled_from(SellPolicy),
    has_destination=st.sampled_from([True, True, True, False]),
)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Signal, ...]:
    drawn = draw(st.lists(faces, max_size=20))
    return tuple(
        a_signal(seq, ticker, side, closes=closes, partial=partial, left=left)
        for seq, (ticker, side, closes, partial, left) in enumerate(drawn, start=1)
    )


@st.composite
def books(draw: st.DrawFn) -> tuple[Position, ...]:
    held: list[Position] = []
    for ticker in TICKERS:
        for state in draw(st.sampled_from(HELD)):
            held.append(a_position(1_000 + len(held), state, ticker))
    return tuple(held)


def merged(held: tuple[Position, ...], changed: tuple[Position, ...]) -> tuple[Position, ...]:
    return tuple({p.id: p for p in (*held, *changed)}.values())


@given(batches(), universes, books(), policies)
def test_an_approved_buy_always_has_a_fresh_list_and_a_place_in_its_top(
    signals: tuple[Signal, ...],
    universe: Universe | None,
    positions: tuple[Position, ...],
    policy: GatePolicy,
) -> None:
    for signal, one in judged(
        *signals, universe=universe, positions=positions, policy=policy
    ).verdicts:
        if one.status is SignalStatus.APPROVED and signal.side is Side.BUY:
            assert trust(universe, NOW, policy.list_max_age) is Trust.FRESH
            assert universe is not None
            assert signal.ticker in universe.tickers[: policy.top_n]
            assert one.rank is not None
            assert one.rank <= policy.top_n


@given(batches(), universes, books(), policies)
def test_no_list_ever_stops_a_sell_with_a_position(
    signals: tuple[Signal, ...],
    universe: Universe | None,
    positions: tuple[Position, ...],
    policy: GatePolicy,
) -> None:
    policy = replace(policy, sell_policy=SellPolicy.WITH_POSITION)
    everything = judged(*signals, universe=universe, positions=positions, policy=policy)
    reasons = {v.reason for s, v in everything.verdicts if s.side is Side.SELL}
    assert not reasons & LIST_REASONS


@given(batches(), universes, books(), policies)
def test_a_batch_is_judged_as_if_one_at_a_time(
    signals: tuple[Signal, ...],
    universe: Universe | None,
    positions: tuple[Position, ...],
    policy: GatePolicy,
) -> None:
    together = judged(*signals, universe=universe, positions=positions, policy=policy)
    held, one_by_one = positions, list[tuple[Signal, Verdict]]()
    for signal in signals:
        step = judged(signal, universe=universe, positions=held, policy=policy)
        one_by_one += step.verdicts
        held = merged(held, step.positions)
    assert list(together.verdicts) == one_by_one
    assert set(merged(positions, together.positions)) == set(held)
    # Whoever writes them down one row after another never writes two live ones of a ticker.
    ids = [p.id for p in together.positions]
    assert len(ids) == len(set(ids))
    for count in range(len(together.positions) + 1):
        assert_one_live(merged(positions, together.positions[:count]))


def assert_one_live(positions: tuple[Position, ...]) -> None:
    live = [p.ticker for p in positions if p.state.live]
    assert len(live) == len(set(live))


asks = st.builds(
    Asked,
    ticker=st.sampled_from(TICKERS),
    source=st.sampled_from(["webhook", "tv"]),
    closes=st.sampled_from([None, True, False]),
)
rule_sets = st.builds(
    Rules,
    refused=st.frozensets(st.sampled_from(TICKERS), max_size=1),
    allowed=st.frozensets(st.sampled_from(TICKERS), max_size=1),
)
policies = st.builds(
    GatePolicy,
    top_n=st.integers(1, 3),
    margin=st.integers(0, 1),
    list_max_age=st.just(timedelta(seconds=180)),
    wait=st.sampled_from([timedelta(0), timedelta(0), timedelta(seconds=5)]),
    buying_paused=st.booleans(),
    has_destination=st.booleans(),
    rulebook=st.builds(
        Rulebook,
        every=rule_sets,
        of_source=st.dictionaries(st.just("tv"), rule_sets),
        directions=st.dictionaries(st.just("tv"), st.sampled_from(Direction)),
    ),
)


@given(asked=asks, listed=st.permutations(TICKERS), length=st.integers(0, 4), policy=policies)
def test_an_early_verdict_is_that_of_the_gate_whatever_there_is(
    asked: Asked, listed: list[Ticker], length: int, policy: GatePolicy
) -> None:
    universe = replace(a_universe(*listed[:length]), kept=frozenset(listed[:1]))
    signal = replace(a_signal(ticker=asked.ticker, closes=asked.closes), source=asked.source)
    place = unlisted(asked, universe, policy)
    for positions in ((), OPEN, CLOSING):
        found = judged(signal, universe=universe, positions=positions, policy=policy)
        told = {one.reason: one for _, one in found.verdicts}
        assert (place is not None) == (Reason.NOT_IN_LIST in told)
        if place:
            assert told[Reason.NOT_IN_LIST].status is SignalStatus.REJECTED
            assert place == (told[Reason.NOT_IN_LIST].rank, told[Reason.NOT_IN_LIST].cutoff)
