"""Rules: what each turns away, whom it leaves alone, and what holds whatever the rules are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.book import Standing
from domain.gate import GatePolicy, Judged, Reason, judge_in_order
from domain.position import Position, PositionId, PositionState
from domain.rules import Breach, Direction, Rulebook, Rules
from domain.signal import Side, Signal, SignalId, SignalStatus, Wait
from domain.ticker import Ticker
from domain.universe import Universe

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
NAMES = [Ticker(name) for name in ("AA", "BB", "CC", "DD")]
AA, BB = NAMES[:2]
TV, BOT = "tv", "bot"
POLICY = GatePolicy(top_n=3, list_max_age=timedelta(seconds=180))
LISTED = Universe(
    version=1,
    tickers=tuple(NAMES),
    total=4,
    fetched_at=NOW,
    confirmed_at=NOW,
    fresh_since=NOW - timedelta(hours=1),
)
MINUTE = timedelta(minutes=1)


def a_signal(
    seq: int = 1, ticker: str = AA, side: Side = Side.BUY, source: str = TV, **given: Any
) -> Signal:
    usual: dict[str, Any] = {"closes": None, "partial": False, "price": None}
    return Signal(
        id=SignalId(UUID(int=seq)),
        seq=seq,
        ticker=Ticker(ticker),
        side=side,
        source=source,
        received_at=NOW,
        expires_at=NOW + MINUTE,
        **(usual | given),
    )


def a_position(
    number: int, ticker: str, state: PositionState = PositionState.OPEN, source: str = TV
) -> Position:
    return Position(
        id=PositionId(UUID(int=number)),
        ticker=Ticker(ticker),
        state=state,
        entry_signal_id=SignalId(UUID(int=number)),
        source=source,
    )


def judged(*signals: Signal, every: Rules | None = None, **given: Any) -> Judged:
    tv: Rules | None = given.pop("tv", None)
    of_source = {TV: tv} if tv else {}
    rulebook = given.pop("rulebook", None) or Rulebook(every=every or Rules(), of_source=of_source)
    usual: dict[str, Any] = {"universe": LISTED, "positions": (), "policy": POLICY, "now": NOW}
    usual |= given
    usual["policy"] = replace(usual["policy"], rulebook=rulebook)
    return judge_in_order(signals, **usual)


def reasons(found: Judged) -> list[Reason | None]:
    return [verdict.reason for _, verdict in found.verdicts]


def breach(found: Judged) -> Breach | None:
    return found.verdicts[-1][1].breach


# ── Tickers ─────────────────────────────────────────────────────────────────────────────────


def test_a_refused_ticker_is_never_bought_though_it_is_allowed_too() -> None:
    refused = Rules(refused=frozenset({AA}))
    found = judged(a_signal(), a_signal(2, BB), every=refused)
    assert reasons(found) == [Reason.REFUSED_TICKER, None]
    assert found.verdicts[0][1].breach == Breach()
    allowed = Rules(allowed=frozenset({AA}))
    found = judged(a_signal(), every=allowed, tv=refused)
    assert (reasons(found), breach(found)) == ([Reason.REFUSED_TICKER], Breach(of=TV))


def test_an_allowed_ticker_needs_no_place_but_a_fresh_list() -> None:
    allowed, out = Rules(allowed=frozenset({Ticker("OUT")})), a_signal(1, "OUT")
    assert reasons(judged(out)) == [Reason.NOT_IN_LIST]
    assert reasons(judged(out, every=allowed)) == [None]
    assert reasons(judged(out, tv=allowed)) == [None]
    assert reasons(judged(replace(out, source=BOT), tv=allowed)) == [Reason.NOT_IN_LIST]
    assert reasons(judged(out, every=allowed, universe=None)) == [Reason.LIST_UNKNOWN]
    late = {"now": NOW + timedelta(seconds=181)}
    alive = replace(out, expires_at=NOW + timedelta(hours=1))
    assert reasons(judged(alive, every=allowed, **late)) == [Reason.LIST_STALE]


# ── Cooldown ────────────────────────────────────────────────────────────────────────────────


def bought(ago: timedelta, source: str = TV) -> Standing:
    return Standing(bought={(AA, source): NOW - ago})


def test_a_cooldown_ends_at_its_very_end() -> None:
    rules, instant = Rules(cooldown=MINUTE), timedelta(microseconds=1)
    assert reasons(judged(a_signal(), every=rules, standing=bought(MINUTE))) == [None]
    found = judged(a_signal(), every=rules, standing=bought(MINUTE - instant))
    assert (reasons(found), breach(found)) == ([Reason.COOLDOWN], Breach(until=NOW + instant))
    other = judged(a_signal(1, BB), every=rules, standing=bought(MINUTE - instant))
    assert reasons(other) == [None]


def test_the_second_buy_of_a_batch_is_in_the_cooldown_of_the_first() -> None:
    batch = (a_signal(1), a_signal(2), a_signal(3, BB), a_signal(4, source=BOT))
    cooling = Reason.COOLDOWN
    assert reasons(judged(*batch, every=Rules(cooldown=MINUTE))) == [None, cooling, None, cooling]
    assert reasons(judged(*batch, tv=Rules(cooldown=MINUTE))) == [None, cooling, None, None]


def test_a_source_has_a_cooldown_of_its_own_buys() -> None:
    rules, before = Rules(cooldown=MINUTE), bought(timedelta(seconds=5), BOT)
    assert reasons(judged(a_signal(), tv=rules, standing=before)) == [None]
    assert reasons(judged(a_signal(), every=rules, standing=before)) == [Reason.COOLDOWN]


def test_without_a_cooldown_a_buy_of_a_moment_later_counts_for_nothing() -> None:
    later = bought(-timedelta(seconds=1))
    assert reasons(judged(a_signal(), every=Rules(market_hours=True), standing=later)) == [None]


# ── How many, when, and at which price ──────────────────────────────────────────────────────


def test_positions_are_counted_whatever_their_ticker_while_they_are_unfinished() -> None:
    two = Rules(max_positions=2)
    unfinished = Standing(positions={TV: 1})
    batch = (a_signal(1), a_signal(2, BB))
    found = judged(*batch, every=two, standing=unfinished)
    assert reasons(found) == [None, Reason.MAX_POSITIONS]
    assert breach(found) == Breach(limit="2")
    ended = (a_position(8, AA, PositionState.CLOSED), a_position(9, BB, PositionState.VOID))
    assert reasons(judged(*batch, every=two, positions=ended)) == [None, None]
    closing = (a_position(8, AA, PositionState.CLOSING),)
    assert reasons(judged(*batch, every=two, positions=closing)) == [None, Reason.MAX_POSITIONS]


def test_a_second_buy_of_a_position_opens_none() -> None:
    held = (a_position(8, AA),)
    rules = Rules(max_positions=1)
    found = judged(a_signal(1), a_signal(2, BB), every=rules, positions=held)
    assert reasons(found) == [None, Reason.MAX_POSITIONS]


def test_a_source_counts_the_positions_that_its_signals_opened() -> None:
    rules = Rules(max_positions=1)
    others = Standing(positions={BOT: 5})
    batch = (a_signal(1), a_signal(2, BB), a_signal(3, "CC", source=BOT))
    found = judged(*batch, tv=rules, standing=others)
    assert reasons(found) == [None, Reason.MAX_POSITIONS, None]
    assert found.verdicts[1][1].breach == Breach(of=TV, limit="1")


def test_the_rules_of_every_source_hold_for_a_source_with_its_own() -> None:
    found = judged(
        a_signal(1), a_signal(2, BB), every=Rules(max_positions=1), tv=Rules(max_positions=9)
    )
    assert reasons(found) == [None, Reason.MAX_POSITIONS]


def test_outside_market_hours_nothing_is_bought() -> None:
    closed = replace(POLICY, market_open=False)
    rules = Rules(market_hours=True)
    assert reasons(judged(a_signal(), every=rules)) == [None]
    assert reasons(judged(a_signal(), policy=closed)) == [None]
    assert reasons(judged(a_signal(), every=rules, policy=closed)) == [Reason.OUTSIDE_MARKET_HOURS]


@pytest.mark.parametrize(
    ("price", "limit"),
    [
        ("4.99", "at least 5"),
        ("5", None),
        ("10", None),
        ("10.000000001", "at most 10"),
        (None, "it names none"),
    ],
)
def test_a_price_keeps_within_the_limits(price: str | None, limit: str | None) -> None:
    rules = Rules(min_price=Decimal(5), max_price=Decimal(10))
    found = judged(a_signal(price=price and Decimal(price)), every=rules)
    assert reasons(found) == [Reason.PRICE_LIMIT if limit else None]
    assert breach(found) == (Breach(limit=limit) if limit else None)


# ── Sides, the pause, and waiting ───────────────────────────────────────────────────────────


def test_a_source_sends_the_sides_it_may() -> None:
    rulebook = Rulebook(directions={TV: Direction.BUY, BOT: Direction.SELL})
    held = (a_position(8, AA),)
    batch = (a_signal(1), a_signal(2, source=BOT), a_signal(3, side=Side.SELL))
    wrong = Reason.SOURCE_DIRECTION
    assert reasons(judged(*batch, rulebook=rulebook, positions=held)) == [None, wrong, wrong]
    sold = judged(a_signal(1, side=Side.SELL, source=BOT), rulebook=rulebook, positions=held)
    assert reasons(sold) == [None]


def test_a_pause_stops_buys_and_no_exit() -> None:
    paused = replace(POLICY, buying_paused=True)
    batch = (a_signal(1, BB), a_signal(2, side=Side.SELL))
    found = judged(*batch, policy=paused, positions=(a_position(8, AA),))
    assert reasons(found) == [Reason.BUYING_PAUSED, None]


WAITING = Wait(NOW - timedelta(seconds=5), NOW + timedelta(seconds=20))


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (Rules(refused=frozenset({AA})), Reason.REFUSED_TICKER),
        (Rules(cooldown=MINUTE), Reason.COOLDOWN),
        (Rules(max_positions=0), Reason.MAX_POSITIONS),
        (Rules(min_price=Decimal(1)), Reason.PRICE_LIMIT),
    ],
)
def test_a_buy_that_waited_is_held_against_every_rule_when_its_ticker_enters(
    rules: Rules, reason: Reason
) -> None:
    """And its verdict is final: it does not wait for the rule to let it pass."""
    waits = a_signal(wait=WAITING)
    standing = bought(timedelta(seconds=1))
    out = replace(LISTED, tickers=(BB,))
    assert judged(waits, every=rules, standing=standing, universe=out).verdicts == ()
    found = judged(waits, every=rules, standing=standing)
    ((_, verdict),) = found.verdicts
    assert (verdict.status, verdict.reason) == (SignalStatus.REJECTED, reason)
    assert reasons(judged(waits)) == [None]


def test_a_buy_that_enters_in_a_pause_is_not_bought_after_it() -> None:
    paused = replace(POLICY, buying_paused=True)
    ((_, verdict),) = judged(a_signal(wait=WAITING), policy=paused).verdicts
    assert (verdict.status, verdict.reason) == (SignalStatus.REJECTED, Reason.BUYING_PAUSED)


# ── Whatever the rules are ──────────────────────────────────────────────────────────────────

prices = st.sampled_from([None, Decimal(1), Decimal(5), Decimal(9)])
rule_sets = st.builds(
    Rules,
    refused=st.frozensets(st.sampled_from(NAMES), max_size=2),
    cooldown=st.sampled_from([timedelta(0), timedelta(0), MINUTE]),
    max_positions=st.sampled_from([None, None, 0, 1, 2, 3]),
    market_hours=st.booleans(),
    min_price=prices,
    max_price=prices,
)
rulebooks = st.builds(
    Rulebook,
    every=rule_sets,
    of_source=st.dictionaries(st.sampled_from([TV, BOT]), rule_sets),
    directions=st.dictionaries(st.sampled_from([TV, BOT]), st.sampled_from(Direction)),
)
sides = st.sampled_from([Side.BUY, Side.BUY, Side.BUY, Side.SELL])
drawn = st.lists(
    st.tuples(st.sampled_from(NAMES), sides, st.sampled_from([TV, BOT]), prices), max_size=12
)
policies = st.builds(
    GatePolicy,
    top_n=st.integers(1, 4),
    list_max_age=st.just(timedelta(seconds=180)),
    market_open=st.booleans(),
    buying_paused=st.booleans(),
)
standings = st.builds(
    Standing,
    positions=st.dictionaries(st.sampled_from([TV, BOT]), st.integers(0, 2)),
    bought=st.dictionaries(
        st.tuples(st.sampled_from(NAMES), st.sampled_from([TV, BOT])),
        st.integers(1, 120).map(lambda seconds: NOW - timedelta(seconds=seconds)),
    ),
)


def batch_of(given: list[Any]) -> list[Signal]:
    return [
        a_signal(seq, ticker, side, source, price=price)
        for seq, (ticker, side, source, price) in enumerate(given, start=1)
    ]


def approved(found: Judged) -> set[int]:
    return {s.seq for s, verdict in found.verdicts if verdict.status is SignalStatus.APPROVED}


@given(drawn, policies, standings)
def test_without_rules_nothing_that_rules_count_matters(
    given: list[Any], policy: GatePolicy, standing: Standing
) -> None:
    batch, empty = batch_of(given), Rulebook(of_source={TV: Rules()})
    plain = judge_in_order(batch, universe=LISTED, positions=(), policy=policy, now=NOW)
    assert judged(*batch, rulebook=empty, policy=policy, standing=standing) == plain


@given(st.tuples(st.sampled_from(NAMES), st.sampled_from([TV, BOT]), prices), rulebooks, standings)
def test_a_rule_never_approves_what_would_be_rejected_without_it(
    given: tuple[Ticker, str, Decimal | None], rulebook: Rulebook, standing: Standing
) -> None:
    """Of one signal alone: behind a buy that a rule turned away, another may have its place."""
    ticker, source, price = given
    signal = a_signal(1, ticker, source=source, price=price)
    with_rules = judged(signal, rulebook=rulebook, standing=standing)
    assert approved(with_rules) <= approved(judged(signal))
    fewer = replace(rulebook, of_source={})
    without_own = judged(signal, rulebook=fewer, standing=standing)
    assert approved(with_rules) <= approved(without_own)


@given(drawn, policies, rulebooks, standings)
def test_exits_of_what_is_held_do_not_know_of_rules(
    given: list[Any], policy: GatePolicy, rulebook: Rulebook, standing: Standing
) -> None:
    batch = [s for s in batch_of(given) if s.side is Side.SELL]
    held = [a_position(90 + place, ticker) for place, ticker in enumerate(NAMES)]
    plain = judged(*batch, positions=held)
    found = judged(
        *batch,
        positions=held,
        rulebook=replace(rulebook, directions={}),
        policy=policy,
        standing=standing,
    )
    assert reasons(found) == reasons(plain)
    assert found.positions == plain.positions


@given(drawn, rulebooks, standings, st.lists(st.sampled_from(NAMES), unique=True))
def test_no_sequence_opens_more_than_the_most_positions(
    given: list[Any], rulebook: Rulebook, standing: Standing, held: list[Ticker]
) -> None:
    positions = [a_position(90 + place, name) for place, name in enumerate(held)]
    found = judged(*batch_of(given), rulebook=rulebook, standing=standing, positions=positions)
    after = {p.id: p for p in (*positions, *found.positions)}
    opened = {p.id for p in found.positions if p.entry_signal_id} - {p.id for p in positions}
    for source, rules in ((None, rulebook.every), *rulebook.of_source.items()):
        mine = [p for p in after.values() if source in {None, p.source} and p.state.unfinished]
        beyond = sum(n for name, n in standing.positions.items() if source in {None, name})
        if rules.max_positions is not None and any(p.id in opened for p in mine):
            assert len(mine) + beyond <= rules.max_positions


@given(drawn, rulebooks, standings)
def test_every_rule_that_was_broken_is_named(
    given: list[Any], rulebook: Rulebook, standing: Standing
) -> None:
    ruled = {
        *(Reason.REFUSED_TICKER, Reason.COOLDOWN, Reason.MAX_POSITIONS, Reason.PRICE_LIMIT),
        Reason.OUTSIDE_MARKET_HOURS,
    }
    found = judged(*batch_of(given), rulebook=rulebook, standing=standing)
    for _, verdict in found.verdicts:
        assert (verdict.breach is not None) == (verdict.reason in ruled)
        if verdict.breach and verdict.reason is Reason.COOLDOWN:
            assert verdict.breach.until
            assert verdict.breach.until > NOW
