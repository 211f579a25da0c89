"""A real PostgreSQL for every test that wants one: migrated once, then cloned per test."""

import os
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text

from database.migrate import migrate
from database.pool import Database
from database.vault import Vault
from tests.database.rows import Rows

SERVER = os.environ.get("TEST_DATABASE_URL", "").replace("+asyncpg", "")  # noqa: TID251  the one setting tests have
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="real rates, long chaos and fuzz runs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that nobody waits for one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


class FrozenClock:
    """Time stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def vault() -> Vault:
    return Vault.from_key(KEY)


async def _server(statement: str) -> None:
    server = Database.connect(_url("postgres"), patience=timedelta(seconds=60))
    async with server.autocommit() as connection:
        await connection.execute(text(statement))
    await server.close()


def _url(name: str) -> str:
    head, _, query = SERVER.partition("?")
    base = head.replace("postgresql://", "postgresql+asyncpg://").rpartition("/")[0]
    return f"{base}/{name}" + (f"?{query}" if query else "")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template() -> AsyncGenerator[str]:
    if not SERVER:
        pytest.skip("no TEST_DATABASE_URL: run `python run.py test`, which starts a PostgreSQL")
    name = f"template_{uuid4().hex}"
    await _server(f"CREATE DATABASE {name}")
    database = Database.connect(_url(name), patience=timedelta(seconds=30))
    await migrate(database)
    await database.close()
    yield name
    await _server(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(template: str) -> AsyncGenerator[Database]:
    name = f"test_{uuid4().hex}"
    await _server(f"CREATE DATABASE {name} TEMPLATE {template}")
    database = Database.connect(_url(name), patience=timedelta(seconds=20))
    yield database
    await database.close()
    await _server(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def rows(database: Database, vault: Vault) -> Rows:
    return Rows(database, vault)
