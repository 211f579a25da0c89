"""The chain of the audit trail: links are made in PostgreSQL, and read with the events they hold.

What was made is never read by what made it: `walk` gives the lines of the events as they are, and
whoever wants to know whether they are whole reckons again (`domain.chain`).
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text

from database.connection import Row
from database.pool import Connection, Database, ReadConnection
from domain.chain import BEFORE_ALL, Event, Link, Stretch

A_LINK = 2_000
"""Events at most in a link: some 50 ms of work, 56 KB of entries."""

A_PAGE = 1_000
"""Events read at once that are in no link yet."""

# Who does not get it leaves the work to another replica.
HOLD = text("SELECT pg_try_advisory_xact_lock(hashtext('trading-signal-processor.chain'))")

BOUND = text("""
    SELECT coalesce((SELECT max(id) FROM events)
                    <= (SELECT last_id FROM links ORDER BY number DESC LIMIT 1),
                    NOT EXISTS (SELECT FROM events))
""")

# The transaction's own number comes after those of everybody who has taken an id up to `highest`:
# the trigger `events_numbered` sees to it that they had theirs before.
LOOK = text("""
    SELECT (SELECT max(id) FROM events) AS highest,
           CAST(CAST(pg_current_xact_id() AS text) AS numeric) AS bound,
           CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS numeric) AS oldest,
           (SELECT last_id FROM links ORDER BY number DESC LIMIT 1) AS last_id
""")

# One statement: no event leaves the server to be linked. A clock that went back does not take the
# day with it. The end is no bound of what is read, and the limit no number that PostgreSQL knows:
# else it takes what waits for little, and sorts all of it for each link.
LINK = text("""
    WITH last AS MATERIALIZED (
        SELECT number, day, hash, last_id FROM links ORDER BY number DESC LIMIT 1
    ), batch AS MATERIALIZED (
        SELECT id, int8send(id)
               || substring(int8send(CAST(floor(least(greatest(
                      extract(epoch FROM at), 0), 4294967295)) AS bigint)) FROM 5)
               || substring(sha256(convert_to(event_line(events), 'UTF8')) FOR 16) AS entry
        FROM (
            SELECT * FROM events
            WHERE id > coalesce((SELECT last_id FROM last), CAST(-9223372036854775808 AS bigint))
            ORDER BY id LIMIT (SELECT CAST(:limit AS bigint))
        ) AS events
        WHERE id <= :until
    ), stretch AS (
        SELECT coalesce((SELECT number FROM last), 0) + 1 AS number,
               greatest((SELECT day FROM last),
                        CAST(clock_timestamp() AT TIME ZONE 'UTC' AS date)) AS day,
               coalesce((SELECT hash FROM last), CAST(:before_all AS bytea)) AS previous,
               count(*) AS count, max(id) AS last_id,
               string_agg(entry, '' ORDER BY id) AS entries
        FROM batch
    ), made AS (
        INSERT INTO links (number, day, previous, count, last_id, entries, hash)
        SELECT number, day, previous, count, last_id, entries,
               sha256(previous || int8send(number)
                      || convert_to(to_char(day, 'YYYY-MM-DD'), 'UTF8') || entries)
        FROM stretch WHERE count > 0
        RETURNING number, day, count, last_id, hash
    )
    SELECT made.number, made.day, made.count, made.last_id, made.hash, last.day AS day_before
    FROM made LEFT JOIN last ON true
""")

HEAD = text("SELECT number, day, hash FROM links ORDER BY number DESC LIMIT 1")

DAY = text("""
    SELECT day, count(*) AS links, sum(count) AS events, max(number) AS number,
           (array_agg(hash ORDER BY number DESC))[1] AS hash
    FROM links WHERE day = :day GROUP BY day
""")

NEXT = text("""
    SELECT number, CAST(day AS text) AS day, previous, hash, count AS held, last_id, entries
    FROM links WHERE number > :after ORDER BY number LIMIT 1
""")
STRETCH = text("""
    SELECT id, event_line(events) AS line FROM events
    WHERE id > :after AND id <= :until ORDER BY id LIMIT :most
""")
FORGOTTEN = text("""
    SELECT event AS id, at FROM forgotten CROSS JOIN unnest(events) AS event
    WHERE span && int8range(:first, :last, '[]') AND event = ANY(:missing)
