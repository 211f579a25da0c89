"""An exit that is resent to one destination does not close what another one still holds."""

from datetime import timedelta

from sqlalchemy import text

from database import batches, gate
from database.batches import Batch, BatchId, BatchKind, Made
from domain.destination import Destination
from domain.position import PositionState
from tests.database.rows import BUY, OK, REFUSED, SELL, Rows, an_entry, new_id, settlement


async def resent(rows: Rows, place: Destination) -> None:
    """Make a sell for this destination alone, have it judged, and let it arrive."""
    entry = an_entry("AAPL", SELL, lifetime=timedelta(hours=1))
    await rows.append(entry)
    batch = Batch(id=BatchId(new_id()), kind=BatchKind.RESEND, snapshot=[], made_by="a test")
    async with rows.database.write() as connection:
        await gate.hold_alone(connection)
        await batches.begin(connection, batch)
        await batches.attach(connection, batch.id, [Made(id=entry.id, only=place.id)])
    await rows.decide()
    (delivery,) = await rows.lease(place)
    await rows.settle(settlement(delivery, OK))


async def test_it_closes_when_nothing_is_left_anywhere(rows: Rows) -> None:
    places = [await rows.destination(name) for name in ("one", "two")]
    for side, answer in ((BUY, OK), (SELL, REFUSED)):
        await rows.alert("AAPL", side)
        await rows.decide()
        for place in places:
            (delivery,) = await rows.lease(place)
            await rows.settle(settlement(delivery, answer))
    assert await rows.states("positions") == [PositionState.OPEN]
    await resent(rows, places[0])
    assert await rows.states("positions") == [PositionState.OPEN]
    await resent(rows, places[1])
    assert await rows.states("positions") == [PositionState.CLOSED]
    async with rows.database.read() as connection:
        told = await connection.execute(
            text("SELECT event FROM events WHERE position_id IS NOT NULL ORDER BY id")
        )
    assert [event.partition(".")[2] for event in told.scalars()] == [
        *("opening", "open", "closing", "open", "closing", "open", "closing", "closed"),
    ]
