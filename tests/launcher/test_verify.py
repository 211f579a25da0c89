"""H27: `run.py verify`: what it says of a file, of a database, and with which exit code."""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from config import Settings
from database.migrate import migrate
from database.pool import Database
from launcher.command_line import main
from launcher.postgres import LocalPostgres
from launcher.verify import run_verify
from tests.database.rows import Rows
from tests.database.test_chain import TOLD, a_chain, behind_our_back, linked
from tests.domain.chains import a_chain as made_up
from tests.domain.chains import a_file
from tests.launcher.programs import ROOT

CHAIN = made_up((1, 2, 3), (5, 8), (9,), (12, 13, 14, 20))
HEADS = [one.link.hash.hex() for one in CHAIN]

Verify = Callable[..., tuple[int, str, str]]


def a_log(link: int, hash: str, event: str = "chain.day_closed") -> str:
    told = {"ts": "2026-11-21T00:00:03.123+00:00", "level": "INFO", "event": event}
    return f"relay-1 | {json.dumps(told | {'day': '2026-11-20', 'link': link, 'hash': hash})}\n"


@pytest.fixture
def verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Generator[Verify]:
    """The command in a folder of its own; its exit code, what it prints, and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trail.jsonl").write_bytes(a_file(CHAIN, 21))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            sys.exit(main(["verify", *arguments]))
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


# ── A file ──────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_is_whole(verify: Verify) -> None:
    code, out, error = verify("trail.jsonl")
    assert (code, error) == (0, "")
    assert out.splitlines() == [
        "Whole: 4 links, 10 events.",
        "Not linked yet: 1, since 2026-11-20T12:00:21.250000Z.",
        f"2026-11-20       2 links         5 events  {HEADS[1]}",
        f"2026-11-21       2 links         5 events  {HEADS[3]}",
    ]


def test_a_file_that_is_broken(verify: Verify, tmp_path: Path) -> None:
    file = tmp_path / "trail.jsonl"
    file.write_bytes(file.read_bytes().replace(b'{"n": 8,', b'{"n": 9,'))
    code, out, _ = verify("trail.jsonl")
    assert (code, out.splitlines()) == (
        1,
        [
            "BROKEN: event 8 of 2026-11-20T12:00:08Z was changed; it says signal.received now.",
            "Before it: 2 links, 4 events.",
        ],
    )
    code, out, _ = verify("trail.jsonl", "--json")
    found = json.loads(out)
    assert (code, found["whole"], found["broken"]["event"]) == (1, False, 8)


def test_everything_as_json(verify: Verify) -> None:
    code, out, _ = verify("--json", "trail.jsonl")
    found = json.loads(out)
    assert (code, found["whole"], found["broken"], found["head"]) == (0, True, None, HEADS[3])
    assert found["days"][0] == {"day": "2026-11-20", "links": 2, "events": 5, "hash": HEADS[1]}


def test_a_day_is_left_out_before_a_week(verify: Verify, tmp_path: Path) -> None:
    (tmp_path / "long.jsonl").write_bytes(a_file(made_up(*([n] for n in range(9)), days=9)))
    _, out, _ = verify("long.jsonl")
    assert "… and 2 days before (--json)" in out
    assert len(out.splitlines()) == 2 + 7


def test_whoever_made_the_chain_anew_is_found_by_a_log(verify: Verify, tmp_path: Path) -> None:
    (tmp_path / "relay.log").write_text('{"event": "other"}\n' + a_log(2, HEADS[1]))
    (tmp_path / "relay.log.1").write_text(a_log(4, HEADS[3], "chain.head") + "no JSON chain.head {")
    logs = ("--anchors", "relay.log", "--anchors", "relay.log.1")
    assert verify(*logs, "trail.jsonl")[0] == 0
    (tmp_path / "trail.jsonl").write_bytes(a_file(CHAIN[:3]))
    assert verify("trail.jsonl")[0] == 0
    code, out, _ = verify(*logs, "trail.jsonl")
    assert (code, "BROKEN: link 4 is missing: the log of 2026-11-21T" in out) == (1, True)
    (tmp_path / "trail.jsonl").write_bytes(a_file(made_up((1, 2), (5, 8))))
    code, out, _ = verify("trail.jsonl", "--anchors", "relay.log")
    assert (code, "BROKEN: link 2 was changed: the log of 2026-11-21T" in out) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.jsonl"], "none.jsonl cannot be read: No such file"),
        (["."], "cannot be read: Is a directory"),
        (["other.jsonl"], "other.jsonl is no export of GET /api/activity/trail"),
        (["trail.jsonl", "--anchors", "none.log"], "none.log cannot be read"),
        (["trail.jsonl", "--anchors", "other.jsonl"], "No head of the chain is in other.jsonl"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(
    verify: Verify, tmp_path: Path, arguments: Sequence[str], words: str
) -> None:
    (tmp_path / "other.jsonl").write_text('{"at": "2026", "id": 1, \n')
    code, out, error = verify(*arguments)
    assert (code, out, len(error.splitlines())) == (2, "", 1)
    assert words in error


def test_a_file_needs_nothing_but_python(tmp_path: Path) -> None:
    (tmp_path / "trail.jsonl").write_bytes(a_file(CHAIN))
    done = subprocess.run(
        [sys.executable, "-E", "-s", "-S", str(ROOT / "run.py"), "verify", "trail.jsonl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Whole: 4 links, 10 events.\n")


# ── A database ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def of_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def run(**overrides: object) -> int:
        options = argparse.Namespace(file=None, anchors=[], json=False)
        return run_verify(options, data_dir=tmp_path, **overrides)

    return run


async def test_the_database_of_the_settings(
    rows: Rows, of_database: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    url = rows.database.url
    await a_chain(rows)
    await rows.sql(TOLD, count=2)
    assert await asyncio.to_thread(of_database, database_url=url) == 0
    assert capsys.readouterr().out.startswith(
        "Whole: 3 links, 10 events.\nNot linked yet: 2, since "
    )
    await behind_our_back(rows, "UPDATE events SET event = 'signal.approved' WHERE id = 6")
    assert await asyncio.to_thread(of_database, database_url=url) == 1
    assert "it says signal.approved now.\nBefore it: 2 links, 5 events." in capsys.readouterr().out


async def test_a_database_without_a_chain_or_without_a_server(
    database: Database, of_database: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    async with database.write() as connection:
        await connection.execute(text("DROP TABLE links"))
    for url, words in (
        (database.url, "is older than the chain"),
        ("postgresql://nobody@127.0.0.1:1/none", "cannot be read: ConnectionRefusedError"),
        (None, "There is no database in"),
    ):
        given = {"database_url": url} if url else {}
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(of_database, **given)
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


async def _told_and_linked(url: str, rows_of: Callable[[Database], Rows]) -> None:
    database = Database.connect(url, patience=timedelta(seconds=60))
    await migrate(database)
    rows = rows_of(database)
    await rows.sql(TOLD, count=5)
    await linked(rows)
    await database.close()


@pytest.mark.slow
def test_the_embedded_database_running_or_not(
    of_database: Callable[..., int],
    tmp_path: Path,
    rows_of: Callable[[Database], Rows],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with LocalPostgres(tmp_path, durable=False) as postgres:
        asyncio.run(_told_and_linked(postgres.url, rows_of))
        assert of_database() == 0
        assert postgres.restarts == 0
    assert of_database() == 0
    assert capsys.readouterr().out.count("Whole: 2 links, 5 events.") == 2


@pytest.fixture
def rows_of(request: pytest.FixtureRequest) -> Callable[[Database], Rows]:
    vault = request.getfixturevalue("vault")
    return lambda database: Rows(database, vault)
