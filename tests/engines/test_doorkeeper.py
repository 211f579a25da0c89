from datetime import timedelta
from itertools import count

import pytest

from database.pool import Database
from domain.access import Scope, SessionPolicy
from engines.access.doorkeeper import Doorkeeper, grants_of
from tests.database.rows import Rows

WEBHOOK, FINVIZ, ADMIN = "w" * 32, "f" * 32, "a" * 32
POLICY = SessionPolicy(idle=timedelta(minutes=30), absolute=timedelta(hours=12))


@pytest.fixture
def doorkeeper(database: Database) -> Doorkeeper:
    numbers = count(1)
    return Doorkeeper(
        database=database,
        grants=grants_of(webhook=WEBHOOK, finviz_update=FINVIZ, admin=ADMIN),
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
    open_door = Doorkeeper(
        database=database,
        grants=grants_of(webhook="", finviz_update="", admin=""),
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
