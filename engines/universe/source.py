"""A port: where a universe comes from. Finviz pages, Finviz exports, and whatever comes next."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from domain.screen import Screen
from domain.ticker import Ticker
from domain.universe import FetchOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one look at a screen brought.

    ``tickers`` are in rank order and empty unless ``outcome`` is OK; ``total`` is how many rows the
    screen has in all. ``detail`` is for people and holds no secret. ``retry_after`` is how long the
    other side asked us to stay away; ``pages`` how many requests were answered.
    """

    outcome: FetchOutcome
    detail: str
    tickers: tuple[Ticker, ...] = ()
    total: int | None = None
    retry_after: timedelta | None = None
    pages: int = 0


class UniverseSource(Protocol):
    """Looks at a screen once. Never raises for what the other side does, never half a list."""

    async def fetch(self, screen: Screen) -> Answer: ...
