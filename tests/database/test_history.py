from datetime import UTC, datetime, timedelta

import pytest

from database import history
from database.audit import Facts
from database.history import Former
from database.screens import ScreenId
from domain.universe import FetchOutcome
from tests.database.lists import Lists, at, begun
from tests.database.rows import Rows, new_id


@pytest.fixture
async def lists(rows: Rows) -> Lists:
    return await begun(rows)


async def page(
    rows: Rows, screen: ScreenId | None, before: int | None = None, limit: int = 50
) -> list[Facts]:
    async with rows.database.read() as connection:
        return await history.page(connection, screen=screen, before=before, limit=limit)


async def state(rows: Rows, moment: datetime) -> Former | None:
    async with rows.database.read() as connection:
        return await history.at(connection, moment)


async def version_at(rows: Rows, second: float) -> int | None:
    found = await state(rows, at(second))
    assert found
    return found.ranked and found.ranked.universe.version


async def test_versions_are_read_newest_first_with_what_changed(lists: Lists) -> None:
    first = await lists.add(1, "A", "B", "C")
    second = await lists.add(2, "A", "C", "B", confirmed=9)
    (new, old) = await page(lists.rows, lists.screen)
    assert (new["version"], old["version"]) == (second, first)
    assert (old["entered"], old["dropped"]) == ([], [])
    assert (new["entered"], new["dropped"], new["kept"]) == (["C"], ["B"], [])
    assert (new["screen"], new["size"], new["total"], new["top_n"]) == ("first screen", 3, 45, 2)
    assert (new["fetched_at"], new["confirmed_at"]) == (at(2), at(9))


async def test_pages_of_one_screen_or_of_all_meet_without_gap(lists: Lists) -> None:
    made = [await lists.add(second, "A", f"T{second}") for second in range(5)]
    seen: list[int] = []
    before = None
    while found := await page(lists.rows, lists.screen, before, limit=2):
        seen += [row["version"] for row in found]
        before = seen[-1]
    assert seen == made[::-1]
    assert [row["version"] for row in await page(lists.rows, None)] == seen
    assert await page(lists.rows, ScreenId(new_id())) == []


async def test_a_version_is_read_with_its_rows(lists: Lists) -> None:
    lists.margin = 1
    await lists.add(1, "A", "B")
    version = await lists.add(2, "A", "C", "B", prices=[1.5, None, 3.0], volumes=[7, 8, None])
    async with lists.rows.database.read() as connection:
        found = await history.one(connection, version)
        assert await history.one(connection, version + 1) is None
    assert found
    facts, ranked = found
    assert facts == (await page(lists.rows, None))[0]
    assert ranked.universe.tickers == ("A", "C", "B")
    assert ranked.universe.kept == {"B"}
    assert (ranked.prices, ranked.volumes) == ([1.5, None, 3.0], [7, 8, None])


async def test_before_there_was_a_screen_there_is_no_state(lists: Lists) -> None:
    assert await state(lists.rows, at(-0.001)) is None
    found = await state(lists.rows, at(0))
    assert found
    assert (found.name, found.ranked, found.looked) == ("first screen", None, None)


async def test_the_list_of_a_moment_is_the_newest_until_then(lists: Lists) -> None:
    first, second = await lists.add(10, "A"), await lists.add(20, "B")
    assert await version_at(lists.rows, 9.999) is None
    assert await version_at(lists.rows, 10) == first
    assert await version_at(lists.rows, 19.999) == first
    assert await version_at(lists.rows, 20) == second
    assert await version_at(lists.rows, 9_999) == second


async def test_a_list_was_confirmed_by_the_looks_until_then(lists: Lists) -> None:
    version = await lists.add(10, "A", confirmed=40)
    for second, outcome in ((10, "ok"), (20, "ok"), (30, "blocked"), (40, "ok")):
        await lists.look(second, outcome, version if outcome == "ok" else None)

    async def confirmed(second: float) -> tuple[datetime, FetchOutcome] | None:
        found = await state(lists.rows, at(second))
        if not (found and found.ranked and found.looked):
            return None
        return found.ranked.universe.confirmed_at, found.looked.outcome

    assert await confirmed(5) is None
    assert await confirmed(19) == (at(10), FetchOutcome.OK)
    assert await confirmed(29) == (at(20), FetchOutcome.OK)
    assert await confirmed(39) == (at(20), FetchOutcome.BLOCKED)
    assert await confirmed(41) == (at(40), FetchOutcome.OK)


async def test_a_list_nobody_looked_for_was_confirmed_when_it_came(lists: Lists) -> None:
    await lists.add(10, "A", confirmed=90)
    found = await state(lists.rows, at(50))
    assert found
    assert found.ranked
    assert found.ranked.universe.confirmed_at == at(10)


async def test_back_at_its_old_address_the_old_list_was_in_force(lists: Lists) -> None:
    home = lists.url
    old = await lists.add(10, "A")
    await lists.move(20, "another")
    new = await lists.add(25, "B")
    await lists.move(30, home)
    seconds = (19, 20, 24, 25, 29, 30, 99)
    found = [await version_at(lists.rows, second) for second in seconds]
    assert found == [old, None, None, new, new, old, old]


async def test_the_screen_of_a_moment_is_the_one_in_force_then(rows: Rows, lists: Lists) -> None:
    await lists.add(5, "A")
    other = Lists(rows, lists.screen, lists.url)
    (id,) = await rows.sql(
        "INSERT INTO screens (id, name, url, top_n, refresh_sec, active)"
        " SELECT gen_random_uuid(), 'second screen', 'other', 9, 30, false RETURNING id"
    )
    await rows.sql(
        "INSERT INTO screen_versions (screen_id, version, active, kind, url, top_n, refresh_sec,"
        " margin, wait_sec, whole_market, slow_when_closed, made_at)"
        " VALUES (:id, 1, true, 'finviz', 'other', 9, 30, 0, 0, false, false, :at)",
        id=id,
        at=at(60),
    )
    await other.move(60, lists.url, active=False)
    before, after = await state(rows, at(59)), await state(rows, at(60))
    assert before
    assert after
    assert (before.name, before.screen.top_n) == ("first screen", 2)
    assert (after.name, after.screen.top_n, after.ranked) == ("second screen", 9, None)


async def test_nobody_is_told_of_the_future(lists: Lists) -> None:
    found = await state(lists.rows, datetime(8999, 1, 1, tzinfo=UTC))
    (now,) = await lists.rows.sql("SELECT clock_timestamp()")
    assert found
    assert timedelta(0) <= now - found.at < timedelta(minutes=1)


async def test_looks_are_read_newest_first_and_by_outcome(lists: Lists) -> None:
    outcomes = ("ok", "blocked", "ok", "throttled")
    ids = [await lists.look(second, outcome) for second, outcome in enumerate(outcomes)]

    async def looks(outcome: str | None, before: int | None = None) -> list[int]:
        wanted = None if outcome is None else FetchOutcome(outcome)
        async with lists.rows.database.read() as connection:
            found = await history.fetches(connection, outcome=wanted, before=before, limit=3)
        return [row["id"] for row in found]

    assert await looks(None) == ids[:0:-1]
    assert await looks(None, ids[1]) == [ids[0]]
    assert await looks("ok") == [ids[2], ids[0]]
    assert await looks("ok", ids[2]) == [ids[0]]
    assert await looks("login") == []
