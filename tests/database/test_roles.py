"""The relay's own role: it adds to the audit trail, reads it, and can change nothing in it."""

from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from database.migrate import ROLE, own_role
from database.pool import Database

ADD = "INSERT INTO events (event, actor) VALUES ('source.created', 'somebody')"


@pytest.fixture
async def relay(database: Database) -> AsyncGenerator[Database]:
    own = Database.connect(database.url, pool=1, patience=timedelta(seconds=20), role=ROLE)
    yield own
    await own.close()


async def test_a_login_that_may_act_in_the_role_is_told_so(database: Database) -> None:
    assert await own_role(database) == ROLE


async def test_it_adds_and_reads(relay: Database) -> None:
    async with relay.write() as connection:
        await connection.execute(text(ADD))
    async with relay.read() as connection:
        count = await connection.execute(text("SELECT count(*) FROM events WHERE actor <> ''"))
        assert count.scalar_one() == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET actor = 'nobody'",
        "DELETE FROM events",
        "TRUNCATE events",
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "DROP TABLE events",
        "CREATE TABLE mine (id integer)",
        "UPDATE alembic_version SET version_num = '0001'",
        "CREATE ROLE another",
    ],
)
async def test_it_changes_nothing_of_what_was_told_and_nothing_of_the_schema(
    relay: Database, statement: str
) -> None:
    async with relay.write() as connection:
        await connection.execute(text("SET LOCAL relay.retention = 'on'"))
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            await connection.execute(text(statement))
        await connection.rollback()
