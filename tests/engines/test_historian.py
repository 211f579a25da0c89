import logging
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, Counter

from engines.universe.historian import EVERY, Historian
from engines.worker import AGAIN
from tests.database.lists import Lists, begun
from tests.database.rows import Rows


@pytest.fixture
async def lists(rows: Rows) -> Lists:
    """Seven lists and five looks of January 2025."""
    lists = await begun(rows)
    for second in range(7):
        await lists.add(second, f"T{second}")
    for second in range(5):
        await lists.look(second)
    return lists


def a_historian(rows: Rows, keep: timedelta) -> tuple[Historian, CollectorRegistry]:
    registry = CollectorRegistry()
    deleted = Counter("deleted", "Rows", ["table"], registry=registry)
    return Historian(database=rows.database, keep=keep, deleted=deleted, batch=3), registry


def counted(registry: CollectorRegistry, table: str) -> float | None:
    return registry.get_sample_value("deleted_total", {"table": table})


async def left(rows: Rows) -> list[int]:
    return [
        *await rows.sql("SELECT count(*) FROM universes UNION ALL SELECT count(*) FROM fetches")
    ]


async def test_a_round_goes_batch_by_batch_and_is_counted_and_told(
    lists: Lists, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    historian, registry = a_historian(lists.rows, timedelta(days=30))
    assert await historian.step() == AGAIN
    assert await left(lists.rows) == [4, 2]
    assert await historian.step() == AGAIN
    assert await left(lists.rows) == [1, 0]  # the newest list stays
    assert await historian.step() == EVERY
    assert (counted(registry, "universes"), counted(registry, "fetches")) == (6, 5)
    (told,) = [vars(r) for r in caplog.records if r.message == "history.pruned"]
    assert (told["universes"], told["fetches"]) == (6, 5)


async def test_a_round_without_anything_to_delete_is_one_step_and_silent(
    lists: Lists, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    historian, _ = a_historian(lists.rows, timedelta(days=36_500))
    assert [await historian.step(), await historian.step()] == [EVERY, EVERY]
    assert await left(lists.rows) == [7, 5]
    assert not [r for r in caplog.records if r.message == "history.pruned"]


async def test_the_next_round_begins_anew(lists: Lists) -> None:
    historian, registry = a_historian(lists.rows, timedelta(days=30))
    while await historian.step() != EVERY:
        pass
    await lists.add(60, "LATER")
    assert await historian.step() == EVERY
    assert await left(lists.rows) == [1, 0]
    assert counted(registry, "universes") == 7


async def test_two_historians_at_once_delete_each_row_once(lists: Lists) -> None:
    (one, ones), (two, twos) = (a_historian(lists.rows, timedelta(days=30)) for _ in range(2))
    while (await one.step(), await two.step()) != (EVERY, EVERY):
        pass
    assert await left(lists.rows) == [1, 0]
    total = (counted(ones, "universes") or 0) + (counted(twos, "universes") or 0)
    assert total == 6
