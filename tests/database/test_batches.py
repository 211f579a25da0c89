from uuid import uuid4

from database import batches
from database.batches import Batch, BatchId, BatchKind, Made
from tests.database.rows import SELL, Rows, an_entry


def a_batch(**given: object) -> Batch:
    usual: dict[str, object] = {
        "id": BatchId(uuid4()),
        "kind": BatchKind.SELL,
        "snapshot": [{"ticker": "AAPL"}],
        "made_by": "admin token",
    }
    return Batch(**{**usual, **given})  # pyright: ignore[reportArgumentType]


async def test_a_batch_is_read_with_its_signals(rows: Rows) -> None:
    batch, entry = a_batch(reason="earnings tonight"), an_entry("AAPL", SELL)
    async with rows.database.write() as connection:
        assert await batches.begin(connection, batch)
    await rows.append(entry)
    async with rows.database.write() as connection:
        await batches.attach(connection, batch.id, [Made(id=entry.id)])
    async with rows.database.read() as connection:
        found = await batches.progress(connection, batch.id)
        newest = await batches.newest(connection)
    assert found
    assert found.batch.snapshot == [{"ticker": "AAPL"}]
    assert found.batch.reason == "earnings tonight"
    assert [(one["ticker"], one["shown"]) for one in found.signals] == [("AAPL", "received")]
    assert [one.id for one in newest] == [batch.id]


async def test_a_key_makes_one_batch(rows: Rows) -> None:
    first, second = a_batch(key=b"key"), a_batch(key=b"key")
    async with rows.database.write() as connection:
        assert await batches.begin(connection, first)
        assert await batches.begin(connection, second) is None
        assert await batches.begin(connection, a_batch())
        found = await batches.by_key(connection, b"key")
    assert found
    assert found.id == first.id
    told = await rows.sql("SELECT detail->>'batch_id' AS id FROM events WHERE event = 'batch.made'")
    assert str(first.id) in told
    assert len(told) == 2
