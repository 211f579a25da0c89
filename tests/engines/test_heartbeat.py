"""The heartbeat: called while ready, silent while not, a failure told once."""

import logging

import pytest

from engines.metrics import Metrics
from engines.notices.heartbeat import EVERY, UNREADY, Heartbeat


class World:
    """Whether we are ready, and what a call comes to."""

    def __init__(self) -> None:
        self.ready, self.error, self.calls = True, "", 0

    async def is_ready(self) -> bool:
        return self.ready

    async def call(self) -> str | None:
        self.calls += 1
        return self.error or None


@pytest.fixture
def world() -> World:
    return World()


def counted(metrics: Metrics, outcome: str) -> float | None:
    return metrics.registry.get_sample_value("relay_heartbeat_total", {"outcome": outcome})


async def test_it_is_called_every_minute_while_ready(world: World) -> None:
    metrics = Metrics()
    heartbeat = Heartbeat(call=world.call, is_ready=world.is_ready, metrics=metrics)
    assert await heartbeat.step() == EVERY
    world.ready = False
    assert [await heartbeat.step() for _ in range(3)] == [UNREADY] * 3
    assert world.calls == 1
    world.ready = True
    assert await heartbeat.step() == EVERY
    assert world.calls == 2
    assert (counted(metrics, "sent"), counted(metrics, "withheld")) == (2, 3)


async def test_a_failure_is_told_once_and_so_is_its_end(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "engines.notices.heartbeat")
    metrics = Metrics()
    heartbeat = Heartbeat(call=world.call, is_ready=world.is_ready, metrics=metrics)
    world.error = "http 500"
    for _ in range(3):
        assert await heartbeat.step() == EVERY
    world.error = ""
    for _ in range(2):
        await heartbeat.step()
    told = [one.message for one in caplog.records if one.name == "engines.notices.heartbeat"]
    assert told == ["heartbeat.failing", "heartbeat.mended"]
    assert (counted(metrics, "failed"), counted(metrics, "sent")) == (3, 2)
