"""What a day of lists costs to keep, and how long their past takes to read."""

import asyncio
import statistics
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import httpx
from sqlalchemy import text

from bench.stage import relay
from database.pool import Connection, Database
from launcher.postgres import LocalPostgres

TOKEN = "benchmark-operator-token-0123456789abcdefghi"
DAY = timedelta(days=1)
TABLES = ("universes", "fetches", "events")

# Twenty of twenty-five tickers, the first fifteen of which count; their places drift as waves, so
# that nearly every list differs from the one before, and one in thirty from who was in it.
FILL = r"""
    WITH places AS (
        SELECT n, array_agg(
            'T' || chr(65 + slot) || chr(65 + slot)
            ORDER BY slot + 4 * sin(n / (9.0 + 2 * slot) + slot)) AS names
        FROM generate_series(1, :versions) AS n, generate_series(0, 24) AS slot
        GROUP BY n
    ), lists AS (
        SELECT n, names[1\:20] AS tickers, names[1\:15] AS members,
               lag(names[1\:15], 1, names[1\:15]) OVER (ORDER BY n) AS were,
               now() - CAST(:ago AS interval) - (:versions - n) * CAST(:every AS interval) AS at
        FROM places
    ), made AS (
        INSERT INTO universes (screen_id, url, tickers, prices, volumes, total, top_n, entered,
                               dropped, fetched_at, confirmed_at, fresh_since)
        SELECT id, url, lists.tickers,
               (SELECT array_agg(round((20 + 5 * sin(n + place))\:\:numeric, 2)\:\:float8)
                FROM generate_series(1, 20) AS place),
               (SELECT array_agg(1000000 + n * place\:\:bigint)
                FROM generate_series(1, 20) AS place),
               45, 15, ARRAY(SELECT unnest(members) EXCEPT SELECT unnest(were)),
               ARRAY(SELECT unnest(were) EXCEPT SELECT unnest(members)), at, at, at
        FROM screens, lists WHERE active ORDER BY n
        RETURNING *
    ), looked AS (
        INSERT INTO fetches (screen_id, screen_version, at, outcome, detail, pages, duration_ms,
                             total, tickers, version, next_at)
        SELECT screen_id, 1, fetched_at, 'ok', '20 of 45 rows, 1 requests', 1, 300, 45, 20, version,
               fetched_at
        FROM made ORDER BY version
    )
    INSERT INTO events (at, event, detail)
    SELECT fetched_at, 'universe.adopted', jsonb_build_object(
        'screen_id', screen_id, 'version', version, 'tickers', 20, 'total', total,
        'entered', entered, 'dropped', dropped)
    FROM made WHERE entered <> '{}' OR dropped <> '{}' ORDER BY version
"""
SIGNALS = """
    INSERT INTO signals (id, source, ticker, side, content_type, body, body_sealed, hop,
                         received_at, expires_at, status, reason, judged_at)
    SELECT gen_random_uuid(), 'webhook', 'T' || chr(65 + n % 25) || chr(65 + n % 25), 'buy',
           'text/plain', '', false, 0, at, at, 'rejected', 'not_in_list', at
    FROM (SELECT n, now() - interval '1 day' + n * interval '8 s' AS at
          FROM generate_series(1, 10000) AS n) AS moments
"""
SINCE = "UPDATE screen_versions SET made_at = now() - interval '9 days'"
LIVELY = """
    SELECT ticker, count(*) AS crossings
    FROM universes, unnest(entered || dropped) AS ticker
    WHERE fetched_at > now() - interval '1 day'
    GROUP BY ticker ORDER BY crossings DESC, ticker
"""
STORED = """
    SELECT relname, pg_table_size(oid) AS rows, pg_indexes_size(oid) AS indexes FROM pg_class
    WHERE relname = ANY(:tables)
"""


Stored: TypeAlias = Mapping[str, tuple[int, int]]


