"""The engine of docs/engines.md is built from its page, wired as main.py would, and works."""

import asyncio
import importlib
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text

import database as database_floor
import domain as domain_floor
import engines as engines_floor
from database.pool import Database
from engines.clock import utc_now
from engines.supervisor import running
from engines.worker import Bell, Worker
from tests.docs.blocks import ROOT, blocks_of
from tests.web.stage import until

PAGE = ROOT / "docs" / "engines.md"
FLOORS = (domain_floor, database_floor, engines_floor)
REJECTED = """
    INSERT INTO signals (id, source, ticker, side, content_type, body, body_sealed, hop,
                         received_at, expires_at, status, reason, judged_at)
    SELECT gen_random_uuid(), 'webhook', ticker, 'buy', 'text/plain', '', false, 0, now(), now(),
           status, CASE status WHEN 'rejected' THEN reason END,
           CASE status WHEN 'rejected' THEN now() END
    FROM unnest(CAST(:tickers AS text[])) AS t (ticker),
         (SELECT CAST(:status AS text), CAST(:reason AS text)) AS s (status, reason)
"""


def files() -> dict[str, str]:
    """The files of the page, by the path in their first line."""
    found: dict[str, str] = {}
    for block in blocks_of(PAGE):
        if block.language == "python":
            first, _, code = block.code.partition("\n")
            found[first.removeprefix("# ")] = code
    return found


@pytest.fixture
def scratch(tmp_path: Path) -> Generator[None]:
    """The files in a folder of their own, as if they stood in the repository."""
    for name, code in files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code)
    (tmp_path / "engines" / "research" / "__init__.py").write_text("")
    before = set(sys.modules)
    with joined(tmp_path):
        yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@contextmanager
def joined(folder: Path) -> Generator[None]:
    """Let each floor have rooms in the folder too."""
    for floor in FLOORS:
        floor.__path__.append(str(folder / floor.__name__))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for floor in FLOORS:
            floor.__path__.remove(str(folder / floor.__name__))


async def migrated(database: Database) -> None:
    name = "database/migrations/versions/0099_prospects.py"
    script = ModuleType("prospects_script")
    exec(compile(files()[name], name, "exec"), script.__dict__)
    assert int(script.revision) == int(script.down_revision) + 1

    def upgrade(connection: SyncConnection) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            script.upgrade()

    async with database.upgrading() as connection:
        await connection.run_sync(upgrade)


async def posted(
    database: Database, *tickers: str, status: str = "rejected", reason: str = "not_in_list"
) -> None:
    given = {"tickers": list(tickers), "status": status, "reason": reason}
    async with database.write() as connection:
        await connection.execute(text(REJECTED), given)


async def told(database: Database) -> list[str]:
    asked = "SELECT detail ->> 'ticker' FROM events WHERE event = 'prospect.found' ORDER BY id"
    async with database.autocommit() as connection:
        return list((await connection.execute(text(asked))).scalars())


async def counted(database: Database) -> dict[str, int]:
    async with database.autocommit() as connection:
        rows = await connection.execute(text("SELECT ticker, refusals FROM prospects"))
        return {row.ticker: row.refusals for row in rows}


def wired(database: Database) -> tuple[Any, Bell, list[Worker]]:
    """What the page's lines for main.py make of what stands around them there."""
    scout = importlib.import_module("engines.research.scout")
    first: list[Worker] = []
    space: dict[str, Any] = {
        "Scout": scout.Scout,
        "Worker": Worker,
        "utc_now": utc_now,
        "house": SimpleNamespace(engines=database),
        "bell": Bell(),
        "first": first,
    }
    exec(compile(files()["main.py"], "main.py", "exec"), space)
    return space["scout"], space["bell"], space["first"]


@pytest.mark.usefixtures("scratch")
async def test_the_engine_of_the_page_works(database: Database) -> None:
    await migrated(database)
    scout, bell, workers = wired(database)
    assert [worker.name for worker in workers] == ["scout"]
    async with running(workers, grace=timedelta(seconds=5)):
        await posted(database, "AAA", "AAA", "BBB")
        await posted(database, "AAA", reason="cooldown")
        bell.rings("scout")()

        async def two_of_three() -> bool:
            return await counted(database) == {"AAA": 2, "BBB": 1}

        await until(two_of_three, "two counted", 30)
        await posted(database, "AAA", "CCC")
        bell.rings("scout")()

        async def is_told() -> bool:
            return await told(database) == ["AAA"]

        await until(is_told, "a prospect", 30)
    await posted(database, "AAA", "AAA")
    await asyncio.gather(scout.step(), scout.step())
    assert (await counted(database))["AAA"] == 5
    assert await told(database) == ["AAA"]


@pytest.mark.usefixtures("scratch")
async def test_it_waits_for_the_first_that_is_not_judged(database: Database) -> None:
    await migrated(database)
    scout, _, _ = wired(database)
    await posted(database, "AAA")
    await posted(database, "BBB", status="received")
    await posted(database, "CCC")
    await scout.step()
    assert await counted(database) == {"AAA": 1}


@pytest.mark.usefixtures("scratch")
def test_the_rule_of_the_page() -> None:
    rule = importlib.import_module("domain.prospect").found
    assert rule({}, ["A", "A", "B"], 2) == ["A"]
    assert rule({"A": 1}, ["A"], 2) == ["A"]
    assert rule({"A": 2}, ["A"], 2) == []


def test_each_file_keeps_to_its_floor() -> None:
    """As import-linter would say, were the files in the repository."""
    allowed = {"domain": {"domain"}, "database": {"database", "domain"}}
    for name, code in files().items():
        floor = name.split("/")[0]
        used = {line.split()[1].split(".")[0] for line in code.splitlines() if " import " in line}
        used &= {"domain", "database", "engines", "web", "main", "config"}
        assert used <= allowed.get(floor, {"domain", "database", "engines"}), name
