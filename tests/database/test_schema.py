"""The schema: brought up once by any number of starts, and of one mind with the Python enums."""

import asyncio
import re
from collections.abc import AsyncGenerator
from datetime import timedelta
from enum import StrEnum
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from database.migrate import UnfitDatabaseError, head, migrate, require_durable
from database.pool import Database
from domain.breaker import BreakerState
from domain.delivery import DeliveryState, Guarantee, Outcome
from domain.destination import DestinationState, Mode
from domain.position import PositionState
from domain.signal import Side, SignalStatus
from domain.universe import FetchOutcome
from tests.database.rows import Rows

LIVE_TWICE = """
    INSERT INTO positions SELECT gen_random_uuid(), ticker, 'open', NULL, NULL, now(), now()
    FROM positions
"""
ACTIVE_TWICE = """
    INSERT INTO screens (id, name, url, top_n, refresh_sec, active)
    SELECT gen_random_uuid(), name, url, top_n, refresh_sec, true FROM screens
"""
ENUMS: dict[tuple[str, str], type[StrEnum]] = {
    ("signals", "status"): SignalStatus,
    ("signals", "side"): Side,
    ("deliveries", "state"): DeliveryState,
    ("deliveries", "side"): Side,
    ("attempts", "outcome"): Outcome,
    ("positions", "state"): PositionState,
    ("destinations", "state"): DestinationState,
    ("destinations", "breaker"): BreakerState,
    ("destination_versions", "mode"): Mode,
    ("destination_versions", "guarantee"): Guarantee,
    ("fetches", "outcome"): FetchOutcome,
}


@pytest.mark.parametrize(("table", "column"), ENUMS)
async def test_an_enum_and_its_column_know_the_same_words(
    rows: Rows, table: str, column: str
) -> None:
    checks = await rows.sql(
        "SELECT pg_get_constraintdef(pg_constraint.oid) FROM pg_constraint"
        " JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]"
        " WHERE contype = 'c' AND conrelid = CAST(:table AS regclass) AND attname = :column"
        " AND cardinality(conkey) = 1",
        table=table,
        column=column,
    )
    assert len(checks) == 1
    assert set(re.findall(r"'(\w+)'", checks[0])) == set(ENUMS[table, column])


@pytest.fixture
async def empty(database: Database) -> AsyncGenerator[str]:
    name = f"test_{uuid4().hex}"
    async with database.autocommit() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    yield database.url.replace(database.url.split("/")[3].split("?")[0], name)
    async with database.autocommit() as connection:
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


async def test_an_empty_database_is_brought_up_once_by_two_starts_at_once(empty: str) -> None:
    starts = [Database.connect(empty, patience=timedelta(seconds=30)) for _ in range(3)]
    assert sorted(await asyncio.gather(*map(migrate, starts))) == [False, False, True]
    async with starts[0].read() as connection:
        versions = await connection.execute(text("SELECT version_num FROM alembic_version"))
        assert list(versions.scalars()) == [head()]
    for start in starts:
        await start.close()


async def test_a_migrated_database_is_left_alone(database: Database) -> None:
    assert await migrate(database) is False


async def test_a_server_that_may_lose_commits_is_refused(rows: Rows) -> None:
    (off,) = await rows.sql("SELECT current_setting('fsync') = 'off'")
    if off:
        with pytest.raises(UnfitDatabaseError, match="fsync=off"):
            await require_durable(rows.database)
    else:
        await require_durable(rows.database)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE signals SET status = 'rejected'",
        "UPDATE signals SET reason = 'expired'",
        "UPDATE signals SET judged_at = NULL",
        "UPDATE signals SET ticker = NULL",
        "UPDATE signals SET side = 'hold'",
        "UPDATE deliveries SET state = 'delivered'",
        "UPDATE deliveries SET state = 'sending'",
        "UPDATE deliveries SET finished_at = now()",
        "UPDATE deliveries SET destination_version = 2",
        "UPDATE destinations SET breaker = 'open'",
        "UPDATE destinations SET breaker_until = now()",
        LIVE_TWICE,
        ACTIVE_TWICE,
    ],
)
async def test_half_truths_cannot_be_stored(rows: Rows, statement: str) -> None:
    await rows.destination()
    await rows.screen()
    await rows.alert()
    await rows.decide()
    with pytest.raises(IntegrityError):
        await rows.sql(statement)
