"""What the doctor says of what it sees: every grade, by values, and nothing but Python."""

import json
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpcore
import pytest

from config import Settings
from database.condition import Condition
from database.resealing import NO_KEY, OLD_KEY
from engines.outbound import ForbiddenAddressError, UnresolvedError
from launcher.doctor import clock, dial, findings, machine, outside, places, setup, store
from launcher.doctor.dial import Reached
from launcher.doctor.findings import DATABASE, PORT, Finding, Grade
from launcher.doctor.machine import Listener
from tests.launcher.test_greeting import settings

OK, WARNING, FAILS, SKIPPED = Grade.OK, Grade.WARNING, Grade.FAILS, Grade.SKIPPED
NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
DATA = Path("/data")


def seconds(count: float) -> datetime:
    return NOW + timedelta(seconds=count)


def standing(**given: Any) -> Finding:
    usual = {"name": "main", "state": "enabled", "breaker": "closed", "mode": "live", "queued": 2}
    return places.standing_of(usual | {"breaker_cause": None, "opens": True} | given)


def reached(days: int | None) -> Finding:
    expires = None if days is None else NOW + timedelta(days=days)
    found = Reached(timedelta(milliseconds=12), expires)
    return dial.certificate(DATABASE, "main", found, NOW)


Case = tuple[Callable[[], Finding], Grade, str]

