"""Transactions. Whoever opens one owns its commit; every query function borrows its connection."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self, cast

from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool

from database.connection import Connection, ReadConnection, UpgradingConnection
from database.dedicated import Dedicated
from database.usage import Size, Usage

__all__ = ["Connection", "Database", "ReadConnection", "UnavailableError"]

acting_from: ContextVar[str | None] = ContextVar("acting_from", default=None)
"""The address of the caller on whose behalf this task acts: its events say so (`events.origin`)."""

ORIGIN = text("SELECT set_config('relay.origin', :origin, true)")

UNAVAILABLE = (
    OSError,
    TimeoutError,
    InterfaceError,
    OperationalError,
    PoolTimeoutError,
)

FAILED = (DBAPIError, *UNAVAILABLE)
"""Everything that a database can fail with; `is_unavailable` tells which of it may pass."""

NOT_NOW = frozenset({"08", "40", "53", "57", "58"})
"""SQLSTATE classes (PostgreSQL documentation, appendix A): connection lost, transaction rolled
back, out of resources, operator intervention (shutting down, starting up), system error."""

OUT_OF_TIME = frozenset({"25P03", "25P04", "55P03"})
"""Idle too long in a transaction, a transaction too long, a lock not had in time."""

UNSTORABLE = frozenset({"22021", "22P05"})
"""A character that PostgreSQL has no place for, NUL above all."""

CONNECT_WAIT = 5.0
"""Seconds at most until a new connection is made."""
NOTHING = text("SELECT 1")

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


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

    def since_when(self) -> float:
        return self.since

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


@dataclass(slots=True)
class _Bell:
    """Told of each commit that may have added audit events."""

    tell: Callable[[], None] | None = None

    def wrote(self) -> None:
        if self.tell:
            self.tell()


@dataclass(frozen=True, slots=True)
class Database:
    """One connection pool, and the only ways into it. Every wait on it is bounded.

    Intake, engines and pages each have a pool of their own, so that none can starve another.
    """

    _engine: AsyncEngine
    _trust: _Trust
    patience: timedelta
    _longest: float
    _bell: _Bell = field(default_factory=_Bell)
    usage: Usage = field(default_factory=Usage)
    _dedicated: list[Dedicated] = field(default_factory=list[Dedicated])

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        pool: int = 5,
        patience: timedelta = timedelta(seconds=2),
        wait: timedelta = timedelta(seconds=1),
        role: str | None = None,
        keys: Sequence[str] = (),
    ) -> Self:
        """Open a pool of at most ``pool`` connections; no query may take longer than ``patience``.

        Where all are in use, the next caller is given ``wait`` until one is free.
        With ``role`` every connection acts as that role, not as who logged in. ``keys`` are told
        to the server as part of its name: who changes the key sees which ones relays know.

        From the wait for a connection to the end of its commit or rollback nobody holds one for
        longer than ``patience`` and ``wait`` together.
        """
        seconds = patience.total_seconds()
        engine = create_async_engine(
            url,
            pool_size=pool,
            max_overflow=0,
            pool_timeout=wait.total_seconds(),
            pool_use_lifo=True,
            connect_args={
                "timeout": min(seconds, CONNECT_WAIT),
                "command_timeout": seconds,
                "server_settings": _server_settings(seconds)
                | {"application_name": " ".join(["relay", *keys])}
                | ({"role": role} if role else {}),
            },
            hide_parameters=True,  # what is bound would stand in errors, and so in the log
        )
        trust = _Trust()
        for name, listener in (
            ("connect", trust.made),
            ("checkout", trust.lent),
            ("close", trust.ended),
        ):
            event.listen(engine.sync_engine, name, listener)
        return cls(engine, trust, patience, (patience + wait).total_seconds())

    def on_events(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called after each commit here that may have added audit events."""
        self._bell.tell = tell

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[Connection]:
        """A read-write transaction: committed when the block ends, rolled back when it raises."""
        async with self._lent(BEGIN, self.usage) as connection:
            if origin := acting_from.get():
                await connection.execute(ORIGIN, {"origin": origin})
            yield connection

    @asynccontextmanager
    async def autocommit(self) -> AsyncGenerator[Connection]:
        """A connection on which every statement is its own transaction: one round trip each."""
        async with self._lent(None) as connection:
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[ReadConnection]:
        """A READ ONLY transaction with one snapshot, so that all its numbers agree."""
        async with self._lent(BEGIN_READING) as connection:
            yield connection

    @asynccontextmanager
    async def upgrading(self) -> AsyncGenerator[UpgradingConnection]:
        """A read-write transaction that Alembic can take part in."""
        async with asyncio.timeout(self._longest), self._engine.begin() as whole:
            await whole.execute(NOTHING)  # before that SQLAlchemy has begun nothing
            raw = await whole.get_raw_connection()
            yield UpgradingConnection(cast("Any", raw.driver_connection), {}, whole=whole)

    def dedicated(self) -> Dedicated:
        """A connection of this pool that stays with one caller, once it is asked something."""
        made = Dedicated(
            borrow=self.borrow,
            trusted=self._trust.since_when,
            longest=self._longest,
            usage=self.usage,
            failed=self._failed,
            wrote=self._bell.wrote,
        )
        self._dedicated.append(made)
        return made

    async def borrow(self, begin: str | None = None) -> tuple[PoolProxiedConnection, Connection]:
        """A connection of the pool, and what it is asked by. Whoever borrows it gives it back."""
        dbapi: Any = self._engine.dialect.loaded_dbapi
        try:
            lent = await self._engine.raw_connection()
        except dbapi.Error as error:
            kind = InterfaceError if isinstance(error, dbapi.InterfaceError) else DBAPIError
            raise kind(None, None, error, hide_parameters=True) from error
        prepared = lent.info.setdefault("prepared", {})
        return lent, Connection(cast("Any", lent.driver_connection), prepared, begin)

    @asynccontextmanager
    async def _lent(
        self, begin: str | None, commits: Usage | None = None
    ) -> AsyncGenerator[Connection]:
        usage, waits = self.usage, 1
        usage.waiting += waits
        try:
            async with asyncio.timeout(self._longest):
                lent, connection = await self.borrow(begin)
                usage.waiting -= waits
                waits = 0
                usage.begun += 1
                async with _ended(lent, connection, commits):
                    yield connection
            if connection.wrote_events:
                self._bell.wrote()
        except Exception as error:
            self._failed(error)
            raise
        finally:
            usage.waiting -= waits

    def _failed(self, error: BaseException) -> None:
        self.usage.failed += is_unavailable(error)
        if isinstance(error, OSError):  # a timeout is one too
            self._trust.lose()

    @property
    def size(self) -> Size:
        pool = self._engine.sync_engine.pool
        assert isinstance(pool, QueuePool)
        return Size(used=pool.checkedout(), idle=pool.checkedin(), most=pool.size())

    @property
    def url(self) -> str:
        return self._engine.url.render_as_string(hide_password=False)

    async def close(self) -> None:
        for one in self._dedicated:
            await one.close()
        await self._engine.dispose()


