"""A new address of a destination counts when its minute is over, once, unless it was cancelled."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from database import destinations, pending_addresses
from domain.delivery import DestinationId
from domain.destination import Destination, SigningKeys, Turn
from domain.rate import Window
from engines.destinations.relocator import POLL, Relocator
from engines.worker import AGAIN
from tests.database.rows import Rows, a_destination
from tests.engines.conditions import until_rows

OLD, NEW = "https://old.example/s3cret-old", "https://new.example/s3cret-new"
HEADERS = {"authorization": "Bearer s3cret-header"}
BY = "an operator"


async def made(rows: Rows) -> Destination:
    one = a_destination(url=OLD, windows=(Window(limit=9, seconds=60),))
    async with rows.database.write() as connection:
        assert await destinations.create(connection, rows.vault, one, actor=BY)
    return one


async def entered(rows: Rows, one: Destination, url: str = NEW) -> bool:
    wanted = replace(one, url=url, headers=HEADERS)
    async with rows.database.write() as connection:
        await destinations.hold(connection, rows.vault, one.id)
        return await pending_addresses.enter(connection, rows.vault, one, wanted, actor=BY)


async def pass_a_minute(rows: Rows) -> None:
    await rows.sql("UPDATE pending_addresses SET due_at = due_at - interval '1 minute'")


async def current(rows: Rows, id: DestinationId) -> Destination:
    async with rows.database.write() as connection:
        found = await destinations.hold(connection, rows.vault, id)
    assert found
    return found[0]


async def waiting(rows: Rows) -> int:
    async with rows.database.read() as connection:
        return len(await pending_addresses.pending(connection))


async def told(rows: Rows) -> list[str]:
    events = await rows.events()
    return [event for event in events if event.startswith("destination.")][1:]


async def test_it_counts_after_a_minute_and_not_before(rows: Rows) -> None:
    one, relocator = await made(rows), Relocator(database=rows.database)
    assert await relocator.step() == POLL
    assert await entered(rows, one)
    assert AGAIN < await relocator.step() <= POLL
    assert (await current(rows, one.id)).url == OLD
    await pass_a_minute(rows)
    assert await relocator.step() == AGAIN
    assert await current(rows, one.id) == replace(one, url=NEW, headers=HEADERS, version=2)
    assert not await waiting(rows)
    assert await relocator.step() == POLL
    assert await told(rows) == ["destination.address_pending", "destination.changed"]
    (detail,) = await rows.sql("SELECT detail FROM events WHERE event = 'destination.changed'")
    assert detail["was"] == {"url": "https://old.example/•••", "headers": []}
    assert detail["becomes"] == {"url": "https://new.example/•••", "headers": ["authorization"]}
    assert set(await rows.sql("SELECT actor FROM events")) == {BY}


async def test_its_secrets_are_nowhere_in_the_clear(rows: Rows) -> None:
    assert await entered(rows, await made(rows))
    everything = await rows.sql(
        "SELECT pending_addresses::text FROM pending_addresses"
        " UNION ALL SELECT events::text FROM events"
    )
    assert len(everything) == 3
    for found in everything:
        assert "s3cret" not in found
        assert b"s3cret".hex() not in found


async def test_it_is_cancelled_before(rows: Rows) -> None:
    one = await made(rows)
    await entered(rows, one)
    async with rows.database.write() as connection:
        assert await pending_addresses.cancel(connection, one.id, actor=BY)
        assert not await pending_addresses.cancel(connection, one.id, actor=BY)
    await pass_a_minute(rows)
    assert await Relocator(database=rows.database).step() == POLL
    assert await current(rows, one.id) == one
    assert await told(rows) == ["destination.address_pending", "destination.address_cancelled"]


async def test_two_replicas_apply_it_once(rows: Rows) -> None:
    ones = [await made(rows), await other(rows)]
    for one in ones:
        await entered(rows, one)
    await pass_a_minute(rows)
    await asyncio.gather(*(Relocator(database=rows.database).step() for _ in range(4)))
    for one in ones:
        assert (await current(rows, one.id)).version == 2
    assert (await told(rows)).count("destination.changed") == 2


async def other(rows: Rows) -> Destination:
    one = a_destination("other", url=OLD)
    async with rows.database.write() as connection:
        await destinations.create(connection, rows.vault, one, actor=BY)
    return one


async def test_what_else_was_changed_meanwhile_stays_changed(rows: Rows) -> None:
    one = await made(rows)
    await entered(rows, one)
    wanted = replace(one, name="renamed", windows=(), keys=SigningKeys(b"n" * 32))
    async with rows.database.write() as connection:
        assert await destinations.change(connection, rows.vault, wanted, actor="another")
        assert await destinations.turn(connection, one.id, Turn.PAUSE, actor="another")
    await pass_a_minute(rows)
    await Relocator(database=rows.database).step()
    assert await current(rows, one.id) == replace(wanted, url=NEW, headers=HEADERS, version=3)


async def test_another_change_of_the_address_makes_it_moot(rows: Rows) -> None:
    one = await made(rows)
    await entered(rows, one)
    later = replace(one, url="https://third.example/x")
    async with rows.database.write() as connection:
        assert await destinations.change(connection, rows.vault, later, actor="another")
    assert not await waiting(rows)
    await pass_a_minute(rows)
    await Relocator(database=rows.database).step()
    assert await current(rows, one.id) == replace(later, version=2)
    assert sorted((await told(rows))[1:]) == [
        "destination.address_cancelled",
        "destination.changed",
    ]
    (why,) = await rows.sql(
        "SELECT actor || ': ' || (detail->>'reason') FROM events"
        " WHERE event = 'destination.address_cancelled'"
    )
    assert why == "another: changed meanwhile"


async def test_one_waits_at_a_time(rows: Rows) -> None:
    one = await made(rows)
    assert await entered(rows, one)
    assert not await entered(rows, one, url="https://third.example/x")
    async with rows.database.read() as connection:
        (found,) = (await pending_addresses.pending(connection, one.id)).values()
    assert found["url"] == "https://new.example/•••"
    assert timedelta(seconds=50) < found["due_in"] <= pending_addresses.WAIT


async def test_a_change_under_way_is_waited_for(rows: Rows) -> None:
    """Whoever changes a destination and whoever applies its address take it in the same order."""
    one = await made(rows)
    await entered(rows, one)
    await pass_a_minute(rows)
    async with rows.database.write() as connection:
        await destinations.hold(connection, rows.vault, one.id)
        applying = asyncio.create_task(Relocator(database=rows.database).step())
        await until_rows(rows.somebody_waits)
        later = replace(one, url="https://third.example/x")
        assert await destinations.change(connection, rows.vault, later, actor="another")
    await applying
    assert (await current(rows, one.id)).url == later.url
