import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
import pytest
from aiolimiter import AsyncLimiter
from sqlalchemy.exc import IntegrityError

from database import screens, universes
from database.screens import Kept
from database.universes import LastFetch
from demo.finviz import MadeUpFinviz, made_up_market
from domain.universe import FetchOutcome
from engines.clock import utc_now
from engines.metrics import Metrics
from engines.universe.finviz import FinvizSource
from engines.universe.keeper import LOOK, Keeper
from tests.database.rows import Rows, a_screen

MARKET = made_up_market(7, 30)
OTHER_MARKET = made_up_market(8, 30)
OTHER_URL = "https://finviz.com/screener.ashx?v=111&f=cap_large&o=-volume"


@dataclass(slots=True)
class Stage:
    """A keeper, what it looks at, and a loop whose time a test can move on."""

    rows: Rows
    kept: Kept
    finviz: MadeUpFinviz
    keeper: Keeper
    ahead: float = field(default=0.0)

    async def look(self) -> LastFetch:
        """Let the next look be due, and return how it went."""
        self.ahead += 10_000
        assert await self.keeper.step() == LOOK
        async with self.rows.database.read() as connection:
            last = await universes.last_fetch(connection)
        assert last
        return last

    async def listed(self) -> tuple[int, tuple[str, ...]] | None:
        async with self.rows.database.read() as connection:
            universe = (await universes.current(connection)).universe
        return (universe.version, universe.tickers) if universe else None


def wait(last: LastFetch) -> float:
    return (last.next_at - last.at).total_seconds()


@pytest.fixture
async def stage(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Stage]:
    finviz = MadeUpFinviz(MARKET)
    loop = asyncio.get_running_loop()
    real = loop.time
    async with httpx.AsyncClient(transport=httpx.ASGITransport(finviz)) as http:
        source = FinvizSource(
            http=http,
            clock=utc_now,
            base_url="http://finviz.test",
            spacing=AsyncLimiter(1, 0.001),
        )
        keeper = Keeper(database=rows.database, source=source, metrics=Metrics(), dice=lambda: 0.5)
        stage = Stage(rows, await rows.screen(top_n=10), finviz, keeper)
        monkeypatch.setattr(loop, "time", lambda: real() + stage.ahead)
        yield stage


async def test_the_first_list_is_adopted_at_once_and_kept_until_it_is_due(stage: Stage) -> None:
    assert await stage.keeper.step() == LOOK
    found = await stage.listed()
    assert found
    assert found[1][:10] == tuple(listing.ticker for listing in MARKET[:10])
    requests = len(stage.finviz.arrivals)
    stage.ahead += 170
    assert await stage.keeper.step() == LOOK
    stage.ahead += 9.5
    rest = await stage.keeper.step()
    assert rest
    assert timedelta(0) < rest < LOOK
    assert len(stage.finviz.arrivals) == requests
    stage.ahead += 1
    await stage.keeper.step()
    assert len(stage.finviz.arrivals) > requests
    assert await stage.listed() == found


