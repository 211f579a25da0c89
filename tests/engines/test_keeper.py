import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from database.universes import LastFetch
from domain.universe import FetchOutcome
from engines.universe.keeper import LEASE, LOOK, lease_of
from tests.database.rows import Rows, a_screen
from tests.engines.lookout import MARKET, OTHER_MARKET, OTHER_URL, Meanwhile, Stage, staged


@pytest.fixture
async def stage(rows: Rows) -> AsyncGenerator[Stage]:
    async with staged(rows) as stage:
        yield stage


def wait(last: LastFetch) -> float:
    return (last.next_at - last.at).total_seconds()


async def test_the_first_list_is_adopted_at_once_and_kept_until_it_is_due(stage: Stage) -> None:
    assert await stage.keeper.step() == LOOK
    found = await stage.listed()
    assert found
    assert found[1][:10] == tuple(listing.ticker for listing in MARKET[:10])
    (due_in,) = await stage.rows.sql("SELECT due_at - clock_timestamp() FROM watches")
    assert timedelta(seconds=170) < due_in <= timedelta(seconds=180)
    assert await stage.keeper.step() == LOOK
    await stage.due(in_seconds=60)
    assert await stage.keeper.step() == LOOK
    assert stage.asked == 1
    await stage.due()
    await stage.keeper.step()
    assert stage.asked == 2
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
    await stage.rows.sql("UPDATE watches SET asked_until = NULL")
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


async def test_a_refusal_between_two_surprising_lists_forgets_nothing(stage: Stage) -> None:
    await stage.look()
    stage.finviz.market = OTHER_MARKET
    outcomes: list[FetchOutcome] = []
    for fault in (None, "blocked", None):
        stage.finviz.answer_with(fault)
        outcomes.append((await stage.look()).outcome)
    assert outcomes == [FetchOutcome.SUSPECT, FetchOutcome.BLOCKED, FetchOutcome.OK]


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


async def test_a_changed_screen_is_fetched_at_once_and_its_doubts_are_forgotten(
    stage: Stage,
) -> None:
    await stage.look()
    stage.finviz.market = OTHER_MARKET
    assert (await stage.look()).outcome is FetchOutcome.SUSPECT
    await stage.change(url=OTHER_URL)
    assert await stage.listed() is None
    asked = stage.asked
    await stage.keeper.step()
    assert stage.asked == asked + 1
    assert "cap_large" in stage.finviz.arrivals[-1].query
    found = await stage.listed()
    assert found
    assert found[1][0] == OTHER_MARKET[0].ticker


async def test_what_was_doubted_of_one_screen_confirms_nothing_of_another(stage: Stage) -> None:
    await stage.look()
    stage.finviz.market = []
    assert (await stage.look()).outcome is FetchOutcome.SUSPECT
    await stage.change(url=OTHER_URL)
    assert (await stage.look()).outcome is FetchOutcome.SUSPECT
    assert await stage.listed() is None


async def test_a_list_fetched_for_a_screen_that_changed_meanwhile_is_not_kept(
    stage: Stage,
) -> None:
    """The operator is quicker than Finviz."""
    change = Meanwhile(stage.keeper.source, lambda: stage.change(url=OTHER_URL))
    keeper = stage.another(source=change)
    await keeper.step()
    assert await stage.listed() is None
    await keeper.step()
    assert await stage.listed()
    assert "cap_large" in stage.finviz.arrivals[-1].query


async def test_a_look_that_never_ends_is_given_up_before_its_lease(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.look()
    before, loop = await stage.listed(), asyncio.get_running_loop()
    real, ahead = loop.time, timedelta(0)
    monkeypatch.setattr(loop, "time", lambda: real() + ahead.total_seconds())

    async def sleep() -> None:
        nonlocal ahead
        ahead = LEASE - timedelta(seconds=1)
        await asyncio.Event().wait()

    last = await stage.look(stage.another(source=Meanwhile(stage.keeper.source, sleep)))
    assert (last.outcome, last.detail) == (
        FetchOutcome.UNREACHABLE,
        "no whole list within 45 s",
    )
    assert wait(last) == pytest.approx(30, abs=0.5)
    assert await stage.listed() == before


@pytest.mark.parametrize(("top_n", "seconds"), [(1, 60), (150, 60), (151, 60.2), (1_000, 230)])
def test_a_long_list_has_a_long_lease(top_n: int, seconds: float) -> None:
    assert lease_of(a_screen(top_n)) == timedelta(seconds=seconds)


async def test_without_a_screen_there_is_nothing_to_look_at(stage: Stage) -> None:
    await stage.rows.sql("UPDATE screens SET active = false")
    assert await stage.keeper.step() == LOOK
    assert stage.finviz.arrivals == []