CASES: list[Case] = [
    (lambda: machine.python((3, 10, 1), complete=True), FAILS, "3.11"),
    (lambda: machine.python((3, 12, 1), complete=False), WARNING, "apt install python3.12-venv"),
    (lambda: machine.python((3, 13, 0), complete=True), OK, "3.13.0"),
    (lambda: machine.packages(ready=True), OK, "requirements.txt"),
    (lambda: machine.packages(ready=False), WARNING, "python run.py installs them"),
    (lambda: machine.room(DATA, 9_000_000_000, 9), OK, "9.0 GB"),
    (lambda: machine.room(DATA, 1_000_000_000, 9), WARNING, "RETENTION_DAYS"),
    (lambda: machine.room(DATA, 100_000_000, 9), FAILS, "make room now"),
    (lambda: machine.room(DATA, 9_000_000_000, 0), FAILS, "no more files"),
    (lambda: machine.judged("::", 80, Listener(there=True, ours=True), least=1), OK, "answers"),
    (lambda: machine.judged("::", 80, Listener(there=True), least=1), FAILS, "another program"),
    (lambda: machine.judged("::", 80, Listener(there=False), least=1024), FAILS, "port 80"),
    (lambda: machine.judged("::", 80, Listener(there=False), least=1), OK, "is free"),
    (lambda: setup.problem("TOP_N: is odd"), FAILS, "is odd"),
    (lambda: setup.problem("FINVIZ_EMAIL and FINVIZ_PASSWORD go together"), FAILS, "together"),
    (lambda: setup.strength("ADMIN_TOKEN", "abcdefgh" * 8), WARNING, "8 different"),
    (lambda: setup.strength("ADMIN_TOKEN", "Zk3vQ9xT7mB2nR8sW4yL6pD1cF5hJ0aG"), OK, "32"),
    (lambda: setup.public(settings()), WARNING, "only this machine"),
    (lambda: setup.public(settings(host="0.0.0.0")), WARNING, "HOST=127.0.0.1"),
    (lambda: setup.public(settings(public_url="https://r.example:8443")), WARNING, "80 and 443"),
    (lambda: setup.public(settings(public_url="http://r.example")), WARNING, "plain http"),
    (lambda: setup.public(settings(public_url="https://r.example")), OK, "https://r.example"),
    (lambda: setup.proxies(settings(public_url="https://r.example")), WARNING, "empty"),
    (lambda: setup.proxies(settings(trusted_proxies=("10.0.0.1",))), WARNING, "PUBLIC_URL"),
    (lambda: setup.proxies(settings()), OK, "none"),
    (lambda: setup.told(settings())[0], WARNING, "HEARTBEAT_URL"),
    (lambda: clock.kept(synchronised=True), OK, "synchronised"),
    (lambda: clock.kept(synchronised=False), WARNING, "timedatectl"),
    (lambda: clock.against("x", NOW, seconds(1), seconds(2)), OK, "same"),
    (lambda: clock.against("x", NOW, seconds(-3), seconds(1)), WARNING, "3.0 s ahead of"),
    (lambda: clock.against("x", NOW, seconds(5), seconds(1)), WARNING, "4.0 s behind"),
    (lambda: clock.against("x", NOW, seconds(3600), seconds(0)), FAILS, "60 min behind"),
    (lambda: store.schema(None, "0012"), OK, "first start"),
    (lambda: store.schema("0012", "0012"), OK, "newest"),
    (lambda: store.schema("0011", "0012"), WARNING, "backup"),
    (lambda: store.schema("0013", "0012"), FAILS, "newer relay"),
    (lambda: store.role("trading_relay"), OK, "cannot change"),
    (lambda: store.role(None), WARNING, "DATABASE_OWNER_URL"),
    (lambda: store.keys(Counter(current=3)), OK, "all 3"),
    (lambda: store.keys(Counter()), OK, "nothing sealed"),
    (lambda: store.keys(Counter({"current": 1, OLD_KEY: 2})), WARNING, "2 of 3"),
    (lambda: store.keys(Counter({"current": 1, NO_KEY: 1})), FAILS, "1 of 2"),
    (lambda: store.unreachable(ConnectionRefusedError(111, "refused"), settings()), FAILS, "refus"),
    (standing, OK, "2 waiting"),
    (lambda: standing(opens=False), FAILS, "enter its address anew"),
    (lambda: standing(state="paused"), WARNING, "paused"),
    (lambda: standing(breaker="open", breaker_cause="http 404"), WARNING, "http 404"),
    (lambda: standing(mode="dry_run"), WARNING, "dry run"),
    (lambda: places.notices([]), WARNING, "Channels"),
    (lambda: places.notices([{"enabled": True}, {"enabled": False}]), OK, "1 in use"),
    (lambda: reached(90), OK, "2030-04-02"),
    (lambda: reached(9), WARNING, "9 days"),
    (lambda: reached(None), OK, "without TLS"),
    (lambda: outside.named(["198.35.26.96"]), OK, "198.35.26.96"),
    (lambda: outside.named(["192.168.1.2"]), WARNING, "no address that others"),
    (lambda: outside.named(["2620:0:862:ed1a::1"]), FAILS, "A record"),
    (lambda: outside.answered(405, '{"detail": "alerts are posted"}'), OK, "the relay answers"),
    (lambda: outside.answered(405, "<html>"), FAILS, "somebody else"),
    (lambda: outside.answered(502, ""), FAILS, "behind it nobody"),
    (lambda: outside.answered(404, ""), FAILS, "404"),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{one[1]}" for n, one in enumerate(CASES)])
def test_what_is_seen_is_graded_and_says_what_to_do(case: Case) -> None:
    look, grade, words = case
    found = look()
    assert (found.grade, words in f"{found.name} {found.words} {found.todo}") == (grade, True)
    assert bool(found.todo) == (grade in {WARNING, FAILS})


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (ForbiddenAddressError(), None, "private"),
        (UnresolvedError(), OSError(), "does not resolve"),
        (httpcore.ConnectTimeout(), None, "within 5 s"),
        (httpcore.ConnectError(), ssl.SSLError(1, "x"), "TLS fails"),
        (httpcore.ConnectError(), ConnectionRefusedError(111, "Connection refused"), "refused"),
        (httpcore.ConnectError(), None, "no connection"),
    ],
)
def test_why_nobody_was_reached(error: Exception, cause: Exception | None, words: str) -> None:
    error.__cause__ = cause
    assert words in dial.why(error)[0]


def test_a_date_of_an_answer_is_cut_to_the_second() -> None:
    found = clock.header(seconds(0.9), "Wed, 02 Jan 2030 15:04:05 GMT", seconds(1.1))
    assert found is not None
    assert found.grade is OK
    assert clock.header(NOW, "yesterday", NOW) is None


