"""What everyone in the simulation stands on: the store, chance, and a clock that jumps."""

import heapq
import random  # noqa: TID251  chance is drawn from the run's seed
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count

from database.settlements import Settlement
from domain.delivery import DestinationId
from domain.universe import Universe
from tests.simulation.breakers import Terms
from tests.simulation.destination import SECOND, Mood, Request
from tests.simulation.store import Key, Rules, Store

START = datetime(2030, 1, 2, 15, 0, 0, tzinfo=UTC)
LIST_MAX_AGE = 180 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An ending that was settled; ``kept`` says whether its lease was still held.

    ``present`` says whether its version was the destination's own at that time.
    """

    settlement: Settlement
    at: datetime
    kept: bool
    present: bool

    @property
    def key(self) -> Key:
        return self.settlement.delivery.signal_id, self.settlement.delivery.destination_id


class Ground:
    """The agenda holds what is to happen; nothing happens between."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.chance = random.Random(seed)
        self.store = Store(START, rules)
        self.terms = Terms()
        self.moods: dict[DestinationId, Mood] = {}
        self.requests: list[Request] = []
        self.heard: list[Heard] = []
        self.universes: dict[int, Universe] = {}
        self.keeper_up = True
        self.draining = False
        self.bells: list[Callable[[], None]] = []
        self._agenda: list[tuple[datetime, int, Callable[[], None]]] = []
        self._turn = count()

    def at(self, when: datetime, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when, next(self._turn), what))

    def run(self, until: datetime) -> None:
        while self._agenda and self._agenda[0][0] <= until:
            when, _, what = heapq.heappop(self._agenda)
            self.store.now = max(when, self.store.now)
            what()
        self.store.now = max(until, self.store.now)

    def advance(self, by: timedelta) -> None:
        """Let this much time pass."""
        self.run(self.store.now + by)

    def soon(self, least: float, most: float) -> datetime:
        return self.store.now + self.chance.uniform(least, most) * SECOND

    def ring(self) -> None:
        """There is something to do."""
        for bell in self.bells:
            bell()

    def current_list(self) -> Universe:
        """The list in force; a keeper that is up confirms it once a minute."""
        last = self.universes[len(self.universes)]
        if self.keeper_up and self.store.now - last.confirmed_at > 60 * SECOND:
            last = self.universes[last.version] = replace(last, confirmed_at=self.store.now)
        return last

    def commit_unheard(self) -> bool:
        """A connection that broke during a commit: it went through, and nobody knows."""
        return not self.draining and self.chance.random() < 0.01
