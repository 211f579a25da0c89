"""Any number of keepers on one database ask Finviz once, whatever becomes of whoever asks."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from database.pool import Database, is_unavailable
from domain.universe import FetchOutcome
from engines.failpoints import Point
from engines.universe.keeper import LEASE, LOOK, Keeper
from tests.database.rows import Rows
from tests.engines.lookout import MARKET, OTHER_MARKET, OTHER_URL, Meanwhile, Stage, staged

KEEPER = "engines.universe.keeper"
POINTS = [point for point in Point if point.startswith("keeper.")]


class CrashError(Exception):
    """What a process that dies at a point leaves undone."""


@pytest.fixture
async def stage(rows: Rows) -> AsyncGenerator[Stage]:
    async with staged(rows) as stage:
        yield stage


async def steps(keepers: list[Keeper]) -> None:
    await asyncio.gather(*(keeper.step() for keeper in keepers))


async def test_many_keepers_look_once_when_it_is_due(stage: Stage) -> None:
    keepers = [stage.keeper, *(stage.another() for _ in range(3))]
    for asked in range(1, 20):
        await stage.due()
        await steps(keepers)
        await steps(keepers)
        assert stage.asked == asked
    assert await stage.rows.sql("SELECT count(*) FROM fetches") == [19]
    assert await stage.rows.sql("SELECT count(*) FROM universes") == [1]


async def test_a_restart_does_not_look_before_it_is_due(stage: Stage) -> None:
    await stage.keeper.step()
    await stage.another().step()
    assert stage.asked == 1
    await stage.due()
    await stage.another().step()
    assert stage.asked == 2


async def test_refusals_count_for_all(stage: Stage) -> None:
    stage.finviz.answer_with("blocked")
    looks = [await stage.look(stage.another()) for _ in range(4)]
    waits = [(look.next_at - look.at).total_seconds() for look in looks]
    assert waits == pytest.approx([30, 60, 120, 240], abs=0.5)


async def test_what_one_suspects_another_confirms(stage: Stage) -> None:
    await stage.look()
    stage.finviz.market = OTHER_MARKET
    assert (await stage.look()).outcome is FetchOutcome.SUSPECT
    assert (await stage.look(stage.another())).outcome is FetchOutcome.OK
    found = await stage.listed()
    assert found
    assert found[1][0] == OTHER_MARKET[0].ticker


async def test_a_changed_screen_is_fetched_by_whoever_notices_once_and_at_once(
    stage: Stage,
) -> None:
    keepers = [stage.another() for _ in range(3)]
    await stage.keeper.step()
    await stage.change(url=OTHER_URL)
    await steps(keepers)
    await steps([stage.keeper, *keepers])
    assert stage.asked == 2
    assert "cap_large" in stage.finviz.arrivals[-1].query
    assert await stage.listed()


async def test_points_are_reached_in_their_order(stage: Stage) -> None:
    reached: list[Point] = []
    await stage.another(reach=reached.append).step()
    assert reached == POINTS
    await stage.another(reach=reached.append).step()
    assert reached == POINTS


@pytest.mark.parametrize("point", POINTS)
async def test_who_dies_in_a_look_costs_the_lease_and_nothing_else(
    stage: Stage, point: Point
) -> None:
    def die(here: Point) -> None:
        if here is point:
            raise CrashError

    with pytest.raises(CrashError):
        await stage.another(reach=die).step()
    asked, recorded = stage.asked, point is Point.KEEPER_AFTER_COMMIT
    assert asked == (point is not Point.KEEPER_TAKEN)
    assert bool(await stage.listed()) == recorded
    await stage.keeper.step()
    assert stage.asked == asked
    if not recorded:
        await stage.leave()
        await stage.keeper.step()
        assert stage.asked == asked + 1
    assert await stage.listed()
    assert await stage.rows.sql("SELECT count(*) FROM fetches") == [1]


async def test_a_turn_is_committed_before_finviz_is_asked_and_before_the_point(
    stage: Stage,
) -> None:
    """A kill there must leave the lease behind."""
    seen: list[int] = []

    async def look() -> None:
        seen.extend(await stage.rows.sql("SELECT epoch FROM watches WHERE lease_until > now()"))

    await stage.another(source=Meanwhile(stage.keeper.source, look)).step()
    assert seen == [1]


async def test_who_slept_through_its_turn_records_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.look()
    stage.finviz.market = [*MARKET[:20], *OTHER_MARKET[:10]]

    async def others_take_the_turn() -> None:
        stage.finviz.market = [*MARKET[:15], *OTHER_MARKET[:15]]
        await stage.leave()
        await stage.keeper.step()

    sleeper = stage.another(source=Meanwhile(stage.keeper.source, others_take_the_turn))
    await stage.due()
    with caplog.at_level(logging.WARNING, KEEPER):
        await sleeper.step()
    told = [one for one in caplog.records if (one.name, one.levelname) == (KEEPER, "WARNING")]
    assert [one.message for one in told] == ["list.turn_lost"]
    found = await stage.listed()
    assert found
    assert found[1] == tuple(listing.ticker for listing in stage.finviz.market[:20])
    assert await stage.rows.sql("SELECT count(*) FROM fetches") == [2]
    assert await stage.rows.sql("SELECT epoch FROM watches WHERE lease_until IS NULL") == [3]
    count = sleeper.metrics.registry.get_sample_value
    assert count("relay_list_fetches_total", {"outcome": "ok"}) is None


async def test_a_list_is_as_old_as_its_question_whenever_it_is_recorded(stage: Stage) -> None:
    """A laptop that is closed between reading a page and recording it makes the page no younger."""
    answered: list[datetime] = []

    async def answer() -> None:
        answered.extend(await stage.rows.sql("SELECT clock_timestamp()"))

    confirmed: list[datetime] = []
    for _ in ("adopted", "confirmed"):
        source = Meanwhile(stage.keeper.source, answer)
        await stage.look(stage.another(source=source))
        confirmed += await stage.rows.sql("SELECT confirmed_at FROM universes")
    assert confirmed[0] < answered[0] < confirmed[1] < answered[1]


async def test_who_slept_before_asking_does_not_ask(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)

    def sleep(point: Point) -> None:
        nonlocal ahead
        ahead += LEASE.total_seconds() if point is Point.KEEPER_TAKEN else 0

    await stage.another(reach=sleep).step()
    assert stage.asked == 0
    assert await stage.rows.sql("SELECT outcome FROM fetches") == ["unreachable"]


async def test_a_look_that_cannot_be_recorded_is_not_repeated_before_its_lease_is_over(
    stage: Stage,
) -> None:
    await stage.rows.sql("ALTER TABLE fetches ADD CONSTRAINT full_disk CHECK (false)")
    with pytest.raises(IntegrityError):
        await stage.keeper.step()
    assert await stage.listed() is None
    for keeper in (stage.keeper, stage.another()):
        await keeper.step()
    assert stage.asked == 1
    await stage.rows.sql("ALTER TABLE fetches DROP CONSTRAINT full_disk")
    await stage.leave()
    await stage.keeper.step()
    assert stage.asked == 2
    assert await stage.listed()


async def test_a_database_that_hangs_while_recording_does_not_make_us_ask_again(
    stage: Stage,
) -> None:
    own = Database.connect(stage.rows.database.url, patience=timedelta(seconds=3))
    stage.finviz.answer_with("blocked")
    async with stage.rows.database.write() as hanging:

        async def hang() -> None:
            await hanging.execute(text("LOCK TABLE watches"))

        keeper = stage.another(database=own, source=Meanwhile(stage.keeper.source, hang))
        with pytest.raises((DBAPIError, TimeoutError)) as caught:
            await keeper.step()
    assert is_unavailable(caught.value)
    assert await keeper.step() == LOOK
    assert stage.asked == 1
    (left,) = await stage.rows.sql("SELECT lease_until - clock_timestamp() FROM watches")
    assert LEASE / 2 < left <= LEASE
    await own.close()


async def test_a_turn_that_cannot_be_taken_asks_nothing(stage: Stage) -> None:
    await stage.rows.sql("ALTER TABLE watches ADD CONSTRAINT full_disk CHECK (false)")
    with pytest.raises(IntegrityError):
        await stage.keeper.step()
    assert stage.asked == 0
