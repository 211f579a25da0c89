"""Lists of the past: versions, looks and addresses of a screen at seconds of a day in 2025."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from database.screens import ScreenId
from domain.ticker import Ticker
from domain.universe import Universe, succession
from tests.database.rows import Rows

BEGAN = datetime(2025, 1, 6, 15, tzinfo=UTC)

ADD = """
    INSERT INTO universes (screen_id, url, tickers, prices, volumes, total, top_n, margin, kept,
                           entered, dropped, fetched_at, confirmed_at, fresh_since)
    VALUES (:screen, :url, :tickers, :prices, :volumes, 45, :top_n, :margin, :kept, :entered,
            :dropped, :at, :confirmed, :at)
    RETURNING version
"""
LOOK = """
    INSERT INTO fetches (screen_id, at, outcome, detail, pages, duration_ms, version, next_at)
    VALUES (:screen, :at, :outcome, 'a test', 1, 5, :version, :at)
    RETURNING id
"""
MOVE = """
    INSERT INTO screen_versions (screen_id, version, active, kind, url, top_n, refresh_sec, margin,
                                 wait_sec, whole_market, slow_when_closed, made_at)
    SELECT screen_id, max(version) + 1, :active, 'finviz', :url, :top_n, 60, :margin, 0, false,
           false, :at
    FROM screen_versions WHERE screen_id = :screen GROUP BY screen_id
"""


def at(second: float) -> datetime:
    return BEGAN + timedelta(seconds=second)


@dataclass(slots=True)
class Lists:
    """What a screen answered, told by the second. Nothing is checked against the present."""

    rows: Rows
    screen: ScreenId
    url: str
    top_n: int = 2
    margin: int = 0
    members: dict[str, Sequence[Ticker]] = field(default_factory=dict[str, Sequence[Ticker]])

    async def add(
        self,
        second: float,
        *names: str,
        confirmed: float | None = None,
        prices: Sequence[float | None] | None = None,
        volumes: Sequence[int | None] | None = None,
    ) -> int:
        """A version; who entered and dropped out follows from the one before of its address."""
        tickers = tuple(Ticker(name) for name in names)
        steps = succession(
            self.members.get(self.url), tickers, top_n=self.top_n, margin=self.margin, fresh=True
        )
        (version,) = await self.rows.sql(
            ADD,
            screen=self.screen,
            url=self.url,
            tickers=list(tickers),
            prices=prices,
            volumes=volumes,
            top_n=self.top_n,
            margin=self.margin,
            kept=sorted(steps.kept),
            entered=list(steps.changes.entered),
            dropped=list(steps.changes.left),
            at=at(second),
            confirmed=at(second if confirmed is None else confirmed),
        )
        made = Universe(
            version=version,
            tickers=tickers,
            total=45,
            fetched_at=at(second),
            confirmed_at=at(second),
            kept=steps.kept,
        )
        self.members[self.url] = made.members(self.top_n, self.margin)
        return version

    async def look(self, second: float, outcome: str = "ok", version: int | None = None) -> int:
        asked = {"screen": self.screen, "at": at(second), "outcome": outcome}
        (id,) = await self.rows.sql(LOOK, version=version, **asked)
        return id

    async def move(self, second: float, url: str, *, active: bool = True) -> None:
        """From then on the screen asks another address."""
        self.url = url
        terms = {"url": url, "top_n": self.top_n, "margin": self.margin, "active": active}
        await self.rows.sql(MOVE, screen=self.screen, at=at(second), **terms)


async def begun(rows: Rows, *, top_n: int = 2, margin: int = 0) -> Lists:
    """A screen that is in force since the first second."""
    kept = await rows.screen(top_n)
    await rows.sql(
        "UPDATE screen_versions SET made_at = :at, top_n = :top_n, margin = :margin,"
        " refresh_sec = 60",
        at=BEGAN,
        top_n=top_n,
        margin=margin,
    )
    return Lists(rows, kept.id, kept.screen.url, top_n, margin)
