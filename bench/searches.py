"""What the pages ask the database for: every filter, first and deep pages; overview; detail."""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TypeAlias

from sqlalchemy import text

from bench.figures import Figure, percentile
from database import attention_items, audit, charts, searching, statistics
from database.pool import Database, ReadConnection
from database.searching import Choices, Cursor
from domain.charts import grid
from domain.search import Status
from domain.signal import SignalId
from web.searches import Asked, meant

Ask: TypeAlias = Callable[[], Awaitable[object]]
Filters: TypeAlias = Mapping[str, Mapping[str, str]]

REASONS = ("not_in_list", "list_stale", "no_position", "buying_paused", "max_positions", "expired")
NEVER = ("cooldown", "no_ticker")
NOWHERE = "nowhere-at-all"
DAYS_BACK = 4  # of its signals, a quarter
COMBINED: Sequence[Mapping[str, str]] = (
    {"ticker": "T7", "reason": "not_in_list"},
    {"ticker": "T7", "reason": "cooldown"},
    {"ticker": "T7", "side": "sell"},
    {"ticker": "T7", "status": "dead"},
    {"ticker": "T7", "status": "delivered"},
    {"ticker": "T7", "q": NOWHERE},
    {"ticker": "T7", "source": "momentum", "side": "sell", "status": "dead"},
    {"ticker": "T7", "status": "rejected", "reason": "list_stale"},
    {"side": "sell", "reason": "no_position"},
    {"side": "sell", "source": "momentum", "status": "dead"},
    {"side": "sell", "status": "delivered", "within": "week"},
    {"side": "sell", "status": "expired", "ticker": "T7"},
    {"status": "rejected", "q": NOWHERE},
    {"status": "delivered", "q": NOWHERE},
    {"status": "invalid", "reason": "list_stale"},
    {"status": "rejected", "source": "webhook", "reason": "no_action"},
    *({"destination": "main", "status": str(status)} for status in Status),
    {"source": "momentum", "reason": "list_stale"},
    {"source": "momentum", "side": "buy", "status": "approved"},
    {"source": "momentum", "q": NOWHERE},
    {"q": "T1 sell dead"},
    {"q": f"T1 {NOWHERE}"},
    {"q": "T dead"},
    {"q": "T cooldown"},
)


def filters(first: datetime, last: datetime, id: str) -> Filters:
    """Every filter of the page alone, with every value it has, and many of them together."""
    span = last - first
    early = first + span / DAYS_BACK
    day = {"since": _iso(early), "until": _iso(early + timedelta(days=1))}
    month = {"since": _iso(early), "until": _iso(early + timedelta(days=30))}
    alone: list[Mapping[str, str]] = [
        {},
        *({"ticker": one} for one in ("T7", "ZZZZ")),
        *({"side": one} for one in ("buy", "sell")),
        *({"status": str(one)} for one in Status),
        *({"reason": one} for one in (*REASONS, *NEVER)),
        *({"source": one} for one in ("webhook", "momentum", "operator")),
        {"destination": "main"},
        *({"within": one} for one in ("hour", "today", "week")),
        *({name: value} for name, value in day.items()),
        *(day, month),
        *({"q": one} for one in ("breakout", NOWHERE, f'"opening range" {NOWHERE}', id[:8])),
        *({"q": one} for one in ("T1", "T", "T49", "sell dead")),
    ]
    timed = [
        {**when, **one}
        for when, one in product((day, month), ({"ticker": "T7"}, {"status": "dead"}, {"q": "x9"}))
    ]
    return {_name(one): one for one in [*alone, *COMBINED, *timed]}


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _name(given: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in given.items()) or "no filter"


