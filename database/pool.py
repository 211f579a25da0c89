"""Transactions. Whoever opens one owns its commit; every query function borrows its connection."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NewType, Self

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

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

OUT_OF_TIME = frozenset({"25P03", "25P04", "55P03"})
"""Idle too long in a transaction, a transaction too long, a lock not had in time."""

POOL_WAIT, CONNECT_WAIT = 1.0, 5.0
"""Seconds at most until a connection of the pool is free, and until a new one is made."""


class UnavailableError(Exception):
    """The database did not answer in time, or not at all; the same call may succeed later."""


@dataclass(slots=True)
class _Trust:
    """Hands out connections that are open and were made after the last silence.

    What silenced one most likely silenced all of its age, and each would cost somebody a wait.
    """

    since: float = 0.0

    def lose(self) -> None:
        self.since = time.monotonic()

    def made(self, _made: Any, entry: ConnectionPoolEntry) -> None:
        entry.info["made"] = time.monotonic()

    def lent(self, _lent: Any, entry: ConnectionPoolEntry, _proxy: Any) -> None:
        """Raise DisconnectionError, at which the pool makes another connection."""
        driver: Any = entry.driver_connection
        if entry.info["made"] <= self.since or driver.is_closed():
            raise DisconnectionError

    def ended(self, ended: Any, _entry: ConnectionPoolEntry) -> None:
        """Hang up before anything else is said: a dead server would not answer a goodbye."""
        ended.driver_connection.terminate()


@dataclass(frozen=True, slots=True)
class Database:
    """One connection pool, and the only ways into it. Every wait on it is bounded.

    Intake, engines and pages each have a pool of their own, so that none can starve another.
    """

    _engine: AsyncEngine
    _trust: _Trust
    _longest: float

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        pool: int = 5,
        patience: timedelta = timedelta(seconds=2),
    ) -> Self:
        """Open a pool of at most ``pool`` connections; no query may take longer than ``patience``.

        From the wait for a connection to the end of its commit or rollback nobody holds one for
        longer than ``patience`` and POOL_WAIT together.
        """
        seconds = patience.total_seconds()
        engine = create_async_engine(
            url,
            pool_size=pool,
            max_overflow=0,
            pool_timeout=POOL_WAIT,
            pool_use_lifo=True,
            connect_args={
                "timeout": min(seconds, CONNECT_WAIT),
                "command_timeout": seconds,
                "server_settings": _server_settings(seconds),
            },
        )
        trust = _Trust()
        for name, listener in (
            ("connect", trust.made),
            ("checkout", trust.lent),
            ("close", trust.ended),
        ):
            event.listen(engine.sync_engine, name, listener)
        return cls(engine, trust, seconds + POOL_WAIT)

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[Connection]:
        """A read-write transaction: committed when the block ends, rolled back when it raises."""
        async with self._lent() as connection:
            yield Connection(ReadConnection(connection))

    @asynccontextmanager
    async def autocommit(self) -> AsyncGenerator[Connection]:
        """A connection on which every statement is its own transaction: one round trip each."""
        async with self._lent(isolation_level="AUTOCOMMIT") as connection:
            yield Connection(ReadConnection(connection))

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[ReadConnection]:
        """A READ ONLY transaction with one snapshot, so that all its numbers agree."""
        async with self._lent(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        ) as connection:
            yield ReadConnection(connection)

    @asynccontextmanager
    async def _lent(self, **options: Any) -> AsyncGenerator[AsyncConnection]:
        try:
            async with (
                asyncio.timeout(self._longest),
                self._engine.connect() as connection,
                _ended(connection),
            ):
                await connection.execution_options(**options)
                yield connection
        except OSError:  # a timeout is one too
            self._trust.lose()
            raise

    @property
    def url(self) -> str:
        return self._engine.url.render_as_string(hide_password=False)

    async def close(self) -> None:
        await self._engine.dispose()


def _server_settings(patience: float) -> dict[str, str]:
    """What the server is told of each connection. It frees by itself what a stopped replica holds.

    `synchronous_commit`, because a default of `off` would lose acknowledged alerts in a crash.
    A wait for a lock ends before ours does, and is then known as one; a query somewhat later.
    """
    return {
        "application_name": "relay",
        "synchronous_commit": "on",
        "lock_timeout": _milliseconds(patience * 0.8),
        "statement_timeout": _milliseconds(patience + 0.5),
        "idle_in_transaction_session_timeout": _milliseconds(max(3, patience / 3)),
        "client_connection_check_interval": _milliseconds(1),
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": _milliseconds(10),
    }


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


@asynccontextmanager
async def _ended(connection: AsyncConnection) -> AsyncGenerator[None]:
    """Commit, or roll back; drop a connection that cannot, or whose user was cut short."""
    sound = False
    try:
        try:
            yield
            await connection.commit()
        except OSError:  # who did not answer in time is not asked to roll back
            raise
        except Exception:
            await connection.rollback()
            sound = True
            raise
        sound = True
    finally:
        if not sound:
            await connection.invalidate()


def is_unavailable(error: BaseException) -> bool:
    """Whether an error means "not now" rather than "never": connection lost, refused, timed out."""
    if isinstance(error, DBAPIError):
        state = _sqlstate(error)
        if error.connection_invalidated or state[:2] in NOT_NOW or state in OUT_OF_TIME:
            return True
    return isinstance(error, UNAVAILABLE)


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")
