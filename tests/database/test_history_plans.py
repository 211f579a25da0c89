"""With a long past, reading it and letting it go touch only the part that is asked for."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import TextClause, text

from database import around, history, ranks, retention
from tests.database.lists import begun
from tests.database.rows import Rows
from tests.database.test_plans import plan

UNIVERSES = """
    INSERT INTO universes (screen_id, url, tickers, total, top_n, entered, dropped, fetched_at,
                           confirmed_at, fresh_since)
    SELECT id, url, ARRAY['A', 'B', 'C'], 3, 2,
           CASE n % 50 WHEN 0 THEN ARRAY['T' || n % 500] ELSE '{}' END, '{}', at, at, at
    FROM screens, (SELECT n, now() - (20000 - n) * interval '15 s' AS at
                   FROM generate_series(1, 20000) AS n) AS moments
    ORDER BY n
"""
FETCHES = """
    INSERT INTO fetches (screen_id, at, outcome, detail, pages, duration_ms, version, next_at)
    SELECT screen_id, fetched_at, CASE version % 1000 WHEN 0 THEN 'blocked' ELSE 'ok' END, '', 1, 1,
           version, fetched_at
    FROM universes ORDER BY version
"""


@pytest.fixture
async def long(rows: Rows) -> Rows:
    await begun(rows)
    for statement in (UNIVERSES, FETCHES):
        await rows.sql(statement)
    async with rows.database.autocommit() as connection:
        await connection.execute(text("ANALYZE"))
    return rows


async def cases(rows: Rows) -> list[tuple[TextClause, Mapping[str, Any], list[str]]]:
    """What is asked of the past, and the indexes that are to answer."""
    (screen,) = await rows.sql("SELECT id FROM screens")
    (now,) = await rows.sql("SELECT max(fetched_at) FROM universes")
    period = {"screen": screen, "since": now - timedelta(hours=80), "until": now}
    moments = period | {"ticker": "T50", "every": timedelta(minutes=10), "most": 2_000}
    page = {"before": 15_000, "limit": 50}
    batch = {"keep": timedelta(days=400), "after": 0, "limit": 5_000}
    in_time = "universes_by_time"
    return [
        (ranks.VERSIONS, period | {"most": 50}, [in_time]),
        (ranks.EVERY_POINT, period | {"since": now - timedelta(hours=1), "ticker": "A"}, [in_time]),
        (ranks.SAMPLED_POINTS, moments, [in_time, "universes_crossings"]),
        (history.PAGE, page | {"screen": screen}, ["universes_"]),
        (history.PAGE, page | {"screen": None}, ["universes_pkey"]),
        (history.ONE, {"version": 7}, ["universes_pkey"]),
        (history.AT, {"at": now - timedelta(hours=40)}, [in_time, "fetches_"]),
        (history.FETCHES, page | {"outcome": None}, ["fetches_pkey"]),
        (around.AROUND, {"id": screen}, ["universes_pkey", in_time]),
        (retention.UNIVERSES, batch, ["universes_pkey"]),
        (retention.FETCHES, batch, ["fetches_pkey"]),
    ]


async def test_no_question_about_the_past_reads_it_whole(long: Rows) -> None:
    for query, values, indexes in await cases(long):
        steps = await plan(long.database, query, **values)
        for index in indexes:
            assert index in steps, f"{index}\n{steps}"
        for table in ("universes", "fetches"):
            assert f"Seq Scan on {table}" not in steps, steps
