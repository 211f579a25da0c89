"""Searching finds all that a filter says and nothing else, both ways, however little it looks."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, islice, product
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import TextClause, text

from database import searching, ways
from database.audit import SHOWN
from database.connection import ReadConnection, Result, Values
from database.pool import Database
from database.searching import Cursor, Found, Wanted
from domain.search import Status, ids
from tests.database.rows import Rows

BEGAN = datetime(2026, 1, 5, tzinfo=UTC)
SIGNALS = """
    INSERT INTO signals (id, source, ticker, side, content_type, body, body_sealed, hop,
                         received_at, expires_at, status, reason, judged_at, imported_from)
    SELECT CAST(md5('s' || n) AS uuid), (ARRAY['webhook', 'webhook', 'tv'])[1 + n % 3],
           (ARRAY['AA', 'AAPL', 'AB', 'NV', 'ZZ'])[1 + n % 5],
           (ARRAY['buy', 'sell'])[1 + n / 5 % 2],
           'text/plain', convert_to('{"Note": "100% _of_ ' || n % 13 || '\\"}', 'UTF8'), n % 11 = 0,
           0, at, at + interval '30 s', status,
           CASE status WHEN 'rejected' THEN (ARRAY['not_in_list', 'cooldown'])[1 + n / 7 % 2]
                       WHEN 'invalid' THEN 'no_ticker' WHEN 'expired' THEN 'expired' END,
           CASE WHEN status <> 'received' THEN at END, CASE WHEN n % 17 = 0 THEN 'export' END
    FROM generate_series(1, 400) AS n,
         LATERAL (SELECT CAST(:began AS timestamptz) + n * interval '1 h'
                         - CASE WHEN n % 17 = 0 THEN interval '90 d' ELSE interval '0' END)
             AS t (at),
         LATERAL (SELECT (ARRAY['approved', 'approved', 'rejected', 'expired', 'invalid',
                                'rejected', 'received'])[1 + n % 7]) AS s (status)
    ORDER BY n
"""
DELIVERIES = """
    INSERT INTO deliveries (signal_id, destination_id, destination_version, seq, ticker, side,
                            state, queued_at, due_at, expires_at, finished_at, lease_until)
    SELECT signals.id, destinations.id, 1, seq, ticker, side, fate, received_at, received_at,
           'infinity', CASE WHEN fate NOT IN ('queued', 'sending', 'held') THEN received_at END,
           CASE WHEN fate = 'sending' THEN received_at END
    FROM signals, destinations,
         LATERAL (SELECT (ARRAY['delivered', 'dead', 'expired', 'queued', 'delivered', 'held',
                                'superseded', 'cancelled', 'sending', 'delivered'])
                         [1 + abs(hashtext(signals.id || name)) % 9]) AS s (fate)
    WHERE status = 'approved' AND (name = 'main' OR seq % 3 = 0)
