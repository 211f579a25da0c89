"""The teller: counts judged signals by the minute, so that charts need not read them again."""

from dataclasses import dataclass
from datetime import timedelta

from database import tallies
from database.pool import Database
from engines.worker import AGAIN

EVERY = timedelta(minutes=1)
BATCH = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    """A batch a step, of one replica at a time; what is not counted yet is counted by who asks."""

    database: Database
    batch: int = BATCH

    async def step(self) -> timedelta | None:
        """Count what was judged since; again at once until nothing is left."""
        async with self.database.write() as connection:
            if await tallies.roll(connection, self.batch) == self.batch:
                return AGAIN
            await tallies.forget(connection)
        return EVERY
