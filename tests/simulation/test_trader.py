"""Positions, and what a trader would say: the same whatever is ordered, fails, crashes or is said.

In memory the whole relay lives on a clock that jumps; on PostgreSQL every step is done by the
statements of `database/` and by the desk, and by the store in memory.
"""

import asyncio
import random  # noqa: TID251  a chance that hypothesis draws, and shrinks
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from database import rebuilding
from database.pool import Database
from database.vault import Vault
from domain.gate import GatePolicy
from domain.position import PositionId, PositionState
from domain.signal import Side, SignalId
from domain.ticker import Ticker
from engines.clock import entropy, utc_now
from engines.relay.leasing import Leasing
from tests.conftest import KEY
from tests.database.rows import Rows
from tests.simulation import hands, trader, verdicts
from tests.simulation.both import BREAKER, STORY, Both
from tests.simulation.both_hands import HANDS, Hands
from tests.simulation.destination import SECOND
from tests.simulation.ground import LIST_MAX_AGE
from tests.simulation.store import Rules, Store
from tests.simulation.test_simulation import Relay, tickers
from tests.simulation.world import SELL_LIVES, TICKERS, World
from tests.web.stage import cloned

STEPS = 40
SEQUENCES, LONG = 300, 5_000
ON_POSTGRESQL, LONG_ON_POSTGRESQL = 15, 200

which = st.integers(0, 7)


class Trading(Relay):
    """What befalls the relay, and an operator with both hands."""

    @rule(ticker=tickers)
    def sell(self, ticker: Ticker) -> None:
        hands.sell(self.world.store, {ticker: self._new()}, self._terms)
        self.world.ring()

    @rule()
    def sell_all(self) -> None:
        hands.sell_all(self.world.store, lambda _, place: self._new(place), self._terms)
        self.world.ring()

    @rule(paused=st.sampled_from([False, False, True]))
    def pause(self, *, paused: bool) -> None:
        self.world.store.paused = paused

    @rule(ticker=tickers)
    def enter(self, ticker: Ticker) -> None:
        hands.enter(
            self.world.store, PositionId(UUID(int=2**64 + len(self.world.store.events))), ticker
        )

    @rule(number=which)
    def close(self, number: int) -> None:
        held = [id for id, row in self.world.store.positions.items() if row.state.unfinished]
        if number < len(held):
            hands.close(self.world.store, held[number])

    @rule(number=which)
    def resend(self, number: int) -> None:
        store = self.world.store
        over = [key for key in store.deliveries if hands.may_be_resent(store, key)]
        if number < len(over):
            hands.resend(store, over[number], self._new(), self._terms)
            self.world.ring()

    @invariant()
    def the_trader_agrees(self) -> None:
        if hasattr(self, "world"):
            found = trader.disagreements(self.world.store)
            assert not found, "\n".join(found)

    def _new(self, place: int = 0) -> SignalId:
        return SignalId(UUID(int=len(self.world.store.signals) + 1 + place))

    @property
    def _terms(self) -> hands.Terms:
        store = self.world.store
        policy = GatePolicy(
            top_n=3, list_max_age=LIST_MAX_AGE, has_destination=verdicts.any_enabled(store)
        )
        return hands.Terms(life=SELL_LIVES[0], universe=self.world.current_list(), policy=policy)


class OnPostgreSQL(RuleBasedStateMachine):
    """Each step is one of those that `Both` and `Hands` tell to both."""

    template: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()

    @initialize(chance=st.randoms(use_true_random=False))
    def begin(self, chance: random.Random) -> None:
        self._run(self._begin(chance))

    async def _begin(self, chance: random.Random) -> None:
        url = await self.stack.enter_async_context(cloned(self.template))
        database = Database.connect(url, patience=timedelta(seconds=20))
        self.stack.push_async_callback(database.close)
        rows = Rows(database, Vault.from_key(KEY))
        self.told = Hands(
            rows=rows,
            chance=chance,
            store=Store(utc_now(), Rules()),
            leasing=Leasing(vault=rows.vault, sell_share=0.1, breaker=BREAKER),
        )
        await self.told.begin()

    @rule(chance=st.randoms(use_true_random=False), what=st.sampled_from(STORY))
    def befalls(self, chance: random.Random, what: Callable[[Both], Awaitable[None]]) -> None:
        self._run(self._step(chance, what))

    @rule(chance=st.randoms(use_true_random=False), what=st.sampled_from(HANDS))
    def operates(self, chance: random.Random, what: Callable[[Hands], Awaitable[None]]) -> None:
        self._run(self._step(chance, what))

    async def _step(self, chance: random.Random, what: Callable[[Any], Awaitable[None]]) -> None:
        self.told.chance = chance
        self.told.store.now = utc_now()
        await getattr(self.told, what.__name__)()
        await self.told.compare()
        disagreements = trader.disagreements(self.told.store)
        assert not disagreements, "\n".join([*disagreements, "after", *self.told.story])

    def teardown(self) -> None:
        try:
            self._run(self._end())
        finally:
            self._run(self.stack.aclose())
            self.runner.close()

    async def _end(self) -> None:
        if not hasattr(self, "told"):
            return
        async with self.told.rows.database.read() as connection:
            found = await rebuilding.compare(connection)
        assert not found.differences, "\n".join([*found.differences, "after", *self.told.story])

    def _run(self, what: Coroutine[Any, Any, None]) -> None:
        self.runner.run(what)


def _sequences(machine: type[RuleBasedStateMachine], count: int) -> None:
    seed = int.from_bytes(entropy(4), "big")
    print(f"hypothesis seed {seed}")  # noqa: T201  shown with a failure, so that it can be repeated
    run_state_machine_as_test(
        hypothesis.seed(seed)(machine),
        settings=settings(
            max_examples=count,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


@pytest.mark.timeout(3000)
def test_positions_are_what_a_trader_would_say(request: pytest.FixtureRequest) -> None:
    long = bool(request.config.getoption("--long"))
    _sequences(Trading, LONG if long else SEQUENCES)


@pytest.mark.timeout(3000)
def test_positions_on_postgresql_are_what_a_trader_would_say(
    template: str, request: pytest.FixtureRequest
) -> None:
    long = bool(request.config.getoption("--long"))
    machine = type("OnThisServer", (OnPostgreSQL,), {"template": template})
    _sequences(machine, LONG_ON_POSTGRESQL if long else ON_POSTGRESQL)


def test_a_trader_notices_what_is_not_so() -> None:
    world = World(1)
    world.alert(TICKERS[0], Side.BUY)
    world.advance(3 * SECOND)
    assert not trader.disagreements(world.store)
    [row] = world.store.positions.values()
    for state in set(PositionState) - {row.state}:
        world.store.keep(replace(row.position, state=state))
        assert len(trader.disagreements(world.store)) == 1
