"""Retention: lists and looks of long ago are deleted, a batch at a time; events stay forever."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import TextClause, text

from database.pool import Connection

# Versions and looks come in the order of time, so what is too old is at the front, and the first
# one that is not ends the search. A version is as old as its last confirmation. The newest of each
# screen and address stays: it is in force again when the screen returns there.
UNIVERSES = text("""
    WITH batch AS MATERIALIZED (
        SELECT version, screen_id, url, fetched_at, confirmed_at FROM universes
        WHERE version > :after ORDER BY version LIMIT :limit
    ), newest AS MATERIALIZED (
        SELECT lists.screen_id, lists.url, last.version
        FROM (SELECT DISTINCT screen_id, url FROM batch) AS lists CROSS JOIN LATERAL (
            SELECT version FROM universes
            WHERE screen_id = lists.screen_id AND url = lists.url
              AND CAST(md5(url) AS uuid) = CAST(md5(lists.url) AS uuid)
            ORDER BY version DESC LIMIT 1
        ) AS last
    ), deleted AS (
        DELETE FROM universes WHERE version = ANY(ARRAY(
            SELECT batch.version FROM batch JOIN newest USING (screen_id, url)
            WHERE batch.version < newest.version
              AND confirmed_at < clock_timestamp() - CAST(:keep AS interval)))
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM deleted) AS deleted, max(version) AS last,
           count(*) = :limit AND max(fetched_at) < clock_timestamp() - CAST(:keep AS interval)
               AS more
    FROM batch
""")

FETCHES = text("""
    WITH batch AS MATERIALIZED (
        SELECT id, at FROM fetches WHERE id > :after ORDER BY id LIMIT :limit
    ), deleted AS (
        DELETE FROM fetches WHERE id = ANY(ARRAY(
            SELECT id FROM batch WHERE at < clock_timestamp() - CAST(:keep AS interval)))
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM deleted) AS deleted, max(id) AS last,
           count(*) = :limit AND max(at) < clock_timestamp() - CAST(:keep AS interval) AS more
    FROM batch
""")


@dataclass(frozen=True, slots=True)
class Batch:
    """How many were deleted, and after which to go on; None: nothing more is too old."""

    deleted: int
    after: int | None


async def universes(connection: Connection, keep: timedelta, after: int, limit: int) -> Batch:
    """Go over the first ``limit`` versions after this one, and delete those that are too old."""
    return await _batch(connection, UNIVERSES, keep, after, limit)


async def fetches(connection: Connection, keep: timedelta, after: int, limit: int) -> Batch:
    """Go over the first ``limit`` looks after this one, and delete those that are too old."""
    return await _batch(connection, FETCHES, keep, after, limit)


async def _batch(
    connection: Connection, query: TextClause, keep: timedelta, after: int, limit: int
) -> Batch:
    asked = {"keep": keep, "after": after, "limit": limit}
    row = (await connection.execute(query, asked)).one()
    return Batch(row.deleted, row.last if row.more else None)
