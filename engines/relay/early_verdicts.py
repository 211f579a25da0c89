"""Early verdicts: buys that the list rejects whatever else are decided as they are journaled."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from database.gate import Gate
from database.journal import Early, Entry
from database.universes import Current, Key
from domain.gate import Asked, GatePolicy, Place, unlisted
from domain.signal import Side
from domain.ticker import Ticker
from domain.universe import Universe

MOST_PLACES = 10_000
"""Remembered; whoever names more tickers than that has them looked up again."""

Places: TypeAlias = dict[Asked, Place | None]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the gate judged by last."""

    key: Key
    universe: Universe
    gate_version: int
    policy: GatePolicy
    places: Places = field(default_factory=Places)

    def place(self, entry: Entry, ticker: Ticker) -> Place | None:
        asked = Asked(ticker, entry.source, entry.closes)
        if asked not in self.places:
            if len(self.places) >= MOST_PLACES:
                self.places.clear()
            self.places[asked] = unlisted(asked, self.universe, self.policy)
        return self.places[asked]


@dataclass(slots=True)
class EarlyVerdicts:
    """Most alerts are not in the list: they need no claim, no lock and no second commit.

    What the gate saw last is believed only until PostgreSQL, in the statement that journals, finds
    it to be what counts; where it is not, the gate decides as ever, and shows what it sees here.
    """

    _seen: _Seen | None = None

    def shown(self, current: Current, in_force: Gate, policy: GatePolicy) -> None:
        """What the gate judges by now."""
        seen = self._seen
        if (
            seen is not None
            and (seen.key, seen.gate_version) == (current.key, in_force.version)
            and seen.policy == policy
        ):
            return
        universe = current.universe
        self._seen = universe and _Seen(current.key, universe, in_force.version, policy)

    def of(self, entries: Sequence[Entry]) -> Early | None:
        """Which of these are rejected, in this order; None: the gate decides all of them."""
        seen = self._seen
        if seen is None:
            return None
        places = _places(seen, entries)
        if not any(places):
            return None
        return Early(
            key=seen.key,
            gate_version=seen.gate_version,
            list_max_age=seen.policy.list_max_age,
            places=places,
        )


def _places(seen: _Seen, entries: Sequence[Entry]) -> list[Place | None]:
    """Nobody overtakes an earlier one of its ticker that the gate is to decide."""
    undecided: set[Ticker] = set()
    places: list[Place | None] = []
    for entry in entries:
        ticker, place = entry.ticker, None
        if ticker is not None and entry.side is Side.BUY and ticker not in undecided:
            place = seen.place(entry, ticker)
        if ticker is not None and place is None:
            undecided.add(ticker)
        places.append(place)
    return places
