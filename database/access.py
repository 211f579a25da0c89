"""Sessions of signed-in browsers. Only digests of their ids are kept."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from database.pool import Connection, ReadConnection

BEGIN = text("""
    WITH begun AS (
        INSERT INTO sessions (id_hash, created_at, seen_at)
        VALUES (:id_hash, clock_timestamp(), clock_timestamp())
    )
    INSERT INTO events (event, actor, detail)
    VALUES ('session.begun', :actor, jsonb_build_object('from', CAST(:origin AS text)))
""")
FIND = text("""
    SELECT created_at, seen_at, clock_timestamp() AS now FROM sessions WHERE id_hash = :id_hash
""")
SEEN = text("""
    UPDATE sessions SET seen_at = clock_timestamp()
    WHERE id_hash = :id_hash AND seen_at < clock_timestamp() - interval '30 seconds'
""")
END = text("DELETE FROM sessions WHERE id_hash = :id_hash")
SWEEP = text("DELETE FROM sessions WHERE created_at < clock_timestamp() - interval '7 days'")


@dataclass(frozen=True, slots=True)
class Session:
    """When a session began and was last used, and the database's clock when this was read."""

    created_at: datetime
    seen_at: datetime
    now: datetime


async def begin(connection: Connection, id_hash: bytes, *, actor: str, origin: str) -> None:
    """Remember a session and that ``actor`` began it from the address ``origin``."""
    await connection.execute(SWEEP)
    await connection.execute(BEGIN, {"id_hash": id_hash, "actor": actor, "origin": origin})


async def find(connection: ReadConnection, id_hash: bytes) -> Session | None:
    row = (await connection.execute(FIND, {"id_hash": id_hash})).one_or_none()
    return Session(row.created_at, row.seen_at, row.now) if row else None


async def seen(connection: Connection, id_hash: bytes) -> None:
    """It was used just now; written at most every 30 seconds."""
    await connection.execute(SEEN, {"id_hash": id_hash})


async def end(connection: Connection, id_hash: bytes) -> None:
    await connection.execute(END, {"id_hash": id_hash})
