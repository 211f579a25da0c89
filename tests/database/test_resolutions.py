import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from database import destinations, lanes, resolutions
from database.resolutions import Refusal, Resolution, Wanted
from domain.delivery import Delivery, DeliveryId, DeliveryState, Ended, Guarantee
from domain.destination import Destination, Mode
from domain.signal import Side
from tests.database.rows import ALL, BUY, LEASE, OK, SELL, UNKNOWN, UNSENT, Rows, settlement

LIFE = timedelta(minutes=10)
HELD = Ended(DeliveryState.HELD, "timeout")
ACTOR = "an operator"


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination(guarantee=Guarantee.AT_MOST_ONCE)


async def queued(rows: Rows, ticker: str = "AAPL", side: Side = BUY, **given: Any) -> DeliveryId:
    """A delivery that waits to be leased."""
    id = await rows.alert(ticker, side, **given)
    await rows.decide()
    (delivery,) = await rows.sql("SELECT id FROM deliveries WHERE signal_id = :id", id=id)
    return delivery


async def held(rows: Rows, main: Destination, side: Side = BUY, **given: Any) -> DeliveryId:
    """A delivery whose outcome is unknown."""
    if side is SELL:
        await rows.bought(main)
    await queued(rows, side=side, **given)
    (delivery,) = await rows.lease(main)
    await rows.settle(settlement(delivery, UNKNOWN, HELD))
    return delivery.id


async def resolve(
    rows: Rows, id: DeliveryId, resolution: Resolution, why: str | None = None
) -> Refusal | DeliveryState | None:
    async with rows.database.write() as connection:
        return await resolutions.resolve(
            connection, id, resolution, actor=ACTOR, why=why, life=LIFE
        )


async def cancel(rows: Rows, id: DeliveryId) -> Refusal | DeliveryState | None:
    async with rows.database.write() as connection:
        return await resolutions.cancel(connection, id, actor=ACTOR, why=None)


async def cancel_queued(rows: Rows, main: Destination, *, every: bool = False) -> int:
    async with rows.database.write() as connection:
        return await resolutions.cancel_queued(
            connection, main.id, every=every, actor=ACTOR, why="a test"
        )


async def moved_on(rows: Rows, main: Destination, **given: Any) -> Destination:
    """The next version of a destination."""
    wanted = replace(main, **({"url": main.url + "2"} | given))
    async with rows.database.write() as connection:
        assert await destinations.change(connection, rows.vault, wanted, actor=ACTOR)
    return replace(wanted, version=main.version + 1)


async def retarget(rows: Rows, main: Destination) -> int:
    async with rows.database.write() as connection:
        return await resolutions.retarget(connection, main.id, actor=ACTOR)


async def one(rows: Rows, id: DeliveryId) -> Any:
    (row,) = await rows.sql(
        "SELECT state, reason, possibly_sent, expires_at > clock_timestamp() AS lives,"
        " expires_at - clock_timestamp() AS left, destination_version FROM deliveries"
        " WHERE id = :id",
        id=id,
    )
    return row


async def last_event(rows: Rows, id: DeliveryId) -> tuple[str, str | None, dict[str, Any]]:
    row = (
        await rows.sql(
            "SELECT event, actor, detail FROM events WHERE delivery_id = :id"
            " ORDER BY id DESC LIMIT 1",
            id=id,
        )
    )[0]
    return row.event, row.actor, row.detail


# ── Held deliveries ─────────────────────────────────────────────────────────────────────────


async def test_resolved_as_delivered_it_counts_as_delivered(rows: Rows, main: Destination) -> None:
    id = await held(rows, main)
    assert await rows.states("positions") == ["opening"]
    assert await resolve(rows, id, Resolution.DELIVERED, "seen at the broker") == "delivered"
    row = await one(rows, id)
    assert (row.state, row.possibly_sent) == ("delivered", True)
    assert await rows.states("positions") == ["open"]
    event, actor, detail = await last_event(rows, id)
    assert (event, actor) == ("delivery.delivered", ACTOR)
    assert detail["reason"] == row.reason == "resolved: seen at the broker"


async def test_dropped_it_never_arrived_and_its_position_is_void(
    rows: Rows, main: Destination
) -> None:
    id = await held(rows, main)
    assert await resolve(rows, id, Resolution.DROP) == "cancelled"
    row = await one(rows, id)
    assert (row.state, row.reason, row.possibly_sent) == ("cancelled", "dropped", False)
    assert await rows.states("positions") == ["void"]
    assert (await last_event(rows, id))[:2] == ("delivery.cancelled", ACTOR)
    (actor,) = await rows.sql("SELECT actor FROM events WHERE event = 'position.void'")
    assert actor == ACTOR


async def test_a_dropped_sell_leaves_its_position_open(rows: Rows, main: Destination) -> None:
    id = await held(rows, main, SELL)
    assert await rows.states("positions") == ["closing"]
    assert await resolve(rows, id, Resolution.DROP) == "cancelled"
    assert await rows.states("positions") == ["open"]


