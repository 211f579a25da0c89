import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from database import journal
from database.journal import Entry, Receipt
from database.pool import Database
from domain.signal import SignalStatus
from engines.clock import utc_now
from tests.database.rows import SELL, Rows, an_entry

KEY = b"k" * 32


@pytest.fixture
async def other(database: Database) -> AsyncGenerator[Database]:
    """A second process on the same database."""
    replica = Database.connect(database.url, patience=timedelta(seconds=20))
    yield replica
    await replica.close()


async def append_at(database: Database, *entries: Entry) -> list[Receipt | None]:
    async with database.autocommit() as connection:
        return await journal.append(connection, entries)


async def test_what_is_appended_is_kept_byte_for_byte_in_order(rows: Rows) -> None:
    entries = [an_entry(ticker, body=bytes([0, 255, n])) for n, ticker in enumerate("CABD")]
    receipts = await rows.append(*entries)
    assert receipts == [
        Receipt(id=e.id, status=SignalStatus.RECEIVED, ticker=e.ticker, duplicate=False)
        for e in entries
    ]
    kept = await rows.sql("SELECT id, body, received_at FROM signals ORDER BY seq")
    assert [(row.id, row.body) for row in kept] == [(e.id, e.body) for e in entries]
    assert await rows.events() == ["signal.received"] * 4


WHOLE: Mapping[str, Any] = {
    "exchange": "NASDAQ",
    "symbol": "NASDAQ:AAPL",
    "closes": True,
    "partial": True,
    "price_text": " 1.2500e-7 ",
    "sender_time": datetime(2026, 1, 5, 14, 30, tzinfo=UTC),
    "hop": 1,
    "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
}
PRICES = [Decimal("1.2500e-7"), None, Decimal("99999999999999999999.5"), Decimal(7)]


@pytest.mark.parametrize("together", [1, 2, 4])
async def test_every_column_is_kept_alone_and_in_a_batch(rows: Rows, together: int) -> None:
    """Whatever the others say of it: nothing in common, the same, or nothing at all."""
    entries = [an_entry(price=price, **(WHOLE if price else {})) for price in PRICES]
    for first in range(0, len(entries), together):
        await rows.append(*entries[first : first + together])
    names = ", ".join(("ticker", "side", "content_type", "body", "price", *WHOLE))
    kept = await rows.sql(f"SELECT {names} FROM signals ORDER BY seq")
    assert [row._asdict() for row in kept] == [
        {name: getattr(entry, name) for name in names.split(", ")} for entry in entries
    ]
    assert [str(row.price) for row in kept if row.price] == ["1.2500E-7", str(PRICES[2]), "7"]


async def test_a_signal_lives_from_its_receipt_or_from_when_it_was_sent(rows: Rows) -> None:
    sent = utc_now() - timedelta(seconds=10)
    await rows.append(an_entry("NOW"), an_entry("SENT", SELL, sent_at=sent))
    now, given = await rows.sql("SELECT * FROM signals ORDER BY seq")
    assert now.expires_at - now.received_at == timedelta(seconds=30)
    assert given.expires_at - sent == timedelta(seconds=600)
    assert not now.clock_skew
    assert not given.clock_skew


@pytest.mark.parametrize(("ago", "status"), [(570.0, "received"), (601.0, "expired")])
async def test_what_was_sent_too_long_ago_is_expired_on_arrival(
    rows: Rows, ago: float, status: str
) -> None:
    await rows.destination()
    lifetime = timedelta(seconds=600)
    entry = an_entry(sent_at=utc_now() - timedelta(seconds=ago), lifetime=lifetime)
    (receipt,) = await rows.append(entry)
    assert receipt
    assert receipt.status == status
    told = ["signal.received"] + ["signal.expired"] * (status == "expired")
    assert await rows.events(entry.id) == told
    assert (await rows.decide() is None) == (status == "expired")


async def test_a_send_time_in_the_future_is_the_senders_clocks_fault(rows: Rows) -> None:
    soon, far = utc_now() + timedelta(seconds=4), utc_now() + timedelta(days=9)
    await rows.append(an_entry("SOON", sent_at=soon), an_entry("FAR", sent_at=far))
    for signal in await rows.sql("SELECT * FROM signals ORDER BY seq"):
        assert signal.expires_at - signal.received_at == timedelta(seconds=30)
        assert signal.clock_skew == (signal.ticker == "FAR")


async def test_an_unreadable_alert_is_kept_as_invalid(rows: Rows) -> None:
    readable = an_entry(invalid="no_side", lifetime=timedelta(0))
    entry = readable._replace(ticker=None, symbol=None, side=None)
    (receipt,) = await rows.append(entry)
    assert receipt
    assert receipt.status is SignalStatus.INVALID
    assert await rows.events() == ["signal.received", "signal.invalid"]
    assert await rows.sql("SELECT reason FROM signals") == ["no_side"]


async def test_a_repeat_folds_into_its_original(rows: Rows) -> None:
    first, again = an_entry(key=KEY), an_entry(key=KEY)
    await rows.append(first)
    (receipt,) = await rows.append(again)
    assert receipt == Receipt(
        id=first.id, status=SignalStatus.RECEIVED, ticker=first.ticker, duplicate=True
    )
    assert await rows.sql("SELECT id FROM signals") == [first.id]
    assert await rows.events(first.id) == ["signal.received", "signal.duplicate"]


