"""Rows of sessions: remembered, used, listed, ended by somebody or by themselves, and told of."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import text

from database import access
from domain.access import Grant, Scope, digest
from tests.database.rows import Rows

UNUSED = text("""
    UPDATE sessions SET seen_at = clock_timestamp() - CAST(:ago AS float8) * interval '1 s'
    RETURNING seen_at
""")
IDLE, ABSOLUTE = timedelta(minutes=30), timedelta(hours=12)
ADMIN = Grant(name="admin token", digest=digest("a token"), scopes=frozenset({Scope.ADMIN}))


async def begin(rows: Rows, *ids: bytes) -> None:
    async with rows.database.write() as connection:
        for id in ids:
            await access.begin(connection, id, grant=ADMIN, origin="192.0.2.7", agent="curl/8")


async def told(rows: Rows) -> Sequence[str]:
    return await rows.sql("""
        SELECT actor || ': ' || (detail->>'reason') FROM events
        WHERE event = 'session.ended' ORDER BY id
    """)


async def test_a_session_is_remembered_until_it_ends(rows: Rows) -> None:
    one, other = digest("one"), digest("other")
    await begin(rows, one)
    async with rows.database.write() as connection:
        found = await access.find(connection, one)
        assert found
        assert found.created_at <= found.seen_at <= found.now
        assert await access.find(connection, other) is None
        assert await access.end(connection, one, actor="me", reason="enough")
        assert not await access.end(connection, one, actor="me", reason="again")
        assert await access.find(connection, one) is None
    assert await rows.sql("SELECT actor || ' ' || (detail->>'from') FROM events LIMIT 1") == [
        "admin token 192.0.2.7"
    ]
    assert await told(rows) == ["me: enough"]
    names = await rows.sql("SELECT DISTINCT detail->>'session' FROM events")
    assert names == [one.hex()[:12]], "its beginning and its end can be put together"


async def test_use_is_written_down_every_half_minute(rows: Rows) -> None:
    async def seen(ago: float) -> tuple[timedelta, timedelta]:
        """How long ago it was used, before and after it is used now."""
        async with rows.database.write() as connection:
            before = (await connection.execute(UNUSED, {"ago": ago})).scalar_one()
            await access.seen(connection, b"one")
            found = await access.find(connection, b"one")
        assert found
        return found.now - before, found.now - found.seen_at

    await begin(rows, b"one")
    while (found := await seen(29))[0] >= timedelta(seconds=30):
        pass  # the machine stood still: it was half a minute
    assert found[1] == found[0]
    before, after = await seen(31)
    assert after < before - timedelta(seconds=30)


async def test_what_is_over_by_itself_is_listed_no_more_and_swept(rows: Rows) -> None:
    await begin(rows, b"unused", b"ancient", b"live", b"own")
    await rows.sql(
        "UPDATE sessions SET seen_at = seen_at - interval '31 min' WHERE id_hash='unused'"
    )
    await rows.sql(
        "UPDATE sessions SET created_at = created_at - interval '13 h' WHERE id_hash = 'ancient'"
    )
    async with rows.database.write() as connection:
        found = await access.listed(connection, b"own", idle=IDLE, absolute=ABSOLUTE)
        assert [(one.name, one.own) for one in found] == [
            (b"own".hex(), True),
            (b"live".hex(), False),
        ]
        assert (found[0].origin, found[0].agent, found[0].token) == ("192.0.2.7", "curl/8", None)
        await access.sweep(connection, idle=IDLE, absolute=ABSOLUTE)
    assert await rows.sql("SELECT count(*) FROM sessions") == [2]
    assert sorted(await told(rows)) == [
        "its end: it had lasted as long as any may",
        "its end: nobody used it",
    ]


async def test_one_is_ended_by_its_name_and_all_at_once(rows: Rows) -> None:
    await begin(rows, digest("one"), digest("two"), digest("three"))
    async with rows.database.write() as connection:
        name = digest("two").hex()[:12]
        assert await access.end_named(connection, name, actor="me", reason="stolen")
        assert not await access.end_named(connection, name, actor="me", reason="stolen")
        assert not await access.end_named(connection, "%", actor="me", reason="stolen")
        assert await access.end_all(connection, actor="me", reason="everywhere") == 2
        assert await access.end_all(connection, actor="me", reason="everywhere") == 0
    assert await told(rows) == ["me: stolen", "me: everywhere", "me: everywhere"]
