"""The relocator: lets a new address of a destination count when the time to cancel it is over."""

from dataclasses import dataclass
from datetime import timedelta

from database import pending_addresses
from database.pool import Database
from engines.worker import AGAIN, SELDOM

POLL = SELDOM
"""An address waits longer than that: none is entered elsewhere and due before we have seen it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocator:
    """Of several replicas one applies it; the others find that nothing waits any more."""

    database: Database

    async def step(self) -> timedelta:
        async with self.database.autocommit() as connection:
            due = await pending_addresses.next_due(connection)
        if due is None or due > AGAIN:
            return min(POLL, due or POLL)
        async with self.database.write() as connection:
            await pending_addresses.apply_due(connection)
        return AGAIN