async def test_sent_again_it_is_marked(rows: Rows, main: Destination) -> None:
    id = await held(rows, main)
    assert await resolve(rows, id, Resolution.RESEND) == "queued"
    event, actor, detail = await last_event(rows, id)
    assert (event, actor, detail["reason"]) == ("delivery.queued", ACTOR, "resend")
    (delivery,) = await rows.lease(main)
    assert (delivery.id, delivery.possible_resend, delivery.attempt) == (id, True, 2)


async def test_the_life_of_a_sell_starts_anew(rows: Rows, main: Destination) -> None:
    id = await held(rows, main, SELL)
    await rows.sql("UPDATE deliveries SET expires_at = clock_timestamp() WHERE id = :id", id=id)
    assert await resolve(rows, id, Resolution.RESEND) == "queued"
    assert (await one(rows, id)).left > LIFE - timedelta(seconds=30)
    assert [delivery.id for delivery in await rows.lease(main)] == [id]


async def test_an_old_buy_is_not_sent_again(rows: Rows, main: Destination) -> None:
    id = await held(rows, main)
    await rows.sql("UPDATE deliveries SET expires_at = clock_timestamp() WHERE id = :id", id=id)
    before = await rows.events()
    assert await resolve(rows, id, Resolution.RESEND) is Refusal.EXPIRED
    assert (await one(rows, id)).state == "held"
    assert await rows.events() == before


async def test_what_was_overtaken_is_not_sent_again(rows: Rows, main: Destination) -> None:
    id = await held(rows, main)
    await queued(rows, side=SELL)
    (sell,) = await rows.lease(main)
    assert await resolve(rows, id, Resolution.RESEND) is Refusal.OVERTAKEN
    await rows.settle(settlement(sell, OK))
    assert await resolve(rows, id, Resolution.RESEND) is Refusal.OVERTAKEN
    assert await resolve(rows, id, Resolution.DELIVERED) == "delivered"


async def test_a_newer_one_of_another_lane_is_not_in_the_way(rows: Rows, main: Destination) -> None:
    id = await held(rows, main)
    await queued(rows, "MSFT")
    assert len(await rows.lease(main)) == 1
    assert await resolve(rows, id, Resolution.RESEND) == "queued"


async def test_a_resend_and_a_lease_of_its_lane_wait_for_one_another(
    rows: Rows, main: Destination
) -> None:
    """Whichever is first, the newer sell never goes before the buy that is sent again."""
    id = await held(rows, main)
    await queued(rows, side=SELL)
    async with rows.database.write() as connection:
        assert await lanes.hold(connection, main.id)
        resolving = asyncio.create_task(resolve(rows, id, Resolution.RESEND))
        assert not (await asyncio.wait([resolving], timeout=0.2))[0]
        leased = await lanes.lease(connection, rows.vault, main.id, ALL, LEASE)
    assert [delivery.side for delivery in leased] == [SELL]
    assert await resolving is Refusal.OVERTAKEN


@pytest.mark.parametrize("resolution", Resolution)
async def test_only_what_is_held_is_resolved_and_once(
    rows: Rows, main: Destination, resolution: Resolution
) -> None:
    waiting = await queued(rows, "MSFT")
    assert await resolve(rows, waiting, resolution) is Refusal.NOT_HELD
    await rows.lease(main)
    assert await resolve(rows, waiting, resolution) is Refusal.NOT_HELD
    assert await resolve(rows, DeliveryId(main.id), resolution) is None
    id = await held(rows, main)
    both = await asyncio.gather(*(resolve(rows, id, resolution) for _ in range(2)))
    assert {str(word) for word in both} == {str(await _state(rows, id)), "not_held"}


async def _state(rows: Rows, id: DeliveryId) -> str:
    return (await one(rows, id)).state


# ── Queued deliveries ───────────────────────────────────────────────────────────────────────


async def test_a_cancelled_buy_is_over_and_its_waiting_exit_too(
    rows: Rows, main: Destination
) -> None:
    id = await queued(rows)
    assert await cancel(rows, id) == "cancelled"
    assert (await last_event(rows, id))[:2] == ("delivery.cancelled", ACTOR)
    assert await rows.states("positions") == ["void"]
    assert await cancel(rows, id) is Refusal.NOT_QUEUED
    assert await rows.lease(main) == []


async def test_a_cancelled_buy_that_may_have_arrived_counts_as_held(
    rows: Rows, main: Destination
) -> None:
    id = await queued(rows)
    (delivery,) = await rows.lease(main)
    await rows.settle(settlement(delivery, UNKNOWN))
    assert await cancel(rows, id) == "cancelled"
    assert await rows.states("positions") == ["open"]


async def test_what_is_on_its_way_is_not_cancelled(rows: Rows, main: Destination) -> None:
    id = await queued(rows)
    await rows.lease(main)
    assert await cancel(rows, id) is Refusal.NOT_QUEUED
    assert await cancel(rows, DeliveryId(main.id)) is None


