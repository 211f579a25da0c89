"""Tallies: what was counted once and what is counted live are together what there is, always."""

import asyncio
from collections import Counter
from datetime import timedelta

from sqlalchemy import text

from database import charts, statistics, tallies
from database.pool import Database, ReadConnection
from domain.charts import Grid, grid
from engines.relay.teller import BATCH, EVERY, Teller
from engines.worker import AGAIN
from tests.database.rows import Rows

# Five hours on both sides of the edge of the day, in jumps that meet no minute. The edge moves
# with the clock: it is most of a jump until it comes to the next one.
SIGNALS = """
    INSERT INTO signals (id, source, ticker, side, content_type, body, body_sealed, hop,
                         received_at, expires_at, status, reason, judged_at, imported_from)
    SELECT gen_random_uuid(), 'webhook', 'T' || n % 7, 'buy', 'text/plain', '', false, 0, at, at,
           status, CASE status WHEN 'rejected' THEN (ARRAY['cooldown', 'not_in_list'])[1 + n % 2]
                               WHEN 'approved' THEN NULL ELSE status END,
           at, CASE WHEN n % 41 = 40 THEN 'export' END
    FROM generate_series(1, 2000) AS n,
         LATERAL (SELECT now() - interval '24:59:26' + n * interval '46.3 s'
                         - n % 41 / 40 * interval '9 h') AS t (at),
         LATERAL (SELECT (ARRAY['approved', 'approved', 'rejected', 'expired', 'invalid'])
                         [1 + n % 5]) AS s (status)
    WHERE n > :after AND n <= :until ORDER BY n
"""
# Some approved ones went nowhere; some went to two, and show the state that is least finished.
DELIVERIES = """
    INSERT INTO deliveries (signal_id, destination_id, destination_version, seq, ticker, side,
                            state, queued_at, due_at, expires_at, finished_at)
    SELECT signals.id, destinations.id, 1, seq, ticker, side, fate, received_at, received_at,
           'infinity', CASE WHEN fate <> 'queued' THEN received_at END
    FROM signals, destinations, LATERAL (
        SELECT (ARRAY['delivered', 'delivered', 'dead', 'expired', 'queued', 'superseded'])
               [1 + (seq + length(name)) % 6]) AS s (fate)
    WHERE status = 'approved' AND imported_from IS NULL AND seq % 9 > 1
      AND (name = 'main' OR seq % 4 = 0)
      AND NOT EXISTS (SELECT FROM deliveries WHERE signal_id = signals.id)
"""
ALL = f"""
    SELECT received_at, status, reason, (
        SELECT ({tallies.LEAST_FINISHED_FIRST})[min(
            array_position({tallies.LEAST_FINISHED_FIRST}, state))]
        FROM deliveries WHERE signal_id = signals.id) AS state
    FROM signals WHERE received_at >= :since
"""


FLOOD = """
    INSERT INTO signals (id, source, ticker, side, content_type, body, body_sealed, hop,
                         received_at, expires_at, status, reason, judged_at)
    SELECT gen_random_uuid(), 'webhook', 'T', 'buy', 'text/plain', '', false, 0, now(), now(),
           'rejected', 'not_in_list', now()
    FROM generate_series(1, 20000)
"""
NOT_IMPORTED = 2000 - 48


async def filled(rows: Rows, after: int = 0, until: int = 2000) -> None:
    await rows.sql(SIGNALS, after=after, until=until)
    await rows.sql(DELIVERIES)


async def rolled(database: Database) -> None:
    while await Teller(database=database, batch=97).step() != EVERY:
        pass


async def check(database: Database) -> int:
    """Roll-up and tail are held against counting everything, at one moment; how many there are."""
    async with database.read() as connection:
        day = await everything(connection, "now() - interval '24 hours'")
        recent = await statistics.recent(connection)
        told = {(one.status, one.reason): one.signals for one in recent}
        assert told == Counter((status, reason) for _, status, reason, _ in day)
        fates = await statistics.fates(connection)
        assert fates == Counter(state for *_, state in day if state)
        over = grid(1440, await charts.now(connection))
        assert await drawn(connection, over) == await expected(connection, over)
    return len(day)


async def everything(connection: ReadConnection, since: str) -> list[tuple[float, str, str, str]]:
    rows = await connection.execute(text(ALL.replace(":since", since)))
    return [(row.received_at.timestamp(), *row[1:]) for row in rows]


async def drawn(connection: ReadConnection, over: Grid) -> Counter[tuple[int, str, str | None]]:
    found = Counter[tuple[int, str, str | None]]()
    for one in await charts.outcomes(connection, over):
        assert (one.place, one.status, one.state) not in found
        found[one.place, one.status, one.state] = one.signals
    return found


