"""H27: the chain in PostgreSQL; whoever changes the trail behind our back is named by it."""

import json
import re
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from database import chain, forgetting
from database.chain import Linked
from database.migrate import ROLE
from database.pool import Database
from domain.chain import Examination
from tests.database.rows import Rows

KEEP = timedelta(days=30)
TOLD = """
    INSERT INTO events (event, signal_id, actor, detail)
    SELECT 'signal.received', gen_random_uuid(), '@é"', jsonb_build_object('n', n, 'x', 1.50)
    FROM generate_series(1, :count) AS n
"""
AN_EVENT = """
    INSERT INTO events (id, at, event, signal_id, origin, detail, xid)
    OVERRIDING SYSTEM VALUE VALUES (4711, '2026-07-01 12:00:00.000123+02', 'signal.received',
        '00000000-0000-0000-0000-000000000001', '203.0.113.7', '{"b": 1.50, "a": [null, "é"]}', '9')
"""
LINE = (
    '{"at": "2026-07-01T10:00:00.000123Z", "id": 4711, "actor": null, "event": "signal.received",'
    ' "detail": {"a": [null, "é"], "b": 1.50}, "origin": "203.0.113.7",'
    ' "signal_id": "00000000-0000-0000-0000-000000000001", "delivery_id": null,'
    ' "position_id": null}'
)


async def linked(rows: Rows, limit: int = 4) -> Sequence[Linked]:
    """Bind all there is."""
    made: list[Linked] = []
    while True:
        async with rows.database.write() as connection:
            assert await chain.hold(connection)
            one = await chain.link(connection, until=2**62, limit=limit)
        if one is None:
            return made
        made.append(one)


async def examined(database: Database) -> Examination:
    examination = Examination()
    async for stretch in chain.walk(database):
        if examination.take(stretch):
            return examination
    examination.end()
    async for events in chain.waiting(database, examination.last_id):
        examination.await_links(events)
    return examination


async def words(rows: Rows) -> str:
    broken = (await examined(rows.database)).broken
    return broken.words if broken else "whole"


async def behind_our_back(rows: Rows, statement: str) -> None:
    """What only who owns the server can do: no trigger runs."""
    async with rows.database.write() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text(statement))


async def a_chain(rows: Rows, count: int = 10) -> Sequence[Linked]:
    """Ten events in links of four, four and two."""
    await rows.sql(TOLD, count=count)
    return await linked(rows)


async def test_an_event_has_one_line_wherever_it_is_written(rows: Rows) -> None:
    await rows.sql(AN_EVENT)
    async with rows.database.write() as connection:
        for zone in ("UTC", "America/New_York", "Asia/Kolkata"):
            await connection.execute(text(f"SET LOCAL timezone = '{zone}'"))
            await connection.execute(text("SET LOCAL datestyle = 'German'"))
            line = await connection.execute(text("SELECT event_line(events) FROM events"))
            assert line.scalar_one() == LINE


# As the line was made first, and as it is described: of all its columns as `jsonb`.
AS_JSONB = """
    SELECT event_line(one) AS line, CAST(jsonb_build_object(
        'id', one.id, 'at', to_char(one.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'event', one.event, 'signal_id', one.signal_id, 'delivery_id', one.delivery_id,
        'position_id', one.position_id, 'actor', one.actor, 'origin', one.origin,
        'detail', one.detail) AS text) AS expected
    FROM CAST(ROW(
        CAST(:id AS bigint), CAST(:at AS timestamptz), CAST(:event AS text),
        CAST(:signal_id AS uuid), CAST(:delivery_id AS uuid), CAST(:position_id AS uuid),
        CAST(:actor AS text), CAST(:detail AS jsonb), CAST(:origin AS text), '1') AS events) AS one
"""
DAYS = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    datetime(2026, 7, 1, 12, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
OR_NONE = st.none() | st.uuids()


@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    event=st.fixed_dictionaries(
        {
            "id": st.integers(-(2**63), 2**63 - 1),
            "at": st.sampled_from(DAYS),
            "event": WORDS,
            "signal_id": OR_NONE,
            "delivery_id": OR_NONE,
            "position_id": OR_NONE,
            "actor": st.none() | WORDS,
            "detail": st.dictionaries(WORDS, VALUES, max_size=4).map(json.dumps),
            "origin": st.none() | WORDS,
        }
    )
)
async def test_a_line_is_the_text_of_jsonb_whatever_is_told(
    rows: Rows, event: dict[str, Any]
) -> None:
    async with rows.database.read() as connection:
        found = (await connection.execute(text(AS_JSONB), event)).one()
    assert found.line == found.expected


async def test_a_moment_without_end_has_a_line(rows: Rows) -> None:
    """No clock of ours says so; a line of nothing would leave its event out of the chain."""
    await rows.sql("INSERT INTO events (at, event) VALUES ('infinity', 'x')")
    (line,) = await rows.sql("SELECT event_line(events) FROM events")
    assert line.startswith('{"at": null, "id": 1, ')


