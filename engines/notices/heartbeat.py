"""The heartbeat: calls an address every minute while ready, so that silence is noticed there."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from engines.metrics import Metrics

log = logging.getLogger(__name__)

EVERY, UNREADY = timedelta(minutes=1), timedelta(seconds=5)
"""Between two calls, and until it is looked again whether we are ready."""


@dataclass(slots=True, kw_only=True)
class Heartbeat:
    """``call`` returns what went wrong, or None."""

    call: Callable[[], Awaitable[str | None]]
    is_ready: Callable[[], Awaitable[bool]]
    metrics: Metrics
    _failing: bool = False

    async def step(self) -> timedelta:
        if not await self.is_ready():
            self.metrics.heartbeat.labels("withheld").inc()
            return UNREADY
        error = await self.call()
        self.metrics.heartbeat.labels("sent" if error is None else "failed").inc()
        self._tell(error)
        return EVERY

    def _tell(self, error: str | None) -> None:
        """Once when it begins to fail, once when that is over."""
        if error is not None and not self._failing:
            log.warning("heartbeat.failing", extra={"error": error})
        if error is None and self._failing:
            log.info("heartbeat.mended")
        self._failing = error is not None
