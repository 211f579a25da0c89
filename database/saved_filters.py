"""Saved filters: what an operator wants back on a page, by a name of his own."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from database.pool import Connection, ReadConnection

MOST = 30
"""Of one operator on one page."""


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A name, and the query of the page's address."""

    name: str
    query: str


LISTED = text("""
    SELECT name, query FROM saved_filters WHERE actor = :actor AND page = :page ORDER BY lower(name)
""")

# One operator's are saved one after the other, so that there are never more than allowed.
TURN = text("SELECT pg_advisory_xact_lock(hashtextextended('saved_filters' || :actor || :page, 0))")

SAVE = text("""
    INSERT INTO saved_filters (actor, page, name, query)
    SELECT :actor, :page, :name, :query
    WHERE (SELECT count(*) FROM saved_filters
           WHERE actor = :actor AND page = :page AND name <> :name) < :most
    ON CONFLICT (actor, page, name) DO UPDATE SET query = excluded.query,
                                                  made_at = clock_timestamp()
    RETURNING name
""")

DELETE = text("DELETE FROM saved_filters WHERE actor = :actor AND page = :page AND name = :name")


async def listed(connection: ReadConnection, actor: str, page: str) -> Sequence[SavedFilter]:
    """An operator's filters of a page, by name."""
    rows = await connection.execute(LISTED, {"actor": actor, "page": page})
    return [SavedFilter(row.name, row.query) for row in rows]


async def save(connection: Connection, actor: str, page: str, saved: SavedFilter) -> bool:
    """Keep a filter, instead of one of the same name; False where there are too many."""
    given = {"actor": actor, "page": page}
    await connection.execute(TURN, given)
    named = {"name": saved.name, "query": saved.query, "most": MOST}
    return (await connection.execute(SAVE, given | named)).one_or_none() is not None


async def delete(connection: Connection, actor: str, page: str, name: str) -> bool:
    """Forget a filter; False where there is none of this name."""
    given = {"actor": actor, "page": page, "name": name}
    return (await connection.execute(DELETE, given)).rowcount > 0
