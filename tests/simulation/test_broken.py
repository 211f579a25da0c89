"""A checker that finds nothing in a broken relay proves nothing: each broken rule is caught."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from domain.delivery import Guarantee
from domain.destination import DestinationState, Mode
from domain.gate import GatePolicy
from domain.position import PositionId
from domain.signal import Side, SignalId
from tests.chaos.findings import Finding
from tests.simulation import breakers, endings, hands
from tests.simulation.checker import check
from tests.simulation.destination import SECOND
from tests.simulation.driver import run
from tests.simulation.ground import LIST_MAX_AGE
from tests.simulation.store import Rules
from tests.simulation.world import TICKERS, World

RUNS, STEPS = 150, 100
APART = Rules(dry_apart=False)
POLICY = GatePolicy(top_n=3, list_max_age=LIST_MAX_AGE)

BROKEN = [
    (Rules(epochs=False), "I6 fenced"),
    (Rules(shared_windows=False), "I9 rate"),
    (Rules(lanes=False), "I8 order of leaving"),
    (Rules(departures=False), "I10 freshness"),
    (Rules(breakers=False), "I9 breaker"),
    (Rules(waits=False), "I9 patience"),
    (Rules(supersede=False), "I13 no short"),
    (Rules(supersede=False), "I13 not in vain"),
    (Rules(exits_where_held=False), "I13 no short"),
    (Rules(marks=False), "I6 marked duplicates"),
    (Rules(reunions=False), "I13 closed is sold"),
    (APART, "I13 closed is sold"),
]


def violated(findings: Sequence[Finding]) -> set[str]:
    return {f"{one.id} {one.name}" for one in findings if not one.ok}


@pytest.mark.parametrize(("rules", "line"), BROKEN)
def test_a_broken_rule_is_caught(rules: Rules, line: str) -> None:
    for seed in range(RUNS):
        violated = {
            f"{one.id} {one.name}" for one in run(seed, STEPS, rules).findings if not one.ok
        }
        if line in violated:
            return
    pytest.fail(f"nobody noticed in {RUNS} runs")


def turned(world: World, mode: Mode) -> None:
    for id in world.store.destinations:
        breakers.change(world.store, id, mode, Guarantee.AT_LEAST_ONCE)


def put(world: World, state: DestinationState) -> None:
    for id in world.store.destinations:
        breakers.put(world.store, id, state)


@pytest.mark.parametrize(("rules", "lines"), [(Rules(), set[str]()), (APART, {"I13 no short"})])
def test_what_a_dry_run_bought_is_no_reason_to_sell(rules: Rules, lines: set[str]) -> None:
    world = World(1, rules=rules)
    turned(world, Mode.DRY_RUN)
    world.alert(TICKERS[0], Side.BUY)
    world.advance(3 * SECOND)
    turned(world, Mode.LIVE)
    put(world, DestinationState.PAUSED)
    for side in Side:
        world.alert(TICKERS[0], side)
        world.advance(3 * SECOND)
    world.drain()
    assert violated(check(world)) == lines


@pytest.mark.parametrize(
    ("rules", "lines"), [(Rules(), set[str]()), (APART, {"I13 closed is sold"})]
)
def test_what_was_bought_is_sold_although_a_dry_run_began(rules: Rules, lines: set[str]) -> None:
    world = World(1, rules=rules)
    world.alert(TICKERS[0], Side.BUY)
    world.advance(3 * SECOND)
    turned(world, Mode.DRY_RUN)
    world.alert(TICKERS[0], Side.SELL)
    world.drain()
    assert violated(check(world)) == lines


@pytest.mark.parametrize(
    ("rules", "lines"), [(Rules(), set[str]()), (Rules(emptied=False), {"I13 no short"})]
)
def test_what_was_entered_by_hand_is_not_sold_twice(rules: Rules, lines: set[str]) -> None:
    """Its exit is cancelled, and resent to each destination."""
    world = World(1, rules=rules)
    store = world.store
    hands.enter(store, PositionId(UUID(int=2**64)), TICKERS[0])
    put(world, DestinationState.PAUSED)
    world.alert(TICKERS[0], Side.SELL)
    world.advance(3 * SECOND)
    for key in store.deliveries:
        endings.cancel(store, key)
    put(world, DestinationState.ENABLED)
    terms = hands.Terms(life=40 * SECOND, universe=None, policy=POLICY)
    for number, key in enumerate(list(store.deliveries), start=2):
        hands.resend(store, key, SignalId(UUID(int=number)), terms)
        world.ring()
        world.advance(3 * SECOND)
    world.alert(TICKERS[0], Side.SELL)
    world.drain()
    assert violated(check(world)) == lines
