"""A port: where a universe comes from. Finviz pages, Finviz exports, and whatever comes next."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from domain.screen import Screen
from domain.ticker import Ticker
from domain.universe import FetchOutcome, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one look at a screen brought.

    ``rows`` are in rank order and empty unless ``outcome`` is OK; ``total`` is how many rows the
    screen has in all. ``detail`` is for people and holds no secret; ``witness`` tells them what
    proves the rows. ``retry_after`` is how long the other side asked us to stay away; ``pages`` how
    many requests were answered. ``premium`` is whether Finviz says that the account is Elite (None:
    it did not say). ``certain``: a person vouches for it, so that no change is a surprise.
    """

    outcome: FetchOutcome
    detail: str
    rows: tuple[Row, ...] = ()
    total: int | None = None
    witness: str = ""
    retry_after: timedelta | None = None
    pages: int = 0
    premium: bool | None = None
    certain: bool = False

    @property
    def tickers(self) -> tuple[Ticker, ...]:
        return tuple(row.ticker for row in self.rows)


class UniverseSource(Protocol):
    """Looks at a screen once. Never raises for what the other side does, never half a list."""

    async def fetch(self, screen: Screen) -> Answer: ...