def run(requests: int = 60) -> dict[str, float]:
    """Fill a day at 15 s and one at 1 s; print what they take and how fast answers come."""
    with (
        TemporaryDirectory() as folder,
        LocalPostgres(Path(folder)) as postgres,
        relay(DATABASE_URL=postgres.url, FINVIZ_UPDATE_TOKEN=TOKEN) as server,
    ):
        lively = asyncio.run(_fill(postgres.url))
        headers = {"authorization": f"Bearer {TOKEN}"}
        address = f"http://127.0.0.1:{server.port}/api"
        with httpx.Client(base_url=address, headers=headers, timeout=30) as http:
            return _ask(http, lively, requests)


async def _fill(url: str) -> dict[str, int]:
    """Return the tickers with how often each came or went in the last day, the liveliest first."""
    database = Database.connect(url, pool=1, patience=timedelta(minutes=5))
    async with database.autocommit() as connection:
        for every, ago in ((timedelta(seconds=15), DAY), (timedelta(seconds=1), timedelta(0))):
            before = await _stored(connection)
            given = {"versions": DAY // every, "every": every, "ago": ago}
            await connection.execute(text(FILL), given)
            await _settle(connection)
            _tell_storage(every, before, await _stored(connection))
        await connection.execute(text(SINCE))
        await connection.execute(text(SIGNALS))
        await _settle(connection)
        lively = (await connection.execute(text(LIVELY))).all()
    await database.close()
    return {row.ticker: row.crossings for row in lively}


async def _settle(connection: Connection) -> None:
    """What autovacuum does in time."""
    for table in (*TABLES, "signals"):
        await connection.execute(text(f"VACUUM ANALYZE {table}"))


async def _stored(connection: Connection) -> dict[str, tuple[int, int]]:
    rows = await connection.execute(text(STORED), {"tables": [*TABLES]})
    return {row.relname: (row.rows, row.indexes) for row in rows}


def _tell_storage(every: timedelta, before: Stored, after: Stored) -> None:
    grown = {
        name: [n - m for n, m in zip(after[name], before[name], strict=True)] for name in after
    }
    parts = ", ".join(
        f"{name} {rows / 1e6:.1f} + {indexes / 1e6:.1f}" for name, (rows, indexes) in grown.items()
    )
    total = sum(sum(sizes) for sizes in grown.values()) / 1e6
    print(f"  a day at {every.seconds} s: {total:.1f} MB (table + indexes: {parts})")


def _ask(http: httpx.Client, lively: dict[str, int], requests: int) -> dict[str, float]:
    now = time.time()
    often, seldom = next(iter(lively)), next(reversed(lively))
    found: dict[str, float] = {}
    for name, ticker, hours in (
        ("exact 1 h", often, 1),
        ("sampled 24 h", often, 24),
        ("sampled 24 h, seldom in", seldom, 24),
    ):
        asked = f"/universes/rank?ticker={ticker}&from={now - hours * 3600:.0f}&to={now:.0f}"
        answer = http.get(asked).raise_for_status().json()
        assert answer["sampled"] == (hours == 24)
        points, spells = len(answer["points"]), len(answer["spells"])
        told = f"{lively[ticker]} crossings, {points} points, {spells} spells"
        found |= _time(http, f"rank, {name}", asked, requests, told)
    found |= _time(http, "state at a moment", f"/universes/at?time={now - 40_000:.0f}", requests)
    return found | _time(http, "a page of versions", "/universes?limit=50", requests)


def _time(
    http: httpx.Client, name: str, path: str, requests: int, told: str = ""
) -> dict[str, float]:
    times: list[float] = []
    for _ in range(requests):
        began = time.perf_counter()
        http.get(path).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    print(f"  {name}: p50 {p50:.1f} ms, p95 {p95:.1f} ms{told and f' ({told})'}")
    return {f"{name} p50 ms": p50, f"{name} p95 ms": p95}
