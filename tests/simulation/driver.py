"""A driver: so many steps of one world, drawn from its own chance, then drained and checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from database.resolutions import Resolution
from domain.delivery import DeliveryState, DestinationId, Guarantee
from domain.destination import DestinationState, Mode
from domain.signal import Side
from tests.chaos.findings import Finding
from tests.simulation import breakers, endings
from tests.simulation.checker import check
from tests.simulation.destination import SECOND, Mood
from tests.simulation.store import Rules
from tests.simulation.world import TICKERS, World


@dataclass(frozen=True, slots=True)
class Run:
    """One history: what it came to, and how to have it again."""

    seed: int
    world: World
    findings: list[Finding]

    @property
    def faults(self) -> list[str]:
        return [line for one in self.findings if not one.ok for line in one.lines]

    @property
    def digest(self) -> str:
        """The same for the same history, to the last event."""
        told = sha256()
        for event in self.world.store.events:
            told.update(repr(event).encode())
        for request in self.world.requests:
            told.update(repr(request).encode())
        return told.hexdigest()


def run(seed: int, steps: int, rules: Rules | None = None) -> Run:
    world = World(seed, rules=rules)
    moves = [move for move, weight in MOVES.items() for _ in range(weight)]
    for _ in range(steps):
        world.chance.choice(moves)(world)
    world.drain()
    return Run(seed, world, check(world))


def _alert(world: World) -> None:
    """Buys a little more often than sells, of few tickers: lanes are to be crowded."""
    chance = world.chance
    side = chance.choice((Side.BUY, Side.BUY, Side.BUY, Side.SELL, Side.SELL))
    world.alert(
        chance.choice(TICKERS),
        side,
        partial=chance.random() < 0.15,
        closes=chance.choice((None, None, None, None, None, None, True, False)),
    )


def _short_wait(world: World) -> None:
    world.advance(world.chance.uniform(0, 1) * SECOND)


def _long_wait(world: World) -> None:
    world.advance(world.chance.uniform(1, 20) * SECOND)


def _crash(world: World) -> None:
    world.chance.choice(world.replicas).crash()


def _freeze(world: World) -> None:
    lasting = world.chance.choice((1, 3, 8, 20, 40)) * SECOND
    world.chance.choice(world.replicas).freeze(lasting)


def _cut(world: World) -> None:
    lasting = world.chance.choice((0.5, 2, 8, 20)) * SECOND
    world.chance.choice(world.replicas).cut(lasting)


def _mood(world: World) -> None:
    well = world.chance.random() < 0.4
    mood = Mood.WELL if well else world.chance.choice(tuple(Mood))
    world.moods[_place(world)] = mood


def _put(world: World) -> None:
    usual = world.chance.random() < 0.6
    state = DestinationState.ENABLED if usual else world.chance.choice(tuple(DestinationState))
    breakers.put(world.store, _place(world), state)


def _change(world: World) -> None:
    mode = world.chance.choice((Mode.LIVE, Mode.LIVE, Mode.LIVE, Mode.DRY_RUN))
    breakers.change(world.store, _place(world), mode, world.chance.choice(tuple(Guarantee)))


def _resolve(world: World) -> None:
    for row in list(world.store.all_waiting()):
        if row.state is DeliveryState.HELD:
            world.resolve(row.key, world.chance.choice(tuple(Resolution)))


def _cancel(world: World) -> None:
    waiting = list(world.store.all_waiting())
    if waiting:
        endings.cancel(world.store, world.chance.choice(waiting).key)


def _list(world: World) -> None:
    world.adopt(world.chance.sample(TICKERS, world.chance.randint(2, len(TICKERS))))


def _keeper(world: World) -> None:
    world.keeper_up = world.chance.random() < 0.7


def _place(world: World) -> DestinationId:
    return world.chance.choice(tuple(world.store.destinations))


MOVES: Mapping[Callable[[World], None], int] = {
    _alert: 40,
    _short_wait: 20,
    _long_wait: 8,
    _crash: 3,
    _freeze: 3,
    _cut: 2,
    _mood: 6,
    _put: 3,
    _change: 1,
    _resolve: 2,
    _cancel: 1,
    _list: 2,
    _keeper: 1,
}


def faults_of(runs: Sequence[Run]) -> list[str]:
    return [f"seed {run.seed}: {line}" for run in runs for line in run.faults]
