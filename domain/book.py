"""The book: positions and buys as they stand between two verdicts of one batch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from domain.position import Position, PositionState
from domain.ticker import Ticker


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the rules count: beyond the signals and positions at hand.

    ``positions`` are the unfinished ones of *other* tickers, by the source that opened them;
    ``bought`` is when a ticker was last bought by a source.
    """

    positions: Mapping[str, int] = field(default_factory=dict[str, int])
    bought: Mapping[tuple[Ticker, str], datetime] = field(
        default_factory=dict[tuple[Ticker, str], datetime]
    )


@dataclass(slots=True)
class Book:
    """What the signals at hand are judged by, and what the verdicts on them changed."""

    held: dict[Ticker, list[Position]]
    changed: dict[Ticker, list[Position]]
    elsewhere: Mapping[str, int]
    bought: dict[tuple[Ticker, str], datetime]

    @classmethod
    def of(cls, positions: Iterable[Position], standing: Standing) -> "Book":
        held: dict[Ticker, list[Position]] = {}
        for position in positions:
            held.setdefault(position.ticker, []).append(position)
        return cls(held, {}, standing.positions, dict(standing.bought))

    def unfinished(self, source: str | None) -> int:
        """How many positions there are, of all tickers; of one source, or of every."""
        here = [p.source for ps in self.held.values() for p in ps if p.state.unfinished]
        others = sum(n for name, n in self.elsewhere.items() if source in {None, name})
        return others + (len(here) if source is None else here.count(source))

    def last_bought(self, ticker: Ticker, source: str | None) -> datetime | None:
        """When a ticker was last bought; by one source, or by any."""
        times = [
            at for (of, by), at in self.bought.items() if of == ticker and source in {None, by}
        ]
        return max(times, default=None)

    def buy(self, ticker: Ticker, source: str, at: datetime) -> None:
        self.bought[ticker, source] = at

    def live(self, ticker: Ticker) -> Position | None:
        return next((p for p in self.held.get(ticker, []) if p.state.live), None)

    def closing(self, ticker: Ticker) -> bool:
        return any(p.state is PositionState.CLOSING for p in self.held.get(ticker, []))

    def put(self, position: Position) -> None:
        for book in (self.held, self.changed):
            others = [p for p in book.get(position.ticker, []) if p.id != position.id]
            book[position.ticker] = [*others, position]
