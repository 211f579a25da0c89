"""`run.py adopt`: a made-up old folder, looked at, taken over, handed to a relay that runs."""

import asyncio
import json
import os
import stat
from argparse import Namespace
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from config import Settings
from domain import original
from launcher.adopt import run_adopt
from launcher.command_line import main
from tests.ports import free_port
from tests.web.stage import ADMIN_TOKEN, Relay, cloned, relay, until

SECRET = "a-made-up-secret-path-of-the-destination"
PASSWORD = "a made-up # password"
ENV = f"""DEST_WEBHOOK_URL="https://destination.example/{SECRET}"
FINVIZ_UPDATE_TOKEN=changeme-token
FORWARDING_WORKERS=3
LOG_LEVEL=info
FINVIZ_USE_ELITE=true
FINVIZ_EMAIL=somebody@example.com
FINVIZ_PASSWORD='{PASSWORD}'
DATABASE_URL=postgresql+asyncpg://made:{SECRET}@postgres:5432/made_up
TOP_N=40
PROMETHEUS_PORT=9090
"""
CONFIG = {
    "finviz_url": "https://elite.finviz.com/screener.ashx?v=151&f=exch_nasd&o=-change&ar=10",
    "top_n": 19,
    "refresh_interval_sec": 15,
}
IDS = [f"01a1fc1f-537e-78ef-a699-c5d9b421080{number}" for number in range(3)]


def row(id: str, ticker: str, type: str = "buy", status: str = "forwarded_success") -> str:
    return f"2025-07-01 14:30:00,{id},{ticker},{type},{status},COMPLETED,-,-,\n"


