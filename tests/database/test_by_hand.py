"""Entered by hand is held everywhere, until its exit arrived: there it is not sold again."""

from database import rebuilding
from domain.destination import Destination
from tests.database.rows import BUY, SELL, UNSENT, Rows
from tests.database.test_entangled_exits import goes, judged, leaves_for
from tests.database.test_positions import enter


async def late(rows: Rows, side: str) -> None:
    """Time is over for all that waits of this side."""
    await rows.sql(
        "UPDATE deliveries SET expires_at = now() WHERE side = :side AND state = 'queued'",
        side=side,
    )
    await rows.expire()


async def sold_at_one_of_two(rows: Rows) -> list[Destination]:
    """Held from before at both; its exit arrived at one, and the other does not answer."""
    places = [await rows.destination(name) for name in ("one", "two")]
    await enter(rows)
    await judged(rows, SELL)
    await goes(rows, places[0])
    await goes(rows, places[1], UNSENT)
    return places


async def test_it_stands_for_a_newer_one_because_no_delivery_tells_where_it_is_held(
    rows: Rows,
) -> None:
    places = await sold_at_one_of_two(rows)
    newer = await rows.alert("AAPL", BUY)
    await rows.decide()
    await goes(rows, places[0])
    # At the other place the buy waits behind the exit. Both are given up in the end.
    await late(rows, BUY)
    await late(rows, SELL)
    (by_hand,) = await rows.sql("SELECT id FROM positions WHERE entry_signal_id IS NULL")
    (told,) = await rows.sql("SELECT * FROM events WHERE event = 'position.closed'")
    assert (told.position_id, told.detail["successor"]) == (newer, str(by_hand))
    assert await leaves_for(rows) == ["one", "two"]
    for place in places:
        await goes(rows, place)
    assert await rows.states("positions") == ["closed", "closed"]
    assert await untold(rows) == []


async def untold(rows: Rows) -> list[str]:
    """Where the trail and the tables do not say the same."""
    async with rows.database.read() as connection:
        return list((await rebuilding.compare(connection)).differences)
