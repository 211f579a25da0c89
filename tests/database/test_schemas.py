"""From every schema there was: a database as a relay left it is brought up to date and goes on.

The backups in `schemas` are of relays of that time that were killed while they worked: twelve
tickers bought, three of them sold, repeats, rejections, and five deliveries that were under way.
The schemas 0006 to 0009, and 0011, never were the newest of any commit: theirs are that of 0005,
and of 0010, brought there.
"""

import gzip
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from sqlalchemy import text

from database import destinations, rebuilding, resealing, restoring, universes
from database.backup_file import opened
from database.migrate import MIGRATIONS, UnfitDatabaseError, head, migrate
from database.pool import Database
from database.vault import Vault
from tests.database.rows import OK, SELL, Rows, settlement
from tests.database.test_backups import empty, nobody
from tests.database.test_chain import examined, linked
from tests.web.stage import relay, until

FOLDER = Path(__file__).parent / "schemas"
KEPT = sorted(FOLDER.glob("*.backup.gz"))
TABLES = ("signals", "deliveries", "attempts", "positions", "screens", "universes", "events")


@pytest.fixture
async def target(template: str) -> AsyncGenerator[Database]:
    assert template  # there is a server
    async with empty() as database:
        yield database


async def as_it_was(database: Database, path: Path) -> dict[str, int]:
    """Make a database of that schema; how many rows each table has."""
    await migrate(database, to=path.name[:4])
    with opened(path) as reading:
        async with database.write() as connection:
            await restoring.fill(connection, reading, nobody)
    return {name: one.rows for name, one in reading.counts.items()}


def test_every_schema_but_the_newest_is_kept() -> None:
    there = {path.name[:4] for path in (MIGRATIONS / "versions").glob("0*.py")}
    assert {path.name[:4] for path in KEPT} >= there - {head()}
    assert sum(path.stat().st_size for path in KEPT) < 300_000


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name[:4])
async def test_it_is_brought_up_to_date_and_goes_on(
    path: Path, target: Database, vault: Vault
) -> None:
    counts = await as_it_was(target, path)
    assert await migrate(target) is (path.name[:4] != head())
    rows = Rows(target, vault)
    for name in TABLES:
        assert await rows.sql(f"SELECT count(*) FROM {name}") == [counts[name]]
        assert counts[name]
    async with target.read() as connection:
        if path.name[:4] > "0001":  # whose events did not tell which version of a destination
            assert (await rebuilding.compare(connection)).differences == []
        (main,) = await destinations.enabled(connection, vault)
        current = await universes.current(connection)
    assert current.universe
    assert len(current.universe.tickers) == 40
    assert (await resealing.survey(target, vault)).count(resealing.NO_KEY) == 0
    await linked(rows, limit=2_000)
    examination = await examined(target)
    assert (examination.broken, examination.events) == (None, counts["events"])
    (held,) = await rows.sql("SELECT ticker FROM positions WHERE state = 'open' LIMIT 1")
    await rows.alert(held, SELL)
    await rows.alert("FRESH")
    assert await rows.decide()
    leased = {one.ticker: one for one in await rows.lease(main)}
    await rows.settle(*(settlement(one, OK) for one in leased.values()))
    now = "SELECT state FROM positions WHERE ticker = :ticker ORDER BY opened_at DESC LIMIT 1"
    assert await rows.sql(now, ticker=held) == ["closed"]
    assert await rows.sql(now, ticker="FRESH") == ["open"]


@pytest.mark.parametrize("path", [KEPT[0], KEPT[-1]], ids=lambda path: path.name[:4])
async def test_a_relay_starts_on_it_and_shows_it(
    path: Path, target: Database, tmp_path: Path
) -> None:
    """It keeps what was before the upgrade, and every page of the data can be read."""
    counts = await as_it_was(target, path)
    async with relay(target.url, wait=False, data_dir=tmp_path) as one:
        for place in ("/api/signals", "/api/positions", "/api/deliveries", "/api/activity"):
            assert (await one.read(place))["items"]
        found = await one.read("/api/signals?limit=100")
        assert len(found["items"]) == counts["signals"]
        for item in found["items"]:
            assert (await one.read(f"/api/signals/{item['id']}"))["events"]

        async def is_linked() -> bool:
            return bool(await one.rows("SELECT count(*) FROM links"))

        await until(is_linked, "the chain")
    backups = list((tmp_path / "backups").glob("before-*.backup.gz"))
    assert len(backups) == (path.name[:4] != head())
    for backup in backups:
        with opened(backup) as reading:
            reading.check()
        assert reading.header.schema == path.name[:4]
        assert {name: one.rows for name, one in reading.counts.items()} == counts


async def test_a_newer_schema_is_refused_in_one_line(target: Database) -> None:
    await migrate(target)
    async with target.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UnfitDatabaseError, match="of a newer version: its schema is 9999") as told:
        await migrate(target)
    assert "\n" not in str(told.value)


def test_no_secret_of_a_machine_is_in_them() -> None:
    for path in KEPT:
        lines = gzip.decompress(path.read_bytes())
        assert not [one for one in (b"/home", b"/root", b"/tmp") if one in lines]
