import random  # noqa: TID251  seeded, so that the same past can be had again
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from database import ranks
from database.ranks import Limits, Ranks, Wanted
from domain.spell import Point, spells
from domain.ticker import Ticker
from tests.database.lists import BEGAN, Lists, at, begun
from tests.database.rows import BUY, SELL, Rows, an_entry

NONE_EXACT = Limits(exact=0, samples=7)
A = Ticker("A")


@pytest.fixture
async def lists(rows: Rows) -> Lists:
    return await begun(rows, margin=1)


async def over_time(
    lists: Lists,
    since: float,
    until: float,
    *,
    ticker: Ticker = A,
    limits: Limits = ranks.LIMITS,
) -> Ranks:
    wanted = Wanted(screen=lists.screen, ticker=ticker, since=at(since), until=at(until))
    async with lists.rows.database.read() as connection:
        return await ranks.over_time(connection, wanted, limits)


def steps(found: Ranks) -> list[tuple[float, int | None, bool]]:
    return [((p.at - BEGAN).total_seconds(), p.rank, p.is_in) for p in found.points]


async def test_points_are_where_the_rank_changes(lists: Lists) -> None:
    for second, names in enumerate(("XAY", "XAZ", "AXY", "XYA", "XYZA", "AXY", "XY", "YX"), 1):
        await lists.add(second, *names)
    found = await over_time(lists, 0, 100)
    assert steps(found) == [
        (0, None, False),
        (1, 2, True),
        (3, 1, True),
        (4, 3, True),  # kept by the margin
        (5, 4, False),
        (6, 1, True),
        (7, None, False),
    ]
    assert (found.every, found.capped) == (None, False)


async def test_a_period_begins_with_the_list_that_was_there(lists: Lists) -> None:
    version = await lists.add(1, "X", "A")
    await lists.add(20, "A", "X")
    found = await over_time(lists, 10, 15)
    assert found.points == [Point(at=at(10), version=version, rank=2, is_in=True)]
    assert steps(await over_time(lists, 1, 20)) == [(1, 2, True), (20, 1, True)]
    assert steps(await over_time(lists, 0, 20, ticker=Ticker("NOBODY"))) == [(0, None, False)]


async def test_another_address_has_no_list_until_its_first_and_home_the_old_one(
    lists: Lists,
) -> None:
    home = lists.url
    await lists.add(1, "A", "X")
    await lists.move(10, "another")
    await lists.add(15, "X", "A")
    await lists.move(20, home)
    expected = [(0, None, False), (1, 1, True), (10, None, False), (15, 2, True), (20, 1, True)]
    assert steps(await over_time(lists, 0, 100)) == expected
    assert steps(await over_time(lists, 0, 100, limits=NONE_EXACT)) == expected
    assert steps(await over_time(lists, 12, 100))[0] == (12, None, False)


async def random_past(lists: Lists, dice: random.Random) -> None:
    home, names = lists.url, list("ABCDEF")
    for second in range(1, 200):
        if dice.random() < 0.03:
            await lists.move(second - 0.5, dice.choice([home, "another"]))
        if dice.random() < 0.2:
            dice.shuffle(names)
        await lists.add(second, *names[: dice.randint(1, 6)])


def last_until(found: Ranks, moment: datetime) -> Point:
    return max((p for p in found.points if p.at <= moment), key=lambda p: p.at)


async def test_sampled_points_are_true_and_miss_no_coming_and_going(lists: Lists) -> None:
    await random_past(lists, random.Random(7))
    for ticker in map(Ticker, "ABC"):
        exact = await over_time(lists, 20, 250, ticker=ticker)
        sampled = await over_time(lists, 20, 250, ticker=ticker, limits=NONE_EXACT)
        assert len(sampled.points) < len(exact.points)
        assert (sampled.every, sampled.capped) == (timedelta(seconds=230) / 7, False)
        for point in sampled.points:
            truth = last_until(exact, point.at)
            assert (point.rank, point.is_in) == (truth.rank, truth.is_in)
        period = {"since": at(20), "until": at(250)}
        assert spells(sampled.points, **period) == spells(exact.points, **period)
        assert spells(exact.points, **period)


async def test_too_many_comings_and_goings_are_said_and_the_newest_are_kept(lists: Lists) -> None:
    for second in range(1, 41):
        await lists.add(second, *("A" if second % 2 else "Z"), "X", "Y")
    few = replace(NONE_EXACT, samples=1, crossings=5)
    found = await over_time(lists, 0, 50, limits=few)
    assert found.capped
    assert [second for second, _, _ in steps(found)] == [0, 1, 36, 37, 38, 39, 40]
    assert not (await over_time(lists, 35, 50, limits=few)).capped


async def test_other_screens_and_times_do_not_count(rows: Rows, lists: Lists) -> None:
    (other,) = await rows.sql(
        "INSERT INTO screens (id, name, url, top_n, refresh_sec, active)"
        " SELECT gen_random_uuid(), 'other', :url, 2, 60, false RETURNING id",
        url=lists.url,
    )
    await lists.add(1, "A", "X")
    await rows.sql(
        "INSERT INTO universes (screen_id, url, tickers, total, top_n, fetched_at, confirmed_at,"
        " fresh_since, dropped) VALUES (:id, :url, '{}', 0, 2, :at, :at, :at, '{A}')",
        id=other,
        url=lists.url,
        at=at(5),
    )
    for limits in (ranks.LIMITS, NONE_EXACT):
        found = await over_time(lists, 0, 9, limits=limits)
        assert steps(found) == [(0, None, False), (1, 1, True)]


async def test_the_signals_of_the_ticker_come_along_newest_first(rows: Rows, lists: Lists) -> None:
    await rows.destination()
    await rows.append(an_entry("A", BUY), an_entry("B", BUY), an_entry("A", SELL))
    await rows.decide()
    await rows.sql(
        "UPDATE signals SET received_at = CAST(:at AS timestamptz) + seq * interval '1 s'",
        at=at(0),
    )
    found = await over_time(lists, 0, 3)
    said = [(s["side"], s["status"], s["reason"], s["at"]) for s in found.signals]
    assert said == [("sell", "superseded", None, at(3)), ("buy", "superseded", None, at(1))]
    limits = replace(ranks.LIMITS, signals=1)
    assert len((await over_time(lists, 0, 3, limits=limits)).signals) == 1
    assert [s["side"] for s in (await over_time(lists, 1, 2.5)).signals] == []
