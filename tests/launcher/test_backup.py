"""`run.py backup` and `run.py restore`: what they say, ask and refuse, and leave when killed."""

import argparse
import asyncio
import gzip
import json
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from database.pool import Database
from launcher import backup, credentials, restore
from launcher.backup_command import add_options, run_backup
from tests.conftest import KEY
from tests.database.rows import Rows
from tests.database.test_backups import empty, furnished
from tests.launcher.programs import ROOT
from tests.web.stage import ADMIN_TOKEN

OTHER_KEY = "OTg3NjU0MzIxMDk4NzY1NDMyMTA5ODc2NTQzMjEwOTg="

OWN = "the-operator-token-of-this-machine-0123456789"

# Kills itself, as nothing can be prepared for, once it is at a table.
KILLED = """
import os, pathlib, signal, sys
from database import backups, restoring
from launcher import backup, restore
take, restored = backups.take, restoring.restore
at, file, url, folder = sys.argv[2:6]
def step(table, rows):
    if table == at:
        os.kill(os.getpid(), signal.SIGKILL)
async def take_until(database, put, about, _step):
    return await take(database, put, about, step)
async def restore_until(database, reading, **given):
    return await restored(database, reading, **{**given, "step": step})
backups.take, restoring.restore = take_until, restore_until
given = {"database_url": url, "data_dir": pathlib.Path(folder)}
if sys.argv[1] == "backup":
    backup.run(file, with_keys=False, as_json=True, **given)
else:
    restore.run(pathlib.Path(file), replace=True, yes=True, **given)
"""


@pytest.fixture
async def target(template: str) -> AsyncGenerator[Database]:
    assert template  # there is a server
    async with empty() as database:
        yield database


async def taken(database: Database, folder: Path, file: str = "one.gz", **given: object) -> int:
    keys = bool(given.pop("with_keys", False))
    as_json = bool(given.pop("as_json", False))
    settings = {"database_url": database.url, "data_dir": folder, **given}
    return await asyncio.to_thread(backup.run, file, with_keys=keys, as_json=as_json, **settings)


async def put_back(
    database: Database, folder: Path, *, replace: bool = False, yes: bool = True, **given: object
) -> int:
    settings = {"database_url": database.url, "data_dir": folder / "elsewhere", **given}
    return await asyncio.to_thread(
        restore.run, folder / "one.gz", replace=replace, yes=yes, **settings
    )


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.gz*"))


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(arguments)


