"""Buys that wait for their ticker: approved once when it comes in, never after a sell."""

import asyncio
from datetime import timedelta

import pytest

from database.screens import Kept
from engines.relay.gatekeeper import RECONSIDER, Gatekeeper
from engines.worker import AGAIN
from tests.database.rows import BUY, SELL, Rows, a_screen, an_entry
from tests.engines.test_gatekeeper import a_gatekeeper, verdicts

TOP = [f"T{n}" for n in range(3)]


@pytest.fixture
async def kept(rows: Rows) -> Kept:
    await rows.destination()
    kept = await rows.screen(top_n=3)
    await rows.adopt(kept, *TOP, "NEAR")
    return await rows.change_screen(a_screen(top_n=3, wait=20))


@pytest.fixture
def gatekeeper(rows: Rows) -> Gatekeeper:
    return a_gatekeeper(rows.database)


async def waits(rows: Rows, gatekeeper: Gatekeeper, ticker: str = "NEAR") -> None:
    """A buy of this ticker, waiting."""
    await rows.alert(ticker, BUY)
    assert await gatekeeper.step() == AGAIN
    assert (await verdicts(rows))[-1] == ("received", None)


@pytest.mark.usefixtures("kept")
async def test_a_buy_that_waits_is_told_once_and_left_alone(
    rows: Rows, gatekeeper: Gatekeeper
) -> None:
    await waits(rows, gatekeeper)
    (span,) = await rows.sql("SELECT waits_until - waits_since FROM signals")
    assert span == timedelta(seconds=20)
    assert (await rows.events())[-1] == "signal.waiting"
    (detail,) = await rows.sql("SELECT detail FROM events WHERE event = 'signal.waiting'")
    assert (detail["rank"], detail["cutoff"]) == (4, 3)
    events = await rows.events()
    assert await gatekeeper.step() == gatekeeper.poll
    assert await gatekeeper.reconsider() == RECONSIDER
    assert await rows.events() == events


async def test_it_is_approved_once_when_its_ticker_comes_in(
    rows: Rows, kept: Kept, gatekeeper: Gatekeeper
) -> None:
    await waits(rows, gatekeeper)
    version = await rows.adopt(kept, "NEAR", *TOP)
    assert await gatekeeper.reconsider() == RECONSIDER
    assert await verdicts(rows) == [("approved", None)]
    assert await rows.sql("SELECT universe_version FROM signals") == [version]
    await rows.adopt(kept, *TOP)
    await rows.adopt(kept, "NEAR", *TOP)
    await gatekeeper.reconsider()
    assert (await rows.events()).count("signal.approved") == 1
    assert await rows.states("deliveries") == ["queued"]
    assert await rows.states("positions") == ["opening"]


async def test_it_expires_when_its_wait_is_over(
    rows: Rows, kept: Kept, gatekeeper: Gatekeeper
) -> None:
    await waits(rows, gatekeeper)
    await rows.sql("UPDATE signals SET waits_until = clock_timestamp()")
    await gatekeeper.reconsider()
    assert await verdicts(rows) == [("expired", "not_in_list")]
    await rows.adopt(kept, "NEAR", *TOP)
    await gatekeeper.reconsider()
    assert await verdicts(rows) == [("expired", "not_in_list")]
    assert await rows.states("deliveries") == []


async def test_a_sell_behind_it_is_judged_at_once_and_ends_it(
    rows: Rows, kept: Kept, gatekeeper: Gatekeeper
) -> None:
    await waits(rows, gatekeeper)
    await rows.adopt(kept, "NEAR", *TOP)
    await rows.alert("NEAR", SELL)
    assert await gatekeeper.reconsider() == RECONSIDER, "the sell decides, not the list"
    assert (await verdicts(rows))[0] == ("received", None)
    await gatekeeper.step()
    assert await verdicts(rows) == [("expired", "not_in_list"), ("rejected", "no_position")]


async def test_a_later_buy_of_a_ticker_that_came_in_brings_those_that_wait_with_it(
    rows: Rows, kept: Kept, gatekeeper: Gatekeeper
) -> None:
    await waits(rows, gatekeeper)
    await rows.adopt(kept, "NEAR", *TOP)
    await rows.alert("NEAR", BUY)
    await gatekeeper.step()
    assert await verdicts(rows) == [("approved", None)] * 2
    assert await rows.sql("SELECT seq FROM deliveries ORDER BY seq") == await rows.sql(
        "SELECT seq FROM signals ORDER BY seq"
    )
    assert await rows.states("positions") == ["opening"]


async def test_an_outage_between_is_no_entering(
    rows: Rows, kept: Kept, gatekeeper: Gatekeeper
) -> None:
    await waits(rows, gatekeeper)
    await rows.adopt(kept, "NEAR", *TOP, max_age=timedelta(0))
    await gatekeeper.reconsider()
    assert await verdicts(rows) == [("received", None)]
    await rows.sql("UPDATE signals SET waits_until = clock_timestamp()")
    await gatekeeper.reconsider()
    assert await verdicts(rows) == [("expired", "not_in_list")]


async def test_a_ticker_kept_by_the_margin_is_bought_until_it_falls_below(
    rows: Rows, kept: Kept, gatekeeper: Gatekeeper
) -> None:
    kept = await rows.change_screen(a_screen(top_n=3, margin=2))
    await rows.adopt(kept, *TOP, "NEAR", "FAR")
    await rows.adopt(kept, "NEAR", *TOP, "FAR")
    for place, expected in ((4, "approved"), (5, "approved"), (6, "rejected"), (5, "rejected")):
        names = ["A", "B", "C", "T0", "E"]
        names.insert(place - 1, "T1")
        await rows.adopt(kept, *names)
        await rows.alert("T1", BUY)
        await gatekeeper.step()
        assert (await verdicts(rows))[-1][0] == expected, place


@pytest.mark.parametrize("round_", range(6))
async def test_two_who_reconsider_and_two_who_judge_decide_it_once(
    rows: Rows, kept: Kept, round_: int
) -> None:
    """The ticker comes in, a sell arrives, and everybody looks at the same moment."""
    names = [f"W{n}" for n in range(12)]
    gatekeepers = [a_gatekeeper(rows.database) for _ in range(4)]
    for name in names:
        await rows.alert(name, BUY)
    while await gatekeepers[0].step() == AGAIN:
        pass
    kept = await rows.change_screen(a_screen(top_n=20, wait=20))
    await rows.adopt(kept, *names)
    sold = names[round_ % 2 :: 2]
    await asyncio.gather(
        gatekeepers[0].reconsider(),
        rows.append(*(an_entry(name, SELL) for name in sold)),
        gatekeepers[1].reconsider(),
        gatekeepers[2].step(),
        gatekeepers[3].step(),
    )
    for _ in range(2):
        await gatekeepers[2].step()
        await gatekeepers[0].reconsider()
    found = await rows.sql("SELECT ticker, side, status FROM signals ORDER BY seq")
    by_ticker = {name: [r.status for r in found if r.ticker == name] for name in names}
    for name, statuses in by_ticker.items():
        if name not in sold:
            assert statuses == ["approved"]
        else:  # the wait ended first, or the buy was approved first and the sell took it back
            assert statuses in (["expired", "rejected"], ["approved", "approved"]), name
    decided = [e for e in await rows.events() if e in {"signal.approved", "signal.expired"}]
    assert len(decided) == len(set(names)) + sum(
        by_ticker[name] == ["approved", "approved"] for name in sold
    )
    assert await rows.sql("SELECT count(*) FROM positions WHERE state IN ('opening', 'open')") == [
        len(names) - len(sold)
    ]
