"""A keeper or several on one database, the made-up Finviz they look at, and when it is time."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
from aiolimiter import AsyncLimiter

from database import universes
from database.screens import Kept
from database.universes import LastFetch
from demo.finviz import MadeUpFinviz, made_up_market
from domain.screen import Screen
from engines.clock import utc_now
from engines.metrics import Metrics
from engines.universe.finviz import FinvizSource
from engines.universe.keeper import LOOK, Keeper
from engines.universe.source import Answer, UniverseSource
from tests.database.rows import Rows, a_screen

MARKET = made_up_market(7, 30)
OTHER_MARKET = made_up_market(8, 30)
OTHER_URL = "https://finviz.com/screener.ashx?v=111&f=cap_large&o=-volume"


@dataclass(frozen=True, slots=True)
class Stage:
    """A keeper of any number, and what all of them look at."""

    rows: Rows
    kept: Kept
    finviz: MadeUpFinviz
    keeper: Keeper

    def another(self, **given: Any) -> Keeper:
        """A keeper as another replica has it, or the same one after a restart."""
        usual: Mapping[str, Any] = {
            "database": self.rows.database,
            "source": self.keeper.source,
            "metrics": Metrics(),
            "dice": self.keeper.dice,
            "clock": self.keeper.clock,
        }
        return Keeper(**{**usual, **given})

    async def due(self, in_seconds: float = 0) -> None:
        """Let the next look be due then, on the clock of the database."""
        await self.rows.sql(
            "UPDATE watches SET due_at = clock_timestamp() + CAST(:wait AS interval)",
            wait=timedelta(seconds=in_seconds),
        )

    async def leave(self) -> None:
        """Let the lease of a look that nobody ended run out."""
        left = await self.rows.sql(
            "UPDATE watches SET lease_until = clock_timestamp()"
            " WHERE lease_until > clock_timestamp() RETURNING epoch"
        )
        assert left

    async def look(self, keeper: Keeper | None = None) -> LastFetch:
        """Let the next look be due, and return how it went."""
        await self.due()
        before = await self.rows.sql("SELECT count(*) FROM fetches")
        assert await (keeper or self.keeper).step() == LOOK
        assert await self.rows.sql("SELECT count(*) - 1 FROM fetches") == before
        async with self.rows.database.read() as connection:
            last = await universes.last_fetch(connection)
        assert last
        # It was due from a moment before: who stood still in between waits no shorter for that.
        (told,) = await self.rows.sql("SELECT next_at FROM fetches ORDER BY id DESC LIMIT 1")
        assert timedelta(0) <= told - last.next_at < timedelta(seconds=5)
        return replace(last, next_at=told)

    async def listed(self) -> tuple[int, tuple[str, ...]] | None:
        async with self.rows.database.read() as connection:
            universe = (await universes.current(connection)).universe
        return (universe.version, universe.tickers) if universe else None

    @property
    def asked(self) -> int:
        return len(self.finviz.arrivals)

    async def change(self, **changes: Any) -> None:
        await self.rows.change_screen(a_screen(**changes))


@dataclass(slots=True)
class Meanwhile:
    """A source during whose first answer something happens."""

    source: UniverseSource
    happens: Callable[[], Awaitable[object]]
    over: bool = False

    async def fetch(self, screen: Screen) -> Answer:
        answer = await self.source.fetch(screen)
        if not self.over:
            self.over = True
            await self.happens()
        return answer


@asynccontextmanager
async def staged(rows: Rows) -> AsyncGenerator[Stage]:
    finviz = MadeUpFinviz(MARKET)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(finviz)) as http:
        source = FinvizSource(
            http=http,
            clock=utc_now,
            base_url="http://finviz.test",
            spacing=AsyncLimiter(1, 0.001),
        )
        keeper = Keeper(
            database=rows.database,
            source=source,
            metrics=Metrics(),
            dice=lambda: 0.5,
            clock=utc_now,
        )
        yield Stage(rows, await rows.screen(top_n=10), finviz, keeper)
