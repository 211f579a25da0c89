"""H13: wrong tokens are counted for all replicas; beyond a limit nothing is written of them."""

from datetime import timedelta
from typing import Any

import pytest

from database.pool import Database, acting_from
from engines.access.refusals import BEHIND_A_PROXY, MOST, MOST_TOGETHER, Refusals
from engines.clock import utc_now
from tests.conftest import FrozenClock
from tests.database.rows import Rows
from tests.engines.conditions import a_while_of_the_minute

DOOR = "PUT /api/rules"
HOUR_AGO = "now() - interval '1 hour'"


@pytest.fixture
def refusals(rows: Rows, clock: FrozenClock) -> Refusals:
    return Refusals(rows.database, clock)


async def told(rows: Rows, event: str = "access.refused") -> list[Any]:
    return list(await rows.sql("SELECT origin FROM events WHERE event = :event", event=event))


async def minute_over(rows: Rows, clock: FrozenClock) -> None:
    """For this replica and for the database."""
    clock.advance(minutes=1)
    await rows.sql(f"UPDATE wrong_tokens SET minute = date_trunc('minute', {HOUR_AGO}, 'UTC')")


async def test_an_origin_is_told_of_once_a_minute(
    rows: Rows, refusals: Refusals, clock: FrozenClock
) -> None:
    await a_while_of_the_minute(rows)
    for origin in ["192.0.2.1", "192.0.2.1", "192.0.2.2"]:
        acting_from.set(origin)
        assert await refusals.wrong(DOOR) is None
    assert await told(rows) == ["192.0.2.1", "192.0.2.2"]
    await minute_over(rows, clock)
    assert await refusals.wrong(DOOR) is None
    assert await told(rows) == ["192.0.2.1", "192.0.2.2", "192.0.2.2"]
    details = await rows.sql("SELECT DISTINCT detail FROM events WHERE event = 'access.refused'")
    assert details == [{"door": DOOR}]


async def test_an_origin_is_told_to_wait_after_ten(
    rows: Rows, refusals: Refusals, clock: FrozenClock
) -> None:
    await a_while_of_the_minute(rows)
    acting_from.set("192.0.2.1")
    answers = [await refusals.wrong(DOOR) for _ in range(MOST + 5)]
    assert answers == [None] * MOST + [55] * 5, "the clock stands five seconds after the minute"
    [limited] = await rows.sql("SELECT detail FROM events WHERE event = 'access.limited'")
    assert limited == {"door": DOOR, "of": "this origin", "failures": MOST}
    acting_from.set("192.0.2.2")
    assert refusals.beyond() is None, "another one may still mistype"
    acting_from.set("192.0.2.1")
    clock.advance(seconds=54.5)
    assert refusals.beyond() == 1
    await minute_over(rows, clock)
    assert refusals.beyond() is None


async def test_many_origins_are_no_flood(
    rows: Rows, refusals: Refusals, clock: FrozenClock
) -> None:
    await a_while_of_the_minute(rows)
    for number in range(MOST_TOGETHER + 200):
        acting_from.set(f"198.51.{number // 200}.{number % 200}")
        wait = await refusals.wrong(DOOR)
        assert (wait is None) == (number < MOST_TOGETHER)
    assert len(await told(rows)) == MOST_TOGETHER
    assert len(await told(rows, "access.limited")) == 1
    [kept] = await rows.sql("SELECT count(*) FROM wrong_tokens")
    assert kept == MOST_TOGETHER + 1
    await minute_over(rows, clock)
    await refusals.wrong(DOOR)
    [kept] = await rows.sql("SELECT count(*) FROM wrong_tokens")
    assert kept == 2, "what was before is swept by the first of a new minute"


async def test_an_ipv6_customer_is_one_origin(rows: Rows, refusals: Refusals) -> None:
    await a_while_of_the_minute(rows)
    for number in range(MOST):
        acting_from.set(f"2001:db8:1:2:{number}::{number:x}")
        assert await refusals.wrong(DOOR) is None
    acting_from.set("2001:db8:1:2:ffff::1")
    assert refusals.beyond()
    acting_from.set("2001:db8:1:3::1")
    assert refusals.beyond() is None
    assert len(await told(rows)) == 1


async def test_replicas_share_the_count_and_a_restart_keeps_it(rows: Rows) -> None:
    """By the database's clock, which is theirs as well."""
    acting_from.set("192.0.2.1")
    for _ in range(5):  # a minute may end in between
        first, second = (Refusals(rows.database, utc_now) for _ in range(2))
        begun = utc_now().minute
        for one in (first, second) * (MOST // 2):
            await one.wrong(DOOR)
        restarted = Refusals(rows.database, utc_now)
        await restarted.wrong(DOOR)
        if utc_now().minute == begun:
            assert restarted.beyond(), "told by the database at its first"
            [counted] = await rows.sql("SELECT max(failures) FROM wrong_tokens WHERE origin <> ''")
            assert counted == MOST
            return
    pytest.fail("no minute was long enough")


async def test_who_shows_no_token_guesses_nothing(rows: Rows, refusals: Refusals) -> None:
    acting_from.set("192.0.2.1")
    for _ in range(MOST + 5):
        await refusals.missing(DOOR)
    assert refusals.beyond() is None
    assert await rows.sql("SELECT detail FROM events WHERE event LIKE 'access.%'") == [
        {"door": DOOR, "token": "none"}
    ]


async def test_a_sender_from_elsewhere_is_told_once_and_why(rows: Rows, refusals: Refusals) -> None:
    acting_from.set("192.0.2.1")
    for name in ("momentum", "momentum", "swing"):
        await refusals.elsewhere(name, proxied=name == "swing")
    details = await rows.sql("SELECT detail FROM events WHERE event = 'source.refused' ORDER BY id")
    assert [one["source"] for one in details] == ["momentum", "swing"]
    assert details[1]["reason"] == BEHIND_A_PROXY != details[0]["reason"]


async def test_a_refusal_needs_no_database(clock: FrozenClock) -> None:
    nowhere = Database.connect(
        "postgresql+asyncpg://nobody@127.0.0.1:1/nothing", patience=timedelta(seconds=1)
    )
    refusals = Refusals(nowhere, clock)
    answers = [await refusals.wrong(DOOR) for _ in range(MOST + 1)]
    assert answers == [None] * MOST + [55], "counted here at least"
    await nowhere.close()
