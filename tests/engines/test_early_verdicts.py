"""Early verdicts: as the gate's own, in the commit of the alert, and only while they count."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeAlias

import pytest

from database import gate, journal
from database.journal import Entry
from database.screens import Kept
from domain.rulebook import read_rulebook
from domain.signal import SignalStatus
from engines.clock import utc_now
from engines.metrics import Metrics
from engines.relay import early_verdicts
from engines.relay.early_verdicts import EarlyVerdicts
from engines.relay.gatekeeper import Gatekeeper
from engines.relay.intake import Intake
from engines.supervisor import running
from engines.worker import AGAIN, Worker
from tests.database.rows import BUY, SELL, Rows, a_screen, an_entry
from tests.engines.accepting import accept
from tests.engines.conditions import until, until_rows
from tests.engines.test_gatekeeper import a_gatekeeper

LISTED = [f"T{n}" for n in range(12)]
TOP_N = 10
Change: TypeAlias = Callable[[Rows, Kept], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Door:
    """A relay without its workers: what is journaled, and what the gate then decides."""

    rows: Rows
    kept: Kept
    gatekeeper: Gatekeeper

    @property
    def early(self) -> EarlyVerdicts:
        return self.gatekeeper.judge.early

    async def append(self, *entries: Entry) -> list[str]:
        """Where each stands as soon as it is committed."""
        async with self.rows.database.autocommit() as connection:
            receipts = await journal.append(connection, entries, self.early.of(entries))
        assert all(receipts)
        return [receipt.status for receipt in receipts if receipt]

    async def learn(self) -> None:
        """Let the gate judge something."""
        await self.rows.append(an_entry("ANYTHING"))
        while await self.gatekeeper.step() == AGAIN:
            pass


@pytest.fixture
async def door(rows: Rows) -> Door:
    await rows.destination()
    kept = await rows.screen(top_n=TOP_N)
    await rows.adopt(kept, *LISTED)
    door = Door(rows, kept, a_gatekeeper(rows.database))
    await door.learn()
    return door


async def written(rows: Rows, entry: Entry) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """What a signal and its events say, but for times."""
    (row,) = await rows.sql(
        "SELECT jsonb_build_object('status', status, 'reason', reason, 'rank', rank,"
        " 'cutoff', cutoff, 'universe_version', universe_version) FROM signals WHERE id = :id",
        id=entry.id,
    )
    events = await rows.sql(
        "SELECT event, detail - 'list_age_ms' AS detail FROM events WHERE signal_id = :id"
        " ORDER BY id",
        id=entry.id,
    )
    return row, [(event.event, event.detail) for event in events]


@pytest.mark.parametrize("ticker", ["NONE", "T10"], ids=["not in it", "behind the last"])
async def test_it_is_what_the_gate_would_have_said(door: Door, ticker: str) -> None:
    by_gate, early = an_entry(ticker), an_entry(ticker)
    await door.rows.append(by_gate)
    await door.gatekeeper.step()
    assert await door.append(early) == ["rejected"]
    assert await written(door.rows, early) == await written(door.rows, by_gate)
    (times,) = await door.rows.sql(
        "SELECT judged_at - received_at AS took, list_age_ms, (detail->>'list_age_ms')::int AS told"
        " FROM signals JOIN events ON signal_id = signals.id AND event = 'signal.rejected'"
        " WHERE signals.id = :id",
        id=early.id,
    )
    assert times.took == timedelta(0)
    assert 0 <= times.list_age_ms == times.told < 60_000
    assert await door.gatekeeper.step() != AGAIN, "nothing is left to the gate"


async def test_in_a_batch_each_is_as_alone(door: Door) -> None:
    entries = [an_entry("NONE"), an_entry("T1"), an_entry("T11"), an_entry("T1", SELL)]
    assert await door.append(*entries) == ["rejected", "received", "rejected", "received"]
    ranks = await door.rows.sql("SELECT rank FROM signals ORDER BY seq")
    assert ranks[1:] == [None, None, 12, None]
    events = await door.rows.sql(
        "SELECT event FROM events WHERE signal_id = ANY(:ids) ORDER BY id",
        ids=[entry.id for entry in entries],
    )
    assert events == [
        *["signal.received"] * 4,
        *["signal.rejected"] * 2,
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {"side": SELL},
        {"closes": True},
        {"ticker": "T9"},
        {"ticker": "REFUSED"},
        {"ticker": "ALLOWED"},
        {"source": "seller"},
    ],
    ids=lambda given: next(iter(given.values())),
)
async def test_whatever_else_counts_is_left_to_the_gate(door: Door, entry: dict[str, Any]) -> None:
    rules = {"every": {"refused": ["REFUSED"], "allowed": ["ALLOWED"]}}
    await change_rules(door.rows, rules)
    await door.rows.sql("INSERT INTO sources (name, direction) VALUES ('seller', 'sell')")
    await door.learn()
    given: dict[str, Any] = {"ticker": "NONE"} | entry
    assert await door.append(an_entry(**given)) == ["received"]
    assert await door.append(an_entry("OTHER")) == ["rejected"]


async def test_nothing_is_known_before_the_gate_has_judged(rows: Rows) -> None:
    kept = await rows.screen(top_n=TOP_N)
    door = Door(rows, kept, a_gatekeeper(rows.database))
    assert await door.append(an_entry("NONE")) == ["received"]
    await door.learn()
    assert await door.append(an_entry("NONE")) == ["received"], "there is no list"
    await rows.adopt(kept, *LISTED)
    await door.learn()
    assert await door.append(an_entry("NONE")) == ["rejected"]


async def change_rules(rows: Rows, rules: dict[str, Any]) -> None:
    async with rows.database.write() as connection:
        version = (await gate.read(connection)).version
        assert await gate.change_rules(
            connection, read_rulebook(rules, {}), version=version, actor="a test", reason=None
        )


async def another_list(rows: Rows, kept: Kept) -> None:
    await rows.adopt(kept, "NONE")


async def another_screen(rows: Rows, kept: Kept) -> None:
    await rows.change_screen(replace(kept.screen, top_n=1))


async def another_address(rows: Rows, _kept: Kept) -> None:
    await rows.change_screen(a_screen(url="https://finviz.com/screener.ashx?v=111&f=cap_large"))


async def a_pause(rows: Rows, _kept: Kept) -> None:
    async with rows.database.write() as connection:
        assert await gate.pause(connection, actor="a test", reason=None, until=None)


async def allowed(rows: Rows, _kept: Kept) -> None:
    await change_rules(rows, {"every": {"allowed": ["NONE"]}})


async def too_old(rows: Rows, _kept: Kept) -> None:
    await rows.sql("UPDATE universes SET confirmed_at = confirmed_at - interval '541 s'")


async def over(rows: Rows, _kept: Kept) -> None:
    await rows.sql("UPDATE universes SET valid_until = now()")


async def ahead(rows: Rows, _kept: Kept) -> None:
    await rows.sql("UPDATE universes SET confirmed_at = confirmed_at + interval '1 hour'")


@pytest.mark.parametrize(
    "change",
    [another_list, another_screen, another_address, a_pause, allowed, too_old, over, ahead],
)
async def test_what_changed_since_the_gate_looked_leaves_it_to_the_gate(
    door: Door, change: Change
) -> None:
    assert await door.append(an_entry("NONE")) == ["rejected"]
    await change(door.rows, door.kept)
    entries = an_entry("NONE"), an_entry("NEVER")
    assert await door.append(*entries) == ["received", "received"]
    assert await door.append(an_entry("OTHER")) == ["received"]


async def test_the_gate_that_decided_it_shows_what_counts_now(door: Door) -> None:
    await door.rows.adopt(door.kept, "NEW", *LISTED[:5])
    assert await door.append(an_entry("NONE")) == ["received"]
    await door.gatekeeper.step()
    assert await door.append(an_entry("NONE"), an_entry("T9")) == ["rejected", "rejected"]
    assert await door.append(an_entry("NEW")) == ["received"]


async def test_a_list_that_is_confirmed_is_the_same_list(door: Door) -> None:
    await too_old(door.rows, door.kept)
    assert await door.append(an_entry("NONE")) == ["received"]
    await door.gatekeeper.step()
    await door.rows.adopt(door.kept, *LISTED)
    assert await door.append(an_entry("NONE")) == ["rejected"]


async def test_a_buy_may_wait_for_its_ticker(door: Door) -> None:
    await door.rows.change_screen(replace(door.kept.screen, wait=timedelta(seconds=5)))
    await door.rows.adopt(door.kept, *LISTED)
    await door.learn()
    assert await door.append(an_entry("NONE")) == ["received"]


async def test_nobody_overtakes_an_earlier_one_of_its_ticker(door: Door) -> None:
    first, second, other = an_entry("NONE", SELL), an_entry("NONE"), an_entry("OTHER")
    assert await door.append(first, second, other) == ["received", "received", "rejected"]
    assert await door.append(an_entry("NONE")) == ["received"]
    assert await door.append(an_entry("NONE"), an_entry("OTHER")) == ["received", "rejected"]
    await door.gatekeeper.step()
    assert await door.append(an_entry("NONE")) == ["rejected"]


async def test_too_late_and_unreadable_come_first(door: Door) -> None:
    late = an_entry("NONE", sent_at=utc_now() - timedelta(minutes=5))
    unreadable = an_entry("NONE")._replace(side=None, ticker=None, invalid="not_json")
    assert await door.append(late, unreadable) == ["expired", "invalid"]
    row, events = await written(door.rows, late)
    assert row == {
        "status": "expired",
        "reason": "expired",
        "universe_version": None,
        "rank": None,
        "cutoff": None,
    }
    assert events[1] == ("signal.expired", {"reason": "expired"})


async def test_a_repeat_is_told_of_the_first(door: Door) -> None:
    entry = an_entry("NONE")
    again = entry._replace(id=an_entry().id)
    assert await door.append(entry) == ["rejected"]
    assert await door.append(entry) == ["rejected"], "the same, its answer was lost"
    assert await door.append(again) == ["rejected"]
    assert await door.rows.events(entry.id) == [
        "signal.received",
        "signal.rejected",
        "signal.duplicate",
    ]


async def test_who_is_just_changing_the_gate_is_not_waited_for(door: Door) -> None:
    async with door.rows.database.write() as commanding:
        assert await gate.pause(commanding, actor="a test", reason=None, until=None)
        async with asyncio.timeout(20):
            assert await door.append(an_entry("NONE")) == ["received"]
    assert await door.append(an_entry("NONE")) == ["received"]


async def test_what_changed_while_it_waited_for_its_turn_counts(door: Door) -> None:
    """PostgreSQL looks at what there is before it waits, unless a row is held."""
    async with door.rows.database.write() as before:
        await journal.append(before, [an_entry("BEFORE")])
        waiting = asyncio.create_task(door.append(an_entry("NONE")))
        await until_rows(door.rows.somebody_waits)
        await allowed(door.rows, door.kept)
    assert await waiting == ["received"]


async def test_a_list_that_came_while_it_waited_for_its_turn_counts(door: Door) -> None:
    entry = an_entry("NONE")
    async with door.rows.database.write() as before:
        await journal.append(before, [an_entry("BEFORE")])
        waiting = asyncio.create_task(door.append(entry))
        await until_rows(door.rows.somebody_waits)
        await door.rows.adopt(door.kept, "NONE", *LISTED[:9])
    assert await waiting == ["received"]
    await door.gatekeeper.step()
    assert await door.rows.sql("SELECT status FROM signals WHERE id = :id", id=entry.id) == [
        "approved"
    ]


async def test_who_changes_the_gate_after_journaling_gets_to_the_end(door: Door) -> None:
    """The row of the gate is not held by who still waits for his turn."""
    async with door.rows.database.write() as commanding:
        await journal.append(commanding, [an_entry("BEFORE")])
        waiting = asyncio.create_task(door.append(an_entry("NONE")))
        await until_rows(door.rows.somebody_waits)
        assert await gate.pause(commanding, actor="a test", reason=None, until=None)
    assert await waiting == ["received"]


async def test_what_strangers_name_is_not_remembered_for_ever(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_verdicts, "MOST_PLACES", 3)
    entries = [an_entry(f"N{n}") for n in range(10)]
    assert await door.append(*entries) == ["rejected"] * 10


# ── Through the intake ──────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def taking_in(door: Door, metrics: Metrics, woken: list[int]) -> AsyncGenerator[Intake]:
    workers: list[Worker] = []
    intake = Intake(
        database=door.rows.database.dedicated(),
        metrics=metrics,
        wake=lambda: workers[0].wake(),  # noqa: PLW0108  there is none yet
        wake_gatekeeper=lambda: woken.append(1),
        budget=timedelta(seconds=20),
        early=door.early,
    )
    workers.append(Worker("intake", intake.step, utc_now))
    async with running(workers, grace=timedelta(seconds=2)):
        yield intake


async def test_the_gate_is_woken_for_what_is_left_to_it_alone(door: Door) -> None:
    metrics, woken = Metrics(), list[int]()
    labels = {"status": "rejected", "reason": "not_in_list"}

    def counted() -> float | None:
        return metrics.registry.get_sample_value("relay_verdicts_total", labels)

    async with taking_in(door, metrics, woken) as intake:
        receipts = await asyncio.gather(*(accept(intake, an_entry(f"N{n}")) for n in range(40)))
        assert {receipt.status for receipt in receipts} == {SignalStatus.REJECTED}
        await until(lambda: counted() == 40)
        assert not woken
        again = await accept(intake, an_entry("N1")._replace(id=an_entry().id))
        assert again.status == SignalStatus.REJECTED
        assert (await accept(intake, an_entry("T1", BUY))).status == SignalStatus.RECEIVED
        await until(lambda: bool(woken))
