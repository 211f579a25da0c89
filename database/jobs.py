"""Jobs: long work, and how far it is, for everybody who looks."""

import json
from collections.abc import Mapping
from typing import Any, NewType
from uuid import UUID

from sqlalchemy import text

from database.audit import Facts
from database.pool import Connection, ReadConnection

JobId = NewType("JobId", UUID)

BEGIN = text("""
    INSERT INTO jobs (id, kind, state, total, made_by)
    VALUES (:id, :kind, 'running', :total, :made_by)
    ON CONFLICT DO NOTHING RETURNING 1
""")
# Whoever works at it asks before each part, and is waited for by whoever cancels it.
HOLD = text("SELECT 1 FROM jobs WHERE id = :id AND state = 'running' FOR UPDATE")
ADVANCE = text("""
    UPDATE jobs SET done = :done, result = CAST(:result AS jsonb), updated_at = clock_timestamp()
    WHERE id = :id AND state = 'running' RETURNING 1
""")
CANCEL = text("""
    WITH cancelled AS (
        UPDATE jobs SET state = 'cancelled', updated_at = clock_timestamp(),
               result = result || jsonb_build_object('cancelled_by', CAST(:actor AS text))
        WHERE id = :id AND state = 'running' RETURNING *
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'job.cancelled', CAST(:actor AS text), jsonb_build_object('job_id', id, 'kind', kind)
           || (result - 'problems')
    FROM cancelled RETURNING 1
""")
END = text("""
    WITH ended AS (
        UPDATE jobs SET state = :state, done = :done, result = CAST(:result AS jsonb),
               updated_at = clock_timestamp()
        WHERE id = :id AND state = 'running' RETURNING *
    ), told AS (
        INSERT INTO events (event, actor, detail)
        SELECT CAST(:event AS text), made_by,
               jsonb_build_object('job_id', id, 'state', state) || result
        FROM ended WHERE CAST(:event AS text) IS NOT NULL
    )
    SELECT 1 FROM ended
""")
# Whoever worked at it may be gone: then nothing moves any more.
ONE = text("""
    SELECT id, kind, state, done, total, result, made_by, made_at, updated_at,
           state = 'running' AND updated_at < clock_timestamp() - interval '1 minute' AS stalled
    FROM jobs WHERE id = :id
""")
NEWEST = text("""
    SELECT id, kind, state, done, total, result, made_by, made_at, updated_at,
           state = 'running' AND updated_at < clock_timestamp() - interval '1 minute' AS stalled
    FROM jobs ORDER BY made_at DESC LIMIT :limit
""")


async def begin(
    connection: Connection, id: JobId, *, kind: str, total: int | None, actor: str
) -> bool:
    """Write down that somebody begins; ``total`` is what ``done`` will be at the end, if known.

    False when there is a job with this id.
    """
    given = {"id": id, "kind": kind, "total": total, "made_by": actor}
    return (await connection.execute(BEGIN, given)).scalar_one_or_none() is not None


async def hold(connection: Connection, id: JobId) -> bool:
    """Let nobody cancel it until this transaction ends; False when it is not running any more."""
    return (await connection.execute(HOLD, {"id": id})).scalar_one_or_none() is not None


async def advance(
    connection: Connection, id: JobId, *, done: int, result: Mapping[str, Any]
) -> bool:
    """Write down how far it is; False when it is not running any more."""
    given = {"id": id, "done": done, "result": json.dumps(result)}
    return (await connection.execute(ADVANCE, given)).scalar_one_or_none() is not None


async def cancel(connection: Connection, id: JobId, *, actor: str) -> bool:
    """End it where it is: nothing more is done after; False when it is not running any more."""
    given = {"id": id, "actor": actor}
    return (await connection.execute(CANCEL, given)).scalar_one_or_none() is not None


async def newest(connection: ReadConnection, limit: int) -> list[Facts]:
    """The last jobs that were begun."""
    return [dict(row) for row in (await connection.execute(NEWEST, {"limit": limit})).mappings()]


async def end(
    connection: Connection,
    id: JobId,
    *,
    done: int,
    result: Mapping[str, Any],
    failed: bool,
    event: str | None,
) -> bool:
    """Write down how it ended, with the event of it, if that is one; False: it had ended before."""
    state = "failed" if failed else "done"
    given = {"id": id, "done": done, "result": json.dumps(result), "state": state, "event": event}
    return (await connection.execute(END, given)).scalar_one_or_none() is not None


async def one(connection: ReadConnection, id: JobId) -> Facts | None:
    """A job as it stands; None when there is no such one."""
    row = (await connection.execute(ONE, {"id": id})).mappings().one_or_none()
    return dict(row) if row else None