def _server_settings(patience: float) -> dict[str, str]:
    """What the server is told of each connection. It frees by itself what a stopped replica holds.

    `synchronous_commit`, because a default of `off` would lose acknowledged alerts in a crash.
    A wait for a lock ends before ours does, and is then known as one; a query somewhat later.
    """
    return {
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
async def _ended(
    lent: PoolProxiedConnection, connection: Connection, usage: Usage | None
) -> AsyncGenerator[None]:
    """Commit, or roll back; drop a connection that cannot, or whose user was cut short.

    ``usage`` is told how long a commit took that had something to wait for.
    """
    sound = False
    try:
        try:
            yield
            began = time.monotonic()
            await connection.commit()
            if usage:
                usage.committed(time.monotonic() - began)
        except OSError:  # who did not answer in time is not asked to roll back
            raise
        except Exception:
            await connection.rollback()
            sound = True
            raise
        sound = True
    finally:
        if not sound:
            lent.invalidate()
        lent.close()


def is_unavailable(error: BaseException) -> bool:
    """Whether an error means "not now" rather than "never": connection lost, refused, timed out."""
    if isinstance(error, DBAPIError):
        state = _sqlstate(error)
        if error.connection_invalidated or state[:2] in NOT_NOW or state in OUT_OF_TIME:
            return True
    return isinstance(error, UNAVAILABLE)


def kind_of(error: BaseException) -> str:
    """Its class and, where PostgreSQL refused, its SQLSTATE: as much as a log may hold of it."""
    state = _sqlstate(error) if isinstance(error, DBAPIError) else ""
    return f"{type(error).__name__} {state}".strip()


def is_unstorable(error: BaseException) -> bool:
    """Whether a value was refused for a character in it that no text of a database can have."""
    return isinstance(error, DBAPIError) and _sqlstate(error) in UNSTORABLE


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")