"""


@pytest.fixture
async def full(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> Rows:
    for name in ("main", "paper"):
        await rows.destination(name)
    await rows.sql(SIGNALS, began=BEGAN)
    await rows.sql(DELIVERIES)
    # Who looks for a text looks through half as many.
    for name, number in {"LOOK": 100, "LOOK_AROUND": 20, "LOOK_SENT": 20}.items():
        monkeypatch.setattr(ways, name, number)
    return rows


async def everything(rows: Rows) -> list[Any]:
    return list(
        await rows.sql(
            f"""SELECT signals.*, {SHOWN} AS shown, ARRAY(
                    SELECT row(destination_id, state)::text FROM deliveries
                    WHERE signal_id = signals.id) AS sent
                FROM signals ORDER BY seq DESC"""
        )
    )


def fits(row: Any, wanted: Wanted) -> bool:
    """The same filter, written once more and simply."""
    simple = all(
        getattr(wanted, name) in {None, getattr(row, name)} for name in ("side", "reason", "source")
    )
    tickers = not (wanted.tickers or wanted.beginnings) or (
        row.ticker in wanted.tickers or row.ticker.startswith(tuple(wanted.beginnings) or "\0")
    )
    times = (wanted.since is None or row.received_at >= wanted.since) and (
        wanted.until is None or row.received_at < wanted.until
    )
    body = row.body.decode().lower()
    texts = all(not row.body_sealed and one.lower() in body for one in wanted.texts)
    named = wanted.ids is None or wanted.ids[0] <= row.id <= wanted.ids[1]
    return simple and tickers and times and texts and named and fits_status(row, wanted)


def fits_status(row: Any, wanted: Wanted) -> bool:
    if wanted.destination is None:
        return wanted.status in {None, row.status, row.shown}
    there = [one for one in row.sent if str(wanted.destination) in one]
    if wanted.status in {None, "approved"}:
        return bool(there)
    return any(one.endswith(f",{wanted.status})") for one in there)


async def pages(rows: Rows, wanted: Wanted, *, forward: bool) -> list[Found]:
    """Every page there is, from one end to the other."""
    found: list[Found] = []
    cursor = Cursor(after=0) if forward else Cursor()
    while True:
        async with rows.database.read() as connection:
            found.append(await searching.page(connection, wanted, cursor, limit=7))
        last = found[-1]
        if not last.more:
            return found
        edge = last.signals[0 if forward else -1]["seq"] if last.signals else None
        end = last.looked_to or edge
        assert end is not None
        cursor = Cursor(after=end) if forward else Cursor(before=end)
        assert len(found) < 300, "it goes on"


async def check(rows: Rows, all_rows: Sequence[Any], wanted: Wanted) -> int:
    expected = [row.id for row in all_rows if fits(row, wanted)]
    back = await pages(rows, wanted, forward=False)
    assert [one["id"] for page in back for one in page.signals] == expected, wanted
    forward = await pages(rows, wanted, forward=True)
    assert [one["id"] for page in reversed(forward) for one in page.signals] == expected, wanted
    for page in [*back, *forward]:
        assert (page.looked_to is None) == (page.looked_at is None)
        assert len(page.signals) == 7 or page.looked_to or not page.more
    return len(expected)


def choices(main: UUID, paper: UUID) -> dict[str, list[Any]]:
    """Values of each filter; the first stands for none."""
    day = timedelta(days=1)
    return {
        "tickers": [(), ("AAPL",), ("AA", "AAPL", "AB"), ("NONE",)],
        "beginnings": [(), ("A",), ("AA", "Z")],
        "side": [None, "buy", "sell"],
        "status": [None, *map(str, Status)],
        "reason": [None, "not_in_list", "cooldown", "no_ticker", "expired", "max_positions"],
        "source": [None, "webhook", "tv", "operator"],
        "destination": [None, main, paper, UUID(int=1)],
        "ids": [None, ids("1" * 8), (UUID("10000000" + "0" * 24), UUID("9" + "f" * 31))],
        "since": [None, BEGAN + 3 * day, BEGAN - 100 * day, BEGAN + 900 * day],
        "until": [None, BEGAN + 9 * day, BEGAN - 80 * day, BEGAN - 900 * day],
        "texts": [(), ("100% _OF_",), ("_of_ 7", "note"), ('\\"',), ("nowhere",)],
    }


async def test_every_filter_alone_finds_all_of_it(full: Rows) -> None:
    main, paper = await full.sql("SELECT id FROM destinations ORDER BY name")
    all_rows = await everything(full)
    sizes = [
        await check(full, all_rows, Wanted(**{name: value}))
        for name, values in choices(main, paper).items()
        for value in values
    ]
    assert max(sizes) == 400
    assert sum(size > 7 for size in sizes) > 20


async def test_filters_together_find_what_they_say(full: Rows) -> None:
    main, paper = await full.sql("SELECT id FROM destinations ORDER BY name")
    all_rows, given = await everything(full), choices(main, paper)
    names, found = sorted(given), 0
    for turn in islice(count(0, 7), 80):
        chosen = {names[(turn + step) % len(names)] for step in (0, 1 + turn % 5, 6)}
        picked = {name: given[name][turn // 3 % len(given[name])] for name in chosen}
        found += await check(full, all_rows, Wanted(**picked)) > 0
    assert found > 10, "most of these find nothing; some must find something"


async def test_an_early_end_says_how_far_it_looked(full: Rows) -> None:
    async with full.database.read() as connection:
        wanted = Wanted(texts=("nowhere",))
        found = await searching.page(connection, wanted, Cursor(), limit=7)
        newest = await searching.newest(connection)
    assert (list(found.signals), found.more, found.looked_to) == ([], True, newest - 49)
    (at,) = await full.sql("SELECT received_at FROM signals WHERE seq = :seq", seq=newest - 49)
    assert found.looked_at == at


async def test_tickers_that_begin_alike_are_found_without_their_signals(full: Rows) -> None:
    async with full.database.read() as connection:
        for start, expected in {"A": ["AA", "AAPL", "AB"], "AAP": ["AAPL"], "Q": []}.items():
            assert await searching.beginning(connection, start) == expected
        assert len(await searching.beginning(connection, "")) == 5


@pytest.mark.parametrize(
    "hostile", ["%", "_", "'", "\\", "\\000", "); DROP TABLE signals; --", "é"]
)
async def test_what_is_searched_is_a_value_never_a_statement(full: Rows, hostile: str) -> None:
    all_rows = await everything(full)
    await check(full, all_rows, Wanted(texts=(hostile,), source=hostile))
    await check(full, all_rows, Wanted(tickers=(hostile,)))
    await check(full, all_rows, Wanted(texts=(hostile,)))
    async with full.database.read() as connection:
        assert await searching.beginning(connection, hostile) == []


ROWS = """
    INSERT INTO signals (id, source, ticker, side, content_type, body, body_sealed, hop,
                         received_at, expires_at, status, reason, judged_at)
    SELECT gen_random_uuid(), CASE WHEN n % 900 = 0 THEN 'tv' ELSE 'webhook' END, 'T' || n % 500,
           'buy', 'text/plain', '', false, 0, now() - interval '2 days' + n * interval '1 s',
           now(),
           CASE WHEN n % 20 = 0 THEN 'approved' ELSE 'rejected' END,
           CASE WHEN n % 20 > 0 THEN CASE WHEN n % 100 = 1 THEN 'cooldown' ELSE 'not_in_list' END
           END,
           now()
    FROM generate_series(1, 20000) AS n