""")
WAITING = text("""
    SELECT id, event_line(events) AS line FROM events WHERE id > :after ORDER BY id LIMIT :limit
""")
LOWEST = -(2**63)
MOST_STRAYS = 100
"""Events read with a link beyond those it holds: the first of them is named."""


@dataclass(frozen=True, slots=True)
class Look:
    """Up to which id events were there, and which transaction came after all that had taken one.

    ``oldest`` is the oldest transaction that was running.
    """

    highest: int | None
    bound: int
    oldest: int
    last_id: int | None


@dataclass(frozen=True, slots=True)
class Linked:
    """A link that was made; ``day_before`` is the day of the one before it."""

    number: int
    day: date
    count: int
    last_id: int
    hash: bytes
    day_before: date | None


@dataclass(frozen=True, slots=True)
class ClosedDay:
    """A day of the chain, and its head."""

    day: date
    links: int
    events: int
    number: int
    hash: bytes


async def hold(connection: Connection) -> bool:
    """Have the chain for this transaction; False where somebody else has it."""
    return (await connection.execute(HOLD)).scalar_one()


async def is_bound(connection: ReadConnection) -> bool:
    """Whether the newest event is in a link already: asking writes nothing."""
    return (await connection.execute(BOUND)).scalar_one()


async def look(connection: Connection) -> Look:
    row = (await connection.execute(LOOK)).one()
    return Look(row.highest, int(row.bound), int(row.oldest), row.last_id)


async def link(connection: Connection, until: int, limit: int = A_LINK) -> Linked | None:
    """Bind the next events, up to an id; None where there are none. Whoever holds the chain."""
    given = {"until": until, "limit": limit, "before_all": BEFORE_ALL}
    row = (await connection.execute(LINK, given)).one_or_none()
    return None if row is None else Linked(*row)


async def day(connection: ReadConnection, which: date) -> ClosedDay:
    """What a day of the chain came to. There is one link of it at least."""
    row = (await connection.execute(DAY, {"day": which})).one()
    return ClosedDay(row.day, row.links, int(row.events), row.number, row.hash)


async def head(connection: ReadConnection) -> tuple[int, date, bytes] | None:
    """Number, day and hash of the last link."""
    row = (await connection.execute(HEAD)).one_or_none()
    return None if row is None else (row.number, row.day, row.hash)


async def walk(database: Database) -> AsyncGenerator[Stretch]:
    """Every link with the events there are, a transaction for each: no reader keeps one open."""
    number, after = 0, LOWEST
    while True:
        async with database.read() as connection:
            stretch = await _stretch(connection, number, after)
        if stretch is None:
            return
        yield stretch
        number, after = stretch.link.number, max(after, stretch.link.last_id)


async def waiting(database: Database, after: int | None) -> AsyncGenerator[list[Event]]:
    """What is younger than the last link, a page at a time."""
    last = LOWEST if after is None else after
    while True:
        async with database.read() as connection:
            given = {"after": last, "limit": A_PAGE}
            found = [_event(row) for row in await connection.execute(WAITING, given)]
        if found:
            yield found
        if len(found) < A_PAGE:
            return
        last = max(event.id or LOWEST for event in found)


async def _stretch(connection: ReadConnection, number: int, after: int) -> Stretch | None:
    row = (await connection.execute(NEXT, {"after": number})).one_or_none()
    if row is None:
        return None
    link = _link(row)
    asked = {"after": after, "until": link.last_id, "most": len(link.ids()) + MOST_STRAYS}
    events = [_event(one) for one in await connection.execute(STRETCH, asked)]
    return Stretch(link, events, await _forgotten(connection, link, events))


async def _forgotten(
    connection: ReadConnection, link: Link, events: list[Event]
) -> Mapping[int, datetime]:
    """Of the events that a link holds and that are not there: when retention took which."""
    there = {event.id for event in events}
    missing = [id for id in link.ids() if id not in there]
    if not missing:
        return {}
    given = {"first": min(missing), "last": max(missing), "missing": missing}
    return {row.id: row.at for row in await connection.execute(FORGOTTEN, given)}


def _link(row: Row) -> Link:
    return Link(
        number=row.number,
        day=row.day,
        previous=row.previous,
        hash=row.hash,
        count=row.held,
        last_id=row.last_id,
        entries=row.entries,
    )


def _event(row: Row) -> Event:
    return Event(row.id, row.line.encode())
