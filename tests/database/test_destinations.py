import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from database import breakers, destinations, gate
from database.destinations import NameTakenError
from domain.breaker import Breaker, BreakerState
from domain.delivery import Guarantee
from domain.destination import Destination, DestinationState, Mode, SigningKeys, Turn
from domain.mapping import BodyMapping, Preset
from domain.rate import Window
from engines.clock import utc_now
from tests.database.rows import Rows, a_destination

WINDOWS = (Window(limit=60, seconds=60), Window(limit=500, seconds=3600))
SECRET = "https://webhooks.traderspost.io/trading/webhook/s3cret-path"
ACTOR = "an operator"


def elaborate() -> Destination:
    """A destination with everything that may be said of one."""
    return a_destination(
        url=SECRET,
        windows=WINDOWS,
        keys=SigningKeys(b"s3cret-key" * 3, b"s3cret-old" * 3, utc_now() + timedelta(hours=1)),
        concurrency=3,
        timeout=timedelta(seconds=2.5),
        connect_timeout=timedelta(seconds=0.5),
        mode=Mode.DRY_RUN,
        guarantee=Guarantee.AT_MOST_ONCE,
        headers={"x-api-key": "s3cret-header"},
        mapping=BodyMapping(Preset.TRADERSPOST, {"a": "b"}, {"n": 1.5, "password": "s3cret-add"}),
    )


async def created(rows: Rows, wanted: Destination) -> Destination:
    async with rows.database.write() as connection:
        assert await destinations.create(connection, rows.vault, wanted, actor=ACTOR)
    return wanted


async def changed(rows: Rows, wanted: Destination) -> bool:
    async with rows.database.write() as connection:
        return await destinations.change(connection, rows.vault, wanted, actor=ACTOR)


async def told(rows: Rows) -> list[str]:
    return [event for event in await rows.events() if event.startswith("destination.")]


async def test_a_destination_comes_back_as_it_was_put(rows: Rows) -> None:
    wanted = await created(rows, elaborate())
    async with rows.database.read() as connection:
        assert await destinations.enabled(connection, rows.vault) == [wanted]
        assert await destinations.enabled_versions(connection) == {wanted.id: 1}


async def test_its_secrets_are_nowhere_in_the_clear(rows: Rows) -> None:
    wanted = await created(rows, replace(elaborate(), mapping=BodyMapping()))
    assert await changed(rows, replace(wanted, url=SECRET + "2"))
    everything = await rows.sql(
        "SELECT destinations::text FROM destinations"
        " UNION ALL SELECT destination_versions::text FROM destination_versions"
        " UNION ALL SELECT events::text FROM events"
    )
    assert len(everything) == 5
    for text in everything:
        assert "s3cret" not in text
        assert b"s3cret".hex() not in text


async def test_people_are_shown_a_mask_and_what_waits(rows: Rows) -> None:
    wanted = await created(rows, elaborate())
    await created(rows, a_destination("another"))
    async with rows.database.read() as connection:
        found = await destinations.listed(connection, rows.vault)
        (one,) = await destinations.listed(connection, rows.vault, wanted.id)
        (version,) = await destinations.history(connection, rows.vault, wanted.id)
    assert [row["name"] for row in found] == ["another", "main"]
    assert found[1] == one
    assert "s3cret" not in f"{found} {version}"
    assert (one["url"], one["headers"]) == ("https://webhooks.traderspost.io/•••", ["x-api-key"])
    assert one["mapping"]["add"] == {"n": 1.5, "password": "•••"}
    assert [(w["limit"], w["used"]) for w in one["windows_used"]] == [(60, 0), (500, 0)]
    assert (one["queued"], one["sending"], one["held"], one["queued_older"]) == (0, 0, 0, 0)
    assert one["previous_key_until"] > utc_now()
    assert (version["made_by"], version["unfinished"], version["timeout"]) == (ACTOR, 0, 2.5)


async def test_a_change_is_a_version_and_the_old_one_stays(rows: Rows) -> None:
    first = await created(rows, elaborate())
    assert await changed(rows, replace(first, url=SECRET + "2", name="renamed"))
    assert not await changed(rows, replace(first, windows=()))
    second = replace(first, url=SECRET + "2", name="renamed", version=2)
    async with rows.database.read() as connection:
        assert await destinations.enabled(connection, rows.vault) == [second]
        old = await destinations.at_version(connection, rows.vault, first.id, 1)
        assert old == replace(first, name="renamed")
        assert await destinations.at_version(connection, rows.vault, first.id, 3) is None
        versions = await destinations.history(connection, rows.vault, first.id)
    assert [row["version"] for row in versions] == [2, 1]
    assert await told(rows) == ["destination.created", "destination.changed"]
    assert set(await rows.sql("SELECT actor FROM events")) == {ACTOR}


