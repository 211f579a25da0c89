"""How fast pages come with millions of signals: their data, their answers, a browser's paint."""

import argparse
import asyncio
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import text

from bench import history, searches
from bench.figures import Figure, percentile, tell
from bench.stage import KEY, relay
from database import tallies
from database.pool import Connection, Database
from launcher.postgres import LocalPostgres

TOKEN = "benchmark-operator-token-0123456789abcdefghi"
CHROMIUM = "/usr/bin/chromium"
SIGNALS, QUICK, A_DAY, BUSY = 1_000_000, 20_000, 10_000, 90_000
TABLES = ("signals", "deliveries", "attempts", "events", "positions", "attention")

PAGES = (
    ("nothing, for comparison", "/health"),
    ("overview", "/admin"),
    ("overview, what is read again: state", "/admin/partials/overview"),
    ("overview, what is read again: work", "/admin/partials/work"),
    ("chart of signals, 1 h", "/api/charts/signals?minutes=60"),
    ("chart of signals, 24 h", "/api/charts/signals?minutes=1440"),
    ("chart of latency, 24 h", "/api/charts/latency?minutes=1440"),
    ("chart of budgets, 24 h", "/api/charts/budget?minutes=1440"),
    ("chart of the list, 24 h", "/api/charts/list?minutes=1440"),
    ("signals", "/admin/signals"),
    ("signals of a ticker", "/admin/signals?ticker=T7"),
    ("signals, sells", "/admin/signals?side=sell"),
    ("signals, status", "/admin/signals?status=invalid"),
    ("signals, state of deliveries", "/admin/signals?status=dead"),
    ("signals, reason", "/admin/signals?reason=list_stale"),
    ("signals, reason that never was", "/admin/signals?reason=cooldown"),
    ("signals of a source", "/admin/signals?source=momentum"),
    ("signals to a destination", "/admin/signals?destination=main"),
    ("signals from a day on", "/admin/signals?since={week_ago}"),
    ("signals of a day", "/admin/signals?since={month_ago}&until={month_ago_after}"),
    ("signals, a word", "/admin/signals?q=breakout"),
    ("signals, a word that is nowhere", "/admin/signals?q=nowhere-at-all"),
    ("signals, a ticker with a reason", "/admin/signals?ticker=T7&reason=not_in_list"),
)
"""What is timed: a name and where it is asked for; to time another page, add it here."""

