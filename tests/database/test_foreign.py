"""The original relay's own database is refused before anything is made in it."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from database.migrate import UnfitDatabaseError, migrate
from database.pool import Database
from tests.clones import address, created


async def test_the_originals_database_is_refused_with_words_and_stays_as_it_is() -> None:
    name = f"foreign_{uuid4().hex}"
    async with created(name):
        database = Database.connect(address(name), pool=1, patience=timedelta(minutes=1))
        async with database.autocommit() as connection:
            for table in ("signals", "signal_events", "positions", "finviz_urls"):
                await connection.execute(text(f"CREATE TABLE {table} (id int)"))
        with pytest.raises(UnfitDatabaseError, match=r"original relay's database.*migration\.md"):
            await migrate(database)
        async with database.autocommit() as connection:
            found = await connection.execute(
                text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            )
            assert found.scalar_one() == 4
        await database.close()