async def test_from_one_server_to_another_with_keys(
    rows: Rows, target: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await furnished(rows)
    (folder / "secrets.env").write_text(f"ENCRYPTION_KEY={KEY}\nADMIN_TOKEN={ADMIN_TOKEN}\n")
    assert await taken(rows.database, folder, with_keys=True) == 0
    said = capsys.readouterr().out
    assert "secrets.env is inside" in said
    assert KEY not in said
    assert run_backup(options("--verify", "one.gz", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["keys_inside"], told["rows"]["deliveries"]) == (True, 6)
    assert KEY not in json.dumps(told)
    assert await put_back(target, folder) == 0
    said = capsys.readouterr().out
    for words in ("Only one relay may go on", "3 deliveries are held", "Buying is paused"):
        assert words in said
    kept = folder / "elsewhere" / "secrets.env"
    assert kept.read_text() == (folder / "secrets.env").read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert files(folder) == ["one.gz"]


async def with_keys_inside(rows: Rows, folder: Path, there: str) -> Path:
    """A backup with its keys, and a secrets.env where it goes; the latter's path."""
    await furnished(rows)
    (folder / "secrets.env").write_text(f"ENCRYPTION_KEY={KEY}\nADMIN_TOKEN={ADMIN_TOKEN}\n")
    assert await taken(rows.database, folder, with_keys=True, encryption_key_old=OTHER_KEY) == 0
    path = folder / "elsewhere" / "secrets.env"
    path.parent.mkdir()
    path.write_text(there)
    path.chmod(0o640)
    return path


async def test_a_file_of_secrets_without_a_key_gets_that_of_the_backup(
    rows: Rows, target: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = await with_keys_inside(rows, folder, f"# mine\nADMIN_TOKEN={OWN}\nENCRYPTION_KEY=")
    assert await put_back(target, folder) == 0
    said = capsys.readouterr().out
    assert "without ENCRYPTION_KEY: the backup's was added" in said
    assert "is missing" not in said
    assert KEY not in said
    assert path.read_text().startswith(f"# mine\nADMIN_TOKEN={OWN}\nENCRYPTION_KEY=\n")
    assert path.stat().st_mode & 0o777 == 0o640
    known = credentials.read(path)
    assert (known["ENCRYPTION_KEY"], known["ENCRYPTION_KEY_OLD"]) == (KEY, OTHER_KEY)
    assert known["ADMIN_TOKEN"] == OWN
    assert "ENCRYPTION_KEY" not in credentials.complete(path.parent, {})  # the next start


async def test_a_key_of_its_own_gives_way_to_that_of_the_backup_as_the_refusal_says(
    rows: Rows, target: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = await with_keys_inside(rows, folder, "")
    credentials.complete(path.parent, {})  # the new machine was started once
    with pytest.raises(SystemExit):
        await put_back(target, folder)
    said = capsys.readouterr().err
    for words in ("has its own inside", f"keep a copy of {path}", "take the line ENCRYPTION_KEY"):
        assert words in said
    assert "lost" not in said
    path.with_suffix(".copy").write_text(path.read_text())
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(one for one in lines if not one.startswith("ENCRYPTION_KEY=")))
    assert await put_back(target, folder) == 0
    assert credentials.read(path)["ENCRYPTION_KEY"] == KEY


async def test_a_key_that_is_set_elsewhere_is_not_written_into_the_file(
    rows: Rows, target: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = await with_keys_inside(rows, folder, f"ADMIN_TOKEN={OWN}\n")
    assert await put_back(target, folder, encryption_key=KEY) == 0
    assert "stays as it is" in capsys.readouterr().out
    assert path.read_text() == f"ADMIN_TOKEN={OWN}\n"


async def test_what_it_says_without_keys(
    rows: Rows, target: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await rows.sql("CREATE TABLE beside (id integer)")
    assert await taken(rows.database, folder, "kept/", encryption_key=KEY) == 0
    (path,) = (folder / "kept").iterdir()
    said = capsys.readouterr().out
    assert path.name.startswith("relay-20")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "Not in it: ENCRYPTION_KEY." in said
    assert "not the relay's: beside." in said
    path.rename(folder / "one.gz")
    assert await put_back(target, folder) == 0
    assert "put it into" in capsys.readouterr().out


async def test_a_key_that_opens_nothing_is_refused(
    database: Database, target: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await taken(database, folder, encryption_key=KEY) == 0
    with pytest.raises(SystemExit):
        await put_back(target, folder, encryption_key=OTHER_KEY)
    assert "does not open the backup's addresses" in capsys.readouterr().err
    assert await put_back(target, folder, encryption_key=OTHER_KEY, encryption_key_old=KEY) == 0


async def test_what_is_no_backup_is_never_written_over(
    database: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = gzip.compress(b"precious")
    (folder / "one.gz").write_bytes(precious)
    (folder / "empty").touch()
    for name in ("one.gz", "empty"):
        with pytest.raises(SystemExit) as ended:
            await taken(database, folder, name)
        assert ended.value.code == 2
        assert "is no backup: it is left alone" in capsys.readouterr().err
    assert (folder / "one.gz").read_bytes() == precious
    assert await taken(database, folder, "two.gz", as_json=True) == 0
    first = (folder / "two.gz").stat().st_ino
    assert await taken(database, folder, "two.gz", as_json=True) == 0
    assert (folder / "two.gz").stat().st_ino != first


async def test_what_cannot_be_done_is_said_in_one_line(
    database: Database, target: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    for given, words in (
        ({"database_url": nowhere}, "The database cannot be read: ConnectionRefusedError"),
        ({"database_url": None}, "There is no database in"),
        ({"with_keys": True}, "no ENCRYPTION_KEY is set"),
        ({"file": "none/one.gz"}, "cannot be written: No such file"),
    ):
        with pytest.raises(SystemExit):
            await taken(database, folder, **given)  # pyright: ignore[reportArgumentType]
        printed = capsys.readouterr()
        assert words in printed.err
        assert len(printed.err.splitlines()) == 1
    with pytest.raises(SystemExit):
        await taken(target, folder)
    assert "nothing to back up" in capsys.readouterr().err
    assert files(folder) == []


async def test_a_damaged_file_is_found_and_never_restored(
    rows: Rows, target: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await taken(rows.database, folder, as_json=True) == 0
    whole = (folder / "one.gz").read_bytes()
    lines = gzip.decompress(whole)
    for damaged in (whole[:-1], whole[:-700], gzip.compress(lines.replace(b"webhook", b"webhoop"))):
        (folder / "one.gz").write_bytes(damaged)
        with pytest.raises(SystemExit) as ended:
            run_backup(options("--verify", "one.gz"))
        assert ended.value.code == 1
        with pytest.raises(SystemExit):
            await put_back(target, folder)
        assert capsys.readouterr().err.count("DAMAGED: ") == 2
    (folder / "one.gz").write_bytes(b"other")
    for path in ("one.gz", "none.gz"):
        with pytest.raises(SystemExit) as ended:
            run_backup(options("--verify", path))
        assert ended.value.code == 2
    assert await put_back_is_empty(target)


async def put_back_is_empty(database: Database) -> bool:
    return not await Rows(database, None).sql(  # pyright: ignore[reportArgumentType]  seals nothing
        "SELECT relname FROM pg_class WHERE relnamespace = CAST('public' AS regnamespace)"
    )


async def test_what_would_be_lost_is_told_and_asked_for(
    rows: Rows,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert await taken(rows.database, folder, as_json=True) == 0
    await rows.alert("LATER")
    with pytest.raises(SystemExit):
        await put_back(rows.database, folder)
    assert "The database is not empty: it has 1 signals, the last of" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        await put_back(rows.database, folder, replace=True, yes=False)
    assert "Nobody is here to ask" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", Terminal())
    answers, asked = iter(("yes", "restore", "replace")), list[str]()

    def answer(line: str) -> str:
        asked.append(line)
        return next(answers)

    monkeypatch.setattr("builtins.input", answer)
    for lost in (False, False, True):
        if lost:
            assert await put_back(rows.database, folder, replace=True, yes=False) == 0
        else:
            with pytest.raises(SystemExit):
                await put_back(rows.database, folder, replace=True, yes=False)
        assert await rows.sql("SELECT count(*) FROM signals") == [0 if lost else 1]
    assert asked == ['Type "replace" to go on: '] * 3
    assert "WHAT IS THERE GOES, FOR GOOD: 1 signals" in capsys.readouterr().out


async def test_a_relay_that_cannot_log_in_does_not_undo_what_was_done(
    rows: Rows, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The owner restores; the relay's own login may be made later."""
    await furnished(rows)
    assert await taken(rows.database, folder, as_json=True, encryption_key=KEY) == 0
    await rows.alert("LATER")
    own = rows.database.url
    relay = make_url(own).set(username="relay_to_come").render_as_string(hide_password=False)
    given = {"encryption_key": KEY, "database_url": relay, "database_owner_url": own}
    assert await put_back(rows.database, folder, replace=True, yes=True, **given) == 0
    assert await rows.sql("SELECT count(*) FROM signals WHERE ticker = 'LATER'") == [0]
    printed = capsys.readouterr()
    for words in ("3 deliveries are held", "Buying is paused", "compare positions with your"):
        assert words in printed.out
    assert printed.err.startswith("The role could not be looked at: the database failed (")
    assert len(printed.err.splitlines()) == 1
    assert "Nothing was changed" not in printed.out + printed.err


class Terminal:
    def isatty(self) -> bool:
        return True


def killed(*arguments: str) -> None:
    """Run it until it kills itself."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


async def test_killed_it_leaves_no_half_file_and_no_half_database(
    rows: Rows, target: Database, folder: Path
) -> None:
    await furnished(rows)
    where = (str(folder / "one.gz"), rows.database.url, str(folder))
    await asyncio.to_thread(killed, "backup", "events", *where)
    assert files(folder) == ["one.gz.unfinished"]
    assert await taken(rows.database, folder, as_json=True) == 0
    assert files(folder) == ["one.gz"]
    there = (str(folder / "one.gz"), target.url, str(folder))
    await asyncio.to_thread(killed, "restore", "bringing it up to date", *there)
    assert await put_back_is_empty(target)
    assert await put_back(target, folder) == 0


def test_a_file_is_looked_through_with_nothing_but_python(folder: Path) -> None:
    path = ROOT / "tests" / "database" / "schemas" / "0012.backup.gz"
    done = subprocess.run(
        [sys.executable, "-E", "-s", "-S", str(ROOT / "run.py"), "backup", "--verify", str(path)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Whole: 222 rows of 34 tables, as of 2026-11-22T")
