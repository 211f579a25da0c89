"""Saved filters: each operator's own, by name, and not without end."""

from database import saved_filters
from database.saved_filters import MOST, SavedFilter
from tests.database.rows import Rows


async def save(
    rows: Rows, actor: str, name: str, query: str = "q=a", page: str = "signals"
) -> bool:
    async with rows.database.write() as connection:
        return await saved_filters.save(connection, actor, page, SavedFilter(name, query))


async def names(rows: Rows, actor: str, page: str = "signals") -> list[tuple[str, str]]:
    async with rows.database.read() as connection:
        found = await saved_filters.listed(connection, actor, page)
    return [(one.name, one.query) for one in found]


async def test_each_operator_has_his_own_on_each_page(rows: Rows) -> None:
    assert await save(rows, "anna", "mine")
    assert await save(rows, "anna", "other page", page="activity")
    assert await save(rows, "bert", "mine", "q=b")
    assert await names(rows, "anna") == [("mine", "q=a")]
    assert await names(rows, "bert") == [("mine", "q=b")]


async def test_a_name_is_one_filter_and_the_list_is_by_name(rows: Rows) -> None:
    for name, query in (("b", "1"), ("A", "2"), ("b", "3")):
        assert await save(rows, "anna", name, query)
    assert await names(rows, "anna") == [("A", "2"), ("b", "3")]


async def test_there_are_so_many_and_one_of_them_may_still_change(rows: Rows) -> None:
    for number in range(MOST):
        assert await save(rows, "anna", f"n{number}")
    assert not await save(rows, "anna", "one more")
    assert await save(rows, "anna", "n0", "changed")
    assert len(await names(rows, "anna")) == MOST


async def test_what_is_deleted_is_gone(rows: Rows) -> None:
    await save(rows, "anna", "mine")
    for there in (True, False):
        async with rows.database.write() as connection:
            assert await saved_filters.delete(connection, "anna", "signals", "mine") is there
    assert await names(rows, "anna") == []
