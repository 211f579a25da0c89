"""Room for connections: what a server, a role or a database allows is known before it is needed."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from database.migrate import UnfitDatabaseError
from database.pool import Database
from database.room import require_room
from tests.clones import address
from tests.database.rows import Rows


async def test_few_processes_have_room_and_too_many_are_told_the_numbers(rows: Rows) -> None:
    await require_room(rows.database, 2, 20)
    said = r"WORKERS: 1000 processes open up to 23000 connections, 23 each, and PostgreSQL allows"
    with pytest.raises(UnfitDatabaseError, match=said):
        await require_room(rows.database, 1_000, 23)


async def test_the_limit_of_a_database_counts(rows: Rows) -> None:
    [name] = await rows.sql("SELECT current_database()")
    await rows.sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT 30')
    await require_room(rows.database, 2, 15)
    with pytest.raises(UnfitDatabaseError, match="allows 30 to this login"):
        await require_room(rows.database, 2, 16)


async def test_the_limit_of_a_login_counts_and_what_is_kept_for_superusers(rows: Rows) -> None:
    [name] = await rows.sql("SELECT current_database()")
    login = f"login_{name}"
    await rows.sql(f'CREATE ROLE "{login}" LOGIN')
    url = address(name).replace("postgres@", f"{login}@")
    database = Database.connect(url, pool=1, patience=timedelta(seconds=20))
    try:
        [most] = await rows.sql("SELECT current_setting('max_connections')::int")
        with pytest.raises(UnfitDatabaseError, match="to this login"):
            await require_room(database, 1, most)
        await require_room(rows.database, 1, most)
        await rows.sql(f'ALTER ROLE "{login}" CONNECTION LIMIT 9')
        with pytest.raises(UnfitDatabaseError, match="allows 9 to this login"):
            await require_room(database, 1, 10)
    finally:
        await database.close()
        async with rows.database.autocommit() as connection:
            await connection.execute(text(f'DROP ROLE "{login}"'))
