"""A search along several branches at once finds all, however unevenly its signals are spread."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from database import searching, ways
from database.searching import Cursor, Wanted
from tests.database.rows import Rows
from tests.database.test_searching import check, everything

Run: TypeAlias = tuple[str, str, str, bool, int]
"""Signals alike that came one after another: ticker, side, fate, imported, how many."""

BEGAN = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
TICKERS = ("AAPL", "MSFT", "NVDA", "TSLA")
SIDES = ("buy", "sell")
FATES = ("rejected", "expired", "received", "failed")
RUN = """
    INSERT INTO signals (id, source, ticker, side, content_type, body, body_sealed, hop,
                         received_at, expires_at, status, reason, judged_at, imported_from)
    SELECT gen_random_uuid(), 'webhook', :ticker, :side, 'text/plain', '', false, 0,
           at, at + interval '30 s', :status, :reason,
           CASE WHEN :status <> 'received' THEN at END, CASE WHEN :imported THEN 'export' END
    FROM generate_series(1, CAST(:number AS integer)) AS n,
         LATERAL (SELECT CAST(:began AS timestamptz) + n * interval '1 s') AS t (at)
    ORDER BY n
"""
FAILED = """
    INSERT INTO deliveries (signal_id, destination_id, destination_version, seq, ticker, side,
                            state, queued_at, due_at, expires_at, finished_at)
    SELECT signals.id, destinations.id, 1, seq, ticker, side, 'expired', received_at, received_at,
           'infinity', received_at
    FROM signals, destinations WHERE status = 'approved'
"""


async def put(rows: Rows, runs: Sequence[Run]) -> None:
    """Have these signals and no others; what is imported is 90 days older than what is not."""
    await rows.sql("DELETE FROM deliveries")
    await rows.sql("DELETE FROM signals")
    for hour, (ticker, side, fate, imported, number) in enumerate(runs):
        status = {"failed": "approved"}.get(fate, fate)
        await rows.sql(
            RUN,
            ticker=ticker,
            side=side,
            status=status,
            reason={"rejected": "not_in_list", "expired": "expired"}.get(status),
            imported=imported,
            number=number,
            began=BEGAN + hour * HOUR - timedelta(days=90 * imported),
        )
    await rows.sql(FAILED)


@pytest.fixture
async def little(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """A relay that looks through so little that a branch often ends before the page is full."""
    await rows.destination()
    for name in ("LOOK", "LOOK_AROUND", "LOOK_SENT"):
        monkeypatch.setattr(ways, name, 24)
    return rows


runs_of = st.lists(
    st.tuples(
        st.sampled_from(TICKERS),
        st.sampled_from(SIDES),
        st.sampled_from(FATES),
        st.booleans(),
        st.integers(1, 30),
    ),
    max_size=8,
)
filters = st.fixed_dictionaries(
    {
        "tickers": st.lists(st.sampled_from(TICKERS), max_size=3, unique=True),
        "side": st.sampled_from((None, *SIDES)),
        "status": st.sampled_from((None, "rejected", "expired", "received")),
        "since": st.none() | st.integers(0, 8).map(lambda hours: BEGAN + hours * HOUR),
        "until": st.none() | st.integers(1, 9).map(lambda hours: BEGAN + hours * HOUR),
    }
)
BEHIND_BUYS: tuple[Run, ...] = (
    ("MSFT", "sell", "rejected", False, 20),
    ("AAPL", "sell", "rejected", False, 5),
    ("AAPL", "buy", "rejected", False, 30),
)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(runs=runs_of, wanted=filters)
@example(runs=BEHIND_BUYS, wanted={"tickers": ("AAPL", "MSFT"), "side": "sell"})
@example(runs=BEHIND_BUYS[::-1], wanted={"tickers": ("AAPL", "MSFT"), "side": "sell"})
async def test_all_of_it_is_on_the_pages_in_both_directions(
    little: Rows, runs: Sequence[Run], wanted: dict[str, Any]
) -> None:
    await put(little, runs)
    await check(little, await everything(little), Wanted(**wanted))


async def test_a_ticker_whose_sells_are_far_back_is_not_left_out(rows: Rows) -> None:
    """With what is looked through as it is."""
    behind = [(ticker, side, fate, False, 12 * n) for ticker, side, fate, _, n in BEHIND_BUYS]
    await put(rows, [*behind, ("AAPL", "buy", "rejected", False, 1_300)])
    wanted, cursor, seen = Wanted(tickers=("AAPL", "MSFT"), side="sell"), Cursor(), [""]
    while cursor != Cursor(before=0):
        async with rows.database.read() as connection:
            found = await searching.page(connection, wanted, cursor)
        seen += [one["ticker"] for one in found.signals]
        end = found.looked_to or (found.signals[-1]["seq"] if found.more else 0)
        cursor = Cursor(before=end)
    assert (seen.count("AAPL"), seen.count("MSFT")) == (60, 240)
