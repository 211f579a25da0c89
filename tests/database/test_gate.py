"""The gate's row: the buying pause, its versions, and who may judge while somebody commands."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from database import gate
from database.gate import BuyingPause
from engines.clock import utc_now
from engines.metrics import Metrics
from engines.relay.sweeper import Sweeper
from tests.conftest import FrozenClock
from tests.database.rows import BUY, Rows
from tests.engines.conditions import until_rows
from tests.engines.desks import a_gatekeeper, listed, waits_for_gate

HOUR = timedelta(hours=1)


async def pause(rows: Rows, until: datetime | None = None, reason: str | None = None) -> bool:
    async with rows.database.write() as connection:
        return await gate.pause(connection, actor="me", reason=reason, until=until)


async def resume(rows: Rows, reason: str | None = None) -> bool:
    async with rows.database.write() as connection:
        return await gate.resume(connection, actor="you", reason=reason)


async def standing(rows: Rows) -> BuyingPause | None:
    async with rows.database.read() as connection:
        return (await gate.read(connection)).pause


async def told(rows: Rows) -> list[tuple[str, str, Any, Any]]:
    found = await rows.sql("SELECT event, actor, detail FROM events ORDER BY id")
    return [(row.event, row.actor, row.detail["was"], row.detail["becomes"]) for row in found]


async def versions(rows: Rows) -> list[tuple[int, bool, str | None]]:
    found = await rows.sql("SELECT version, paused, made_by FROM gate_versions ORDER BY version")
    return [tuple(row) for row in found]


async def test_a_pause_and_its_end_by_hand(rows: Rows) -> None:
    assert await standing(rows) is None
    assert await pause(rows, reason="storm")
    now = await standing(rows)
    assert now
    assert (now.by, now.reason, now.until) == ("me", "storm", None)
    assert await pause(rows) is False
    assert await resume(rows)
    assert await standing(rows) is None
    assert await resume(rows) is False
    was = {"by": "me", "reason": "storm", "until": None}
    assert await told(rows) == [
        ("buying.paused", "me", None, was),
        ("buying.resumed", "you", was, None),
    ]
    assert await versions(rows) == [(1, False, None), (2, True, "me"), (3, False, "you")]
    assert await rows.sql("SELECT version FROM gate") == [3]


@pytest.mark.parametrize(
    ("first", "second", "changed"),
    [
        (HOUR, 2 * HOUR, True),
        (HOUR, None, True),
        (2 * HOUR, HOUR, False),
        (None, HOUR, False),
        (None, None, False),
    ],
    ids=["longer", "for good", "shorter", "never ending to ending", "the same"],
)
async def test_said_again_it_only_lasts_longer(
    rows: Rows, first: timedelta | None, second: timedelta | None, *, changed: bool
) -> None:
    now = utc_now()
    ends = [None if one is None else now + one for one in (first, second)]
    await pause(rows, ends[0], "one")
    before = await standing(rows)
    assert await pause(rows, ends[1]) is changed
    after = await standing(rows)
    assert before
    assert after
    assert after.until == ends[1 if changed else 0]
    assert (after.at, after.reason) == (before.at, "one")


async def test_a_pause_whose_end_has_passed_is_none_and_is_swept(
    rows: Rows, clock: FrozenClock
) -> None:
    await pause(rows, utc_now() - HOUR, "one")
    assert await standing(rows) is None
    sweeper = Sweeper(database=rows.database, metrics=Metrics(), clock=clock)
    await sweeper.step()
    await sweeper.step()
    assert await rows.sql("SELECT paused_at FROM gate") == [None]
    assert [event[:2] for event in await told(rows)] == [
        ("buying.paused", "me"),
        ("buying.resumed", "its end"),
    ]
    assert await pause(rows, reason="two")
    now = await standing(rows)
    assert now
    assert now.reason == "two"


async def test_a_pause_that_stands_is_not_swept(rows: Rows, clock: FrozenClock) -> None:
    await pause(rows, utc_now() + HOUR)
    await Sweeper(database=rows.database, metrics=Metrics(), clock=clock).step()
    assert await standing(rows)


async def test_who_judges_waits_for_a_command_and_obeys_it(rows: Rows) -> None:
    await listed(rows, "AAPL")
    await rows.destination()
    await rows.alert("AAPL", BUY)
    async with rows.database.write() as connection:
        await gate.hold_alone(connection)
        judging = asyncio.ensure_future(a_gatekeeper(rows).step())
        await until_rows(lambda: waits_for_gate(rows))
        await gate.pause(connection, actor="me", reason=None, until=None)
    await judging
    assert await rows.sql("SELECT reason FROM signals") == ["buying_paused"]
