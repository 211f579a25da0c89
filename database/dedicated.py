"""A connection for one caller alone: what is asked hundreds of times a second skips the pool."""

import asyncio
import time
from asyncio import Lock
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sqlalchemy import TextClause
from sqlalchemy.pool import PoolProxiedConnection

from database.connection import Connection, Result, Values
from database.usage import Usage


@dataclass(frozen=True, slots=True)
class _Open:
    """What the pool lent, and what it is asked by."""

    lent: PoolProxiedConnection
    connection: Connection
    since: float


@dataclass(slots=True)
class Dedicated:
    """Asks statements, each a transaction of its own, in one round trip; callers take turns.

    It is made when first asked, with everything that connections of its pool are made with, and
    stays lent from it. Whatever fails gives the connection up, and the next call makes another.
    ``trusted`` tells since when connections are believed to be alive, ``failed`` is told of each
    failure, and ``wrote`` of each commit that added audit events.
    """

    borrow: Callable[[], Awaitable[tuple[PoolProxiedConnection, Connection]]]
    trusted: Callable[[], float]
    longest: float
    usage: Usage
    failed: Callable[[BaseException], None]
    wrote: Callable[[], None]
    _open: _Open | None = field(default=None, init=False)
    _turn: Lock = field(default_factory=Lock, init=False)

    async def execute(self, statement: TextClause, values: Values | None = None) -> Result:
        """Ask, and return all rows.

        Raises what a pool's connection would: SQLAlchemy's DBAPIError for what the server or the
        driver refused, OSError (TimeoutError is one) for a server that cannot be heard.
        """
        async with self._turn:
            try:
                return await self._asked(statement, values)
            except BaseException as error:
                self.failed(error)
                self._drop()
                raise

    async def _asked(self, statement: TextClause, values: Values | None) -> Result:
        self.usage.begun += 1
        opened = self._open
        if opened is None or self._is_lost(opened):
            self._drop()
            async with asyncio.timeout(self.longest):
                opened = self._open = _Open(*await self.borrow(), since=time.monotonic())
        connection = opened.connection
        found = await connection.execute(statement, values)
        if connection.wrote_events:
            connection.wrote_events = False
            self.wrote()
        return found

    def _is_lost(self, opened: _Open) -> bool:
        return opened.connection.driver.is_closed() or opened.since <= self.trusted()

    def _drop(self) -> None:
        """Hang up, as the pool does: a dead server would not answer a goodbye."""
        opened, self._open = self._open, None
        if opened:
            opened.lent.invalidate()
            opened.lent.close()

    async def close(self) -> None:
        async with self._turn:
            self._drop()
