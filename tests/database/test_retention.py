from datetime import timedelta

import pytest

from database import retention
from database.retention import Batch
from tests.database.lists import Lists, begun
from tests.database.rows import Rows

KEEP = timedelta(days=400)


@pytest.fixture
async def lists(rows: Rows) -> Lists:
    return await begun(rows)


async def age(lists: Lists, versions: list[int], days: float, confirmed: float) -> None:
    await lists.rows.sql(
        "UPDATE universes SET fetched_at = now() - CAST(:days AS interval),"
        " confirmed_at = now() - CAST(:confirmed AS interval) WHERE version = ANY(:versions)",
        versions=versions,
        days=timedelta(days=days),
        confirmed=timedelta(days=confirmed),
    )


async def prune(rows: Rows, *, limit: int = 100, keep: timedelta = KEEP) -> list[Batch]:
    """Batches until there is no more, as the historian asks for them."""
    batches = [Batch(0, 0)]
    while (after := batches[-1].after) is not None:
        async with rows.database.autocommit() as connection:
            batches.append(await retention.universes(connection, keep, after, limit))
    return batches[1:]


async def left(rows: Rows) -> list[int]:
    return list(await rows.sql("SELECT version FROM universes ORDER BY 1"))


async def test_what_is_too_old_goes_and_the_rest_stays(rows: Rows, lists: Lists) -> None:
    made = [await lists.add(n, f"T{n}") for n in range(6)]
    await age(lists, made[:3], 402, 401)
    await age(lists, made[3:4], 401, 399)  # still confirmed a day later
    await age(lists, made[4:], 300, 300)
    assert await prune(rows) == [Batch(3, None)]
    assert await left(rows) == made[3:]
    assert await prune(rows) == [Batch(0, None)]


async def test_the_newest_of_each_screen_and_address_stays_however_old(
    rows: Rows, lists: Lists
) -> None:
    home = lists.url
    for n, url in enumerate((home, home, "another", "another", home, "third")):
        lists.url = url
        await lists.add(n, f"T{n}")
    made = await left(rows)
    await age(lists, made, 999, 999)
    await prune(rows)
    assert await left(rows) == made[3:]


async def test_batches_follow_one_another_past_what_stays(rows: Rows, lists: Lists) -> None:
    made: list[int] = []
    for n in range(9):
        lists.url = "abandoned" if n < 1 else "present"
        made.append(await lists.add(n, f"T{n}"))
    await age(lists, made[:7], 500, 500)
    await age(lists, made[7:], 1, 1)
    assert await prune(rows, limit=2) == [
        Batch(1, made[1]),
        Batch(2, made[3]),
        Batch(2, made[5]),
        Batch(1, None),
    ]
    assert await left(rows) == [made[0], *made[7:]]


async def test_an_empty_history_is_done_at_once(rows: Rows) -> None:
    assert await prune(rows) == [Batch(0, None)]


async def test_looks_go_by_their_age_and_in_batches(rows: Rows, lists: Lists) -> None:
    ids = [await lists.look(n) for n in range(5)]
    await rows.sql(
        "UPDATE fetches SET at = now() - interval '401 days' WHERE id = ANY(:ids)", ids=ids[:3]
    )
    await rows.sql("UPDATE fetches SET at = now() WHERE id = ANY(:ids)", ids=ids[3:])
    found: list[Batch] = []
    after: int | None = 0
    while after is not None:
        async with rows.database.autocommit() as connection:
            found.append(await retention.fetches(connection, KEEP, after, 2))
        after = found[-1].after
    assert found == [Batch(2, ids[1]), Batch(1, None)]
    assert await rows.sql("SELECT id FROM fetches ORDER BY 1") == ids[3:]


async def test_events_stay(rows: Rows, lists: Lists) -> None:
    await lists.add(1, "A")
    before = await rows.events()
    assert before
    async with rows.database.autocommit() as connection:
        await retention.universes(connection, timedelta(0), 0, 10)
        await retention.fetches(connection, timedelta(0), 0, 10)
    assert await rows.events() == before