"""
SENT = """
    INSERT INTO deliveries (signal_id, destination_id, destination_version, seq, ticker, side,
                            state, queued_at, due_at, expires_at, finished_at)
    SELECT signals.id, destinations.id, 1, seq, ticker, side,
           CASE WHEN seq % 300 = 0 THEN 'superseded' ELSE 'delivered' END, received_at, received_at,
           'infinity', received_at
    FROM signals, destinations WHERE status = 'approved'
"""
MAIN = UUID(int=5)
PLANS = [
    (Wanted(), "signals_seq"),
    (Wanted(side="buy"), "signals_seq"),
    (Wanted(tickers=("T1",)), "signals_by_ticker"),
    (Wanted(tickers=("T1", "T2")), "signals_by_ticker"),
    (Wanted(tickers=("NONE",)), "signals_by_ticker"),
    (Wanted(status="received"), "signals_undecided"),
    (Wanted(status="received"), "signals_waiting"),
    (Wanted(status="invalid"), "signals_by_status"),
    (Wanted(status="approved"), "signals_by_status"),
    (Wanted(status="rejected"), "signals_by_status"),
    (Wanted(status="delivered"), "signals_by_status"),
    (Wanted(status="expired"), "signals_by_status"),
    (Wanted(status="expired"), "deliveries_failed"),
    *((Wanted(status=one), "deliveries_failed") for one in ("dead", "superseded", "cancelled")),
    *((Wanted(status=one), "deliveries_") for one in ("queued", "sending", "held")),
    (Wanted(reason="cooldown"), "signals_by_reason"),
    (Wanted(reason="not_in_list"), "signals_by_status"),
    (Wanted(reason="never_was"), "signals_by_reason"),
    (Wanted(source="tv"), "signals_by_source"),
    (Wanted(source="operator"), "signals_by_source"),
    (Wanted(source="webhook"), "signals_seq"),
    (Wanted(destination=MAIN), "signals_by_status"),
    (Wanted(destination=MAIN, status="dead"), "deliveries_failed"),
    (Wanted(ids=(UUID(int=0), UUID(int=9))), "signals_pkey"),
    (Wanted(since=BEGAN, until=BEGAN + timedelta(hours=1)), "signals_by_time"),
    (Wanted(texts=("x",)), "signals_seq"),
    (Wanted(tickers=("T1",), status="dead", reason="cooldown"), "deliveries_failed"),
    (Wanted(tickers=("T1",), texts=("x",)), "signals_by_ticker"),
    (Wanted(source="tv", side="sell", status="delivered"), "signals_by_source"),
]


@pytest.fixture
async def many(rows: Rows) -> Rows:
    await rows.destination()
    await rows.sql(ROWS)
    await rows.sql(SENT)
    async with rows.database.autocommit() as connection:
        await connection.execute(text("VACUUM ANALYZE"))
    return rows


async def plans(database: Database, wanted: Wanted, cursor: Cursor) -> str:
    """How every statement of a page is carried out."""
    asked: list[tuple[object, Any]] = []

    class Remembering(ReadConnection):
        async def execute(self, statement: TextClause, values: Values | None = None) -> Result:
            asked.append((statement, values))
            return await super().execute(statement, values)

    async with database.read() as connection:
        await searching.page(Remembering(connection.driver, {}), wanted, cursor)
    told: list[str] = []
    async with database.read() as connection:
        for statement, given in asked:
            explained = await connection.execute(text(f"EXPLAIN {statement}"), given)
            told += explained.scalars()
    return "\n".join(told)


async def test_a_page_is_found_by_its_index(many: Rows) -> None:
    cursors = [Cursor(), Cursor(before=5_000), Cursor(after=5_000)]
    for (wanted, index), cursor in product(PLANS, cursors):
        steps = await plans(many.database, wanted, cursor)
        assert index in steps, (wanted, cursor, steps)
        assert "Seq Scan on signals" not in steps, (wanted, cursor, steps)
        assert "Seq Scan on deliveries" not in steps, (wanted, cursor, steps)
