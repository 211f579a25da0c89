"""A connection asked without SQLAlchemy in between, which costs a third of the CPU.

The pool, the names of parameters and the errors are SQLAlchemy's; statements go to asyncpg itself,
each prepared once a connection.
"""

from collections import namedtuple
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeAlias, cast

from asyncpg import exceptions as refused  # pyright: ignore[reportMissingTypeStubs]  has none
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    MultipleResultsFound,
    NoResultFound,
    ProgrammingError,
)
from sqlalchemy.ext.asyncio import AsyncConnection

EVENTS = "INTO events"
"""In every statement that adds audit events."""

FAILURES = (refused.PostgresError, refused.InterfaceError, refused.InternalClientError)
"""What the driver raises; the last where the server has hung up and that is only half heard yet."""

MOST_KNOWN, MOST_PREPARED = 2_000, 200
"""Statements that a process and a connection remember; searches make new ones."""

DIALECT = PGDialect_asyncpg()

Values: TypeAlias = Mapping[str, Any]

Row: TypeAlias = Any
"""A named tuple; its names are those of the query's columns."""

RowMapping: TypeAlias = Mapping[str, Any]
"""The same by name, as `Result.mappings` returns it."""


# ── What the driver is to us ────────────────────────────────────────────────────────────────


class Prepared(Protocol):
    """Of asyncpg's PreparedStatement what is used here."""

    async def fetch(self, *values: Any) -> list[Any]: ...

    def get_statusmsg(self) -> str: ...

    def get_attributes(self) -> Sequence[Any]: ...


class Driver(Protocol):
    """Of asyncpg's Connection what is used here."""

    def is_closed(self) -> bool: ...

    async def execute(self, query: str) -> str: ...

    async def prepare(self, query: str) -> Prepared: ...

    async def copy_from_query(self, query: str, *, output: Callable[[bytes], Any]) -> str: ...

    async def copy_to_table(self, table: str, *, source: Any, columns: Sequence[str]) -> str: ...


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement with $1 for its first parameter; ``order`` names them."""

    sql: str
    order: Sequence[str]
    adds_events: bool


_KNOWN: dict[str, _Compiled] = {}


def _compiled(statement: TextClause) -> _Compiled:
    """By its text: a search makes new statements of a bounded number of texts."""
    found = _KNOWN.get(statement.text)
    if found is None:
        if len(_KNOWN) >= MOST_KNOWN:
            _KNOWN.clear()
        compiled = statement.compile(dialect=DIALECT)
        order: Sequence[str] | None = compiled.positiontup
        found = _Compiled(compiled.string, tuple(order or ()), EVENTS in statement.text)
        _KNOWN[statement.text] = found
    return found


@lru_cache(maxsize=MOST_KNOWN)
def _maker(names: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    # The names are a query's: known when it was asked.
    row: Any = namedtuple("Row", names, rename=True)  # noqa: PYI024  # pyright: ignore[reportUntypedNamedTuple]
    return row._make


@dataclass(frozen=True, slots=True)
class _Known:
    """A statement that a connection has prepared, and the names of what it returns."""

    prepared: Prepared
    names: tuple[str, ...]

    @classmethod
    async def of(cls, driver: Driver, compiled: _Compiled) -> "_Known":
        prepared = await driver.prepare(compiled.sql)
        return cls(prepared, tuple(one.name for one in prepared.get_attributes()))


# ── What is returned ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Result:
    """All rows of a statement: tuples whose values have names, in the words of SQLAlchemy's."""

    rows: list[Any]
    names: tuple[str, ...] = ()
    rowcount: int = 0

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    @property
    def returns_rows(self) -> bool:
        return bool(self.names)

    def keys(self) -> Sequence[str]:
        return self.names

    def all(self) -> list[Any]:
        return self.rows

    def first(self) -> Any:
        return self.rows[0] if self.rows else None

    def one(self) -> Any:
        """Raise NoResultFound or MultipleResultsFound when it is not one row."""
        if not self.rows:
            raise NoResultFound("no row was found when one was required")
        return self.one_or_none()

    def one_or_none(self) -> Any:
        """Raise MultipleResultsFound when it is more than one row."""
        if len(self.rows) > 1:
            raise MultipleResultsFound("more rows than one were found")
        return self.first()

    def scalar_one(self) -> Any:
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        row = self.one_or_none()
        return None if row is None else row[0]

    def scalars(self) -> "Result":
        """The first value of each row instead of the row."""
        return Result([row[0] for row in self.rows], self.names)

    def mappings(self) -> "Result":
        """Values by name instead of each row."""
        return Result([dict(zip(self.names, row, strict=True)) for row in self.rows], self.names)


