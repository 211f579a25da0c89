"""A list becomes the next version: who entered and left, who is kept, since when it is fresh."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from database import adopting, cadences, screens, universes
from database.adopting import Listing
from database.screens import Kept
from domain.screen import Screen, ScreenKind
from domain.ticker import Ticker
from domain.universe import Row, Trust, Universe, trust
from engines.clock import utc_now
from tests.database.rows import Rows, a_screen

GAP = timedelta(0)
"""A list of any age is too old."""


@pytest.fixture
async def kept(rows: Rows) -> Kept:
    kept = await rows.screen(top_n=2)
    return await rows.change_screen(replace(kept.screen, margin=2))


async def newest(rows: Rows) -> Any:
    (row,) = await rows.sql("SELECT * FROM universes ORDER BY version DESC LIMIT 1")
    return row


async def in_force(rows: Rows) -> Universe:
    async with rows.database.read() as connection:
        universe = (await universes.current(connection)).universe
    assert universe
    return universe


async def test_the_first_list_is_a_beginning(rows: Rows, kept: Kept) -> None:
    await rows.adopt(kept, "A", "B", "C")
    row = await newest(rows)
    assert (row.entered, row.dropped, row.kept, row.top_n, row.margin) == ([], [], [], 2, 2)
    assert row.fresh_since == row.fetched_at


async def test_who_enters_and_who_is_dropped(rows: Rows, kept: Kept) -> None:
    await rows.adopt(kept, "A", "B", "C")
    await rows.adopt(kept, "C", "A", "D", "E", "B")
    row = await newest(rows)
    assert (row.entered, row.dropped, row.kept) == (["C"], ["B"], [])
    (detail,) = await rows.sql(
        "SELECT detail FROM events WHERE event = 'universe.adopted' ORDER BY id DESC LIMIT 1"
    )
    assert (detail["entered"], detail["dropped"]) == (["C"], ["B"])


async def test_other_ranks_of_the_same_tickers_are_a_version_and_no_event(
    rows: Rows, kept: Kept
) -> None:
    await rows.adopt(kept, "A", "B", "C")
    await rows.adopt(kept, "B", "A", "C")
    assert (await newest(rows)).tickers == ["B", "A", "C"]
    assert (await rows.events()).count("universe.adopted") == 1


async def test_who_falls_within_the_margin_is_kept_and_out_behind_it(
    rows: Rows, kept: Kept
) -> None:
    await rows.adopt(kept, "A", "B", "C", "D", "E")
    await rows.adopt(kept, "C", "B", "D", "A", "E")
    row = await newest(rows)
    assert (row.entered, row.dropped, row.kept) == (["C"], [], ["A"])
    assert (await in_force(rows)).members(2, 2) == ["C", "B", "A"]
    await rows.adopt(kept, "C", "B", "D", "E", "A")
    row = await newest(rows)
    assert (row.entered, row.dropped, row.kept) == ([], ["A"], [])
    await rows.adopt(kept, "C", "B", "D", "A", "E")
    assert (await newest(rows)).kept == [], "one that left comes in at the top N only"


async def test_after_a_gap_nobody_is_kept_and_the_freshness_begins_anew(
    rows: Rows, kept: Kept
) -> None:
    await rows.adopt(kept, "A", "B", "C", "D")
    first = await in_force(rows)
    await rows.adopt(kept, "C", "B", "A", "D")
    assert (await in_force(rows)).fresh_since == first.fresh_since
    assert (await in_force(rows)).kept == {"A"}
    await rows.adopt(kept, "C", "B", "A", "D", max_age=GAP)
    row = await newest(rows)
    assert (row.kept, row.entered, row.dropped) == ([], [], ["A"])
    assert row.fresh_since > first.fetched_at


async def test_a_touch_after_a_gap_is_fresh_from_then_on(rows: Rows, kept: Kept) -> None:
    version = await rows.adopt(kept, "A", "B")
    first = await in_force(rows)
    async with rows.database.read() as connection:
        key = (await universes.mark(connection)).key
    assert await rows.adopt(kept, "A", "B", max_age=GAP) == version
    again = await in_force(rows)
    assert again.fresh_since
    assert first.fresh_since
    assert again.fresh_since > first.fresh_since
    assert again.fetched_at == first.fetched_at
    async with rows.database.read() as connection:
        assert (await universes.mark(connection)).key != key, "judges must notice"


async def test_a_change_of_the_top_n_makes_a_version_of_the_same_tickers(
    rows: Rows, kept: Kept
) -> None:
    version = await rows.adopt(kept, "A", "B", "C")
    wider = await rows.change_screen(a_screen(top_n=3))
    assert await rows.adopt(kept, "A", "B", "C") is None, "asked for what is no longer wanted"
    assert await rows.adopt(wider, "A", "B", "C") != version
    assert (await newest(rows)).entered == ["C"]


async def test_prices_and_volumes_are_kept_as_last_seen(rows: Rows, kept: Kept) -> None:
    async def adopt(price: str | None, volume: int | None) -> int | None:
        listed = [
            Row(rank=1, ticker=Ticker("A"), price=Decimal(price) if price else None, volume=volume),
            Row(rank=2, ticker=Ticker("B")),
        ]
        async with rows.database.write() as connection:
            seen_at = await cadences.now(connection)
            listing = Listing(rows=listed, total=2, seen_at=seen_at, accepted_by="somebody")
            return await adopting.adopt(connection, kept, listing, max_age=timedelta(hours=1))

    version = await adopt("2.69", 10**12)
    row = await newest(rows)
    assert (row.prices, row.volumes, row.accepted_by) == ([2.69, None], [10**12, None], "somebody")
    assert await adopt("2.70", None) == version
    assert (await newest(rows)).prices == [2.70, None]


# ── A fixed list ────────────────────────────────────────────────────────────────────────────


def a_fixed_list(until: datetime, *tickers: str) -> Screen:
    return Screen(
        kind=ScreenKind.FIXED,
        top_n=5,
        refresh=timedelta(seconds=60),
        tickers=tuple(Ticker(name) for name in tickers),
        valid_until=until,
    )


async def test_a_fixed_list_counts_until_its_end(rows: Rows) -> None:
    await rows.screen()
    until = utc_now() + timedelta(hours=1)
    fixed = await rows.change_screen(a_fixed_list(until, "A", "B"))
    await rows.adopt(fixed, "A", "B")
    universe = await in_force(rows)
    assert universe.valid_until == until
    day = timedelta(days=1)
    assert trust(universe, until - timedelta(seconds=1), day) is Trust.FRESH
    assert trust(universe, until, day) is Trust.STALE
    longer = await rows.change_screen(a_fixed_list(until + day, "A", "B"))
    assert await rows.adopt(longer, "A", "B") != universe.version
    assert (await in_force(rows)).valid_until == until + day


# ── Screens are versions too ────────────────────────────────────────────────────────────────


async def test_every_change_of_a_screen_is_kept_as_a_version(rows: Rows, kept: Kept) -> None:
    await rows.change_screen(a_screen(top_n=9, margin=1, wait=30))
    found = await rows.sql(
        "SELECT version, active, top_n, margin, wait_sec, made_by FROM screen_versions ORDER BY 1"
    )
    assert [tuple(row) for row in found] == [
        (1, True, 2, 0, 0.0, "a test"),
        (2, True, 2, 2, 0.0, "a test"),
        (3, True, 9, 1, 30.0, "a test"),
    ]
    assert kept.version == 2


async def test_the_screen_is_read_back_as_it_was_written(rows: Rows) -> None:
    await rows.screen()
    fixed = a_fixed_list(datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC), "A", "BRK-B")
    wanted = replace(fixed, margin=3, wait=timedelta(seconds=7.5), slow_when_closed=False)
    assert (await rows.change_screen(wanted)).screen == wanted
    async with rows.database.read() as connection:
        active = await screens.active(connection)
        assert active
        assert active.screen == wanted
        assert (await universes.current(connection)).screen == wanted