# Out of a hundred: 31 approved, 60 rejected, 5 too old, 4 nobody could read.
FILL = """
    WITH drawn AS (
        SELECT n, hashint4(n) & 65535 AS chance, (hashint4(n + 7) & 65535) % 500 AS place,
               now() - CAST(:span AS interval) * (1 - CAST(n AS float8) / :signals) AS at
        FROM generate_series(1, CAST(:signals AS integer)) AS n
    ), decided AS (
        SELECT *, CASE WHEN chance % 100 < 31 THEN 'approved' WHEN chance % 100 < 91 THEN 'rejected'
                       WHEN chance % 100 < 96 THEN 'expired' ELSE 'invalid' END AS status
        FROM drawn
    )
    INSERT INTO signals (id, source, ticker, exchange, symbol, side, price, price_text,
                         content_type, body, body_sealed, hop, received_at, expires_at, status,
                         reason, judged_at, universe_version, rank, cutoff, list_age_ms)
    SELECT uuidv7(at - now()), (ARRAY['webhook', 'momentum', 'breakout'])[1 + chance % 3],
           'T' || place, 'NASDAQ', 'NASDAQ:T' || place,
           CASE chance % 3 WHEN 0 THEN 'sell' ELSE 'buy' END, 10 + chance % 400, 10 + chance % 400,
           'application/json', convert_to(jsonb_build_object(
               'ticker', 'NASDAQ:T' || place, 'action', 'buy', 'price', 10 + chance % 400,
               'strategy', 'opening range breakout, version 7', 'n', n,
               'comment', 'made for a benchmark, as long as usual')\\:\\:text, 'UTF8'),
           false, 0, at, at + interval '30 s', status,
           CASE status WHEN 'expired' THEN 'expired' WHEN 'invalid' THEN 'no_action'
                WHEN 'rejected' THEN (ARRAY['not_in_list', 'not_in_list', 'not_in_list',
                    'not_in_list', 'not_in_list', 'no_position', 'list_stale', 'buying_paused',
                    'max_positions'])[1 + place % 9] END,
           at + interval '3 ms', 1, chance % 60, 15, chance
    FROM decided ORDER BY n
"""
DELIVERIES = """
    INSERT INTO deliveries (id, signal_id, destination_id, destination_version, seq, ticker, side,
                            state, attempts, queued_at, due_at, expires_at, finished_at)
    SELECT uuidv7(received_at - now()), signals.id, destinations.id, destinations.version, seq,
           ticker, side,
           CASE WHEN seq % 100 < 93 THEN 'delivered' WHEN seq % 100 < 96 THEN 'expired'
                WHEN seq % 100 < 98 THEN 'dead' ELSE 'cancelled' END,
           1, judged_at, judged_at, expires_at,
           judged_at + (5 + hashint8(seq) % 5 + seq % 60 * 10) * interval '1 ms'
    FROM signals, destinations
    WHERE signals.status = 'approved'
      AND NOT EXISTS (SELECT FROM deliveries WHERE signal_id = signals.id)
    ORDER BY seq
"""
ATTEMPTS = """
    INSERT INTO attempts (delivery_id, epoch, destination_id, side, number, possible_resend,
                          started_at, finished_at, written_at, outcome, status, duration_ms, answer)
    SELECT id, 1, destination_id, side, 1, false, queued_at, finished_at, queued_at,
           CASE state WHEN 'delivered' THEN 'delivered' ELSE 'permanent' END,
           CASE state WHEN 'delivered' THEN 200 ELSE 400 END, 12, '{"success"\\:true}'
    FROM deliveries
    WHERE NOT EXISTS (SELECT FROM attempts WHERE delivery_id = deliveries.id)
    ORDER BY queued_at
"""
EVENTS = """
    INSERT INTO events (at, event, signal_id, delivery_id, detail)
    SELECT at, event, signals.id, delivery, CAST(detail AS jsonb)
    FROM signals LEFT JOIN deliveries ON signal_id = signals.id, LATERAL (VALUES
        (received_at, 'signal.received', NULL,
         '{"source"\\: "webhook", "ticker"\\: "T77", "side"\\: "buy"}'),
        (judged_at, 'signal.' || status, NULL,
         '{"reason"\\: "not_in_list", "rank"\\: 12, "cutoff"\\: 15, "universe_version"\\: 77}'),
        (queued_at, 'delivery.queued', deliveries.id, '{"destination_version"\\: 1}'),
        (queued_at, 'delivery.sending', deliveries.id,
         '{"attempt"\\: 1, "destination_version"\\: 1, "possible_resend"\\: false}'),
        (finished_at, 'delivery.' || state, deliveries.id,
         '{"attempt"\\: 1, "outcome"\\: "delivered", "status"\\: 200, "duration_ms"\\: 12}')
    ) AS said (at, event, delivery, detail)
    WHERE event IS NOT NULL AND at IS NOT NULL
      AND NOT EXISTS (SELECT FROM events AS told WHERE told.signal_id = signals.id)
    ORDER BY signals.seq
"""
ATTENTION = """
    INSERT INTO attention (cause, key, severity, text, first_at, last_at, signal_id, ticker,
                           resolved_at, resolved_by)
    SELECT 'sell_refused', ticker || seq, 'warning', 'A sell had no position here.', received_at,
           received_at, id, ticker, CASE WHEN received_at < now() - interval '1 day' THEN now() END,
           'benchmark'
    FROM signals WHERE reason = 'no_position' AND seq % 10 = 0 ON CONFLICT DO NOTHING
"""


