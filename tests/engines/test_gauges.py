"""Workers and pools as they are measured, and who is rung beside another."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from database.pool import Database
from engines.clock import utc_now
from engines.gauges import Process
from engines.metrics import Metrics
from engines.worker import Bell, Worker
from tests.conftest import FrozenClock
from tests.database.rows import Rows
from tests.engines.conditions import until


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"relay_{name}", labels)


async def nothing() -> timedelta | None:
    return None


async def test_a_step_that_does_not_end_is_seen_while_it_lasts(clock: FrozenClock) -> None:
    go_on = asyncio.Event()

    async def step() -> timedelta | None:
        await go_on.wait()
        return None

    metrics, worker = Metrics(), Worker("keeper", step, clock)
    Process(workers=[worker], pools={}, clock=clock).kept_in(metrics.registry)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: worker.health.begun_at is not None)
    clock.advance(minutes=6)
    assert value(metrics, "worker_step_running_seconds", worker="keeper") == 360
    go_on.set()
    await until(lambda: worker.health.steps == 1)
    assert value(metrics, "worker_step_running_seconds", worker="keeper") == 0
    assert value(metrics, "worker_steps_total", worker="keeper") == 1
    assert value(metrics, "worker_last_step_timestamp_seconds", worker="keeper")
    worker.stop()
    await running


async def test_one_of_several_that_fails_makes_the_process_not_ready() -> None:
    gatekeepers = [Worker(f"gatekeeper {number}", nothing, utc_now) for number in (1, 2)]
    metrics = Metrics()
    Process(workers=gatekeepers, pools={}, clock=utc_now).kept_in(metrics.registry)
    assert value(metrics, "ready") == 1
    gatekeepers[1].health.failures_in_row = 3
    assert value(metrics, "ready") == 0
    assert value(metrics, "worker_failures_in_row", worker="gatekeeper") == 3


async def test_a_pool_tells_who_holds_and_who_waits(rows: Rows) -> None:
    """Of a pool of one connection, once it is lent."""
    metrics, pool = Metrics(), rows.database
    Process(workers=[], pools={"pages": pool}, clock=utc_now).kept_in(metrics.registry)
    before = pool.usage.begun
    async with pool.write():
        assert value(metrics, "database_connections", pool="pages", state="used") == 1
        assert value(metrics, "database_waiting", pool="pages") == 0
    assert pool.usage.begun == before + 1
    assert value(metrics, "database_connections", pool="pages", state="used") == 0
    commits = value(metrics, "database_commit_seconds_count", pool="pages")
    assert commits == sum(pool.usage.commits) > 0
    async with AsyncExitStack() as held:
        for _ in range(pool.size.most):
            await held.enter_async_context(pool.autocommit())
        failed = pool.usage.failed
        late = asyncio.ensure_future(one_more(pool))
        await until(lambda: value(metrics, "database_waiting", pool="pages") == 1)
        await late
    assert (pool.usage.waiting, pool.usage.failed) == (0, failed + 1)


async def one_more(pool: Database) -> None:
    with pytest.raises(PoolTimeoutError):
        async with pool.autocommit():
            pass


def test_who_is_hung_beside_another_is_rung_with_it() -> None:
    bell, rung = Bell(), list[str]()

    class Noting(Worker):
        def wake(self) -> None:
            rung.append(self.name)

    bell.hung(Noting("watchman", nothing, utc_now))
    bell.hung(Noting("chronicler", nothing, utc_now), "watchman")
    bell.rings("watchman")()
    bell.rings("chronicler")()
    assert rung == ["watchman", "chronicler", "chronicler"]
