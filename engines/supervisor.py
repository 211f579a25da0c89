"""Start every worker, stop every worker, and know how each is doing."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from engines.worker import Worker

log = logging.getLogger(__name__)


@asynccontextmanager
async def running(workers: Sequence[Worker], *, grace: timedelta) -> AsyncGenerator[None]:
    """Run workers for the length of the block; on exit let each finish its step, then insist."""
    tasks = {asyncio.create_task(w.run(), name=w.name) for w in workers}
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        _, late = await asyncio.wait(tasks, timeout=grace.total_seconds()) if tasks else ((), ())
        for task in late:
            log.warning("worker.abandoned", extra={"worker": task.get_name()})
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
