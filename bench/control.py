"""The control: the same endpoint and the same checks, but a transaction of its own for each alert.

It is started as the relay is, with the same PostgreSQL. To be as fast as such a design can be, it
has a connection for each of twenty requests, and leaves out the lock that makes `seq` the order of
commits.
"""

import asyncio
import re
import sys
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.sql.elements import TextClause

import engine_room
from config import Settings
from database import journal
from database.dedicated import Dedicated
from database.journal import Entry, Receipt
from database.migrate import ROLE
from database.pool import Database, UnavailableError, is_unavailable
from engine_room import House
from engines.relay.intake import Intake, Waiting
from engines.worker import Bell
from launcher import serve
from launcher.server import Application
from main import build

CONNECTIONS = 20
TURN = re.compile(r"CASE WHEN pg_try_advisory_xact_lock\(journal\).*?END AS at_once", re.DOTALL)


class Turns(asyncio.LifoQueue[Dedicated]):
    """Connections that nobody uses; the one used last is the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneByOne(Intake):
    """Appends each alert by itself; nothing is left for ``step``."""

    own: Turns = field(repr=False)
    under_way: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def put(self, entry: Entry, receipt: Waiting) -> None:
        task = asyncio.ensure_future(self._answer(entry, receipt))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def _answer(self, entry: Entry, receipt: Waiting) -> None:
        try:
            found = await self._stored(entry)
        except Exception as error:  # noqa: BLE001  whatever it is, who asked is told
            receipt.set_exception(error)
        else:
            receipt.set_result(found)

    async def _stored(self, entry: Entry) -> Receipt:
        connection = await self.own.get()
        try:
            (receipt,) = await journal.append(connection, [entry])
        except Exception as error:
            if not is_unavailable(error):
                raise
            raise UnavailableError(type(error).__name__) from None
        finally:
            self.own.put_nowait(connection)
        if receipt is None:
            raise UnavailableError("the original of a repeat is gone")
        self.wake_gatekeeper()
        return receipt


def without_lock(statement: TextClause) -> TextClause:
    """The statement that appends, without the turn. Raises ValueError when it has none."""
    found, places = TURN.subn("true AS at_once", statement.text)
    if places != 1:
        raise ValueError("the control has to be told how the journal takes its turn now")
    return text(found)


def _intake(house: House, bell: Bell) -> Intake:
    own = Database.connect(
        house.intake.url, pool=CONNECTIONS, patience=timedelta(seconds=10), role=ROLE
    )
    turns = Turns()
    for _ in range(CONNECTIONS):
        turns.put_nowait(own.dedicated())
    return OneByOne(
        database=house.intake.dedicated(),
        own=turns,
        metrics=house.metrics,
        wake=bell.rings("intake"),
        wake_gatekeeper=bell.rings("gatekeeper"),
    )


def _build(settings: Settings, database_url: str) -> Application:
    journal.APPEND = without_lock(journal.APPEND)
    journal.APPEND_ONE = without_lock(journal.APPEND_ONE)
    engine_room.intake = _intake
    return build(settings, database_url)


if __name__ == "__main__":
    sys.exit(serve.run(_build))