# ── Asking ──────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class ReadConnection:
    """A connection of the pool, in a READ ONLY transaction: PostgreSQL itself refuses writes.

    ``begin`` is said before the first statement; without it each is a transaction of its own.
    ``prepared`` stays with the driver's connection from one who borrows it to the next.
    """

    driver: Driver
    prepared: dict[str, _Known]
    begin: str | None = None
    begun: bool = field(default=False, init=False)
    wrote_events: bool = field(default=False, init=False)

    async def execute(self, statement: TextClause, values: Values | None = None) -> Result:
        """Ask. Raises SQLAlchemy's DBAPIError, or OSError where the server cannot be heard."""
        compiled = _compiled(statement)
        await self.start()
        try:
            known = self.prepared.get(compiled.sql) or await self._prepare(compiled)
            given: Values = values or {}
            found = await known.prepared.fetch(*[given[name] for name in compiled.order])
        except FAILURES as error:
            self.prepared.pop(compiled.sql, None)  # its plan may be of a schema that is no more
            raise translated(error, statement.text, lost=self.driver.is_closed()) from error
        rowcount = _rowcount(known.prepared.get_statusmsg())
        if compiled.adds_events and rowcount:
            self.wrote_events = True
        return Result([*map(_maker(known.names), found)], known.names, rowcount)

    async def start(self) -> None:
        """Begin the transaction if that was not done yet."""
        if self.begin and not self.begun:
            self.begun = True
            await self.say(self.begin)

    async def _prepare(self, compiled: _Compiled) -> _Known:
        if len(self.prepared) >= MOST_PREPARED:
            del self.prepared[next(iter(self.prepared))]
        known = self.prepared[compiled.sql] = await _Known.of(self.driver, compiled)
        return known

    async def commit(self) -> None:
        """End what was begun; the next statement begins anew."""
        await self._end("COMMIT")

    async def rollback(self) -> None:
        """Undo what was begun; the next statement begins anew."""
        self.wrote_events = False
        await self._end("ROLLBACK")

    async def _end(self, how: str) -> None:
        if self.begun:
            self.begun = False
            await self.say(how)

    async def say(self, words: str) -> None:
        """A statement without values or rows, such as BEGIN."""
        try:
            await self.driver.execute(words)
        except FAILURES as error:
            raise translated(error, words, lost=self.driver.is_closed()) from error


class Connection(ReadConnection):
    """A connection that may write. Usable wherever a read connection is."""

    __slots__ = ()

    @asynccontextmanager
    async def begin_nested(self) -> AsyncGenerator["Savepoint"]:
        """What the block does is kept with the transaction, or undone when it raises."""
        savepoint = Savepoint(self)
        await self.start()
        await self.say("SAVEPOINT inner_part")
        try:
            yield savepoint
        except BaseException:
            await savepoint.rollback()
            raise
        if not savepoint.undone:
            await self.say("RELEASE SAVEPOINT inner_part")


@dataclass(slots=True, kw_only=True)
class UpgradingConnection(Connection):
    """One whose transaction is SQLAlchemy's own, so that Alembic can take part in it."""

    whole: AsyncConnection

    async def run_sync(self, upgrade: Callable[..., None], *given: object) -> None:
        await self.whole.run_sync(upgrade, *given)
        self.prepared.clear()


@dataclass(slots=True)
class Savepoint:
    """A part of a transaction that can be undone without the rest."""

    connection: Connection
    undone: bool = field(default=False, init=False)

    async def rollback(self) -> None:
        if not self.undone:
            self.undone = True
            await self.connection.say("ROLLBACK TO SAVEPOINT inner_part")


def _rowcount(status: str) -> int:
    """`INSERT 0 3`, `SELECT 1`: the last word counts rows where it is a number."""
    last = status.rpartition(" ")[2] if status else ""
    return int(last) if last.isdigit() else 0


def translated(error: BaseException, statement: str, *, lost: bool) -> DBAPIError:
    """What the driver raised, in SQLAlchemy's words; what was bound is in none of them."""
    kind: type[DBAPIError] = DBAPIError
    if isinstance(error, refused.IntegrityConstraintViolationError):
        kind = IntegrityError
    elif isinstance(error, refused.SyntaxOrAccessError):
        kind = ProgrammingError
    elif isinstance(error, (refused.InterfaceError, refused.InternalClientError)):
        kind = InterfaceError
    found = kind(statement, None, cast("Exception", error), hide_parameters=True)
    found.connection_invalidated = lost
    return found