async def timed(database: Database, at: str, *, rounds: int, budget: float) -> list[Figure]:
    """Time all of it as the relay asks it, and tell; ``at``: how many signals there are."""
    async with database.read() as connection:
        times = await _searches(connection, rounds)
        times |= {name: await _timed(ask, rounds) for name, ask in await _pages(connection)}
    for name, one in sorted(times.items(), key=lambda item: -percentile(item[1], 0.95)):
        print(f"    {name}: p50 {percentile(one, 0.5):.1f}, p95 {percentile(one, 0.95):.1f}")
    return [*_summed(times, at, budget), *_others(times, at)]


async def _searches(connection: ReadConnection, rounds: int) -> dict[str, list[float]]:
    edges = (await connection.execute(text(_EDGES))).one()
    choices = await searching.choices(connection)
    lowest, span = edges.lowest, edges.highest - edges.lowest
    id = (await connection.execute(text(_ID), {"seq": lowest + span * 2 // 5})).scalar_one()
    places = {
        "first": Cursor(),
        "deep": Cursor(before=lowest + span // 2),
        "deepest": Cursor(before=lowest + span // 50),
        "back": Cursor(after=lowest + span // 3),
    }
    every = filters(edges.first, edges.last, str(id))
    return {
        f"search, {where}: {name}": await _timed(
            lambda given=given, cursor=cursor: _page(connection, choices, given, cursor), rounds
        )
        for (name, given), (where, cursor) in product(every.items(), places.items())
    }


_EDGES = """
    SELECT min(received_at) AS first, max(received_at) AS last, min(seq) AS lowest,
           max(seq) AS highest FROM signals
"""
_ID = "SELECT id FROM signals WHERE seq >= :seq ORDER BY seq LIMIT 1"


async def _page(
    connection: ReadConnection, choices: Choices, given: Mapping[str, str], cursor: Cursor
) -> None:
    asked = await meant(connection, Asked.of(given), choices, datetime.now(UTC))
    await searching.page(connection, asked.wanted, cursor)


async def _pages(connection: ReadConnection) -> Iterator[tuple[str, Ask]]:
    found = await connection.execute(
        text("SELECT id FROM signals WHERE status = 'approved' ORDER BY seq DESC LIMIT 1")
    )
    one, day = SignalId(found.scalar_one()), grid(1440, await charts.now(connection))

    async def overview() -> None:
        await statistics.snapshot(connection)
        await statistics.fates(connection)
        await statistics.worst(connection, 4)
        await statistics.first_steps(connection)
        await attention_items.counts(connection)
        await audit.page(connection, audit.Filter(limit=16))

    async def detail() -> None:
        await audit.life(connection, one)
        await audit.beside(connection, one)

    return iter(
        (
            ("overview", overview),
            ("detail", detail),
            ("chart of signals, 24 h", lambda: charts.outcomes(connection, day)),
            ("chart of latency, 24 h", lambda: charts.latencies(connection, day)),
        )
    )


async def _timed(ask: Ask, rounds: int) -> list[float]:
    times: list[float] = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        await ask()
        times.append((time.perf_counter() - began) * 1000)
    return times[1:]  # the first one reads into memory what nobody had asked for yet


def _summed(times: Mapping[str, Sequence[float]], at: str, budget: float) -> list[Figure]:
    """Of all filters together, and of the slowest, which is what the budget is for."""
    found: list[Figure] = []
    for where in ("first", "deep", "deepest", "back"):
        mine = [one for name, one in times.items() if name.startswith(f"search, {where}:")]
        every = [time for one in mine for time in one]
        half = percentile(every, 0.5)
        found.append(Figure(what=f"{at}: search, {where}, p50", value=half, unit="ms"))
        worst = max(percentile(one, 0.95) for one in mine)
        what = f"{at}: search, {where}, p95 of the slowest filter"
        found.append(Figure(what=what, value=worst, unit="ms", most=budget))
    return found


def _others(times: Mapping[str, Sequence[float]], at: str) -> list[Figure]:
    return [
        Figure(
            what=f"{at}: {name}, p95",
            value=percentile(one, 0.95),
            unit="ms",
            most=50 if name == "overview" else None,
        )
        for name, one in times.items()
        if not name.startswith("search")
    ]
