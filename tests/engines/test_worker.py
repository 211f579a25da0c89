import asyncio
import logging
import time
from datetime import timedelta

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from engines.clock import utc_now
from engines.supervisor import running
from engines.worker import AGAIN, LONGEST_BACK, Worker
from tests.conftest import FrozenClock
from tests.engines.conditions import until
from tests.stalls import stalls

GRACE = timedelta(seconds=5)
SOON = timedelta(milliseconds=1)


class Steps:
    """A step that counts, and does what it is told."""

    def __init__(self, rest: timedelta | None = None, failing: int = 0) -> None:
        self.rest, self.failing = rest, failing
        self.taken = 0

    async def __call__(self) -> timedelta | None:
        self.taken += 1
        await asyncio.sleep(0)
        if self.taken <= self.failing:
            raise RuntimeError(f"failure {self.taken}")
        return self.rest


def a_worker(step: Steps, clock: FrozenClock | None = None) -> Worker:
    return Worker("a worker", step, clock or utc_now, after_failure=SOON)


async def test_ten_times_fifty_workers_start_and_stop() -> None:
    for _ in range(10):
        steps = [Steps(rest) for rest in (None, AGAIN, SOON, GRACE, None) for _ in range(10)]
        async with running([a_worker(step) for step in steps], grace=GRACE):
            await until(lambda steps=steps: all(step.taken for step in steps))
        taken = [step.taken for step in steps]
        await asyncio.sleep(0)
        assert [step.taken for step in steps] == taken
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_worker_without_work_rests_until_it_is_woken() -> None:
    step = Steps()
    worker = a_worker(step)
    async with running([worker], grace=GRACE):
        for turn in range(1, 30):
            await until(lambda turn=turn: step.taken == turn)
            for _ in range(5):
                await asyncio.sleep(0)
            assert step.taken == turn
            worker.wake()


async def test_whoever_wakes_it_during_a_step_is_not_missed() -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    taken = 0

    async def step() -> timedelta | None:
        nonlocal taken
        taken += 1
        begun.set()
        await go.wait()
        return None

    worker = Worker("a worker", step, utc_now)
    async with running([worker], grace=GRACE):
        await begun.wait()
        worker.wake()
        go.set()
        await until(lambda: taken == 2)


async def test_a_worker_takes_no_more_than_its_share_however_often_it_is_woken() -> None:
    loop, began, ended = asyncio.get_running_loop(), list[float](), list[float]()

    async def step() -> timedelta | None:
        began.append(loop.time())
        await asyncio.sleep(0.02)
        ended.append(loop.time())
        return AGAIN if len(began) < 3 else None

    worker = Worker("a worker", step, utc_now, share=0.25)
    async with running([worker], grace=GRACE):
        for count in range(1, 5):
            await until(lambda count=count: len(ended) == count)
            worker.wake()
    for before, start, end in zip([*began], [*began[1:]], [*ended], strict=False):
        at_least = min(2.9 * (end - before), 0.99 * LONGEST_BACK)
        assert start - end > at_least, "three times as long as it worked"


async def test_a_worker_that_stands_back_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.worker.LONGEST_BACK", 60.0)
    step = Steps(AGAIN)
    worker = Worker("a worker", step, utc_now, share=1e-9)
    with stalls() as stalled:
        async with running([worker], grace=GRACE):
            await until(lambda: step.taken == 1)
            began = time.monotonic()
        assert stalled.at_work(began) < 0.5


async def test_a_failing_step_is_waited_out_and_tried_again(
    clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    step = Steps(failing=5)
    worker = a_worker(step, clock)
    async with running([worker], grace=GRACE):
        await until(lambda: worker.health.failures_in_row >= 3)
        assert worker.health.failure is not None
        assert worker.health.failure.startswith("RuntimeError: failure")
        assert worker.health.stepped_at is None
        await until(lambda: step.taken == 6 and worker.health.failures_in_row == 0)
    assert worker.health.stepped_at == worker.health.failed_at == clock()
    failures = [r for r in caplog.records if r.name == "engines.worker"]
    assert {r.levelno for r in failures} == {logging.ERROR}
    assert len(failures) == 5
    assert [bool(r.exc_info) for r in failures] == [True, False, False, False, False]


async def test_a_busy_database_is_told_in_a_line_and_louder_when_it_stays_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def step() -> timedelta | None:
        raise PoolTimeoutError("QueuePool limit reached")

    worker = Worker("a worker", step, utc_now, after_failure=SOON)
    async with running([worker], grace=GRACE):
        await until(lambda: worker.health.failures >= 3)
    told = [record for record in caplog.records if record.message == "worker.failed"]
    assert [record.levelname for record in told[:3]] == ["WARNING", "WARNING", "ERROR"]
    assert {record.exc_info for record in told} == {None}
    assert {vars(record)["error"] for record in told} == {"TimeoutError"}


async def test_a_worker_that_fails_for_ever_backs_off_to_a_second_and_still_stops() -> None:
    step = Steps(failing=10**9)
    worker = Worker("a worker", step, utc_now, after_failure=timedelta(hours=1))
    with stalls() as stalled:
        async with running([worker], grace=GRACE):
            began = time.monotonic()
            await until(lambda: step.taken == 2)
            assert time.monotonic() - began > 0.9
            assert stalled.at_work(began) < 3
    assert worker.health.failures_in_row == 2


async def test_a_step_is_finished_before_its_worker_stops() -> None:
    begun, finished = asyncio.Event(), False

    async def step() -> timedelta | None:
        nonlocal finished
        begun.set()
        await asyncio.sleep(0.05)
        finished = True
        return None

    async with running([Worker("a worker", step, utc_now)], grace=GRACE):
        await begun.wait()
    assert finished


async def test_a_step_that_does_not_end_is_abandoned_after_the_grace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def step() -> timedelta | None:
        await asyncio.sleep(3_600)
        return None

    with stalls() as stalled:
        async with running([Worker("stuck", step, utc_now)], grace=timedelta(seconds=0.1)):
            await asyncio.sleep(0)
            began = time.monotonic()
        assert stalled.at_work(began) < 2
    told = [one.message for one in caplog.records if one.name == "engines.supervisor"]
    assert told == ["worker.abandoned"]


async def test_nobody_to_run_is_no_trouble() -> None:
    async with running([], grace=GRACE):
        pass
