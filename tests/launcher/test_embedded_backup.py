"""Backups and the embedded server: to another PostgreSQL, and back from a newer relay."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from database.migrate import migrate
from database.pool import Database
from database.vault import Vault
from launcher import backup, postgres, restore
from launcher.postgres import LocalPostgres
from launcher.postgres_programs import find
from tests.conftest import KEY
from tests.database.rows import Rows


async def with_a_signal(url: str) -> None:
    database = Database.connect(url, pool=1, patience=timedelta(minutes=1))
    await migrate(database)
    await Rows(database, Vault.from_key(KEY)).alert("MOVED")
    await database.close()


async def said(url: str, *statements: str) -> list[str]:
    """What the last of them finds."""
    database, found = Database.connect(url, pool=1, patience=timedelta(minutes=1)), []
    for statement in statements:
        found = [*await Rows(database, Vault.from_key(KEY)).sql(statement)]
    await database.close()
    return found


@pytest.mark.slow
def test_from_one_major_version_of_postgresql_to_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As docs/backup.md has it; what plays the other version are the same programs."""
    data, ours = folder / "data", find()
    other = ours.major - 1
    with monkeypatch.context() as before:
        before.setattr(postgres, "find", lambda: replace(ours, major=other))
        with LocalPostgres(data, durable=False) as server:
            asyncio.run(with_a_signal(server.url))
        assert backup.run("one.gz", with_keys=False, as_json=True, data_dir=data) == 0
    with pytest.raises(SystemExit):
        restore.run(folder / "one.gz", replace=False, yes=True, data_dir=data)
    refused = capsys.readouterr().err
    assert f"data of PostgreSQL {other}" in refused
    assert "take a backup by them and restore it" in refused
    (data / f"postgres-{other}").rename(data / f"old-postgres-{other}")
    assert restore.run(folder / "one.gz", replace=False, yes=True, data_dir=data) == 0
    with LocalPostgres(data, durable=False) as server:
        assert asyncio.run(said(server.url, "SELECT ticker FROM signals")) == ["MOVED"]


@pytest.mark.slow
def test_back_from_a_newer_version(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything on the embedded server is the relay's: what is unknown is named, and goes."""
    data = folder / "data"
    newer = ("CREATE TABLE strategies ()", "UPDATE alembic_version SET version_num = '9999'")
    with LocalPostgres(data, durable=False) as server:
        asyncio.run(with_a_signal(server.url))
        assert backup.run("one.gz", with_keys=False, as_json=True, data_dir=data) == 0
        asyncio.run(said(server.url, *newer))
    assert restore.run(folder / "one.gz", replace=True, yes=True, data_dir=data) == 0
    assert "all else in it goes too: table public.strategies." in capsys.readouterr().out
    with LocalPostgres(data, durable=False) as server:
        asyncio.run(said(server.url, *newer))
