from datetime import timedelta

import pytest

from database import around
from domain.signal import SignalId
from domain.why import Around
from tests.database.lists import Lists, at, begun
from tests.database.rows import Rows

JUDGED = """
    UPDATE signals
    SET status = :status, reason = CASE WHEN :status = 'rejected' THEN 'not_in_list' END,
        judged_at = :at, universe_version = :version, rank = :rank, cutoff = :cutoff,
        list_age_ms = 0
    WHERE id = :id
"""


@pytest.fixture
async def lists(rows: Rows) -> Lists:
    return await begun(rows)


async def judged(
    lists: Lists, second: float, version: int | None, rank: int | None, cutoff: int = 2
) -> SignalId:
    """A buy of A that was decided at this second by this list."""
    id = await lists.rows.alert("A")
    approved = rank is not None and rank <= cutoff
    await lists.rows.sql(
        JUDGED,
        id=id,
        at=at(second),
        version=version,
        rank=rank,
        cutoff=cutoff,
        status="approved" if approved else "rejected",
    )
    return id


async def around_of(lists: Lists, id: SignalId) -> Around:
    async with lists.rows.database.read() as connection:
        found = await around.of(connection, id)
    assert found
    return found


def crossings(found: Around) -> tuple[float | None, float | None, float | None]:
    spans = (found.entered_after, found.entered_for, found.left_before)
    return tuple(span if span is None else span / timedelta(seconds=1) for span in spans)  # pyright: ignore[reportReturnType]  three of them


async def test_the_list_of_the_verdict_is_told(lists: Lists) -> None:
    lists.margin = 1
    await lists.add(1, "A", "X")
    version = await lists.add(2, "X", "Y", "A")
    found = await around_of(lists, await judged(lists, 3, version, 3, cutoff=3))
    assert found == Around(
        version=version, screen="first screen", total=45, top_n=2, margin=1, kept=True
    )


async def test_it_entered_later_for_a_while(lists: Lists) -> None:
    version = await lists.add(1, "X", "Y", "A")
    await lists.add(30, "X", "A", "Y")
    await lists.add(40, "A", "X", "Y")
    await lists.add(78, "X", "Y", "A")
    await lists.add(90, "A", "X", "Y")
    found = await around_of(lists, await judged(lists, 10, version, 3))
    assert found.entered_at == at(30)
    assert crossings(found) == (20, 48, None)


async def test_it_had_left_before(lists: Lists) -> None:
    await lists.add(1, "A", "X", "Y")
    version = await lists.add(8, "X", "Y", "A")
    found = await around_of(lists, await judged(lists, 20, version, 3))
    assert crossings(found) == (None, None, 12)


async def test_what_was_in_had_no_need_to_enter_or_leave(lists: Lists) -> None:
    for second, names in enumerate(("AXY", "XYA", "AXY", "XYA", "AXY"), 1):
        await lists.add(second, *names)
    (third,) = await lists.rows.sql("SELECT version FROM universes ORDER BY 1 OFFSET 2 LIMIT 1")
    found = await around_of(lists, await judged(lists, 3, third, 1))
    assert crossings(found) == (None, None, None)


async def test_more_than_an_hour_away_is_not_looked_at(lists: Lists) -> None:
    await lists.add(0, "A", "X")
    version = await lists.add(1, "X", "Y")
    await lists.add(4_000 + 3_601, "A", "X")
    found = await around_of(lists, await judged(lists, 4_000, version, None))
    assert crossings(found) == (None, None, None)


async def test_a_list_that_came_while_it_was_judged_was_at_once(lists: Lists) -> None:
    version = await lists.add(1, "X", "Y")
    await lists.add(9.99, "A", "Y")
    found = await around_of(lists, await judged(lists, 10, version, None))
    assert crossings(found) == (0, None, None)


async def test_other_addresses_do_not_count(lists: Lists) -> None:
    version = await lists.add(1, "X", "Y")
    await lists.move(5, "another")
    await lists.add(6, "X", "Y")
    await lists.add(12, "A", "X")
    found = await around_of(lists, await judged(lists, 4, version, None))
    assert crossings(found) == (None, None, None)


async def test_without_a_list_there_is_nothing_around(lists: Lists) -> None:
    for id in (await judged(lists, 1, None, None), await judged(lists, 1, 999, None)):
        async with lists.rows.database.read() as connection:
            assert await around.of(connection, id) is None
