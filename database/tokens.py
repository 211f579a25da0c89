"""Tokens made by operators: what each allows, until when, and when it was last used."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from database.connection import Row
from database.pool import Connection, ReadConnection
from domain.access import Grant, Scope, TokenId

_TOLD = "'name', name, 'scopes', scopes, 'source', source, 'expires_at', expires_at, 'hint', hint"

# A source that is put away at this moment is waited for, and then has no more tokens.
CREATE = text(f"""
    WITH posts AS MATERIALIZED (
        SELECT name FROM sources WHERE name = :source AND archived_at IS NULL FOR SHARE
    ), made AS (
        INSERT INTO tokens (id, name, digest, hint, scopes, source, made_by, expires_at)
        SELECT :id, :name, :digest, :hint, CAST(:scopes AS text[]), CAST(:source AS text), :actor,
               CAST(:expires_at AS timestamptz)
        WHERE CAST(:source AS text) IS NULL OR EXISTS (SELECT FROM posts)
        RETURNING *
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'token.created', :actor, jsonb_build_object(
        'token_id', id, 'was', NULL, 'becomes', jsonb_strip_nulls(jsonb_build_object({_TOLD})))
    FROM made
    RETURNING 1
""")
REVOKE = text(f"""
    WITH revoked AS (
        UPDATE tokens SET revoked_at = clock_timestamp(), revoked_by = :actor
        WHERE id = :id AND revoked_at IS NULL
        RETURNING *
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'token.revoked', :actor, jsonb_build_object(
        'token_id', id, 'was', jsonb_strip_nulls(jsonb_build_object({_TOLD})), 'becomes', NULL,
        'reason', CAST(:reason AS text))
    FROM revoked
    RETURNING 1
""")
_SHOWN = """
    SELECT id, name, hint, scopes, source, made_at, made_by, expires_at, last_used_at,
           revoked_at, revoked_by
    FROM tokens
"""
ONE = text(f"{_SHOWN} WHERE id = :id")
LISTED = text(f"{_SHOWN} WHERE revoked_at IS NULL OR :revoked ORDER BY made_at DESC, id")
RING = text("""
    SELECT id, name, digest, scopes, source, expires_at FROM tokens WHERE revoked_at IS NULL
""")

# Rows of neither table are ever deleted, and every change adds one to one of these: two readers
# that see the same marks see the same rows.
MARK = text("""
    SELECT (SELECT coalesce(sum(version), 0)::bigint FROM sources) AS sources,
           count(*) AS made, count(revoked_at) AS revoked
    FROM tokens
""")
USED = text("""
    UPDATE tokens SET last_used_at = used.at
    FROM unnest(CAST(:ids AS uuid[]), CAST(:times AS timestamptz[])) AS used (id, at)
    WHERE tokens.id = used.id AND (last_used_at IS NULL OR last_used_at < used.at)
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Equal for two readers only when tokens and sources were the same for both."""

    sources: int
    made: int
    revoked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A token as a list shows it."""

    id: TokenId
    name: str
    hint: str
    scopes: frozenset[Scope]
    source: str | None
    made_at: datetime
    made_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


class NameTakenError(Exception):
    """Another token that is not revoked has this name; letter case makes no difference."""


async def create(connection: Connection, grant: Grant, *, hint: str, actor: str) -> bool:
    """Keep a token; False when there is no such source. Raises NameTakenError."""
    given = {
        "id": grant.id,
        "name": grant.name,
        "digest": grant.digest,
        "hint": hint,
        "scopes": sorted(grant.scopes),
        "source": grant.source,
        "expires_at": grant.expires_at,
        "actor": actor,
    }
    try:
        async with connection.begin_nested():
            made = await connection.execute(CREATE, given)
            return made.scalar_one_or_none() is not None
    except IntegrityError as error:
        raise NameTakenError from error


async def revoke(connection: Connection, id: UUID, *, actor: str, reason: str | None) -> bool:
    """End a token for good, in every replica within two seconds; False when it is already."""
    given = {"id": id, "actor": actor, "reason": reason}
    return (await connection.execute(REVOKE, given)).scalar_one_or_none() is not None


async def one(connection: ReadConnection, id: UUID) -> Kept | None:
    row = (await connection.execute(ONE, {"id": id})).one_or_none()
    return _kept(row) if row else None


async def listed(connection: ReadConnection, *, revoked: bool = False) -> list[Kept]:
    """The newest first; with ``revoked`` those too that are no more."""
    return [_kept(row) for row in await connection.execute(LISTED, {"revoked": revoked})]


async def mark(connection: ReadConnection) -> Mark:
    row = (await connection.execute(MARK)).one()
    return Mark(sources=row.sources, made=row.made, revoked=row.revoked)


async def ring(connection: ReadConnection) -> list[Grant]:
    """What the tokens that are not revoked allow; some of them may have ended."""
    return [
        Grant(
            id=TokenId(row.id),
            name=f"token {row.name}",
            digest=row.digest,
            scopes=frozenset(map(Scope, row.scopes)),
            source=row.source,
            expires_at=row.expires_at,
        )
        for row in await connection.execute(RING)
    ]


async def used(connection: Connection, times: Mapping[TokenId, datetime]) -> None:
    """Remember when each of these was last used."""
    given = {"ids": list(times), "times": list(times.values())}
    await connection.execute(USED, given)


def _kept(row: Row) -> Kept:
    return Kept(
        id=TokenId(row.id),
        name=row.name,
        hint=row.hint,
        scopes=frozenset(map(Scope, row.scopes)),
        source=row.source,
        made_at=row.made_at,
        made_by=row.made_by,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
    )
