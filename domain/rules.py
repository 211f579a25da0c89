"""Rules an operator sets: what is never bought, what always may be, how often, how many, when."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from domain.signal import Side
from domain.ticker import Ticker


class Direction(StrEnum):
    """Which signals a source may send."""

    BOTH = "both"
    BUY = "buy"
    SELL = "sell"

    def permits(self, side: Side) -> bool:
        return self is Direction.BOTH or self == side


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What buys are held against besides the list. Exits are exempt from all of it.

    ``allowed`` tickers need no place in the list, but the list must be fresh all the same.
    ``cooldown`` is the time after an approved buy of a ticker in which no other is approved.
    ``max_positions`` bounds the unfinished positions: opening, open and closing. With a price
    limit, a buy that names no price is refused: when in doubt we do not buy.
    """

    refused: frozenset[Ticker] = frozenset()
    allowed: frozenset[Ticker] = frozenset()
    cooldown: timedelta = timedelta(0)
    max_positions: int | None = None
    market_hours: bool = False
    min_price: Decimal | None = None
    max_price: Decimal | None = None

    def against_price(self, price: Decimal | None) -> str | None:
        """The limit that a buy at this price breaks, in words."""
        if self.min_price is None and self.max_price is None:
            return None
        if price is None:
            return "it names none"
        if self.min_price is not None and price < self.min_price:
            return f"at least {self.min_price}"
        if self.max_price is not None and price > self.max_price:
            return f"at most {self.max_price}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rulebook:
    """The rules of every source, and those that a source has in addition: both apply."""

    every: Rules = Rules()
    of_source: Mapping[str, Rules] = field(default_factory=dict[str, Rules])
    directions: Mapping[str, Direction] = field(default_factory=dict[str, Direction])

    def applying(self, source: str) -> Iterator[tuple[str | None, Rules]]:
        """Each rule set for a source, with the source whose positions and buys it counts."""
        yield None, self.every
        if source in self.of_source:
            yield source, self.of_source[source]

    def permits(self, source: str, side: Side) -> bool:
        """Whether this source may send this side."""
        return self.directions.get(source, Direction.BOTH).permits(side)

    def allows(self, source: str, ticker: Ticker) -> bool:
        """Whether the ticker may be bought without a place in the list."""
        return any(ticker in rules.allowed for _, rules in self.applying(source))

    @property
    def counts_positions(self) -> bool:
        return any(rules.max_positions is not None for rules in self._all())

    @property
    def cools_down(self) -> bool:
        return any(rules.cooldown for rules in self._all())

    @property
    def longest_cooldown(self) -> timedelta:
        return max(rules.cooldown for rules in self._all())

    @property
    def watches_hours(self) -> bool:
        return any(rules.market_hours for rules in self._all())

    def _all(self) -> Iterator[Rules]:
        yield self.every
        yield from self.of_source.values()


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """The rule that a buy broke: whose (None: every source's), its limit, until when it holds."""

    of: str | None = None
    limit: str | None = None
    until: datetime | None = None

    def told(self) -> dict[str, str | None]:
        """As JSON, for the audit trail; whose rule it is as the API names it."""
        return {
            "of": "every" if self.of is None else f"sources.{self.of}",
            "limit": self.limit,
            "until": self.until and self.until.isoformat(),
        }
