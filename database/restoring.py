"""Restoring: a backup becomes the database, in one transaction; what was under way then is held.

Since the backup was taken its deliveries may have been sent, its signals judged and its addresses
cancelled: nothing of that is done a second time, and the operator is told what to look at.
"""

import glob
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from database import attention, gate
from database.backups import PLAIN, TABLES
from database.clearing import ALL, clear, unknown
from database.endings import HELD_FOR
from database.migrate import LOCK, MIGRATIONS, applied, bring, head
from database.pool import Connection, Database, ReadConnection
from database.resealing import RELAYS
from domain.attention import Cause, Item, Severity
from domain.backup import KEPT, DamagedError, Header, Reading, Table

THERE = text("""
    SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind = 'r' AND nspname = current_schema() AND relname = ANY(:names)
""")
EMPTY = {name: text(f"DELETE FROM {name}") for name in reversed(KEPT) if name != "events"}
"""What migrations put there goes before the rows come; none of them writes events."""

ANALYZE = text("ANALYZE")
STANDING = text("""
    SELECT (SELECT count(*) FROM signals) AS signals,
           (SELECT max(received_at) FROM signals) AS newest,
           (SELECT count(*) FROM events) AS events,
           (SELECT count(*) FROM deliveries WHERE finished_at IS NULL) AS unfinished,
           (SELECT count(*) FROM positions WHERE state IN ('opening', 'open', 'closing'))
               AS positions
""")
CONTINUE = text("""
    SELECT setval(CAST(pg_get_serial_sequence(:table, :column) AS regclass), :number)
""")

# What had not ended may have arrived since: nobody sends it again unless an operator says so. What
# is told of it is what is told where an answer is lost, so that the trail gives the same tables.
HOLD = text(f"""
    WITH held AS (
        UPDATE deliveries
        SET state = 'held', reason = 'restored', possibly_sent = true, lease_until = NULL,
            due_at = clock_timestamp() + {HELD_FOR}
        FROM (SELECT id, state AS was FROM deliveries WHERE finished_at IS NULL) AS before
        WHERE deliveries.id = before.id
        RETURNING deliveries.id, signal_id, seq, attempts, due_at, was
    ), told AS (
        INSERT INTO events (event, signal_id, delivery_id, detail)
        SELECT 'delivery.held', signal_id, id, jsonb_build_object(
            'was', was, 'reason', 'restored', 'outcome', 'ambiguous', 'attempt', attempts,
            'due_at', due_at)
        FROM held ORDER BY seq
    )
    SELECT count(*) FROM held
""")
EXPIRE = text("""
    WITH over AS (
        UPDATE signals
        SET status = 'expired', reason = 'expired', judged_at = clock_timestamp()
        WHERE status = 'received'
        RETURNING id, seq
    ), told AS (
        INSERT INTO events (event, signal_id, detail)
        SELECT 'signal.expired', id, '{"reason": "expired", "restored": true}'
        FROM over ORDER BY seq
    )
    SELECT count(*) FROM over
""")
FORGET_ADDRESSES = text("""
    WITH cancelled AS (
        DELETE FROM pending_addresses RETURNING *
    ), told AS (
        INSERT INTO events (event, actor, detail)
        SELECT 'destination.address_cancelled', CAST(:actor AS text), jsonb_build_object(
            'destination_id', destination_id, 'name', destinations.name, 'url', url_shown,
            'reason', 'restored')
        FROM cancelled JOIN destinations ON destinations.id = destination_id
    )
    SELECT count(*) FROM cancelled
""")
REST = (
    text("""
        UPDATE notices SET state = 'failed', finished_at = clock_timestamp(), error = 'restored'
        WHERE state = 'queued'
    """),
    text("""
        UPDATE jobs SET state = 'failed', updated_at = clock_timestamp(),
                        result = result || '{"error": "restored from a backup"}'
        WHERE state = 'running'
    """),
)
TELL = text("""
    INSERT INTO events (event, actor, detail)
    VALUES ('database.restored', CAST(:actor AS text), jsonb_build_object(
        'taken_at', CAST(:taken_at AS text), 'version', CAST(:version AS text),
        'schema', CAST(:schema AS text), 'link', CAST(:link AS bigint), 'hash', CAST(:hash AS text),
        'held', CAST(:held AS bigint), 'expired', CAST(:expired AS bigint)))
    RETURNING at
""")
POSITIONS = text("""
    SELECT count(*) FROM positions WHERE state IN ('opening', 'open', 'closing')
""")


class NotEmptyError(Exception):
    """There is something in the database already; the message says what."""


class RunningError(Exception):
    """A relay is connected to the database."""