SIZES = """
    SELECT sum(pg_total_relation_size(oid)) AS bytes, sum(pg_indexes_size(oid)) AS index_bytes,
           (SELECT count(*) FROM signals) AS signals
    FROM pg_class WHERE relname = ANY(:tables) AND relkind = 'r'
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--browser", action="store_true", help="pages: first paint in Chromium too")
    parser.add_argument("--busy", action="store_true", help="pages: 100,000 in the last 24 hours")
    parser.add_argument("--signals", type=int, help="pages: how many, 10,000 a day; else a million")
    parser.add_argument("--keep", metavar="DIR", help="pages: the filled database stays there")


def options(given: argparse.Namespace) -> dict[str, Any]:
    return {
        "browser": given.browser,
        "busy": given.busy,
        "keep": given.keep,
        "signals": given.signals or (QUICK if given.quick else SIGNALS),
        "rounds": 3 if given.quick else 20,
    }


def run(
    *,
    browser: bool = False,
    keep: str | None = None,
    busy: bool = False,
    signals: int = SIGNALS,
    rounds: int = 20,
) -> list[Figure]:
    """Fill a database, or take the one that was kept, and time every page of it and its data."""
    at = f"{signals / 1e6:g} M" + " and 100,000 in the last day" * busy
    with (
        _folder(keep) as folder,
        LocalPostgres(folder) as postgres,
        # The same key in each run: a database that is kept holds a destination's sealed address.
        relay(DATABASE_URL=postgres.url, ADMIN_TOKEN=TOKEN, ENCRYPTION_KEY=KEY) as server,
    ):
        address = f"http://127.0.0.1:{server.port}"
        with httpx.Client(base_url=address, timeout=60) as http:
            http.post("/admin/login", data={"token": TOKEN})
            _destined(http)
            found = asyncio.run(_filled_and_timed(postgres.url, signals, rounds, at, busy=busy))
            paths = {name: path.format(**_times()) for name, path in PAGES}
            found += _answers(http, paths, rounds, at)
            print(f"  resident memory afterwards: {server.rss_mb():.0f} MB")
        found += _painted(address, paths, at) if browser else []
    tell(one for one in found if one.met is not None)
    return found


@contextmanager
def _folder(keep: str | None) -> Generator[Path]:
    if keep:
        yield Path(keep)
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def _times() -> Mapping[str, str]:
    def ago(days: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - days * 86_400))

    return {"week_ago": ago(7), "month_ago": ago(30), "month_ago_after": ago(29)}


async def _filled_and_timed(
    url: str, signals: int, rounds: int, at: str, *, busy: bool
) -> list[Figure]:
    database = Database.connect(url, pool=1, patience=timedelta(minutes=60))
    async with database.autocommit() as connection:
        await _filled(connection, signals, busy=busy)
        sizes = await _sizes(connection, at)
    print("  the data of the pages, ms:")
    budget = 20 if signals <= SIGNALS else 40
    found = await searches.timed(database, at, rounds=rounds, budget=budget)
    await database.close()
    return sizes + found


async def _filled(connection: Connection, signals: int, *, busy: bool) -> None:
    """So many signals, 10,000 a day; a ``busy`` last day has 90,000 more."""
    days = signals // A_DAY
    if await _counted(connection, f"{days} days") < signals:
        print("  filling; this takes some minutes a million")
        await _fill(connection, signals, timedelta(days=days))
        lists = {"versions": 480, "every": timedelta(minutes=3), "ago": timedelta(0)}
        await connection.execute(text(history.FILL), lists)
    if busy and await _counted(connection, "1 day") < BUSY:
        await _fill(connection, BUSY, timedelta(days=1))
    while await tallies.roll(connection, 5_000):
        pass
    told = await _counted(connection, "1 day"), await _counted(connection, f"{days} days")
    print(f"  {told[0]:,} signals of the last day, {told[1]:,} in all")


async def _sizes(connection: Connection, at: str) -> list[Figure]:
    """What a signal takes, with all that came of it, and a year of 10,000 a day."""
    row = (await connection.execute(text(SIZES), {"tables": list(TABLES)})).one()
    each = float(row.bytes / row.signals)
    print(f"  {each:,.0f} bytes a signal, {row.index_bytes / row.bytes:.0%} of them indexes")
    return [
        Figure(what=f"{at}: bytes a signal, with all of it", value=each, unit="bytes"),
        Figure(what=f"{at}: a year of 10,000 a day", value=each * 3.65e6 / 1e9, unit="GB"),
    ]


def _destined(http: httpx.Client) -> None:
    if not http.get("/api/destinations").raise_for_status().json()["items"]:
        given = {"name": "main", "url": "https://destination.example/hook"}
        token = {"authorization": f"Bearer {TOKEN}"}
        http.post("/api/destinations", json=given, headers=token).raise_for_status()


async def _counted(connection: Connection, within: str) -> int:
    query = f"SELECT count(*) FROM signals WHERE received_at > now() - interval '{within} 1 hour'"
    return (await connection.execute(text(query))).scalar_one()


async def _fill(connection: Connection, signals: int, span: timedelta) -> None:
    await connection.execute(text(FILL), {"signals": signals, "span": span})
    for statement in (DELIVERIES, ATTEMPTS, EVENTS, ATTENTION):
        await connection.execute(text(statement))
    for table in TABLES:
        await connection.execute(text(f"VACUUM ANALYZE {table}"))


def _answers(http: httpx.Client, paths: Mapping[str, str], rounds: int, at: str) -> list[Figure]:
    print("  the server's answer, ms:")

    def once(path: str) -> float:
        began = time.perf_counter()
        http.get(path).raise_for_status()
        return (time.perf_counter() - began) * 1000

    return _timed(paths, once, rounds, f"{at}: answer, ")


def _painted(address: str, paths: Mapping[str, str], at: str, rounds: int = 7) -> list[Figure]:
    """First contentful paint, from the start of the navigation, with nothing in the cache."""
    print("  first paint in Chromium, ms:")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page()
        page.goto(f"{address}/admin/login")
        page.get_by_label("Admin token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/admin")
        pages = {name: path for name, path in paths.items() if path.startswith("/admin")}
        whole = {name: path for name, path in pages.items() if "/partials/" not in path}
        found = _timed(
            whole, lambda path: _first_paint(page, address + path), rounds, f"{at}: paint, "
        )
        chromium.close()
    return found


def _first_paint(page: Page, url: str) -> float:
    page.goto("about:blank")
    answer = page.goto(url)
    if answer and not answer.ok:
        request = httpx.Request("GET", url)
        raise httpx.HTTPStatusError("", request=request, response=httpx.Response(answer.status))
    return page.evaluate("""() => new Promise((done) => new PerformanceObserver((list) => {
        const paint = list.getEntriesByName("first-contentful-paint")[0];
        if (paint) done(paint.startTime);
    }).observe({ type: "paint", buffered: true }))""")


def _timed(
    paths: Mapping[str, str], once: Callable[[str], float], rounds: int, of: str
) -> list[Figure]:
    found: list[Figure] = []
    for name, path in paths.items():
        try:
            times = [once(path) for _ in range(rounds)]
        except httpx.HTTPStatusError as error:
            print(f"    {name}: {error.response.status_code}")
            continue
        p50, p95 = percentile(times, 0.5), percentile(times, 0.95)
        print(f"    {name}: least {min(times):.0f}, p50 {p50:.0f}, p95 {p95:.0f}")
        found.append(Figure(what=f"{of}{name}, p50", value=p50, unit="ms"))
    return found
