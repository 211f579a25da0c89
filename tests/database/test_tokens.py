"""Tokens in the database: kept as digests, revoked for good, and each change told."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from database import sources, tokens
from database.tokens import Mark, NameTakenError
from domain.access import Grant, Scope, TokenId, digest, hint_of, mint
from domain.source import Source
from engines.clock import entropy, utc_now
from tests.database.rows import Rows, new_id

TOKEN = mint(entropy(32))
READER = Grant(
    id=TokenId(new_id()),
    name="dashboard",
    digest=digest(TOKEN),
    scopes=frozenset({Scope.READ, Scope.TRADE}),
    expires_at=utc_now() + timedelta(days=1),
)


async def create(rows: Rows, grant: Grant = READER) -> bool:
    async with rows.database.write() as connection:
        return await tokens.create(connection, grant, hint=hint_of(TOKEN), actor="admin token")


async def revoke(rows: Rows, grant: Grant = READER) -> bool:
    async with rows.database.write() as connection:
        assert grant.id
        return await tokens.revoke(connection, grant.id, actor="another", reason="lost it")


async def mark(rows: Rows) -> Mark:
    async with rows.database.read() as connection:
        return await tokens.mark(connection)


def another(name: str) -> Grant:
    return replace(READER, id=TokenId(new_id()), name=name, digest=digest(name))


async def test_a_token_is_kept_as_its_digest_and_told_without_it(rows: Rows) -> None:
    assert await create(rows)
    async with rows.database.read() as connection:
        (kept,) = await tokens.listed(connection)
        (grant,) = await tokens.ring(connection)
    assert (kept.name, kept.hint, kept.scopes) == ("dashboard", TOKEN[-4:], READER.scopes)
    assert (kept.made_by, kept.expires_at, kept.last_used_at) == (
        "admin token",
        READER.expires_at,
        None,
    )
    assert grant == replace(READER, name="token dashboard")
    [(event, actor, detail)] = await rows.sql("SELECT event, actor, detail FROM events")
    assert (event, actor, detail["was"]) == ("token.created", "admin token", None)
    assert detail["becomes"]["name"] == "dashboard"
    assert detail["becomes"]["scopes"] == ["read", "trade"]
    assert "source" not in detail["becomes"]


async def test_a_revoked_token_stays_so_and_its_name_is_free(rows: Rows) -> None:
    await create(rows)
    with pytest.raises(NameTakenError):
        await create(rows, another("DASHboard"))
    assert await revoke(rows)
    assert not await revoke(rows)
    assert not await revoke(rows, another("nobody"))
    async with rows.database.read() as connection:
        assert await tokens.listed(connection) == await tokens.ring(connection) == []
        (kept,) = await tokens.listed(connection, revoked=True)
        assert READER.id
        assert await tokens.one(connection, READER.id) == kept
        assert await tokens.one(connection, uuid4()) is None
    assert kept.revoked_at
    assert kept.revoked_by == "another"
    assert await create(rows, another("dashboard"))
    assert await rows.events() == ["token.created", "token.revoked", "token.created"]
    [detail] = await rows.sql("SELECT detail FROM events WHERE event = 'token.revoked'")
    assert (detail["reason"], detail["was"]["name"], detail["becomes"]) == (
        "lost it",
        "dashboard",
        None,
    )


async def test_the_database_itself_holds_a_sources_token_to_ingest(rows: Rows) -> None:
    """The last line of defence; the answer to callers is the domain's."""
    assert not await create(rows, replace(READER, source="nobody"))
    with pytest.raises(NameTakenError):
        await create(rows, replace(READER, source="webhook"))
    assert await create(rows, replace(READER, source="webhook", scopes=frozenset({Scope.INGEST})))


async def test_every_change_of_tokens_and_sources_moves_the_mark(rows: Rows) -> None:
    marks = [await mark(rows)]

    async def moved() -> None:
        marks.append(await mark(rows))
        assert marks[-1] not in marks[:-1]

    await create(rows)
    await moved()
    await revoke(rows)
    await moved()
    source = Source(name="momentum")
    async with rows.database.write() as connection:
        await sources.create(connection, source, actor="me")
    await moved()
    async with rows.database.write() as connection:
        wanted = replace(source, note="x")
        assert await sources.change(connection, wanted, version=1, actor="me")
    await moved()
    async with rows.database.write() as connection:
        assert await sources.archive(connection, "momentum", actor="me")
    await moved()


async def test_the_last_use_only_moves_on_and_moves_no_mark(rows: Rows) -> None:
    await create(rows)
    before, now = await mark(rows), utc_now()
    assert READER.id
    for at in (now, now - timedelta(minutes=1)):
        async with rows.database.write() as connection:
            await tokens.used(connection, {READER.id: at})
    assert await rows.sql("SELECT last_used_at FROM tokens") == [now]
    assert await mark(rows) == before
