"""Rules as judges obey them: over all tickers, all replicas, at once and to the instant."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from database import gate, verdicts
from database.pool import Database
from database.screens import Kept
from domain.market import DaysOff, until_open
from domain.rules import Direction, Rulebook, Rules
from domain.ticker import Ticker
from tests.database.rows import BUY, SELL, Rows, an_entry
from tests.engines.conditions import until_rows
from tests.engines.test_gatekeeper import a_gatekeeper, a_judge

pytestmark = pytest.mark.usefixtures("kept")

NAMES = [f"N{n}" for n in range(40)]


@pytest.fixture
async def kept(rows: Rows) -> Kept:
    await rows.destination()
    kept = await rows.screen(top_n=99)
    await rows.adopt(kept, *NAMES)
    return kept


async def rule(rows: Rows, every: Rules | None = None, **of_source: Rules) -> None:
    async with rows.database.write() as connection:
        current = await gate.read(connection)
        rulebook = Rulebook(every=every or Rules(), of_source=of_source)
        assert await gate.change_rules(
            connection, rulebook, version=current.version, actor="a test", reason=None
        )


async def reasons(rows: Rows) -> list[str | None]:
    return list(await rows.sql("SELECT reason FROM signals ORDER BY seq"))


async def judge_all(rows: Rows) -> None:
    gatekeeper = a_gatekeeper(rows.database)
    while await rows.sql("SELECT 1 FROM signals WHERE status = 'received' LIMIT 1"):
        await gatekeeper.step()


# ── How many positions ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by_source", [False, True])
async def test_eight_judges_at_once_open_no_more_than_allowed(
    rows: Rows, *, by_source: bool
) -> None:
    three = Rules(max_positions=3)
    await (rule(rows, tv=three) if by_source else rule(rows, three))
    for name in NAMES:
        await rows.append(an_entry(name, source="tv"))
    database = Database.connect(rows.database.url, pool=8, patience=timedelta(seconds=20))

    async def one_by_one() -> None:
        """A few signals each time, so that all judge at once and none has them all."""
        while await judge_some(database, 2):
            pass

    try:
        await asyncio.gather(*(one_by_one() for _ in range(8)))
    finally:
        await database.close()
    assert await rows.sql("SELECT count(*) FROM positions") == [3]
    found = await reasons(rows)
    assert (found.count(None), found.count("max_positions")) == (3, 37)


async def judge_some(database: Database, limit: int) -> int:
    judge = a_judge()
    async with database.write() as connection:
        claimed = await verdicts.claim(connection, limit=limit)
        if claimed is None:
            return 0
        current = await judge.look(connection)
        await judge.judge(connection, claimed, current)
        return len(claimed.signals)


async def test_a_position_that_ends_makes_room_and_a_second_buy_needs_none(rows: Rows) -> None:
    await rule(rows, Rules(max_positions=1))
    await rows.append(an_entry("N0"), an_entry("N1"), an_entry("N0"))
    await judge_all(rows)
    await rows.sql("UPDATE positions SET state = 'closed'")
    await rows.append(an_entry("N1"))
    await judge_all(rows)
    assert await reasons(rows) == [None, "max_positions", None, None]


async def test_a_source_counts_what_it_opened(rows: Rows) -> None:
    await rule(rows, tv=Rules(max_positions=1))
    for name, source in [("N0", "bot"), ("N1", "tv"), ("N2", "tv"), ("N0", "tv"), ("N3", "bot")]:
        await rows.append(an_entry(name, source=source))
        await judge_all(rows)
    assert await reasons(rows) == [None, None, "max_positions", None, None]


async def test_a_position_entered_by_hand_counts_for_every_source(rows: Rows) -> None:
    await rows.sql(
        "INSERT INTO positions (id, ticker, state, opened_at, updated_at)"
        " VALUES (gen_random_uuid(), 'OWN', 'open', now(), now())"
    )
    await rule(rows, Rules(max_positions=1), tv=Rules(max_positions=1))
    await rows.append(an_entry("N0", source="tv"))
    await judge_all(rows)
    assert await reasons(rows) == ["max_positions"]
    await rule(rows, tv=Rules(max_positions=1))
    await rows.append(an_entry("N1", source="tv"))
    await judge_all(rows)
    assert await reasons(rows) == ["max_positions", None]


# ── Cooldown ────────────────────────────────────────────────────────────────────────────────


async def test_a_cooldown_holds_to_its_very_end(rows: Rows) -> None:
    minute, instant = timedelta(minutes=1), timedelta(microseconds=1)
    await rule(rows, Rules(cooldown=minute))
    await rows.append(an_entry("N0", source="tv"))
    await judge_all(rows)
    (at,) = await rows.sql("SELECT judged_at FROM signals")
    rulebook = Rulebook(every=Rules(cooldown=minute))
    for now, known in [(at + minute - instant, {("N0", "tv"): at}), (at + minute, {})]:
        async with rows.database.write() as connection:
            found = await gate.standing(connection, rulebook, [Ticker("N0")], now)
        assert found.bought == known


async def test_what_was_bought_before_is_in_its_cooldown_in_every_replica(rows: Rows) -> None:
    await rule(rows, Rules(cooldown=timedelta(hours=1)), tv=Rules(cooldown=timedelta(days=1)))
    await rows.append(an_entry("N0", source="tv"), an_entry("N9", source="tv"))
    await judge_all(rows)
    for name, source, ago, reason in [
        ("N0", "bot", "59 min", "cooldown"),
        ("N0", "bot", "61 min", None),
        ("N9", "tv", "61 min", "cooldown"),
        ("N9", "tv", "25 h", None),
    ]:
        await rows.sql(
            f"UPDATE signals SET judged_at = now() - interval '{ago}' WHERE ticker = '{name}'"
        )
        await rows.append(an_entry(name, source=source))
        await judge_all(rows)
        assert (await reasons(rows))[-1] == reason


# ── When, what, and who ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        ("2026-11-20T14:29:59Z", "outside_market_hours"),
        ("2026-11-20T14:30:00Z", None),
        ("2026-11-20T20:59:59Z", None),
        ("2026-11-20T21:00:00Z", "outside_market_hours"),
        ("2026-11-21T15:00:00Z", "outside_market_hours"),
    ],
)
async def test_the_hours_are_asked_of_the_market_only_where_a_rule_wants_them(
    rows: Rows, moment: str, reason: str | None
) -> None:
    asked: list[datetime] = []

    async def market(now: datetime) -> timedelta | None:
        asked.append(now)
        return until_open(datetime.fromisoformat(moment), DaysOff())

    gatekeeper = a_gatekeeper(rows.database, judge=replace(a_judge(), until_open=market))
    await rows.append(an_entry("N0"))
    await gatekeeper.step()
    assert (await reasons(rows), asked) == ([None], [])
    await rule(rows, Rules(market_hours=True))
    await rows.append(an_entry("N1"), an_entry("N0", SELL))
    await gatekeeper.step()
    assert (await reasons(rows), len(asked)) == ([None, reason, None], 1)


async def test_a_source_may_send_one_side_only(rows: Rows) -> None:
    await rows.sql("INSERT INTO sources (name, direction) VALUES ('tv', 'sell')")
    await rows.append(
        an_entry("N0", source="tv"), an_entry("N0"), an_entry("N0", SELL, source="tv")
    )
    await judge_all(rows)
    assert await reasons(rows) == ["source_direction", None, None]
    async with rows.database.read() as connection:
        found = (await gate.read(connection)).rulebook
    assert found.directions == {"tv": Direction.SELL}


async def test_the_event_names_the_rule_and_the_version_it_was_in(rows: Rows) -> None:
    await rule(rows, tv=Rules(max_positions=0))
    await rows.append(an_entry("N0", source="tv"), an_entry("N1"))
    await judge_all(rows)
    details: Sequence[Any] = await rows.sql(
        "SELECT detail FROM events WHERE event IN ('signal.rejected', 'signal.approved')"
        " ORDER BY id"
    )
    assert [one["gate_version"] for one in details] == [2, 2]
    assert details[0]["rule"] == {"of": "sources.tv", "limit": "0"}
    assert "rule" not in details[1]


# ── Changing them ───────────────────────────────────────────────────────────────────────────


async def test_every_version_is_kept_with_who_made_it(rows: Rows) -> None:
    await rule(rows, Rules(max_positions=1))
    await rule(rows, Rules(max_positions=2))
    kept = await rows.sql("SELECT version, rules, paused, made_by FROM gate_versions ORDER BY 1")
    assert [(row.version, row.paused, row.made_by) for row in kept] == [
        (1, False, None),
        (2, False, "a test"),
        (3, False, "a test"),
    ]
    assert [row.rules.get("every", {}).get("max_positions") for row in kept] == [None, 1, 2]
    async with rows.database.write() as connection:
        late = await gate.change_rules(
            connection, Rulebook(), version=2, actor="a test", reason=None
        )
        assert late is False
        assert (await gate.read(connection)).rulebook.every.max_positions == 2


async def test_a_change_waits_for_judges_and_is_obeyed_by_the_next(rows: Rows) -> None:
    """What was judged under the rules before is committed before the new ones are."""
    await rows.append(an_entry("N0"), an_entry("N1"))
    async with rows.database.write() as judging:
        claimed = await verdicts.claim(judging, limit=1)
        assert claimed
        changing = asyncio.ensure_future(rule(rows, Rules(max_positions=1)))
        await waits_for_a_lock(rows)
        judge = a_judge()
        await judge.judge(judging, claimed, await judge.look(judging))
    await changing
    await judge_all(rows)
    assert await reasons(rows) == [None, "max_positions"]
    (judged,) = await rows.sql("SELECT judged_at FROM signals WHERE ticker = 'N0'")
    (made,) = await rows.sql("SELECT made_at FROM gate_versions WHERE version = 2")
    assert judged < made


async def waits_for_a_lock(rows: Rows) -> None:
    async def someone_does() -> bool:
        return bool(
            await rows.sql(
                "SELECT 1 FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event = 'advisory'"
            )
        )

    await until_rows(someone_does)


async def test_what_waited_is_held_against_the_rules_when_its_ticker_enters(
    rows: Rows, kept: Kept
) -> None:
    await rows.sql("UPDATE screens SET wait_sec = 60")
    await rows.append(an_entry("LATE"), an_entry("LATER"))
    gatekeeper = a_gatekeeper(rows.database)
    await gatekeeper.step()
    assert await rows.sql("SELECT count(*) FROM signals WHERE waits_until IS NOT NULL") == [2]
    await rule(rows, Rules(refused=frozenset({Ticker("LATE")})))
    await rows.adopt(kept, *NAMES, "LATE", "LATER")
    await gatekeeper.reconsider()
    found = await rows.sql("SELECT ticker, status, reason FROM signals ORDER BY seq")
    assert [tuple(row) for row in found] == [
        ("LATE", "rejected", "refused_ticker"),
        ("LATER", "approved", None),
    ]
    assert await rows.sql("SELECT side FROM deliveries") == [BUY]
