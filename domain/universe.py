"""The universe: the ranked list a screen answered, its trust, and when a list may replace it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from domain.ticker import Ticker

CLOCKS_APART = timedelta(seconds=5)
"""A list confirmed further in the future than this tells of a clock that jumped."""


class Trust(StrEnum):
    """How far buys may rely on the list."""

    FRESH = "fresh"
    STALE = "stale"
    UNKNOWN = "unknown"


class FetchOutcome(StrEnum):
    """What a look at Finviz brought. Only OK and EMPTY can ever become a list."""

    OK = "ok"
    EMPTY = "empty"
    SUSPECT = "suspect"
    PAST_END = "past_end"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    LOGIN = "login"
    WRONG_PAGE = "wrong_page"
    BROKEN = "broken"
    UNREACHABLE = "unreachable"

    @property
    def is_list(self) -> bool:
        return self in {FetchOutcome.OK, FetchOutcome.EMPTY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a list; price and volume only where the other side tells them."""

    rank: int
    ticker: Ticker
    price: Decimal | None = None
    volume: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    """What a screen answered, replaced whole and never edited. Raises ValueError on a repeat.

    The rank of a ticker is its place in ``tickers``, from 1. ``kept`` are those that are in though
    their rank is beyond the top N. ``total`` is how many rows the screen had in all. ``fetched_at``
    is when this version came, ``confirmed_at`` when what brought it last was asked for;
    ``fresh_since`` is the time from which the list was never too old; from ``valid_until`` on it
    does not count.
    """

    version: int
    tickers: tuple[Ticker, ...]
    total: int
    fetched_at: datetime
    confirmed_at: datetime
    kept: frozenset[Ticker] = frozenset()
    fresh_since: datetime | None = None
    valid_until: datetime | None = None
    _ranks: dict[Ticker, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ranks = {ticker: rank for rank, ticker in enumerate(self.tickers, start=1)}
        if len(ranks) != len(self.tickers):
            raise ValueError("a ticker stands twice in the list")
        object.__setattr__(self, "_ranks", ranks)

    def rank(self, ticker: Ticker) -> int | None:
        return self._ranks.get(ticker)

    def cutoff(self, ticker: Ticker, top_n: int, margin: int) -> int:
        """The last rank at which this ticker is in: one that was in may fall by ``margin``."""
        return top_n + margin if ticker in self.kept else top_n

    def members(self, top_n: int, margin: int) -> list[Ticker]:
        """Every ticker that is in, best first."""
        return [
            ticker
            for rank, ticker in enumerate(self.tickers[: top_n + margin], start=1)
            if rank <= self.cutoff(ticker, top_n, margin)
        ]


def trust(universe: Universe | None, now: datetime, max_age: timedelta) -> Trust:
    """A list is fresh for ``max_age`` after it was last confirmed, on one and the same clock.

    A fixed list is fresh until its end, and no longer.
    """
    if universe is None:
        return Trust.UNKNOWN
    if universe.valid_until is not None and now >= universe.valid_until:
        return Trust.STALE
    age = now - universe.confirmed_at
    return Trust.FRESH if -CLOCKS_APART <= age <= max_age else Trust.STALE


def trusted_since(universe: Universe, now: datetime, max_age: timedelta) -> datetime:
    """Since when the list has the trust it has now."""
    if trust(universe, now, max_age) is Trust.FRESH:
        return universe.fresh_since or universe.fetched_at
    return fresh_until(universe, max_age)


def fresh_until(universe: Universe, max_age: timedelta) -> datetime:
    """When the list stops to be fresh, unless it is confirmed before."""
    too_old = universe.confirmed_at + max_age
    return min(too_old, universe.valid_until) if universe.valid_until else too_old


@dataclass(frozen=True, slots=True, kw_only=True)
class Turnover:
    """What changed between two lists, each in the order of its ranks."""

    entered: tuple[Ticker, ...]
    left: tuple[Ticker, ...]


def turnover(before: Sequence[Ticker], after: Sequence[Ticker]) -> Turnover:
    old, new = frozenset(before), frozenset(after)
    return Turnover(
        entered=tuple(ticker for ticker in after if ticker not in old),
        left=tuple(ticker for ticker in before if ticker not in new),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """What a new list means for the one before: who is kept beyond the top N, who came and left."""

    kept: frozenset[Ticker]
    changes: Turnover


def succession(
    members: Sequence[Ticker] | None,
    tickers: Sequence[Ticker],
    *,
    top_n: int,
    margin: int,
    fresh: bool,
) -> Succession:
    """The step from a list with these ``members`` (None: there was none) to these ``tickers``.

    The first list of a screen is a beginning: nobody entered. One that comes back after it was too
    old (not ``fresh``) is compared with the last one known, but keeps nobody beyond the top N.
    """
    were = frozenset(members or ())
    beyond = tickers[top_n : top_n + margin]
    kept = frozenset(ticker for ticker in beyond if fresh and ticker in were)
    now = [*tickers[:top_n], *(ticker for ticker in beyond if ticker in kept)]
    return Succession(kept=kept, changes=turnover(now if members is None else members, now))


@dataclass(frozen=True, slots=True)
class Adopt:
    """The answer becomes the list, or confirms the one there is."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """The answer waits for a second one that agrees with it, or for the operator's word.

    ``reason`` is for people; ``lasting``: seeing it again makes it no better.
    """

    reason: str
    lasting: bool = False


Weighed: TypeAlias = Adopt | Suspect


def weigh(
    current: Sequence[Ticker] | None,
    answer: Sequence[Ticker],
    pending: Sequence[Ticker] | None,
    *,
    refused: Sequence[Ticker] | None = None,
    unfiltered: bool = False,
) -> Weighed:
    """May this complete answer replace the list? A surprising one needs to be seen twice.

    ``current`` is the list in force (None: there never was one), ``pending`` the suspect answer
    before this one (None: there was none), ``refused`` one that an operator refused. Neither order
    nor growth is a surprise. ``unfiltered``: it looks like the whole market, which was not asked.
    """
    if unfiltered:
        return Suspect("Finviz answered with the whole market: it ignored a filter", lasting=True)
    reason = _surprise(current, answer)
    if reason is None:
        return Adopt()
    if refused is not None and agree(refused, answer):
        return Suspect(f"refused by an operator: {reason}", lasting=True)
    if pending is not None and agree(pending, answer):
        return Adopt()
    return Suspect(reason)


def agree(one: Sequence[Ticker], other: Sequence[Ticker]) -> bool:
    """Whether two answers share four fifths of the longer one. Nothing agrees with nothing."""
    first, second = frozenset(one), frozenset(other)
    return 5 * len(first & second) >= 4 * max(len(first), len(second))


def _surprise(current: Sequence[Ticker] | None, answer: Sequence[Ticker]) -> str | None:
    old, new = frozenset(current or ()), frozenset(answer)
    if not new:
        return None if current is not None and not old else "the answer holds no ticker at all"
    if current is None:
        return None
    if not old:
        return f"{len(new)} tickers after an empty list"
    if 2 * len(new) < len(old):
        return f"{len(new)} tickers where there were {len(old)}: less than half"
    if 5 * len(old & new) < len(old):
        return f"only {len(old & new)} of {len(old)} tickers are still there: less than a fifth"
    return None
