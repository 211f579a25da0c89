"""Metrics of several processes: whoever is asked tells those of all, each under its number."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engines import siblings
from engines.metrics import Metrics
from engines.siblings import Place, Siblings


def sibling(folder: Path, number: int, alerts: int) -> Siblings:
    metrics = Metrics()
    metrics.accepted.labels("202").inc(alerts)
    metrics.list_trust.state("fresh")
    metrics.accept_seconds.observe(0.01)
    return Siblings(Place(number, 3, folder), metrics)


async def told(one: Siblings) -> dict[tuple[str, str], float]:
    """Each sample of a few families by its name and process; every family stands once."""
    families: list[Any] = list(text_string_to_metric_families((await one.render()).decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return {
        (sample.name, sample.labels["process"]): sample.value
        for family in families
        for sample in family.samples
        if "le" not in sample.labels
    }


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers is waited for, also on a machine that stands still for a second."""
    monkeypatch.setattr(siblings, "PATIENCE", 60.0)


@pytest.mark.usefixtures("patient")
async def test_whoever_is_asked_tells_of_all_that_answer(tmp_path: Path) -> None:
    first, second = sibling(tmp_path, 1, 5), sibling(tmp_path, 2, 7)
    async with first.answering(), second.answering():
        for asked in (first, second):
            found = await told(asked)
            assert found["relay_alerts_total", "1"] == 5
            assert found["relay_alerts_total", "2"] == 7
            assert found["relay_accept_seconds_count", "2"] == 1
            assert [found["relay_process_up", number] for number in "123"] == [1, 1, 0]
            assert ("relay_alerts_total", "3") not in found
    assert (await told(first))["relay_process_up", "2"] == 0


async def test_one_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    first, second = sibling(tmp_path, 1, 5), sibling(tmp_path, 2, 7)
    release = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    async with first.answering():
        server = await asyncio.start_unix_server(hang, second.place.door(2))
        found = await told(first)
        release.set()
        server.close()
    assert (found["relay_process_up", "2"], found["relay_alerts_total", "1"]) == (0, 5)


@pytest.mark.usefixtures("patient")
async def test_one_that_was_killed_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    first, second = sibling(tmp_path, 1, 5), sibling(tmp_path, 2, 7)
    killed = await asyncio.start_unix_server(lambda _r, w: w.close(), second.place.door(2))
    async with first.answering(), second.answering():
        assert (await told(first))["relay_alerts_total", "2"] == 7
    killed.close()
