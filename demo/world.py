"""Everything outside of the relay, together: a market, its Finviz, a destination, and one clock."""

from collections.abc import Callable
from dataclasses import dataclass

from demo.clock import DemoClock
from demo.defaults import SEED, SPEED
from demo.destination import LIMITS, MadeUpDestination
from demo.finviz import MadeUpFinviz
from demo.market import MarketDay, is_down, trouble_of_finviz

MAIN = "gateway.example"
HOUSE_ADDRESS = f"https://{MAIN}/webhook/made-up-password"


@dataclass(slots=True)
class World:
    """``fault`` and ``down`` say what is wrong at Finviz and at the destination at a time.

    ``stands_at``: the market does not move from there, so that a scenario has one outcome.
    """

    seed: int
    clock: DemoClock
    market: MarketDay
    finviz: MadeUpFinviz
    destination: MadeUpDestination
    fault: Callable[[float], str | None]
    down: Callable[[float], str]
    stands_at: float | None = None

    def moves(self) -> None:
        """Let Finviz and the destination be as they are at this moment, whenever they are asked."""
        self.finviz.before = lambda _: self._look()
        self.destination.down = lambda host: self.down(self.clock.now()) if host == MAIN else ""

    def now(self) -> float:
        """The time by which the market is judged."""
        return self.clock.now() if self.stands_at is None else self.stands_at

    def listed(self, first: int, last: int) -> list[str]:
        """The tickers from rank ``first`` to ``last`` now, counted from 1."""
        return self.market.tickers(self.now(), first - 1, last)

    def _look(self) -> None:
        self.finviz.market = self.market.at(self.now())
        self.finviz.answer_with(self.fault(self.clock.now()))


def made_up_world(seed: int = SEED, speed: float = SPEED) -> World:
    """The world of a free-running day: it errs now and then, by the seed."""
    clock, market = DemoClock(speed), MarketDay.of(seed)
    world = World(
        seed=seed,
        clock=clock,
        market=market,
        finviz=MadeUpFinviz(market.at(clock.begins)),
        destination=MadeUpDestination(seed, LIMITS),
        fault=lambda at: trouble_of_finviz(seed, at),
        down=lambda at: "down" if is_down(seed, at) else "",
    )
    world.moves()
    return world
