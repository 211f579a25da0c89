"""A real PostgreSQL for every test that wants one: migrated once, then cloned per test."""

import gc
import logging
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from database.migrate import migrate
from database.pool import Database
from database.vault import Vault
from tests.clones import OPEN, SERVER, Clones, address, created, fresh
from tests.database.rows import Rows

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

# A slow machine is no finding: what has to be quick has a test that says how quick.
hypothesis_settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="real rates, long chaos and fuzz runs")


def kind(item: pytest.Item) -> str:
    """Of a slow test: those of a kind start the same heavy things."""
    package = item.nodeid.split("/")[1]
    return package if package in {"chaos", "end_to_end"} else "any"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slow ones first, so that nobody waits for one at the end, and those of a kind one after
    another, so that they do not starve each other: each kind leads the share of one worker.
    """
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    shares: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for place, one in enumerate(("chaos", "end_to_end", "any")):
        shares[place % workers] += [item for item in slow if kind(item) == one]
    total = len(items)
    items.clear()
    for place, share in enumerate(shares):
        size = (total - len(items)) // (workers - place)  # as xdist cuts them
        more = max(0, size - len(share))
        items += [*share, *quick[:more]]
        del quick[:more]
    items += quick


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing of what is collected is garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Two million objects of ten thousand tests: going over them stops a relay for seconds."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def level_kept() -> Generator[None]:
    """What a test sets the level of the log to, it sets back: the next one counts its lines."""
    root = logging.getLogger()
    before = root.level
    yield
    assert root.level == before, logging.getLevelName(root.level)


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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template() -> AsyncGenerator[str]:
    if not SERVER:
        pytest.skip("no TEST_DATABASE_URL: run `python run.py test`, which starts a PostgreSQL")
    name = f"template_{uuid4().hex}"
    async with created(name):
        database = Database.connect(address(name), patience=timedelta(seconds=30))
        await migrate(database)
        await database.close()
        OPEN[name] = Clones(name)
        yield name
        OPEN.pop(name).close()


@pytest.fixture
async def database(template: str) -> AsyncGenerator[Database]:
    async with fresh(template) as name:
        database = Database.connect(address(name), patience=timedelta(seconds=20))
        yield database
        await database.close()


@pytest.fixture
def rows(database: Database, vault: Vault) -> Rows:
    return Rows(database, vault)
