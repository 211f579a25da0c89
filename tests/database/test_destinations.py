import asyncio
from dataclasses import replace
from datetime import timedelta

from database import access, destinations
from domain.access import digest
from domain.rate import Window
from tests.database.rows import Rows, a_destination

WINDOWS = (Window(limit=60, seconds=60), Window(limit=500, seconds=3600))
SECRET = "https://webhooks.traderspost.io/trading/webhook/s3cret-path"


async def test_a_destination_comes_back_as_it_was_put(rows: Rows) -> None:
    wanted = a_destination(url=SECRET, windows=WINDOWS, signing_key=b"s3cret-key" * 3)
    async with rows.database.write() as connection:
        await destinations.put_named(connection, rows.vault, wanted, actor="a test")
    async with rows.database.read() as connection:
        assert await destinations.enabled(connection, rows.vault) == [wanted]
        assert await destinations.enabled_versions(connection) == {wanted.id: 1}


async def test_its_secrets_are_nowhere_in_the_clear(rows: Rows) -> None:
    await rows.destination(url=SECRET, signing_key=b"s3cret-key" * 3)
    everything = await rows.sql(
        "SELECT destinations::text FROM destinations UNION ALL SELECT events::text FROM events"
    )
    assert len(everything) == 2
    for text in everything:
        assert "s3cret" not in text
        assert b"s3cret".hex() not in text


async def test_a_change_makes_a_version_and_no_change_makes_none(rows: Rows) -> None:
    first = await rows.destination(url=SECRET)
    assert await rows.destination(url=SECRET) == first
    moved = await rows.destination(url=SECRET + "2")
    slower = await rows.destination(url=SECRET + "2", windows=WINDOWS)
    assert (moved.id, moved.version, slower.version) == (first.id, 2, 3)
    assert slower == replace(first, url=SECRET + "2", windows=WINDOWS, version=3)
    told = [event for event in await rows.events() if event.startswith("destination.")]
    assert told == ["destination.created", "destination.changed", "destination.changed"]


async def test_two_starts_at_once_make_one_destination(rows: Rows) -> None:
    await asyncio.gather(*(rows.destination() for _ in range(3)))
    assert await rows.sql("SELECT count(*) FROM destinations") == [1]
    assert (await rows.events()).count("destination.created") == 1


async def test_only_an_enabled_destination_is_sent_to_and_a_paused_one_keeps(rows: Rows) -> None:
    for state, anywhere in (("enabled", True), ("paused", True), ("disabled", False)):
        await rows.destination()
        await rows.sql("UPDATE destinations SET state = :state", state=state)
        async with rows.database.read() as connection:
            found = await destinations.enabled(connection, rows.vault)
            assert len(found) == (state == "enabled")
            assert len(await destinations.enabled_versions(connection)) == (state == "enabled")
            assert await destinations.any_enabled(connection) == anywhere
        await rows.sql("UPDATE destinations SET state = 'enabled'")


async def test_without_any_there_is_nowhere_to_send(rows: Rows) -> None:
    async with rows.database.read() as connection:
        assert not await destinations.any_enabled(connection)
        assert await destinations.enabled(connection, rows.vault) == []


async def test_a_session_is_remembered_until_it_ends(rows: Rows) -> None:
    one, other = digest("one"), digest("other")
    async with rows.database.write() as connection:
        await access.begin(connection, one, actor="admin token", origin="192.0.2.7")
        found = await access.find(connection, one)
        assert found
        assert found.created_at <= found.seen_at <= found.now
        assert await access.find(connection, other) is None
        await access.end(connection, one)
        assert await access.find(connection, one) is None
    assert await rows.sql("SELECT actor || ' ' || (detail->>'from') FROM events") == [
        "admin token 192.0.2.7"
    ]


async def test_use_is_written_down_every_half_minute_and_old_sessions_are_swept(
    rows: Rows,
) -> None:
    async def seen(id: bytes) -> timedelta:
        async with rows.database.write() as connection:
            await access.seen(connection, id)
            found = await access.find(connection, id)
        assert found
        return found.now - found.seen_at

    async with rows.database.write() as connection:
        for id in (b"recent", b"idle", b"ancient"):
            await access.begin(connection, id, actor="a", origin="b")
    await rows.sql("UPDATE sessions SET seen_at = seen_at - interval '29 s' WHERE id_hash='recent'")
    await rows.sql("UPDATE sessions SET seen_at = seen_at - interval '31 s' WHERE id_hash = 'idle'")
    await rows.sql(
        "UPDATE sessions SET created_at = created_at - interval '8 days' WHERE id_hash = 'ancient'"
    )
    assert await seen(b"recent") > timedelta(seconds=28)
    assert await seen(b"idle") < timedelta(seconds=5)
    async with rows.database.write() as connection:
        await access.begin(connection, b"new", actor="a", origin="b")
        assert await access.find(connection, b"ancient") is None
        assert await access.find(connection, b"idle")
