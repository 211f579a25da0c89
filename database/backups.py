"""Backups: everything that is kept, as of one moment, while the relay goes on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from database.chain import HEAD
from database.migrate import applied
from database.pool import Database, ReadConnection
from domain.backup import BLOCK, KEPT, LEFT_OUT, Header, Rows, Table, Writing

PATIENCE = timedelta(hours=6)
"""As long as a backup, or a restore, of the largest database may take."""

SEEN, NOT_SEEN = "'3'", "'4'"
"""Older than any transaction of any server."""

# The number of a transaction means nothing elsewhere, and what follows the events goes by it: so
# it is told which of them the watchman has seen, and which not.
INSTEAD: Mapping[tuple[str, str], str] = {
    ("events", "xid"): f"""
        CASE WHEN xid IS NULL OR (xid, id) <= (SELECT xid, event_id FROM watchman)
             THEN {SEEN} ELSE {NOT_SEEN} END""",
    ("watchman", "xid"): SEEN,
    ("watchman", "event_id"): "(SELECT coalesce(max(id), 0) FROM events)",
    ("watches", "lease_until"): "NULL",
}

# How values are written, whatever the server or the login is set to.
PLAIN = text("""
    SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true),
           set_config('intervalstyle', 'postgres', true),
           set_config('extra_float_digits', '1', true), set_config('bytea_output', 'hex', true),
           set_config('row_security', 'off', true)
""")
MOMENT = text("""
    SELECT statement_timestamp() AS at,
           CAST(current_setting('server_version_num') AS integer) AS postgres
""")
TABLES = text("""
    SELECT relname AS name, array_agg(attname ORDER BY attnum) AS columns
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relkind = 'r' AND relname = ANY(:names) AND pg_table_is_visible(pg_class.oid)
      AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    GROUP BY relname
""")
OTHERS = text("""
    SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND nspname = current_schema() AND relname <> ALL(:names)
    ORDER BY relname
""")
SEQUENCES = text("""
    SELECT relname || '.' || attname AS name, pg_sequence_last_value(CAST(
               pg_get_serial_sequence(quote_ident(relname), attname) AS regclass)) AS number
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relkind = 'r' AND relname = ANY(:names) AND pg_table_is_visible(pg_class.oid)
      AND attidentity <> ''
""")
LINKED = text("SELECT to_regclass('links') IS NOT NULL")


class EmptyError(Exception):
    """There is no relay's schema in the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a backup says of its maker: the version, fingerprints of keys, and perhaps secrets."""

    version: str
    keys: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """What is in a backup; ``others`` are tables beside the relay's own, which are not."""

    header: Header
    counts: Mapping[str, Rows]
    others: tuple[str, ...]

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.counts.values())


async def take(
    database: Database,
    put: Callable[[bytes], object],
    about: About,
    step: Callable[[str, int], None],
) -> Taken:
    """Write everything there is at one moment; ``step`` is told table and rows. Raises EmptyError.

    It takes no lock that anybody else of the relay waits for.
    """
    writing = Writing()
    async with database.read() as connection:
        await connection.execute(PLAIN)
        header = await _header(connection, about)
        put(writing.begin(header, about.secrets))
        for table in await _tables(connection):
            await _copy(connection, table, writing, put, step)
        named = {"names": [*KEPT]}
        numbers = {row.name: row.number for row in await connection.execute(SEQUENCES, named)}
        put(writing.end({name: number for name, number in numbers.items() if number is not None}))
        known = {"names": [*KEPT, *LEFT_OUT, "alembic_version"]}
        others = tuple((await connection.execute(OTHERS, known)).scalars())
    return Taken(header, writing.counts, others)


async def _header(connection: ReadConnection, about: About) -> Header:
    moment = (await connection.execute(MOMENT)).one()
    schema = await applied(connection)
    if schema is None:
        raise EmptyError
    head: Any = None
    if (await connection.execute(LINKED)).scalar_one():
        head = (await connection.execute(HEAD)).one_or_none()
    at: datetime = moment.at
    return Header(
        version=about.version,
        schema=schema,
        taken_at=at.isoformat(timespec="seconds"),
        postgres=moment.postgres,
        keys=about.keys,
        head=head and [head.number, head.hash.hex()],
    )


async def _tables(connection: ReadConnection) -> list[Table]:
    found = await connection.execute(TABLES, {"names": [*KEPT]})
    columns = {row.name: row.columns for row in found}
    return [Table(name, columns[name]) for name in KEPT if name in columns]


async def _copy(
    connection: ReadConnection,
    table: Table,
    writing: Writing,
    put: Callable[[bytes], object],
    step: Callable[[str, int], None],
) -> None:
    put(writing.table(table))
    waiting, rows = bytearray(), 0

    async def keep(lines: bytes) -> None:
        nonlocal rows
        waiting.extend(lines)
        if len(waiting) >= BLOCK:
            rows += waiting.count(b"\n")
            put(writing.rows(bytes(waiting)))
            waiting.clear()
            step(table.name, rows)

    driver = connection.driver
    await driver.copy_from_query(_query(table), output=keep)
    put(writing.rows(bytes(waiting)) + writing.end_table(table.name))
    step(table.name, writing.counts[table.name].rows)


def _query(table: Table) -> str:
    columns = (INSTEAD.get((table.name, name), f'"{name}"') for name in table.columns)
    return f'SELECT {", ".join(columns)} FROM "{table.name}"'