FAULTS = {
    "throttled": FetchOutcome.THROTTLED,
    "throttled_429": FetchOutcome.THROTTLED,
    "blocked": FetchOutcome.BLOCKED,
    "unauthorized": FetchOutcome.BLOCKED,
    "login": FetchOutcome.LOGIN,
    "wrong_page": FetchOutcome.WRONG_PAGE,
    "nothing": FetchOutcome.BROKEN,
    "cut_off": FetchOutcome.BROKEN,
    "half_the_rows": FetchOutcome.BROKEN,
    "failing": FetchOutcome.UNREACHABLE,
    "maintenance": FetchOutcome.BLOCKED,
    "past_end": FetchOutcome.PAST_END,
    "empty": FetchOutcome.SUSPECT,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_keeps_the_old_list_and_is_named(stage: Stage, fault: str) -> None:
    await stage.look()
    before = await stage.listed()
    stage.finviz.answer_with(fault)
    last = await stage.look()
    assert last.outcome is FAULTS[fault]
    assert last.detail
    assert await stage.listed() == before
    assert (await stage.rows.events())[-1] == f"list.{FAULTS[fault]}"
    count = stage.keeper.metrics.registry.get_sample_value
    assert count("relay_list_fetches_total", {"outcome": FAULTS[fault]}) == 1
    stage.finviz.answer_with(None)
    assert (await stage.look()).outcome is FetchOutcome.OK
    assert await stage.listed() == before


async def test_before_the_first_list_a_fault_brings_none(stage: Stage) -> None:
    stage.finviz.answer_with("blocked")
    assert (await stage.look()).outcome is FetchOutcome.BLOCKED
    assert await stage.listed() is None


async def test_a_wish_of_finviz_is_kept(stage: Stage) -> None:
    stage.finviz.answer_with("maintenance")
    assert wait(await stage.look()) >= 119


async def test_refusals_are_asked_again_ever_more_rarely(stage: Stage) -> None:
    stage.finviz.answer_with("blocked")
    waits = [wait(await stage.look()) for _ in range(7)]
    assert waits == pytest.approx([30, 60, 120, 240, 480, 900, 900], abs=0.5)
    stage.finviz.answer_with(None)
    assert wait(await stage.look()) == pytest.approx(180, abs=0.5)
    stage.finviz.answer_with("login")
    assert wait(await stage.look()) == pytest.approx(30, abs=0.5)


async def test_a_surprising_list_is_adopted_when_it_is_seen_twice(stage: Stage) -> None:
    await stage.look()
    before = await stage.listed()
    stage.finviz.market = OTHER_MARKET
    doubted = await stage.look()
    assert doubted.outcome is FetchOutcome.SUSPECT
    assert wait(doubted) == pytest.approx(5, abs=0.5)
    assert await stage.listed() == before
    assert (await stage.look()).outcome is FetchOutcome.OK
    after = await stage.listed()
    assert after
    assert after[1][0] == OTHER_MARKET[0].ticker


async def test_a_surprise_that_passes_is_forgotten(stage: Stage) -> None:
    await stage.look()
    before = await stage.listed()
    for market, outcome in (
        (OTHER_MARKET, FetchOutcome.SUSPECT),
        (MARKET, FetchOutcome.OK),
        (OTHER_MARKET, FetchOutcome.SUSPECT),
    ):
        stage.finviz.market = market
        assert (await stage.look()).outcome is outcome
    assert await stage.listed() == before


async def test_an_empty_screen_is_a_list_when_it_is_seen_twice(stage: Stage) -> None:
    await stage.look()
    stage.finviz.market = []
    assert (await stage.look()).outcome is FetchOutcome.SUSPECT
    assert (await stage.look()).outcome is FetchOutcome.EMPTY
    after = await stage.listed()
    assert after
    assert after[1] == ()


async def test_a_surprise_after_refusals_is_looked_at_again_soon(stage: Stage) -> None:
    await stage.look()
    stage.finviz.answer_with("blocked")
    for _ in range(5):
        await stage.look()
    stage.finviz.answer_with(None)
    stage.finviz.market = OTHER_MARKET
    assert wait(await stage.look()) == pytest.approx(5, abs=0.5)
    stage.finviz.answer_with("blocked")
    assert wait(await stage.look()) == pytest.approx(30, abs=0.5)


async def change(stage: Stage, **changes: object) -> None:
    async with stage.rows.database.write() as connection:
        await screens.change_active(
            connection,
            a_screen(**changes),  # pyright: ignore[reportArgumentType]
            actor="a test",
        )


async def test_a_changed_screen_is_fetched_at_once_and_its_doubts_are_forgotten(
    stage: Stage,
) -> None:
    await stage.look()
    stage.finviz.market = OTHER_MARKET
    assert (await stage.look()).outcome is FetchOutcome.SUSPECT
    await change(stage, url=OTHER_URL)
    assert await stage.listed() is None
    requests = len(stage.finviz.arrivals)
    await stage.keeper.step()
    assert len(stage.finviz.arrivals) > requests
    assert "cap_large" in stage.finviz.arrivals[-1].query
    found = await stage.listed()
    assert found
    assert found[1][0] == OTHER_MARKET[0].ticker


async def test_what_was_doubted_of_one_screen_confirms_nothing_of_another(stage: Stage) -> None:
    await stage.look()
    stage.finviz.market = []
    assert (await stage.look()).outcome is FetchOutcome.SUSPECT
    await change(stage, url=OTHER_URL)
    assert (await stage.look()).outcome is FetchOutcome.SUSPECT
    assert await stage.listed() is None


async def test_a_list_fetched_for_a_screen_that_changed_meanwhile_is_not_kept(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = False

    class Meanwhile:
        """The operator is quicker than Finviz."""

        async def fetch(self, screen: screens.Screen) -> object:
            nonlocal changing
            answer = await source.fetch(screen)
            if not changing:
                changing = True
                await change(stage, url=OTHER_URL)
            return answer

    source = stage.keeper.source
    keeper = Keeper(
        database=stage.rows.database,
        source=Meanwhile(),  # pyright: ignore[reportArgumentType]
        metrics=Metrics(),
        dice=lambda: 0.5,
    )
    await keeper.step()
    assert await stage.listed() is None
    await keeper.step()
    assert await stage.listed()
    assert "cap_large" in stage.finviz.arrivals[-1].query
    assert monkeypatch


async def test_a_database_that_cannot_write_does_not_make_us_ask_finviz_at_once(
    stage: Stage,
) -> None:
    await stage.rows.sql("ALTER TABLE fetches ADD CONSTRAINT full_disk CHECK (false)")
    with pytest.raises(IntegrityError):
        await stage.keeper.step()
    requests = len(stage.finviz.arrivals)
    await stage.keeper.step()
    assert len(stage.finviz.arrivals) == requests


async def test_without_a_screen_there_is_nothing_to_look_at(stage: Stage) -> None:
    await stage.rows.sql("UPDATE screens SET active = false")
    assert await stage.keeper.step() == LOOK
    assert stage.finviz.arrivals == []
