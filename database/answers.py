"""Answers: what a command with an Idempotency-Key was answered, for whoever sends it again."""

import json
from dataclasses import dataclass

from sqlalchemy import text

from database.audit import Facts
from database.pool import Connection

# Who repeats a command waits here until the first one is committed, and finds its answer then.
TAKE = text("""
    WITH old AS (
        DELETE FROM answers WHERE key IN (
            SELECT key FROM answers
            WHERE made_at < clock_timestamp() - interval '7 days' AND key <> :key
            FOR UPDATE SKIP LOCKED)
    )
    INSERT INTO answers (key, asked) VALUES (:key, :asked)
    ON CONFLICT (key) DO NOTHING
    RETURNING 1
""")
KEPT = text("SELECT asked, answer FROM answers WHERE key = :key")
KEEP = text("UPDATE answers SET answer = CAST(:answer AS jsonb) WHERE key = :key")


@dataclass(frozen=True, slots=True)
class Asked:
    """Digests of a caller's key, and of what was asked under it."""

    key: bytes
    asked: bytes


class KeyReusedError(Exception):
    """Something else was asked under this key before."""


async def take(connection: Connection, asked: Asked) -> Facts | None:
    """Take a key for the command of this transaction; return the answer where there is one.

    A command that fails gives its key back. Raises KeyReusedError.
    """
    given = {"key": asked.key, "asked": asked.asked}
    if (await connection.execute(TAKE, given)).one_or_none():
        return None
    kept = (await connection.execute(KEPT, {"key": asked.key})).one()
    if kept.asked != asked.asked:
        raise KeyReusedError
    return kept.answer


async def keep(connection: Connection, asked: Asked, answer: Facts) -> None:
    """Keep what the command of this transaction answers."""
    told = json.dumps(dict(answer), default=str)
    await connection.execute(KEEP, {"key": asked.key, "answer": told})
