"""Deliveries that went wrong: listed in order, paged without gaps, found by their indexes."""

from datetime import timedelta

from sqlalchemy import text

from database import attention_items, letters, recent_attempts
from database.attention_items import Sought
from domain.attention import Cause
from domain.delivery import DeliveryState, Ended
from domain.destination import Destination
from tests.database.rows import OK, REFUSED, Rows, settlement

DEAD = Ended(DeliveryState.DEAD, "http 404")


async def dead(rows: Rows, destination: Destination, ticker: str) -> None:
    await rows.alert(ticker)
    await rows.decide()
    (delivery,) = await rows.lease(destination)
    await rows.settle(settlement(delivery, REFUSED, DEAD))


async def plan(rows: Rows, statement: str, **given: object) -> str:
    async with rows.database.write() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        found = await connection.execute(text(f"EXPLAIN {statement}"), given)
        return "\n".join(found.scalars())


async def test_dead_letters_come_newest_first_and_page_by_page(rows: Rows) -> None:
    destination = await rows.destination()
    for number in range(5):
        await dead(rows, destination, f"T{number}")
    seen: list[str] = []
    sought = letters.Sought(limit=2)
    async with rows.database.read() as connection:
        while found := await letters.dead(connection, sought):
            seen += [row["ticker"] for row in found]
            after = (found[-1]["finished_at"], found[-1]["id"])
            sought = letters.Sought(limit=2, after=after)
        (one,) = await letters.dead(connection, letters.Sought(ticker="T3"))
        assert not await letters.dead(connection, letters.Sought(ticker="NONE"))
    assert seen == ["T4", "T3", "T2", "T1", "T0"]
    assert (one["status"], one["reason"], one["attempts"], one["again"]) == (
        404,
        "http 404",
        1,
        None,
    )


async def test_the_indexes_serve(rows: Rows) -> None:
    destination = await rows.destination()
    nothing = {"ticker": None, "destination": None, "limit": 20}
    found = await plan(rows, str(letters.DEAD), **nothing, at=None, id=None)
    assert "deliveries_dead" in found
    assert "signals_replayed" in found
    assert "deliveries_held" in await plan(rows, str(letters.HELD), **nothing)
    for statement in (recent_attempts.LAST, recent_attempts.SHARE):
        given = {"id": destination.id, "limit": 10, "most": 10}
        assert "attempts_in_window" in await plan(rows, str(statement), **given)
    chosen = {"cause": None, "severity": None, "ticker": None, "destination": None}
    found = await plan(rows, str(attention_items.RESOLVED), **chosen, limit=10)
    assert "attention_resolved" in found


async def test_the_share_counts_requests_and_nothing_else(rows: Rows) -> None:
    destination = await rows.destination()
    await dead(rows, destination, "BAD")
    await rows.bought(destination, "GOOD")
    async with rows.database.read() as connection:
        assert await recent_attempts.share(connection, destination.id) == recent_attempts.Share(
            1, 2
        )
        last = await recent_attempts.last(connection, destination.id)
    assert [row["ticker"] for row in last] == ["GOOD", "BAD"]
    assert last[0]["answer"] == OK.excerpt
    await rows.sql(
        "UPDATE attempts SET started_at = started_at - CAST(:day AS interval)",
        day=timedelta(days=1),
    )
    async with rows.database.read() as connection:
        assert (await recent_attempts.share(connection, destination.id)).total == 0


async def test_the_worst_comes_first_and_is_paged(rows: Rows) -> None:
    await rows.sql(
        "INSERT INTO attention (cause, key, severity, text, first_at, last_at)"
        " SELECT 'held', n::text, CASE n % 2 WHEN 0 THEN 'urgent' ELSE 'warning' END, 'x', now(),"
        " now() FROM generate_series(1, 6) AS n"
    )
    sought, after = Sought(cause=Cause.HELD), None
    seen: list[str] = []
    async with rows.database.read() as connection:
        while found := await attention_items.worst(connection, sought, each=2, after=after):
            seen += [row["key"] for row in found]
            after = (found[-1]["rank"], found[-1]["id"])
    assert seen == ["6", "4", "2", "5", "3", "1"]
