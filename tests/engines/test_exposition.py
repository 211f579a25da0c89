"""The exposition: one look for all who ask at once, and an answer also when nobody answers it."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from database import figures
from database.pool import Database
from engines import exposition, lag
from engines.clock import utc_now
from engines.exposition import Exposition
from engines.gauges import Limits
from engines.lag import Lag
from engines.metrics import Metrics
from engines.siblings import Place, Siblings
from tests.database.rows import Rows
from tests.engines.conditions import until

LIMITS = Limits(list_max_age=None, retention=timedelta(days=400))


def an_exposition(database: Database, **given: Any) -> Exposition:
    usual: dict[str, Any] = {"metrics": Metrics(), "data_dir": Path("no-such-folder")}
    return Exposition(database=database, clock=utc_now, limits=LIMITS, **{**usual, **given})


@contextmanager
def looks(monkeypatch: pytest.MonkeyPatch) -> Generator[list[int]]:
    """Counts the looks at the database."""
    found: list[int] = []
    read = figures.read

    async def counted(connection: Any) -> figures.Figures:
        found.append(1)
        return await read(connection)

    monkeypatch.setattr(figures, "read", counted)
    yield found


async def test_whoever_asks_at_once_shares_a_look(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rows.screen()
    await rows.alert()
    asked = an_exposition(rows.database)
    monkeypatch.setattr(exposition, "FRESH", 60.0)  # twenty texts take a slow machine a second
    with looks(monkeypatch) as found:
        texts = await asyncio.gather(*(asked.render() for _ in range(20)))
    assert len(found) == 1
    assert all(b"relay_signals_undecided 1.0" in text for text in texts)


async def test_a_database_that_does_not_answer_is_told_and_the_rest_too() -> None:
    nobody = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    try:
        text = (await an_exposition(nobody, metrics=Metrics("1.2", "abc")).render()).decode()
    finally:
        await nobody.close()
    assert "relay_database_up 0.0" in text
    assert 'relay_build_info{revision="abc",version="1.2"} 1.0' in text
    assert "relay_data_free_bytes" in text
    assert "relay_positions" not in text


async def test_what_is_true_of_all_processes_is_told_once(rows: Rows, tmp_path: Path) -> None:
    await rows.screen()
    metrics = Metrics()
    siblings = Siblings(Place(1, 1, tmp_path), metrics)
    text = (
        await an_exposition(rows.database, metrics=metrics, siblings=siblings).render()
    ).decode()
    assert 'relay_signals_undecided{process="1"} 0.0' in text
    assert "\nrelay_buying_paused 0.0" in text
    assert text.count("# TYPE relay_buying_paused ") == 1


async def test_a_loop_that_was_busy_tells_how_late_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "EVERY", 0.01)
    told: list[float] = []
    with Lag(told.append).measured():
        await until(lambda: len(told) >= 3)
    known = len(told)
    await asyncio.sleep(0.05)
    assert len(told) == known  # it stops with the block
    assert all(one >= 0 for one in told)