def csv(*rows: str) -> str:
    return ",".join(original.HEADER) + "\n" + "".join(rows)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An old installation; the test stands in another, empty folder."""
    folder, here = tmp_path / "old", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    for name in (*Settings.model_fields, "admin_token_file"):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(here)
    (folder / ".env").write_text(ENV)
    (folder / "finviz_config.json").write_text(json.dumps(CONFIG))
    (folder / "export.csv").write_text(
        csv(row(IDS[0], "AAPL"), row(IDS[1], "brk.b", "sell"), row(IDS[2], "=cmd()"))
    )
    return folder


def adopt(folder: Path, *options: str) -> int:
    """With nobody answering."""
    return main(["adopt", str(folder), "--url", f"http://127.0.0.1:{free_port()}", *options])


def told(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    adopt(folder, "--json", *options)
    return json.loads(capsys.readouterr().out)


# ── Looking ─────────────────────────────────────────────────────────────────────────────────


def test_a_look_changes_nothing_and_shows_no_secret(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adopt(old) == 1  # one row of the history cannot be read
    said = capsys.readouterr().out
    assert list(Path().iterdir()) == []
    for secret in (SECRET, PASSWORD, "changeme-token", "somebody@example.com"):
        assert secret not in said
    assert "FORWARDING_WORKERS: 3 (there of all" in said
    assert "FINVIZ_UPDATE_TOKEN (has 14 characters" in said
    assert "from the original relay (in force): top 19, every 15 s" in said
    assert "export.csv: 2 of 3 signals can be read" in said
    assert "add --apply" in said


def test_for_programs_it_says_the_same(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(old, capsys)
    fates = {one["name"]: one["fate"] for one in found["settings"]}
    assert fates["DATABASE_URL"] == "left"
    assert fates["TOP_N"] == fates["PROMETHEUS_PORT"] == "dead"
    assert found["histories"][0]["problems"][0].startswith("line 4: ticker:")
    assert SECRET not in json.dumps(found)


def test_strategies_that_were_saved_win_over_the_old_file(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {"name": "morning", "url": CONFIG["finviz_url"], "top_n": 100, "description": None}
    many = [
        one | {"refresh_interval_sec": 60, "is_active": False},
        one | {"name": "evil", "url": "javascript:alert(1)", "top_n": -3},
        one | {"name": "export", "url": "https://elite.finviz.com/export.ashx?v=111&o=-change"}
        | {"is_active": True},
    ]  # fmt: skip
    (old / "strategies.json").write_text(json.dumps({"strategies": many, "count": 3}))
    found = told(old, capsys, "--apply")
    assert [(one["name"], one["active"]) for one in found["screens"]] == [
        ("morning", False),
        ("export", True),
    ]
    assert found["problems"] == ["strategies.json: 2. screen: url must begin with https://"]
    written = json.loads(Path("finviz_config.json").read_text())
    assert written["url"] == "https://elite.finviz.com/screener.ashx?v=111&o=-change"
    assert [one["active"] for one in written["screens"]] == [False, True]


# ── Doing ───────────────────────────────────────────────────────────────────────────────────


def test_what_is_written_starts_a_relay(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text("PORT=8123\nLOG_LEVEL=WARNING\n")
    assert adopt(old, "--apply") == 1
    said = capsys.readouterr().out
    assert "LOG_LEVEL: WARNING → INFO" in said
    assert "Undo: mv .env.before-adopt .env" in said
    assert "start the relay" in said
    for file in (".env", ".env.before-adopt"):
        assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
    read = Settings(
        _env_file=".env",  # pyright: ignore[reportCallIssue]  as in config.load
        webhook_token="w-made-up-by-a-test-8Yx1Kd0Lw7Tt5Rb2",
        finviz_update_token="f-made-up-by-a-test-8Yx1Kd0Lw7Tt5Rb2",
        admin_token="a-made-up-by-a-test-8Yx1Kd0Lw7Tt5Rb2",
        encryption_key="MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        dest_webhook_signing_secret="whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    )
    assert read.finviz_password
    assert read.finviz_password.get_secret_value() == PASSWORD
    assert read.dest_webhook_url
    assert read.dest_webhook_url.get_secret_value().endswith(SECRET)
    assert (read.port, read.log_level, read.forwarding_workers) == (8123, "INFO", 3)
    assert read.database_url is None


def test_a_second_time_nothing_is_left_to_write(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(old, capsys, "--apply")
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    again = told(old, capsys, "--apply")
    assert again["undo"] == []
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_in_the_old_folder_itself_what_would_hurt_is_removed(
    old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(old)
    assert adopt(Path(), "--apply") == 1
    said = capsys.readouterr().out
    assert "Removed from .env here" in said
    here = Path(".env").read_text()
    assert not any(name in here for name in ("changeme", "DATABASE_URL", "TOP_N", "PROMETHEUS"))
    assert Path(".env.before-adopt").read_text() == ENV


def test_a_strong_token_stays_where_it_is_asked_to(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = "Zq3v-made-up-by-a-test-8Yx1Kd0Lw7Tt5Rb2"
    (old / ".env").write_text(f"FINVIZ_UPDATE_TOKEN={token}\n")
    adopt(old, "--apply")
    assert "FINVIZ_UPDATE_TOKEN" not in (Path(".env").read_text() if Path(".env").exists() else "")
    adopt(old, "--apply", "--keep-token")
    assert f"FINVIZ_UPDATE_TOKEN={token}\n" in Path(".env").read_text()
    assert token not in capsys.readouterr().out


# ── Hostile files ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (".env", b"A=\xff\xfe", ".env: is not UTF-8"),
        (".env", b"x" * (1024 * 1024 + 1), ".env: has more than 1048576 bytes"),
        (".env", b"DEST_WEBHOOK_URL=https://x.example/\x00", "line 1 DEST_WEBHOOK_URL holds"),
        (".env", b"\x1b]0;owned\x07=1", "line 1 is no NAME=value"),
        ("finviz_config.json", b"[" * 100_000, "finviz_config.json: is no JSON object"),
        ("finviz_config.json", b"\x00", "finviz_config.json: is no JSON object"),
        ("finviz_config.json", b'{"url": "http://169.254.169.254/"}', "must begin with https"),
        ("export.csv", b"a,b,c\n1,2,3\n", "export.csv: has not the columns"),
        ("export.csv", b"", "export.csv: has not the columns"),
        ("export.csv", b"x" * 17 * 1024 * 1024, "line 1: longer than 16777216 bytes"),
        ("export.csv", b"\x00\xff" * 4096, "export.csv: has not the columns"),
        ("a\x1b[31m.csv", b"", "a?[31m.csv: has not the columns"),
    ],
)
def test_a_bad_file_is_told_of_and_the_others_are_read(
    old: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, words: str
) -> None:
    (old / name).write_bytes(content)
    assert adopt(old) == 1
    said = capsys.readouterr().out
    assert words in said
    assert "\x1b" not in said
    assert ("export.csv: 2 of 3" in said) is (name != "export.csv")


def test_rows_that_break_a_history_are_counted(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [row("x", "\0"), row("y", "AAPL", "no such type"), "one cell\n", '"never closed\n']
    (old / "export.csv").write_text(csv(row(IDS[0], "AAPL"), *bad))
    (found,) = told(old, capsys)["histories"]
    assert (found["good"], found["rows"]) == (1, 4)
    assert "a quote is not closed" in found["problems"][-1]


def test_links_and_pipes_are_not_followed(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (".env", "finviz_config.json", "export.csv"):
        (old / name).unlink()
    (old / ".env").symlink_to("/etc/passwd")
    (old / "finviz_config.json").symlink_to(old / "nowhere")
    os.mkfifo(old / "export.csv")
    assert adopt(old) == 1
    said = capsys.readouterr().out
    assert ".env: is a link, and not followed" in said
    assert "finviz_config.json: is a link, and not followed" in said
    assert "export.csv: is no file" in said


def test_a_folder_without_anything_of_the_original_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SystemExit) as ended:
            adopt(folder)
        assert ended.value.code == 2


# ── With a relay that runs ──────────────────────────────────────────────────────────────────


@asynccontextmanager
async def serving(one: Relay) -> AsyncGenerator[str]:
    """The relay of a test behind a real socket."""
    port = free_port()
    config = uvicorn.Config(one.app, port=port, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    life = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started, "the server", 30)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await life


async def test_a_running_relay_imports_history_and_screens(
    template: str, old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", ADMIN_TOKEN)
    options = Namespace(folder=old, apply=True, keep_token=False, json=True, token_file=None)

    async def run(url: str) -> dict[str, Any]:
        options.url = urlsplit(url)
        await asyncio.to_thread(run_adopt, options)
        return json.loads(capsys.readouterr().out)

    async with cloned(template) as database, relay(database) as one, serving(one) as url:
        first = await run(url)
        assert first["imports"][0]["imported"] == 2
        assert first["waiting"] == ["restart the relay: it reads .env when it starts."]
        signals = await one.rows("SELECT ticker, imported_from FROM signals ORDER BY ticker")
        assert [tuple(row) for row in signals] == [
            ("AAPL", "original relay"),
            ("BRK-B", "original relay"),
        ]
        names = {screen["name"] for screen in (await one.read("/api/screens"))["items"]}
        assert "from the original relay" in names
        again = await run(url)
        assert (again["imports"][0]["imported"], again["imports"][0]["skipped"]) == (0, 2)
        assert again["waiting"] == []
        monkeypatch.setenv("ADMIN_TOKEN", "w" + ADMIN_TOKEN)
        with pytest.raises(SystemExit) as ended:
            await run(url)
        assert ended.value.code == 1
    assert "does not take this ADMIN_TOKEN" in capsys.readouterr().err