class NewerError(Exception):
    """The backup is of a schema that this version does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a database has now, and would lose.

    ``unknown`` is what it has beside that, where it is of a newer version.
    """

    signals: int
    newest: datetime | None
    events: int
    unfinished: int
    positions: int
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What there is now, and what was done about what was under way."""

    rows: int
    held: int
    expired: int
    addresses: int
    positions: int


def require_known(header: Header) -> None:
    """Raise NewerError or DamagedError where it cannot be made here what the backup was."""
    if header.schema.isdecimal() and header.schema > head():
        raise NewerError
    if not any((MIGRATIONS / "versions").glob(f"{glob.escape(header.schema)}_*.py")):
        raise DamagedError(f"there never was a schema {header.schema}")


async def look(connection: ReadConnection, *, embedded: bool = False) -> Standing | None:
    """What would be lost; None: nothing is there. Raises NotEmptyError and RunningError.

    On the ``embedded`` server everything is the relay's own.
    """
    if (await connection.execute(RELAYS)).first():
        raise RunningError
    there = set((await connection.execute(THERE, {"names": ALL})).scalars())
    if not there:
        return None
    found = await applied(connection) if {"alembic_version", "signals", "events"} <= there else None
    if not found:
        raise NotEmptyError(f"it has tables that are no relay's: {', '.join(sorted(there))}")
    left = await unknown(connection) if found > head() else ()
    if left and not embedded:
        raise NotEmptyError(
            f"it is of a newer version (schema {found}), and what of this is that version's cannot"
            f" be known here: {', '.join(left)}; drop what is, or name an empty database"
        )
    return Standing(**(await connection.execute(STANDING)).mappings().one(), unknown=left)


async def restore(
    database: Database,
    reading: Reading,
    *,
    replace: bool,
    embedded: bool = False,
    actor: str,
    step: Callable[[str, int], None],
) -> Restored:
    """Have the database be what was read, or as it is where anything fails. A start waits for it.

    What a newer version has made on the ``embedded`` server goes too, or it could never make it
    again. Raises what `look` does, NewerError, and DamagedError.
    """
    require_known(reading.header)
    async with database.upgrading() as connection:
        await connection.execute(LOCK)
        if standing := await look(connection, embedded=embedded):
            if not replace:
                raise NotEmptyError("there is a relay's data in it")
            await clear(connection, everything=bool(standing.unknown))
        await connection.execute(PLAIN)
        await bring(connection, reading.header.schema)
        await fill(connection, reading, step)
        step("bringing it up to date", 0)
        if reading.header.schema != head():
            await bring(connection, head())
        done = await _settle(connection, reading, actor)
        await connection.execute(ANALYZE)
    return done


async def fill(connection: Connection, reading: Reading, step: Callable[[str, int], None]) -> None:
    """Have the tables of the backup's own schema hold what it has, and nothing else."""
    found = await connection.execute(TABLES, {"names": [*KEPT]})
    known: dict[str, list[str]] = {row.name: row.columns for row in found}
    for name, statement in EMPTY.items():
        if name in known:
            await connection.execute(statement)
    for table in reading.tables():
        if not {*table.columns} <= {*known.get(table.name, ())}:
            raise DamagedError(f"{table.name} has columns that no version of it had")
        await _copy(connection, table, reading, step)
    for name, number in reading.sequences.items():
        table, _, column = name.partition(".")
        given = {"table": table, "column": column, "number": number}
        await connection.execute(CONTINUE, given)


async def _copy(
    connection: Connection, table: Table, reading: Reading, step: Callable[[str, int], None]
) -> None:
    rows = 0

    async def blocks() -> AsyncGenerator[bytes]:
        nonlocal rows
        for block in reading.rows(table):
            rows += block.count(b"\n")
            step(table.name, rows)
            yield block

    driver = connection.driver
    said = await driver.copy_to_table(table.name, source=blocks(), columns=[*table.columns])
    if said != f"COPY {reading.counts[table.name].rows}":
        raise DamagedError(f"PostgreSQL took other rows of {table.name} than there are: {said}")


async def _settle(connection: Connection, reading: Reading, actor: str) -> Restored:
    """See to it that nothing is done again, and that the operator knows."""
    header = reading.header
    held = (await connection.execute(HOLD)).scalar_one()
    expired = (await connection.execute(EXPIRE)).scalar_one()
    addresses = (await connection.execute(FORGET_ADDRESSES, {"actor": actor})).scalar_one()
    for statement in REST:
        await connection.execute(statement)
    reason = f"restored from a backup of {header.taken_at}"
    await gate.pause(connection, actor=actor, reason=reason, until=None)
    positions = (await connection.execute(POSITIONS)).scalar_one()
    done = Restored(
        rows=sum(one.rows for one in reading.counts.values()),
        held=held,
        expired=expired,
        addresses=addresses,
        positions=positions,
    )
    told = (await connection.execute(TELL, _told(header, done) | {"actor": actor})).one()
    await attention.keep(connection, [_item(header, done, told.at)])
    return done


def _told(header: Header, done: Restored) -> dict[str, object]:
    link, hash = header.head or (None, None)
    return {
        "taken_at": header.taken_at,
        "version": header.version,
        "schema": header.schema,
        "link": link,
        "hash": hash,
        "held": done.held,
        "expired": done.expired,
    }


def _item(header: Header, done: Restored, at: datetime) -> Item:
    words = (
        f"Everything is as of {header.taken_at}: restored from a backup. {done.positions} positions"
        f" are as they were then, {done.held} deliveries are held because they may have arrived"
        " since, and buying is paused. Compare with your broker at once: a sell of what was sold"
        " since would open a short there. Then resume buying."
    )
    return Item(cause=Cause.HELD, key="restored", severity=Severity.URGENT, text=words, at=at)
