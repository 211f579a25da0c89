"""Replicas that start together on an empty database: one migrates, the others find it done."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from database.migrate import head, migrate
from database.pool import Database

PATIENCE = timedelta(seconds=60)


@pytest.fixture
async def empty(database: Database) -> AsyncGenerator[str]:
    """Return the address of a database without a table."""
    name = f"empty_{uuid4().hex}"
    async with database.autocommit() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    before, _, after = database.url.partition("/test_")
    yield f"{before}/{name}?{after.partition('?')[2]}"
    async with database.autocommit() as connection:
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


async def test_replicas_that_start_together_migrate_once(empty: str) -> None:
    replicas = [Database.connect(empty, pool=1, patience=PATIENCE) for _ in range(3)]
    applied = await asyncio.gather(*map(migrate, replicas))
    assert sorted(applied) == [False, False, True]
    async with replicas[0].read() as connection:
        versions = await connection.execute(text("SELECT version_num FROM alembic_version"))
        assert versions.scalars().all() == [head()]
    for replica in replicas:
        await replica.close()