async def test_two_changes_of_one_version_make_one(rows: Rows) -> None:
    first = await created(rows, elaborate())
    done = await asyncio.gather(
        *(changed(rows, replace(first, concurrency=number)) for number in range(1, 4))
    )
    assert sorted(done) == [False, False, True]


async def test_a_name_is_taken_once(rows: Rows) -> None:
    first = await created(rows, a_destination())
    await created(rows, a_destination("another"))
    async with rows.database.write() as connection:
        again = a_destination()
        assert not await destinations.create(connection, rows.vault, again, actor=ACTOR)
    with pytest.raises(NameTakenError):
        await changed(rows, replace(first, name="another", url=SECRET))
    assert await told(rows) == ["destination.created"] * 2


async def test_a_rotation_is_a_version_with_its_own_event(rows: Rows) -> None:
    first = await created(rows, a_destination())
    keys = first.keys.rotated(b"n" * 32, now=utc_now(), overlap=timedelta(hours=1))
    async with rows.database.write() as connection:
        assert await destinations.rotate(connection, rows.vault, first, keys, actor=ACTOR)
        found = await destinations.hold(connection, rows.vault, first.id)
    assert found == (replace(first, keys=keys, version=2), DestinationState.ENABLED)
    assert await told(rows) == ["destination.created", "destination.key_rotated"]
    (until,) = await rows.sql(
        "SELECT CAST(detail->>'previous_until' AS timestamptz) FROM events"
        " WHERE event = 'destination.key_rotated'"
    )
    assert until == keys.until


async def test_one_event_for_each_real_change_of_state(rows: Rows) -> None:
    one = await created(rows, a_destination())

    async def turn(wanted: Turn) -> bool:
        async with rows.database.write() as connection:
            return await destinations.turn(connection, one.id, wanted, actor=ACTOR)

    pause, resume, disable, enable = Turn
    orders = [resume, pause, pause, enable, resume, enable, disable, disable, pause, resume, enable]
    done = [order for order in [*orders, pause, disable] if await turn(order)]
    assert done == [pause, resume, disable, enable, pause, disable]
    assert await told(rows) == [
        f"destination.{word}"
        for word in ("created", "paused", "resumed", "disabled", "enabled", "paused", "disabled")
    ]
    assert await rows.sql("SELECT version FROM destinations") == [1]


async def test_pauses_at_once_are_one(rows: Rows) -> None:
    one = await created(rows, a_destination())

    async def pause() -> bool:
        async with rows.database.write() as connection:
            return await destinations.turn(connection, one.id, Turn.PAUSE, actor=ACTOR)

    assert sorted(await asyncio.gather(*(pause() for _ in range(3)))) == [False, False, True]
    assert (await told(rows)).count("destination.paused") == 1


async def test_a_breaker_is_closed_by_hand(rows: Rows) -> None:
    one = await created(rows, a_destination())
    now = utc_now()
    opened = Breaker(
        state=BreakerState.OPEN,
        since=now,
        until=now + timedelta(hours=1),
        cause="http 500",
        trips=4,
    )
    async with rows.database.write() as connection:
        await breakers.keep(connection, one.id, opened, tell=True)
        assert await destinations.close_breaker(connection, one.id, actor=ACTOR)
        assert not await destinations.close_breaker(connection, one.id, actor=ACTOR)
        breaker = (await breakers.hold(connection, [one.id]))[one.id].breaker
    assert breaker.since is not None
    assert breaker == Breaker(since=breaker.since)
    assert (await told(rows))[1:] == ["destination.breaker_open", "destination.breaker_closed"]


async def test_two_starts_at_once_make_one_destination(rows: Rows) -> None:
    async def start() -> bool:
        async with rows.database.write() as connection:
            wanted = a_destination()
            return await destinations.create_first(connection, rows.vault, wanted, actor=ACTOR)

    assert sorted(await asyncio.gather(*(start() for _ in range(3)))) == [False, False, True]
    assert (await rows.events()).count("destination.created") == 1


async def test_only_an_enabled_destination_is_sent_to_and_a_paused_one_keeps(rows: Rows) -> None:
    await rows.destination()
    for state, anywhere in (("enabled", True), ("paused", True), ("disabled", False)):
        await rows.sql("UPDATE destinations SET state = :state", state=state)
        async with rows.database.read() as connection:
            found = await destinations.enabled(connection, rows.vault)
            assert len(found) == (state == "enabled")
            assert len(await destinations.enabled_versions(connection)) == (state == "enabled")
            assert (await gate.read(connection)).has_destination == anywhere


async def test_without_any_there_is_nowhere_to_send(rows: Rows) -> None:
    async with rows.database.read() as connection:
        assert not (await gate.read(connection)).has_destination
        assert await destinations.enabled(connection, rows.vault) == []
        assert await destinations.listed(connection, rows.vault) == []
