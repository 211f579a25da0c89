"""Sessions of signed-in browsers. Only digests of their ids are kept."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import TextClause, text

from database.pool import Connection, ReadConnection
from domain.access import Grant, TokenId

_NAME = "encode(substring(sessions.id_hash FOR 6), 'hex')"
BEGIN = text(f"""
    WITH begun AS (
        INSERT INTO sessions (id_hash, created_at, seen_at, token_id, token_hash, origin, agent)
        VALUES (:id_hash, clock_timestamp(), clock_timestamp(), :token, :token_hash, :origin,
                :agent)
        RETURNING {_NAME} AS name
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'session.begun', CAST(:actor AS text),
           jsonb_build_object('session', name, 'from', CAST(:origin AS text))
    FROM begun
""")
FIND = text("""
    SELECT created_at, seen_at, proved_at, said, clock_timestamp() AS now, token_id,
           tokens.name AS token, tokens.expires_at, tokens.revoked_at
    FROM sessions LEFT JOIN tokens ON tokens.id = token_id
    WHERE id_hash = :id_hash
""")
SEEN = text("""
    UPDATE sessions SET seen_at = clock_timestamp()
    WHERE id_hash = :id_hash AND seen_at < clock_timestamp() - interval '30 seconds'
""")
PROVED = text("UPDATE sessions SET proved_at = clock_timestamp() WHERE id_hash = :id_hash")
SAY = text("UPDATE sessions SET said = :words WHERE id_hash = :id_hash")
TAKE = text("""
    UPDATE sessions SET said = NULL FROM (
        SELECT id_hash, said FROM sessions WHERE id_hash = :id_hash FOR UPDATE
    ) AS old
    WHERE sessions.id_hash = old.id_hash AND old.said IS NOT NULL RETURNING old.said
""")
_OVER = """
    (seen_at <= clock_timestamp() - CAST(:idle AS interval)
     OR created_at <= clock_timestamp() - CAST(:absolute AS interval)
     OR token_id IN (
        SELECT id FROM tokens WHERE revoked_at IS NOT NULL OR expires_at <= clock_timestamp()))
"""
LISTED = text(f"""
    SELECT {_NAME} AS name, id_hash = :own AS own, created_at, seen_at, sessions.origin, agent,
           tokens.name AS token, clock_timestamp() AS now
    FROM sessions LEFT JOIN tokens ON tokens.id = token_id
    WHERE NOT coalesce({_OVER}, false) ORDER BY own DESC, seen_at DESC
""")


def ending(chosen: str) -> TextClause:
    """A statement that ends the ``chosen`` sessions, and tells who did it and why."""
    return text(f"""
        WITH ended AS (
            DELETE FROM sessions WHERE {chosen} RETURNING {_NAME} AS name
        )
        INSERT INTO events (event, actor, detail)
        SELECT 'session.ended', CAST(:actor AS text),
               jsonb_build_object('session', name, 'reason', CAST(:reason AS text))
        FROM ended RETURNING 1
    """)


END = ending("id_hash = :id_hash")
END_NAMED = ending(f"{_NAME} = :name")
END_ALL = ending("true")
END_OTHERS = ending("token_id IS NULL AND (token_hash = ANY(:kept)) IS NOT TRUE")
# Nobody's doing: no address stands beside it.
SWEEP = text(f"""
    WITH over AS (
        DELETE FROM sessions WHERE {_OVER}
        RETURNING {_NAME} AS name, CASE
            WHEN created_at <= clock_timestamp() - CAST(:absolute AS interval)
                THEN 'it had lasted as long as any may'
            WHEN seen_at <= clock_timestamp() - CAST(:idle AS interval) THEN 'nobody used it'
            ELSE 'its token ended' END AS reason
    )
    INSERT INTO events (event, actor, origin, detail)
    SELECT 'session.ended', 'its end', NULL, jsonb_build_object('session', name, 'reason', reason)
    FROM over
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunWith:
    """The token that a session was begun with, as it is now."""

    id: TokenId
    name: str
    expires_at: datetime | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class Session:
    """When a session began and was last used, and the database's clock when this was read.

    ``proved_at`` is when its operator last showed a token, ``said`` what the next page tells of
    what was done; ``token`` is what it was begun with; None: a token of the settings.
    """

    created_at: datetime
    seen_at: datetime
    proved_at: datetime
    said: str | None
    now: datetime
    token: BegunWith | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A live session for people. ``name`` tells it apart and opens nothing; ``own``: who asks."""

    name: str
    own: bool
    created_at: datetime
    seen_at: datetime
    origin: str | None
    agent: str | None
    token: str | None
    now: datetime


async def begin(
    connection: Connection,
    id_hash: bytes,
    *,
    grant: Grant,
    origin: str,
    agent: str | None = None,
) -> None:
    """Remember a session, and that it was begun with a token's ``grant``, from where.

    ``agent`` is what the browser calls itself: it tells sessions apart for their owner.
    """
    token = {"actor": grant.name, "token": grant.id, "token_hash": grant.digest}
    given = {"id_hash": id_hash, "origin": origin, "agent": agent}
    await connection.execute(BEGIN, given | token)


async def find(connection: ReadConnection, id_hash: bytes) -> Session | None:
    row = (await connection.execute(FIND, {"id_hash": id_hash})).one_or_none()
    if row is None:
        return None
    token = row.token_id and BegunWith(
        id=TokenId(row.token_id),
        name=row.token,
        expires_at=row.expires_at,
        revoked=row.revoked_at is not None,
    )
    return Session(row.created_at, row.seen_at, row.proved_at, row.said, row.now, token)


async def seen(connection: Connection, id_hash: bytes) -> None:
    """It was used just now; written at most every 30 seconds."""
    await connection.execute(SEEN, {"id_hash": id_hash})


async def proved(connection: Connection, id_hash: bytes) -> None:
    """Its operator showed a token just now."""
    await connection.execute(PROVED, {"id_hash": id_hash})


async def say(connection: Connection, id_hash: bytes, words: str) -> None:
    """Let the next page of this session tell what was done."""
    await connection.execute(SAY, {"id_hash": id_hash, "words": words})


async def take(connection: Connection, id_hash: bytes) -> str | None:
    """What is to be told, once."""
    return (await connection.execute(TAKE, {"id_hash": id_hash})).scalar_one_or_none()


async def end(connection: Connection, id_hash: bytes, *, actor: str, reason: str) -> bool:
    """End a session; False when it is no more."""
    given = {"id_hash": id_hash, "actor": actor, "reason": reason}
    return (await connection.execute(END, given)).scalar_one_or_none() is not None


async def end_named(connection: Connection, name: str, *, actor: str, reason: str) -> bool:
    """End the session that a list shows by this name; False when it is no more."""
    given = {"name": name, "actor": actor, "reason": reason}
    return bool((await connection.execute(END_NAMED, given)).all())


async def end_all(connection: Connection, *, actor: str, reason: str) -> int:
    """End every session; how many there were."""
    return len((await connection.execute(END_ALL, {"actor": actor, "reason": reason})).all())


async def end_others(
    connection: Connection, kept: Collection[bytes], *, actor: str, reason: str
) -> int:
    """End those that were begun with a token of the settings that is none of ``kept`` any more."""
    given = {"kept": list(kept), "actor": actor, "reason": reason}
    return len((await connection.execute(END_OTHERS, given)).all())


async def sweep(connection: Connection, *, idle: timedelta, absolute: timedelta) -> None:
    """Take away the sessions that are over by themselves."""
    await connection.execute(SWEEP, {"idle": idle, "absolute": absolute})


async def listed(
    connection: ReadConnection, own: bytes, *, idle: timedelta, absolute: timedelta
) -> list[Listed]:
    """The live sessions: the one that asks first, then by their last use."""
    given = {"own": own, "idle": idle, "absolute": absolute}
    return [Listed(**row) for row in (await connection.execute(LISTED, given)).mappings()]