async def test_what_waits_is_read_up_to_the_end_of_a_link(rows: Rows) -> None:
    """Not all of it for each: a backlog would take the square of its length."""
    given = {"until": 2**62, "limit": chain.A_LINK, "before_all": bytes(32)}
    async with rows.database.write() as connection:
        steps = await connection.execute(text(f"EXPLAIN {chain.LINK.text}"), given)
        plan = "\n".join(steps.scalars())
    assert "Index Scan using events_pkey on events" in plan, plan
    assert "Index Cond: (id > " in plan, plan


async def test_entries_are_stored_as_they_are(rows: Rows) -> None:
    """Hashes do not get shorter; trying took a third of the time of a link."""
    query = """SELECT attstorage = 'e' FROM pg_attribute
               WHERE attrelid = CAST('links' AS regclass) AND attname = 'entries'"""
    assert await rows.sql(query) == [True]


async def test_every_event_is_in_one_link_and_what_came_later_waits(rows: Rows) -> None:
    made = await a_chain(rows)
    assert [(one.number, one.count, one.last_id) for one in made] == [
        (1, 4, 4),
        (2, 4, 8),
        (3, 2, 10),
    ]
    await rows.sql(TOLD, count=3)
    found = await examined(rows.database)
    assert (found.broken, found.links, found.events, found.waiting) == (None, 3, 10, 3)
    assert found.head == made[-1].hash.hex()
    assert [day.events for day in found.days.values()] == [10]
    (again,) = await linked(rows)
    assert (again.number, again.count, await words(rows)) == (4, 3, "whole")


async def test_history_and_what_another_server_told_is_bound_too(rows: Rows) -> None:
    """Imported events have no transaction; after a restore those of others are far ahead."""
    for xid in ("NULL", "'999999999999'", "'3'"):
        await rows.sql(f"INSERT INTO events (event, xid) VALUES ('signal.received', {xid})")
    await rows.sql("INSERT INTO events (at, event) VALUES ('1969-01-01', 'x'), ('2200-01-01', 'x')")
    (one,) = await linked(rows, 9)
    assert (one.count, await words(rows)) == (5, "whole")


TAMPERED = {
    "UPDATE events SET actor = 'nobody' WHERE id = 6": "event 6 of .* was changed; it says",
    "UPDATE events SET detail = detail || '{\"n\": 7}' WHERE id = 6": "event 6 of .* was changed",
    "UPDATE events SET at = at + interval '1 us' WHERE id = 6": "event 6 of .* was changed",
    "UPDATE events SET origin = '' WHERE id = 6": "event 6 of .* was changed",
    "UPDATE events SET delivery_id = signal_id WHERE id > 4": "event 5 of .* was changed",
    "DELETE FROM events WHERE id = 6": "event 6 of .* is missing",
    "DELETE FROM events WHERE id > 3": "event 4 of .* is missing",
    "TRUNCATE events": "event 1 of .* is missing",
    "WITH gone AS (DELETE FROM events WHERE id = 6 RETURNING id) INSERT INTO forgotten"
    " (span, events) SELECT int8range(id, id, '[]'), ARRAY[id] FROM gone": (
        "event 6 of .* is missing, and was too young to be forgotten"
    ),
    "INSERT INTO events (id, event) OVERRIDING SYSTEM VALUE VALUES (0, 'token.created')": (
        r"event 0 \(token.created of .*\) was added later: it is in no link"
    ),
    "UPDATE links SET hash = previous WHERE number = 2": "link 2 was changed",
    "UPDATE links SET day = day - 1 WHERE number = 2": "link 2 was changed",
    "UPDATE links SET last_id = 10 WHERE number = 2": "link 2 was changed",
    "UPDATE links SET last_id = 9223372036854775807 WHERE number = 1": "link 1 was changed",
    "UPDATE links SET entries = overlay(entries PLACING '\\xff' FROM 9)": "link 1 was changed",
    "DELETE FROM links WHERE number = 2": "link 2 is missing",
    "DELETE FROM links WHERE number = 1": "link 1 is missing",
    "UPDATE links SET number = number + 3": "link 1 is missing",
    "WITH gone AS (DELETE FROM links WHERE number = 2 RETURNING *), moved AS (SELECT FROM gone)"
    " UPDATE links SET previous = (SELECT previous FROM gone), hash = sha256(hash)"
    " WHERE number = 3": "link 2 is missing",
}


async def test_whoever_owns_the_server_cannot_change_it_unnoticed(rows: Rows) -> None:
    await a_chain(rows)
    for table in ("events", "links"):
        await rows.sql(f"CREATE TABLE {table}_before AS TABLE {table}")
    for statement, told in TAMPERED.items():
        await behind_our_back(rows, statement)
        found = await words(rows)
        assert re.match(told, found), (statement, found)
        for table in ("events", "links"):
            await behind_our_back(rows, f"TRUNCATE {table}")
            again = f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE {table}_before"
            await behind_our_back(rows, again)
        assert await words(rows) == "whole"