async def test_a_delivery_somebody_works_on_is_left_to_him(rows: Rows, main: Destination) -> None:
    id = await queued(rows)
    async with rows.database.write() as connection:
        leased = await lanes.lease(connection, rows.vault, main.id, ALL, LEASE)
        assert await cancel(rows, id) is Refusal.BUSY
    assert [delivery.id for delivery in leased] == [id]


async def test_what_waits_for_older_versions_is_cancelled_or_everything(
    rows: Rows, main: Destination
) -> None:
    await queued(rows, "OLD")
    newer = await moved_on(rows, main)
    await queued(rows, "NEW")
    assert await cancel_queued(rows, newer) == 1
    assert await rows.states("deliveries") == ["cancelled", "queued"]
    assert await cancel_queued(rows, newer) == 0
    assert await cancel_queued(rows, newer, every=True) == 1
    assert await rows.sql("SELECT DISTINCT reason FROM deliveries") == ["cancelled: a test"]


# ── To another version ──────────────────────────────────────────────────────────────────────


async def test_what_is_queued_stays_with_its_version_until_it_is_retargeted(
    rows: Rows, main: Destination
) -> None:
    id = await queued(rows)
    newer = await moved_on(rows, main)
    assert (await one(rows, id)).destination_version == 1
    async with rows.database.read() as connection:
        (shown,) = await destinations.listed(connection, rows.vault)
    assert shown["queued_older"] == 1
    assert await retarget(rows, newer) == 1
    assert await retarget(rows, newer) == 0
    assert await last_event(rows, id) == (
        "delivery.retargeted",
        ACTOR,
        {"was_version": 1, "destination_version": 2},
    )
    (delivery,) = await rows.lease(newer)
    assert delivery.destination_version == 2


async def test_what_may_have_left_is_not_sent_elsewhere(rows: Rows, main: Destination) -> None:
    """One waits after an unknown outcome, one is on its way, one surely never left."""
    for ticker, answer in (("DOUBT", UNKNOWN), ("WAY", None), ("SAFE", UNSENT)):
        await queued(rows, ticker)
        (delivery,) = await rows.lease(main)
        if answer:
            await rows.settle(settlement(delivery, answer))
            await rows.sql("UPDATE deliveries SET due_at = due_at + interval '9 s'")
    newer = await moved_on(rows, main)
    assert await retarget(rows, newer) == 1
    found = await rows.sql("SELECT ticker, destination_version FROM deliveries ORDER BY seq")
    assert [tuple(row) for row in found] == [("DOUBT", 1), ("WAY", 1), ("SAFE", 2)]


@pytest.mark.parametrize("modes", [(Mode.DRY_RUN, Mode.LIVE), (Mode.LIVE, Mode.DRY_RUN)], ids=str)
async def test_nothing_goes_from_a_dry_run_to_a_live_one_or_back(
    rows: Rows, modes: tuple[Mode, Mode]
) -> None:
    """The sell of what was bought in a dry run would open a short; the other way none is sent."""
    before, after = modes
    main = await rows.destination(mode=before)
    await queued(rows)
    newer = await moved_on(rows, main, mode=after)
    assert await retarget(rows, newer) == 0
    assert await rows.sql("SELECT destination_version FROM deliveries") == [1]


# ── Listed ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def crowd(rows: Rows) -> list[Delivery]:
    """Five signals, each on its way to two destinations."""
    first, second = await rows.destination("first"), await rows.destination("second")
    for number in range(5):
        await rows.alert(f"T{number}")
    await rows.decide()
    leased = [*await rows.lease(first), *await rows.lease(second)]
    await rows.settle(*(settlement(delivery, OK) for delivery in leased[:3]))
    return leased


async def test_pages_hold_each_delivery_once_newest_first(
    rows: Rows, crowd: list[Delivery]
) -> None:
    seen: list[Any] = []
    after = None
    async with rows.database.read() as connection:
        while page := await resolutions.page(connection, Wanted(after=after, limit=3)):
            seen += page
            after = (page[-1]["signal_id"], page[-1]["destination_id"])
    assert len(seen) == len({row["id"] for row in seen}) == len(crowd) == 10
    keys = [(row["signal_id"], row["destination_id"]) for row in seen]
    assert keys == sorted(keys, reverse=True)


async def test_pages_of_a_state_and_a_destination(rows: Rows, crowd: list[Delivery]) -> None:
    async with rows.database.read() as connection:
        done = await resolutions.page(connection, Wanted(state=DeliveryState.DELIVERED))
        sending = Wanted(state=DeliveryState.SENDING, destination=crowd[0].destination_id)
        rest = await resolutions.page(connection, sending)
        assert await resolutions.page(connection, Wanted(state=DeliveryState.DEAD)) == []
    assert {row["id"] for row in done} == {delivery.id for delivery in crowd[:3]}
    assert {(row["outcome"], row["status"]) for row in done} == {("delivered", 200)}
    assert {row["destination"] for row in rest} == {"first"}
    assert len(rest) == 2
