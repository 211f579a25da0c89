"""A database that a dump brought from another server: its transactions' numbers are made ours.

A dump takes the numbers along, and a new server begins to count anew: all that happens there would
lie before the marks of who follows the events, and be told to nobody until it has counted as far.
"""

from dataclasses import dataclass

from sqlalchemy import text

from database.backups import INSTEAD, NOT_SEEN, PATIENCE, SEEN
from database.connection import Row
from database.migrate import LOCK, UnfitDatabaseError
from database.pool import Connection, Database, ReadConnection
from database.resealing import RELAYS

HERE = "pg_snapshot_xmax(pg_current_snapshot())"
"""Above every transaction of this server whose rows can be seen."""

AHEAD = text(f"""
    SELECT CAST(xid AS text) AS last, CAST({HERE} AS text) AS here FROM (
        (SELECT xid FROM events WHERE xid IS NOT NULL ORDER BY xid DESC, id DESC LIMIT 1)
        UNION ALL SELECT xid FROM watchman
        UNION ALL SELECT xid FROM chronicle
    ) AS numbers
    WHERE xid >= {HERE} ORDER BY xid DESC LIMIT 1
""")
MAY = text("""
    SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class
    WHERE oid = CAST('events' AS regclass)
""")
SOON = text("SET LOCAL lock_timeout = '15s'")
ALONE = text("LOCK TABLE watchman, chronicle, events IN SHARE ROW EXCLUSIVE MODE")

# Ids went on where the dump's ended: whatever was told before it has a lower one than what was told
# here since, also where this server has counted past some of the numbers.
UNTIL = text(f"""
    SELECT greatest(
        (SELECT max(id) FROM events WHERE xid >= {HERE}),
        (SELECT max(event_id) FROM (
            SELECT xid, event_id FROM watchman UNION ALL SELECT xid, event_id FROM chronicle
         ) AS marks WHERE xid >= {HERE}))
""")
OPEN = text("ALTER TABLE events DISABLE TRIGGER events_append_only")
SHUT = text("ALTER TABLE events ENABLE TRIGGER events_append_only")
# As a backup has them. A number is in no line of the audit chain.
RENUMBER = text(f"""
    UPDATE events SET xid = CAST({INSTEAD["events", "xid"]} AS xid8)
    WHERE xid IS NOT NULL AND id <= :until
""")
UNSEEN = text(f"SELECT count(*) FROM events WHERE xid = {NOT_SEEN}")
MARKS = (
    # The log and traces go on with what happened here; what came before is in the trail.
    text(f"UPDATE chronicle SET xid = {NOT_SEEN}, event_id = :until WHERE xid >= {HERE}"),
    text(f"UPDATE watchman SET xid = {SEEN}, event_id = :until"),
)
TELL = text("""
    INSERT INTO events (event, detail)
    VALUES ('database.moved', jsonb_build_object(
        'last', CAST(:last AS text), 'here', CAST(:here AS text),
        'events', CAST(:events AS bigint), 'unseen', CAST(:unseen AS bigint)))
""")


@dataclass(frozen=True, slots=True)
class Ahead:
    """The highest number there is of the other server, and the one that this server is at."""

    last: str
    here: str


@dataclass(frozen=True, slots=True)
class Settled:
    """How many events got another number, and how many of them nobody has looked at yet."""

    events: int
    unseen: int


async def ahead(database: Database) -> Ahead | None:
    """Whether numbers are there that this server has not given out; None: all are its own."""
    async with database.read() as connection:
        row = (await connection.execute(AHEAD)).one_or_none()
    return None if row is None else Ahead(row.last, row.here)


async def settle(database: Database) -> Settled | None:
    """Number what came from the other server below all that happens here, in one transaction.

    What the watchman had not seen there, or what was told here since, he sees next. None: somebody
    else has done it. Raises UnfitDatabaseError where a relay runs, or the login may not.
    """
    owner = Database.connect(database.url, pool=1, patience=PATIENCE)
    try:
        async with owner.upgrading() as connection:
            await connection.execute(LOCK)
            row = (await connection.execute(AHEAD)).one_or_none()
            if row is None:
                return None
            await _require_alone(connection)
            return await _renumber(connection, row)
    finally:
        await owner.close()


async def _require_alone(connection: ReadConnection) -> None:
    moved = "the database was moved here from another server, and its events have that one's"
    if (await connection.execute(RELAYS)).first():
        raise UnfitDatabaseError(
            f"{moved} transaction numbers: stop every relay that uses it, then start one"
        )
    if not (await connection.execute(MAY)).scalar_one():
        raise UnfitDatabaseError(
            f"{moved} transaction numbers: start once with DATABASE_OWNER_URL of the role that owns"
            " the table events"
        )


async def _renumber(connection: Connection, row: Row) -> Settled:
    await connection.execute(SOON)
    await connection.execute(ALONE)
    until = (await connection.execute(UNTIL)).scalar_one()
    await connection.execute(OPEN)
    renumbered = await connection.execute(RENUMBER, {"until": until})
    await connection.execute(SHUT)
    for mark in MARKS:
        await connection.execute(mark, {"until": until})
    unseen = (await connection.execute(UNSEEN)).scalar_one()
    done = Settled(renumbered.rowcount, unseen)
    told = {"last": row.last, "here": row.here, "events": done.events, "unseen": done.unseen}
    await connection.execute(TELL, told)
    return done
