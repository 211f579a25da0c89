"""The pulse: one look a second for all workers, instead of one of each; it rings who has work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from database import pulse
from database.pool import Database

EVERY = timedelta(seconds=1)
"""How late is done what nobody here was woken for: what another replica has left, or changed."""


@dataclass(slots=True, kw_only=True)
class Pulse:
    """Rings a worker while it has work, and once when what it follows is not what it was.

    What is told is the state of the rows: a ring that is lost, or a look that fails, is made up
    for by the next.
    """

    database: Database
    ring: Callable[[str], Callable[[], None]]
    _last: Mapping[str, object] = field(default_factory=dict[str, object], init=False)

    async def step(self) -> timedelta:
        async with self.database.autocommit() as connection:
            now = await pulse.beat(connection)
        for worker, found in now.items():
            if found is True or found != self._last.get(worker):
                self.ring(worker)()
        self._last = now
        return EVERY
