"""The chronicler on a real PostgreSQL: each stage once, in order, by one of several."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from database import chronicle
from database.chronicle import Mark
from domain.signal import SignalId
from domain.stage import Stage
from engines.chronicle import lines
from engines.chronicle.chronicler import BATCH, FAR_BEHIND, PRESSED, Chronicler
from engines.worker import AGAIN, SELDOM
from launcher.logs import written
from tests.database.rows import SELL, Rows
from tests.engines.conditions import events_are_complete, until_rows

BOUGHT = [
    *("signal.received", "signal.approved", "delivery.queued", "delivery.sending"),
    "delivery.delivered",
]
MANY = """
    INSERT INTO events (event, signal_id)
    SELECT 'signal.duplicate', :id FROM generate_series(1, :many)
"""
TRACED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Told(list[Stage]):
    """Whom stages are told to."""

    def __call__(self, stages: Sequence[Stage]) -> None:
        self.extend(stages)

    def of(self, signal: SignalId) -> list[str]:
        return [one.event for one in self if one.signal_id == signal]


async def told_all(rows: Rows, chronicler: Chronicler) -> None:
    """Until nothing is untold: other tests have transactions in this server too."""

    async def has_come() -> bool:
        while await chronicler.step() == AGAIN:
            pass
        (done,) = await rows.sql(
            "SELECT NOT EXISTS (SELECT FROM events, chronicle WHERE signal_id IS NOT NULL"
            " AND NOT starts_with(event, 'position.')"
            " AND (events.xid, events.id) > (chronicle.xid, chronicle.event_id))"
        )
        return done

    await until_rows(has_come, within=60)


def a_chronicler(rows: Rows, told: Told) -> Chronicler:
    return Chronicler(database=rows.database, tell=[told])


async def test_each_stage_is_told_once_and_in_order(rows: Rows) -> None:
    destination, told = await rows.destination(), Told()
    first, second = a_chronicler(rows, told), a_chronicler(rows, told)
    bought = await rows.bought(destination)
    await told_all(rows, first)
    turned_away = await rows.alert("NVDA", SELL, traceparent=TRACED)
    await rows.decide()
    await told_all(rows, second)
    await told_all(rows, first)
    assert told.of(bought) == BOUGHT
    assert told.of(turned_away) == ["signal.received", "signal.rejected"]
    assert {one.traceparent for one in told if one.signal_id == turned_away} == {TRACED}
    sending = next(one for one in told if one.event == "delivery.sending")
    assert (sending.destination, sending.ticker) == ("main", "AAPL")
    assert sending.waits_since
    assert sending.waits_since <= sending.at


async def test_events_of_something_else_are_read_once(rows: Rows) -> None:
    told = Told()
    await rows.sql("INSERT INTO events (event) SELECT 'trust.stale' FROM generate_series(1, 3)")

    async def are_passed() -> bool:
        await a_chronicler(rows, told).step()
        newest, mark = await rows.sql(
            "SELECT max(id) FROM events UNION ALL SELECT event_id FROM chronicle"
        )
        return newest == mark

    await until_rows(are_passed, within=60)
    assert told == []


async def test_while_one_tells_another_does_not(rows: Rows) -> None:
    told = Told()
    await rows.alert()
    async with rows.database.write() as connection:
        assert await chronicle.claim(connection)
        assert await a_chronicler(rows, told).step() == SELDOM
    assert not told
    await told_all(rows, a_chronicler(rows, told))
    assert len(told) == 1


async def test_a_batch_that_is_rolled_back_is_told_later(rows: Rows) -> None:
    id, told = await rows.alert(), Told()
    async with rows.database.write() as connection:
        mark = await chronicle.claim(connection)
        assert mark
        await chronicle.move(connection, Mark(mark.xid, mark.event_id))
        await connection.rollback()
    await told_all(rows, a_chronicler(rows, told))
    assert told.of(id) == ["signal.received"]


async def test_more_than_a_batch_goes_on_at_once(rows: Rows) -> None:
    id, told = await rows.alert(), Told()
    await rows.sql(MANY, id=id, many=BATCH)
    await told_all(rows, a_chronicler(rows, told))
    assert len(told) == BATCH + 1


async def test_what_was_long_ago_is_not_told_at_a_start(rows: Rows) -> None:
    id, told = await rows.alert(), Told()
    await rows.sql(MANY, id=id, many=FAR_BEHIND)
    await events_are_complete(rows)
    chronicler = a_chronicler(rows, told)
    await told_all(rows, chronicler)
    newer = await rows.alert("NVDA")
    await told_all(rows, chronicler)
    assert told.of(newer) == ["signal.received"]
    assert len(told) < FAR_BEHIND


async def test_alerts_come_first(rows: Rows) -> None:
    await rows.alert()
    told = Told()
    pressed = Chronicler(database=rows.database, tell=[told], is_pressed=lambda: True)
    assert await pressed.step() == PRESSED
    assert not told


def of_signals(path: Path) -> list[Any]:
    """Their lines of a log: what the collector finds of other tests stands there too."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line["logger"] == "signals"]


async def test_the_log_has_a_line_for_each_with_both_ids(rows: Rows, tmp_path: Path) -> None:
    """A secret of the settings is hidden in it, wherever it came from."""
    secret = "a-secret-name-of-a-source"
    id = await rows.alert("AAPL", SELL, traceparent=TRACED, source=secret)
    await rows.decide()
    with written(tmp_path, secrets=[secret], level="INFO", process=2) as path:
        await told_all(rows, Chronicler(database=rows.database, tell=[lines.told]))
    found = of_signals(path)
    assert [one["event"] for one in found] == ["signal.received", "signal.rejected"]
    for one in found:
        assert list(one)[:4] == ["ts", "level", "logger", "process"]
        assert (one["logger"], one["process"], one["level"]) == ("signals", 2, "INFO")
        assert (one["signal_id"], one["trace_id"]) == (str(id), TRACED[3:35])
        assert one["source"] == "•••"
    assert found[1]["reason"] == "no_position"


async def test_above_info_nothing_is_made(rows: Rows, tmp_path: Path) -> None:
    await rows.alert()
    with written(tmp_path, secrets=[], level="WARNING") as path:
        await told_all(rows, Chronicler(database=rows.database, tell=[lines.told]))
    assert of_signals(path) == []
