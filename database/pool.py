"""Transactions. Whoever opens one owns its commit; every query function borrows its connection."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NewType, Self

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

ReadConnection = NewType("ReadConnection", AsyncConnection)
"""A connection inside a READ ONLY transaction: PostgreSQL itself refuses writes on it."""

Connection = NewType("Connection", ReadConnection)
"""A connection that may write. Usable wherever a read connection is."""

UNAVAILABLE = (
    OSError,
    TimeoutError,
    InterfaceError,
    OperationalError,
    PoolTimeoutError,
)

NOT_NOW = frozenset({"08", "40", "53", "57", "58"})
"""SQLSTATE classes (PostgreSQL documentation, appendix A): connection lost, transaction rolled
back, out of resources, operator intervention (shutting down, starting up), system error."""


class UnavailableError(Exception):
    """The database did not answer in time, or not at all; the same call may succeed later."""


@dataclass(frozen=True, slots=True)
class Database:
    """One connection pool, and the only ways into it. Every wait on it is bounded.

    Intake, engines and pages each have a pool of their own, so that none can starve another.
    """

    _engine: AsyncEngine

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        pool: int = 5,
        patience: timedelta = timedelta(seconds=2),
        ask_first: bool = False,
    ) -> Self:
        """Open a pool of at most ``pool`` connections; no query may take longer than ``patience``.

        `synchronous_commit` is set on each connection, because a server default of `off` would
        lose acknowledged alerts in a crash. ``ask_first`` tries a connection before it is handed
        out, so that no reader meets one that died meanwhile; a writer in a hurry does without.
        """
        seconds = patience.total_seconds()
        engine = create_async_engine(
            url,
            pool_size=pool,
            max_overflow=0,
            pool_timeout=1,
            pool_use_lifo=True,
            pool_pre_ping=ask_first,
            connect_args={
                "timeout": seconds,
                "command_timeout": seconds,
                "server_settings": {"synchronous_commit": "on", "application_name": "relay"},
            },
        )
        return cls(engine)

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[Connection]:
        """A read-write transaction: committed when the block ends, rolled back when it raises."""
        async with self._engine.begin() as connection:
            yield Connection(ReadConnection(connection))

    @asynccontextmanager
    async def autocommit(self) -> AsyncGenerator[Connection]:
        """A connection on which every statement is its own transaction: one round trip each."""
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            yield Connection(ReadConnection(connection))

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[ReadConnection]:
        """A READ ONLY transaction with one snapshot, so that all its numbers agree."""
        async with self._engine.connect() as connection:
            await connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            async with connection.begin():
                yield ReadConnection(connection)

    @property
    def url(self) -> str:
        return self._engine.url.render_as_string(hide_password=False)

    async def close(self) -> None:
        await self._engine.dispose()


def is_unavailable(error: BaseException) -> bool:
    """Whether an error means "not now" rather than "never": connection lost, refused, timed out."""
    if isinstance(error, DBAPIError) and (
        error.connection_invalidated or _sqlstate(error)[:2] in NOT_NOW
    ):
        return True
    return isinstance(error, UNAVAILABLE)


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")