async def test_a_repeat_is_told_where_its_original_stands_now(rows: Rows) -> None:
    await rows.destination()
    await rows.append(an_entry(key=KEY))
    await rows.decide()
    (receipt,) = await rows.append(an_entry(key=KEY))
    assert receipt
    assert receipt.status is SignalStatus.APPROVED


async def test_after_its_window_the_same_alert_is_a_new_one(rows: Rows) -> None:
    await rows.append(an_entry(key=KEY))
    await rows.sql("UPDATE dedupe_keys SET expires_at = clock_timestamp()")
    (receipt,) = await rows.append(again := an_entry(key=KEY))
    assert receipt
    assert (receipt.id, receipt.duplicate) == (again.id, False)
    assert await rows.sql("SELECT signal_id FROM dedupe_keys") == [again.id]


@pytest.mark.parametrize("window", [0, 30])
async def test_a_commit_repeated_because_its_answer_was_lost_is_no_duplicate(
    rows: Rows, window: int
) -> None:
    entry = an_entry(key=KEY, window=timedelta(seconds=window))
    (first,) = await rows.append(entry)
    (again,) = await rows.append(entry)
    assert first == again
    assert await rows.events() == ["signal.received"]


async def test_an_alert_of_a_batch_is_not_lost_because_another_is_a_repeat(rows: Rows) -> None:
    original = an_entry(key=KEY)
    await rows.append(original)
    batch = [an_entry("A"), an_entry(key=KEY), an_entry("B")]
    receipts = await rows.append(*batch)
    assert [r and r.id for r in receipts] == [batch[0].id, original.id, batch[2].id]


async def test_a_repeat_whose_original_is_gone_has_no_receipt(rows: Rows) -> None:
    await rows.append(an_entry(key=KEY))
    async with rows.database.autocommit() as connection:
        asker = an_entry().id
        assert await journal.fold(connection, [(asker, b"unknown")]) == {}


async def test_two_replicas_given_the_same_alert_make_one_signal(
    rows: Rows, other: Database
) -> None:
    for round_ in range(20):
        key = bytes([round_]) * 32
        entries = [an_entry(key=key), an_entry(key=key)]
        (one,), (two,) = await asyncio.gather(
            append_at(rows.database, entries[0]), append_at(other, entries[1])
        )
        assert one
        assert two
        assert one.id == two.id
        assert sorted([one.duplicate, two.duplicate]) == [False, True]
        assert await rows.sql("SELECT count(*) FROM dedupe_keys WHERE key = :k", k=key) == [1]
    assert await rows.sql("SELECT count(*) FROM signals") == [20]
    assert (await rows.events()).count("signal.duplicate") == 20


async def test_an_expired_key_is_taken_over_by_one_of_two_replicas(
    rows: Rows, other: Database
) -> None:
    for round_ in range(20):
        key = bytes([round_]) * 32
        await rows.append(an_entry(key=key))
        await rows.sql("UPDATE dedupe_keys SET expires_at = clock_timestamp()")
        (one,), (two,) = await asyncio.gather(
            append_at(rows.database, an_entry(key=key)), append_at(other, an_entry(key=key))
        )
        assert one
        assert two
        assert one.id == two.id
        assert sorted([one.duplicate, two.duplicate]) == [False, True]


async def test_seq_is_the_order_of_commits(rows: Rows, other: Database) -> None:
    """Whoever sees a signal sees every one with a lower seq: nothing appears behind a reader."""
    seen: list[int] = []
    writing = True

    async def write(database: Database) -> None:
        for _ in range(40):
            await append_at(database, an_entry(), an_entry(), an_entry())

    async def read() -> None:
        while writing:
            seqs = await rows.sql("SELECT seq FROM signals ORDER BY seq")
            assert seqs[: len(seen)] == seen
            seen[:] = seqs

    reading = asyncio.create_task(read())
    await asyncio.gather(write(rows.database), write(other), write(rows.database), write(other))
    writing = False
    await reading
    signals = await rows.sql("SELECT seq, received_at FROM signals ORDER BY seq")
    assert len(signals) == 480
    assert all(a.received_at <= b.received_at for a, b in pairwise(signals))


async def test_long_expired_keys_are_forgotten(rows: Rows) -> None:
    await rows.append(an_entry(key=KEY), an_entry())
    await rows.sql(
        "UPDATE dedupe_keys SET expires_at = clock_timestamp() - interval '61 s' WHERE key = :k",
        k=KEY,
    )
    async with rows.database.autocommit() as connection:
        assert await journal.forget_keys(connection) == 1
        assert await journal.forget_keys(connection) == 0
    assert await rows.sql("SELECT count(*) FROM dedupe_keys") == [1]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE events SET event = 'x'", "DELETE FROM events", "TRUNCATE events"],
)
async def test_nobody_rewrites_what_happened(rows: Rows, statement: str) -> None:
    await rows.append(an_entry())
    with pytest.raises(DBAPIError, match="append-only"):
        await rows.sql(statement)