def test_a_slip_in_a_name_is_told_with_what_is_meant() -> None:
    (found,) = setup.unknown(["PUBLIC_ULR", "TOP_N", "DATABASE_URL_FILE", "POSTGRES_PASSWORD"])
    assert (found.grade, found.name) == (WARNING, "PUBLIC_ULR")
    assert found.todo.startswith("is PUBLIC_URL meant?")


def test_the_database_is_described_with_who_uses_it() -> None:
    given = {"version": "18.6", "now": NOW, "login": "relay_app", "bytes": 5_000_000}
    found, _ = store.described(Condition(**given, relays=3, schema="0012"), "0012")  # pyright: ignore[reportArgumentType]  a row
    assert found.words == "PostgreSQL 18.6, 5 MB, login relay_app, a relay is connected"


# ── Files ───────────────────────────────────────────────────────────────────────────────────


def graded(folder: Path) -> dict[str, Grade]:
    return {one.name: one.grade for one in machine.files(folder)}


def test_files_that_others_may_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    assert graded(folder) == {"data folder": OK}
    folder.mkdir(mode=0o700)
    (folder / "secrets.env").touch(mode=0o600)
    (folder / "secrets.env").write_text("ADMIN_TOKEN=x\n")
    (tmp_path / ".env").touch(mode=0o644)
    (tmp_path / ".env").write_text("PORT=8001\n")  # no secret
    assert graded(folder) == {"data folder": OK, "secrets.env": OK, ".env": OK}
    (folder / "secrets.env").chmod(0o644)
    folder.chmod(0o755)
    assert graded(folder) == {"data folder": WARNING, "secrets.env": WARNING, ".env": OK}


def test_a_folder_that_nobody_can_make_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert graded(tmp_path / "file" / "data") == {"data folder": FAILS}


# ── The report ──────────────────────────────────────────────────────────────────────────────

SOME = [
    DATABASE.fails("reachable", "it does not answer", "start it"),
    PORT.ok("listening", "127.0.0.1:8000 is free"),
    DATABASE.skipped("schema", "the database does not run"),
]


def test_a_report_is_in_order_and_ends_with_counts() -> None:
    said = list(findings.lines(SOME))
    assert [line for line in said if line and not line.startswith(" ")] == [
        "port",
        "database",
        "1 failure, 1 ok, 1 not looked at.",
    ]
    assert "             → start it" in said


def test_long_words_are_wrapped_and_paths_stay_whole() -> None:
    path = "/a-very-long-folder/" * 4
    said = list(findings.lines([PORT.warning("x", f"{'word ' * 30}{path}", "y " * 90)]))
    assert any(path in line for line in said)
    assert all(len(line) <= 100 or path in line for line in said)


def test_a_report_for_programs_has_everything() -> None:
    told = json.loads(json.dumps(findings.told(SOME, version="1")))
    assert (told["version"], told["ok"]) == ("1", False)
    assert told["counts"] == {"ok": 1, "warning": 0, "fails": 1, "skipped": 1}
    assert told["findings"][1] == {
        "area": "database",
        "name": "reachable",
        "grade": "fails",
        "words": "it does not answer",
        "todo": "start it",
        "more": [],
    }


def test_a_bare_python_is_told_what_is_missing(tmp_path: Path) -> None:
    """Of a copy without an environment: it makes none, and says who does."""
    root = Path(machine.__file__).parents[2]
    for path in root.iterdir():
        if not path.name.startswith(".") and path.name != "data":
            (tmp_path / path.name).symlink_to(path)
    script = """
import pathlib, sys
sys.path[:0] = ["."]
import launcher.environment
launcher.environment.ROOT = pathlib.Path(".")
from launcher.command_line import main
sys.exit(main(["doctor", "--json"]))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        check=False,
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    told = {one["name"]: one["grade"] for one in json.loads(done.stdout)["findings"]}
    assert (told["packages"], told["all the rest"]) == (WARNING, SKIPPED)
    assert not (tmp_path / ".venv").exists()
    assert not (tmp_path / "data").exists()


def test_every_setting_may_stand_in_a_file() -> None:
    assert setup.unknown([name.upper() for name in Settings.model_fields]) == []
