"""The world: replicas, a network, destinations and operators, and all that may befall them."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from database.resolutions import Resolution
from domain.delivery import DeliveryState, DestinationId, Guarantee
from domain.destination import DestinationState, Mode
from domain.rate import Window
from domain.signal import Side, Signal, SignalId
from domain.ticker import Ticker
from domain.universe import Universe
from tests.simulation import breakers, endings, verdicts
from tests.simulation.destination import SECOND, Mood
from tests.simulation.ground import Ground
from tests.simulation.replica import Replica
from tests.simulation.store import DestinationRow, Kept, Key, Rules

TICKERS = tuple(Ticker(name) for name in ("AA", "BB", "CC", "DD"))
WINDOWS = (
    (Window(limit=4, seconds=10), Window(limit=12, seconds=60)),
    (Window(limit=2, seconds=5),),
    (),
)
BUY_LIFE, SELL_LIVES = 30 * SECOND, (40 * SECOND, 120 * SECOND)


class World(Ground):
    """Everything there is, from one seed: the same seed, the same history."""

    def __init__(self, seed: int, *, rules: Rules | None = None, replicas: int = 3) -> None:
        super().__init__(seed, rules or Rules())
        self.replicas = [Replica(self, f"r{number}") for number in range(replicas)]
        self.resent: set[Key] = set()
        for number, windows in enumerate(self.chance.sample(WINDOWS, 2), start=1):
            id = DestinationId(UUID(int=number))
            kept = Kept(Mode.LIVE, self.chance.choice(tuple(Guarantee)))
            self.store.destinations[id] = DestinationRow(id=id, windows=windows, versions=[kept])
            self.moods[id] = Mood.WELL
        self.adopt(TICKERS)

    def adopt(self, tickers: Sequence[Ticker]) -> None:
        """The screen answers this, from now on."""
        version, now = len(self.universes) + 1, self.store.now
        self.universes[version] = Universe(
            version=version,
            tickers=tuple(tickers),
            total=len(tickers),
            fetched_at=now,
            confirmed_at=now,
        )

    def alert(
        self,
        ticker: Ticker,
        side: Side,
        *,
        partial: bool = False,
        closes: bool | None = None,
        life: timedelta | None = None,
    ) -> SignalId:
        number, now = len(self.store.signals) + 1, self.store.now
        usual = BUY_LIFE if side is Side.BUY else self.chance.choice(SELL_LIVES)
        signal = Signal(
            id=SignalId(UUID(int=number)),
            seq=number,
            ticker=ticker,
            side=side,
            closes=closes,
            partial=partial and side is Side.SELL,
            price=None,
            received_at=now,
            expires_at=now + (life or usual),
        )
        verdicts.append(self.store, signal)
        self.ring()
        return signal.id

    def resolve(self, key: Key, resolution: Resolution) -> None:
        """The operator decides about a held delivery."""
        if endings.resolve(self.store, key, resolution, SELL_LIVES[0]):
            if resolution is Resolution.RESEND:
                self.resent.add(key)
            self.ring()

    @property
    def idle(self) -> bool:
        return not self.store.undecided and not any(
            row.state is not DeliveryState.HELD for row in self.store.all_waiting()
        )

    def drain(self) -> None:
        """Everything is well again; let all end. What is held is resolved, or ends unresolved."""
        self.draining = True
        for replica in self.replicas:
            replica.thaw()
            replica.cut_until = self.store.now
        for id in self.moods:
            self.moods[id] = Mood.WELL
            breakers.put(self.store, id, DestinationState.ENABLED)
        for _ in range(2):
            self._settle_down()
            for row in list(self.store.all_waiting()):
                if row.state is DeliveryState.HELD and self.chance.random() < 0.7:
                    self.resolve(row.key, self.chance.choice(tuple(Resolution)))
                row.due_at = min(row.due_at, self.store.now)
        self._settle_down()

    def _settle_down(self) -> None:
        self.ring()
        for _ in range(300):
            self.advance(SECOND)
            if self.idle:
                break
        self.advance(8 * SECOND)
