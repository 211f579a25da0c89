from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from database import tokens
from database.pool import Database
from domain.access import Grant, Scope, SessionPolicy, TokenId, digest
from engines.access.doorkeeper import Doorkeeper, grants_of
from engines.access.keyring import Keyring
from engines.clock import utc_now
from tests.database.rows import Rows, new_id

WEBHOOK, FINVIZ, ADMIN = "w" * 32, "f" * 32, "a" * 32
POLICY = SessionPolicy(idle=timedelta(minutes=30), absolute=timedelta(hours=12))


@pytest.fixture
def doorkeeper(database: Database) -> Doorkeeper:
    numbers = count(1)
    grants = grants_of(webhook=WEBHOOK, finviz_update=FINVIZ, admin=ADMIN)
    return Doorkeeper(
        database=database,
        keyring=Keyring(database=database, of_settings=grants, clock=utc_now),
        policy=POLICY,
        entropy=lambda size: next(numbers).to_bytes(size, "big"),
    )


@pytest.mark.parametrize("scope", Scope)
def test_a_token_allows_what_the_contract_says(doorkeeper: Doorkeeper, scope: Scope) -> None:
    update = {Scope.READ, Scope.CONFIG, Scope.TRADE}
    assert bool(doorkeeper.grant(WEBHOOK, scope)) == (scope is Scope.INGEST)
    assert bool(doorkeeper.grant(FINVIZ, scope)) == (scope in update)
    assert doorkeeper.grant(ADMIN, scope)
    for token in (None, "", "w" * 31, "W" * 32, f" {ADMIN}", "\ud800"):
        assert doorkeeper.grant(token, scope) is None


def test_no_token_is_ever_an_empty_one(database: Database) -> None:
    grants = grants_of(webhook="", finviz_update="", admin="")
    open_door = Doorkeeper(
        database=database,
        keyring=Keyring(database=database, of_settings=grants, clock=utc_now),
        policy=POLICY,
        entropy=bytes,
    )
    assert open_door.grant("", Scope.READ) is open_door.grant(None, Scope.ADMIN) is None


async def test_only_the_admin_token_signs_in(doorkeeper: Doorkeeper, rows: Rows) -> None:
    for token in (WEBHOOK, FINVIZ, "", "wrong"):
        assert await doorkeeper.sign_in(token, "192.0.2.7") is None
    assert await rows.sql("SELECT count(*) FROM sessions") == [0]
    session = await doorkeeper.sign_in(ADMIN, "192.0.2.7")
    assert session
    assert len(session) == 43
    assert await doorkeeper.is_signed_in(session)
    assert await rows.events() == ["session.begun"]
    kept = await rows.sql("SELECT sessions::text FROM sessions")
    assert session not in kept[0]


async def test_every_session_is_its_own(doorkeeper: Doorkeeper) -> None:
    one, two = [await doorkeeper.sign_in(ADMIN, "192.0.2.7") for _ in range(2)]
    assert one
    assert two
    assert one != two
    await doorkeeper.sign_out(one)
    assert not await doorkeeper.is_signed_in(one)
    assert await doorkeeper.is_signed_in(two)
    for wrong in (None, "", two + "x", two[:-1], two.lower() + "\ud800"):
        assert not await doorkeeper.is_signed_in(wrong)


async def test_use_keeps_a_session_and_idleness_ends_it(doorkeeper: Doorkeeper, rows: Rows) -> None:
    session = await doorkeeper.sign_in(ADMIN, "192.0.2.7")
    for _ in range(3):
        await rows.sql("UPDATE sessions SET seen_at = seen_at - interval '29 min'")
        assert await doorkeeper.is_signed_in(session)
    await rows.sql("UPDATE sessions SET seen_at = seen_at - interval '31 min'")
    assert not await doorkeeper.is_signed_in(session)
    # Being asked in vain does not bring it back.
    assert not await doorkeeper.is_signed_in(session)


async def test_after_half_a_day_it_ends_in_any_case(doorkeeper: Doorkeeper, rows: Rows) -> None:
    session = await doorkeeper.sign_in(ADMIN, "192.0.2.7")
    await rows.sql("UPDATE sessions SET created_at = created_at - interval '11 h 59 min'")
    assert await doorkeeper.is_signed_in(session)
    await rows.sql("UPDATE sessions SET created_at = created_at - interval '1 min'")
    assert not await doorkeeper.is_signed_in(session)


# ── Sessions of tokens that operators made ──────────────────────────────────────────────────

TOKEN = "t" * 47


async def signed_in(doorkeeper: Doorkeeper, rows: Rows, **given: Any) -> tuple[Grant, str]:
    """An admin's token of the database, and a session begun with it."""
    grant = Grant(
        id=TokenId(new_id()),
        name="colleague",
        digest=digest(TOKEN),
        scopes=frozenset({Scope.ADMIN}),
        **given,
    )
    async with rows.database.write() as connection:
        assert await tokens.create(connection, grant, hint="tttt", actor="me")
    await doorkeeper.keyring.refresh()
    session = await doorkeeper.sign_in(TOKEN, "192.0.2.7")
    assert session
    return grant, session


async def test_a_session_ends_with_the_token_it_was_begun_with(
    doorkeeper: Doorkeeper, rows: Rows
) -> None:
    grant, session = await signed_in(doorkeeper, rows)
    of_settings = await doorkeeper.sign_in(ADMIN, "192.0.2.7")
    found = await doorkeeper.session(session)
    assert found
    assert (found.name, found.id) == ("session of token colleague", grant.id)
    assert found.allows(Scope.ADMIN)
    assert grant.id
    async with rows.database.write() as connection:
        assert await tokens.revoke(connection, grant.id, actor="me", reason=None)
    assert not await doorkeeper.is_signed_in(session), "also before the keyring has looked"
    assert await doorkeeper.is_signed_in(of_settings)
    actors = await rows.sql("SELECT actor FROM events WHERE event = 'session.begun' ORDER BY id")
    assert actors == ["token colleague", "admin token"]


async def test_a_session_ends_when_its_token_does(doorkeeper: Doorkeeper, rows: Rows) -> None:
    ends = utc_now() + timedelta(hours=1)
    _, session = await signed_in(doorkeeper, rows, expires_at=ends)
    found = await doorkeeper.session(session)
    assert found
    assert found.expires_at == ends
    await rows.sql("UPDATE tokens SET expires_at = now() + interval '1 minute'")
    assert await doorkeeper.is_signed_in(session)
    await rows.sql("UPDATE tokens SET expires_at = now()")
    assert not await doorkeeper.is_signed_in(session)


@pytest.mark.parametrize("scope", sorted({*Scope} - {Scope.ADMIN}))
async def test_a_token_of_less_than_admin_signs_nobody_in(
    doorkeeper: Doorkeeper, rows: Rows, scope: Scope
) -> None:
    grant = Grant(id=TokenId(new_id()), name="a", digest=digest(TOKEN), scopes=frozenset({scope}))
    async with rows.database.write() as connection:
        assert await tokens.create(connection, grant, hint="tttt", actor="me")
    await doorkeeper.keyring.refresh()
    assert doorkeeper.grant(TOKEN, scope)
    assert await doorkeeper.sign_in(TOKEN, "192.0.2.7") is None