async def test_a_tail_of_links_that_is_gone_is_made_anew_and_its_events_wait(rows: Rows) -> None:
    """Only a log knows it then: see tests/launcher/test_verify.py."""
    await a_chain(rows)
    await rows.sql("DELETE FROM links WHERE number > 1")
    found = await examined(rows.database)
    assert (found.broken, found.links, found.waiting) == (None, 1, 6)
    assert [one.number for one in await linked(rows)] == [2, 3]
    assert await words(rows) == "whole"


# ── Retention ───────────────────────────────────────────────────────────────────────────────


async def forget(rows: Rows) -> int:
    async with rows.database.write() as connection:
        gone = await forgetting.events(connection, timedelta(0), 0, 500)
    return gone.deleted["events"]


async def floor(rows: Rows, keep: timedelta) -> None:
    async with rows.database.write() as connection:
        await forgetting.set_floor(connection, keep)


async def test_what_is_forgotten_is_accounted_for(rows: Rows) -> None:
    await rows.sql(TOLD, count=5)
    await rows.age_events(31)
    await rows.sql(TOLD, count=5)
    await linked(rows)
    assert await forget(rows) == 5
    found = await examined(rows.database)
    assert (found.broken, found.events, found.forgotten) == (None, 5, 5)
    await behind_our_back(rows, "DELETE FROM forgotten")
    assert (await words(rows)).startswith("event 1 of ")


async def test_the_floor_holds_whoever_asks(rows: Rows) -> None:
    await rows.sql(TOLD, count=5)
    await rows.age_events(31)
    await floor(rows, timedelta(days=32))
    assert await forget(rows) == 0
    await floor(rows, timedelta(days=30))
    assert await forget(rows) == 5
    assert await rows.sql("SELECT CAST(span AS text) FROM forgotten") == ["[1,6)"]


async def test_what_was_too_young_goes_later(rows: Rows) -> None:
    """The signal went, and of its events only the old ones; the others follow by their own age."""
    signal = await rows.alert(lifetime=timedelta(0))
    await rows.sql("UPDATE signals SET received_at = now() - interval '31 days'")
    await rows.sql("DELETE FROM dedupe_keys")
    await rows.age_events(31)
    late = "INSERT INTO events (event, signal_id) VALUES ('signal.replayed', :id)"
    await rows.sql(late, id=signal)
    async with rows.database.write() as connection:
        gone = await forgetting.signals(connection, KEEP, forgetting.Place(), 500)
    assert gone.deleted["signals"] == 1
    assert await rows.events() == ["signal.replayed"]
    await rows.age_events(31)
    async with rows.database.write() as connection:
        await forgetting.events(connection, KEEP, 0, 500)
    assert await rows.events() == []


# ── The relay's role ────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def relay(database: Database) -> AsyncGenerator[Database]:
    own = Database.connect(database.url, pool=1, patience=timedelta(seconds=20), role=ROLE)
    yield own
    await own.close()


async def test_the_relay_adds_links_and_forgets_what_is_old(rows: Rows, relay: Database) -> None:
    await rows.sql(TOLD, count=5)
    await rows.age_events(31)
    async with relay.write() as connection:
        assert await chain.hold(connection)
        assert await chain.link(connection, until=2**62)
        assert (await forgetting.events(connection, KEEP, 0, 500)).deleted["events"] == 5
    assert (await examined(relay)).forgotten == 5


FORBIDDEN = (
    "UPDATE links SET hash = previous",
    "DELETE FROM links",
    "TRUNCATE links",
    "INSERT INTO forgotten (span, events) VALUES ('[1,2)', '{1}')",
    "UPDATE forgotten SET events = '{1}'",
    "DELETE FROM forgotten",
    "UPDATE retention SET keep = interval '7 days'",
    "INSERT INTO retention (keep) VALUES (interval '7 days')",
    "INSERT INTO events (id, event) OVERRIDING SYSTEM VALUE VALUES (3, 'x')",
    "CREATE OR REPLACE FUNCTION event_line(one events) RETURNS text LANGUAGE sql AS 'SELECT 1'",
    "ALTER FUNCTION forget_events OWNER TO CURRENT_USER",
    "ALTER TABLE events DISABLE TRIGGER events_numbered",
)


async def test_the_relay_changes_nothing_of_it(rows: Rows, relay: Database) -> None:
    await a_chain(rows)
    for statement in FORBIDDEN:
        async with relay.write() as connection:
            with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
                await connection.execute(text(statement))
            await connection.rollback()
    assert await words(rows) == "whole"


async def test_a_young_event_stays_when_the_relay_asks(rows: Rows, relay: Database) -> None:
    await rows.sql(TOLD, count=3)
    async with relay.write() as connection:
        asked: Any = await connection.execute(text("SELECT forget_events(ARRAY[1, 2, 3])"))
        assert asked.scalar_one() == 0
    assert len(await rows.events()) == 3