async def expected(connection: ReadConnection, over: Grid) -> Counter[tuple[int, str, str | None]]:
    rows = await everything(connection, f"to_timestamp({over.since})")
    return Counter(
        (int((at - over.since) // over.step), status, state)
        for at, status, _, state in rows
        if state or status != "approved"
    )


async def test_whatever_is_counted_already_the_sum_is_what_there_is(rows: Rows) -> None:
    for name in ("main", "other"):
        await rows.destination(name)
    await filled(rows)
    inside = await check(rows.database)
    assert 1500 < inside < 2000
    teller = Teller(database=rows.database, batch=97)
    for _ in range(6):
        assert await teller.step() == AGAIN
        assert await check(rows.database) == inside
    await rolled(rows.database)
    assert await rows.sql("SELECT seq FROM tallied") == await rows.sql(
        "SELECT max(seq) FROM signals"
    )
    assert sum(await rows.sql("SELECT signals FROM tallies")) == NOT_IMPORTED
    assert await check(rows.database) == inside


async def test_what_comes_and_changes_later_is_counted_too(rows: Rows) -> None:
    await rows.destination("main")
    await filled(rows, until=1500)
    await rolled(rows.database)
    before = await check(rows.database)
    await filled(rows, after=1500)
    assert await check(rows.database) > before
    await rolled(rows.database)
    await rows.sql(
        "UPDATE deliveries SET state = 'queued', finished_at = NULL"
        " WHERE state = 'dead' AND seq % 2 = 0"
    )
    await rows.sql(
        "UPDATE deliveries SET state = 'delivered', finished_at = now()"
        " WHERE finished_at IS NULL AND seq % 3 = 0"
    )
    await check(rows.database)
    await rows.sql(
        "UPDATE deliveries SET state = 'dead', finished_at = now() WHERE finished_at IS NULL"
    )
    await check(rows.database)


async def test_what_is_not_judged_yet_holds_the_count_back(rows: Rows) -> None:
    """A verdict that comes late is counted as what it was, also behind a buy that waits."""
    first, second = await rows.alert("AAA"), await rows.alert("BBB")
    await rows.sql(
        "UPDATE signals SET waits_since = now(), waits_until = now() + interval '1 h'"
        " WHERE id = :id",
        id=first,
    )
    await filled(rows, after=1900)
    await rolled(rows.database)
    assert await rows.sql("SELECT count(*) FROM tallies") == [0]
    assert await check(rows.database) > 2
    for id in (second, first):
        await rows.sql(
            "UPDATE signals SET status = 'rejected', reason = 'cooldown', judged_at = now()"
            " WHERE id = :id",
            id=id,
        )
        await check(rows.database)
        await rolled(rows.database)
        await check(rows.database)
    assert sum(await rows.sql("SELECT signals FROM tallies")) > 90


async def test_a_crash_counts_nothing_and_two_tellers_nothing_twice(rows: Rows) -> None:
    await filled(rows)
    async with rows.database.write() as connection:
        assert await tallies.roll(connection, 500) == 500
        elsewhere = Teller(database=rows.database)
        assert await elsewhere.step() == EVERY, "another replica is at it"
        await connection.rollback()
    assert await rows.sql("SELECT count(*) FROM tallies") == [0]
    await asyncio.gather(*(rolled(rows.database) for _ in range(3)))
    await rolled(rows.database)
    assert sum(await rows.sql("SELECT signals FROM tallies")) == NOT_IMPORTED
    await check(rows.database)


async def test_days_that_nobody_asks_for_are_passed_over(rows: Rows) -> None:
    """An old database is counted at its first start: what is forgotten at once is not written."""
    await filled(rows)
    await rows.sql("UPDATE signals SET received_at = received_at - interval '3 days'")
    await filled(rows, until=100)
    async with rows.database.write() as connection:
        while await tallies.roll(connection, 500):
            pass
    assert sum(await rows.sql("SELECT signals FROM tallies")) == 100 - 2
    await check(rows.database)


async def test_old_tallies_go_and_old_signals_take_nothing_with_them(rows: Rows) -> None:
    await filled(rows)
    await rolled(rows.database)
    inside = await check(rows.database)
    await rows.sql(
        "DELETE FROM deliveries USING signals WHERE signals.id = signal_id"
        " AND received_at < now() - interval '24 hours'"
    )
    await rows.sql("DELETE FROM signals WHERE received_at < now() - interval '24 hours'")
    await rows.sql(
        "INSERT INTO tallies SELECT minute - interval '3 days', status, reason, signals, sent"
        " FROM tallies"
    )
    await rolled(rows.database)
    assert await check(rows.database) == inside
    (oldest,) = await rows.sql("SELECT now() - min(minute) FROM tallies")
    assert oldest < timedelta(days=2, minutes=1)


async def test_what_waits_is_read_up_to_the_end_of_a_batch(rows: Rows) -> None:
    """Not all of it for each: after a flood that would take the square of its length."""
    await rows.sql(FLOOD)
    async with rows.database.write() as connection:
        steps = await connection.execute(text(f"EXPLAIN {tallies.ROLL.text}"), {"limit": BATCH})
        plan = "\n".join(steps.scalars())
    read = plan[plan.index("CTE batch") : plan.index("CTE told")]
    assert "Index Scan using signals_seq on signals" in read, plan
    assert "Sort" not in read, plan
