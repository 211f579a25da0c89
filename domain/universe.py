"""The universe: the ranked list a screen answered, its trust, and when a list may replace it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
class Universe:
    """What a screen answered, replaced whole and never edited. Raises ValueError on a repeat.

    The rank of a ticker is its place in ``tickers``, from 1. ``total`` is how many rows the screen
    had in all. ``fetched_at`` is when this version came, ``confirmed_at`` when it was last seen.
    """

    version: int
    tickers: tuple[Ticker, ...]
    total: int
    fetched_at: datetime
    confirmed_at: datetime
    _ranks: dict[Ticker, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ranks = {ticker: rank for rank, ticker in enumerate(self.tickers, start=1)}
        if len(ranks) != len(self.tickers):
            raise ValueError("a ticker stands twice in the list")
        object.__setattr__(self, "_ranks", ranks)

    def rank(self, ticker: Ticker) -> int | None:
        return self._ranks.get(ticker)


def trust(universe: Universe | None, now: datetime, max_age: timedelta) -> Trust:
    """A list is fresh for ``max_age`` after it was last confirmed, on one and the same clock."""
    if universe is None:
        return Trust.UNKNOWN
    age = now - universe.confirmed_at
    return Trust.FRESH if -CLOCKS_APART <= age <= max_age else Trust.STALE


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


@dataclass(frozen=True, slots=True)
class Adopt:
    """The answer becomes the list, or confirms the one there is."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """The answer waits for a second one that agrees with it; ``reason`` is for people."""

    reason: str


Weighed: TypeAlias = Adopt | Suspect


def weigh(
    current: Sequence[Ticker] | None, answer: Sequence[Ticker], pending: Sequence[Ticker] | None
) -> Weighed:
    """May this complete answer replace the list? A surprising one needs to be seen twice.

    ``current`` is the list in force (None: there never was one), ``pending`` the suspect answer
    before this one (None: there was none). Neither order nor growth is a surprise.
    """
    reason = _surprise(current, answer)
    if reason is None or (pending is not None and agree(pending, answer)):
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
