"""The whole doctor, on a database and on addresses that are there; nobody gets a byte of him."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from config import Settings
from database import screens
from database.condition import openable
from database.pool import Database
from database.vault import Vault
from domain.destination import SigningKeys
from domain.screen import Screen, parse_screen_url
from launcher.doctor import machine, outside, places, store
from launcher.doctor.dial import UnreachedError, reach
from launcher.doctor.findings import Finding, Grade
from launcher.doctor.whole import Asked, examine
from launcher.environment import ROOT
from tests.conftest import KEY
from tests.database.rows import Rows
from version import VERSION

OTHER_KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
CANARY = "address-canary"
HERE = "127.0.0.0/8"
SECRETS: dict[str, object] = {
    "admin_token": "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
    "webhook_token": "b1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
    "finviz_update_token": "c1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
    "dest_webhook_signing_secret": f"whsec_{KEY}",
    "encryption_key": KEY,
}
Look = Callable[..., dict[tuple[str, str], Finding]]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """What is found in an empty folder, by area and name."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def run(**given: Any) -> dict[tuple[str, str], Finding]:
        found = examine(Asked(offline=True), lambda _: None, SECRETS | given)
        assert {path.name for path in tmp_path.iterdir()} <= {".env"}
        return {(one.area, one.name): one for one in found}

    return run


async def off(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """The doctor has a loop of his own."""
    return await asyncio.to_thread(function, *given, **named)


# ── Settings ────────────────────────────────────────────────────────────────────────────────


def test_every_wrong_setting_is_named_and_the_rest_looked_at(look: Look) -> None:
    found = look(top_n=0, log_level="LOUD", admin_token="changeme" * 5)
    wrong = {name for (_, name), one in found.items() if one.grade is Grade.FAILS}
    assert wrong == {"TOP_N", "LOG_LEVEL", "ADMIN_TOKEN"}
    assert "changeme" not in str(found)
    assert ("database", "server") in found


def test_settings_that_contradict_each_other_end_it(look: Look) -> None:
    found = look(finviz_use_elite=True)
    assert found["settings", "values"].grade is Grade.FAILS
    assert "FINVIZ_AUTH_TOKEN" in found["settings", "values"].words
    assert found["destinations", "all"].grade is Grade.SKIPPED


def test_a_file_that_is_no_text_is_told(look: Look, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PUBLIC_URL=https://caf\xe9.example\n")
    assert "not UTF-8" in look()["settings", "values"].words


def test_a_first_start_has_nothing_that_fails(look: Look) -> None:
    found = look()
    assert {one.grade for one in found.values()} <= {Grade.OK, Grade.WARNING, Grade.SKIPPED}
    assert "first start makes it" in found["database", "server"].words


# ── The database ────────────────────────────────────────────────────────────────────────────


async def test_a_database_is_read_and_its_destinations_named(
    rows: Rows, database: Database, look: Look
) -> None:
    url = f"https://destination.example/{CANARY}"
    await rows.destination(url=url, keys=SigningKeys(b"n" * 32))
    found = await off(look, database_url=database.url, encryption_key=KEY)
    for name in ("reachable", "schema", "role"):
        assert found["database", name].grade is Grade.OK, found["database", name]
    assert found["database", "durable"].grade is Grade.FAILS  # tests run without fsync
    assert found["keys", "ENCRYPTION_KEY"].grade is Grade.OK
    assert found["clock", "against the database"].grade is Grade.OK
    assert found["being told", "channels"].grade is Grade.WARNING
    assert "https://destination.example/•••" in str(found)
    assert CANARY not in str(found)


async def test_another_key_is_told_and_nothing_of_what_is_sealed(
    rows: Rows, database: Database, look: Look
) -> None:
    await rows.destination(url=f"https://destination.example/{CANARY}")
    found = await off(look, database_url=database.url, encryption_key=OTHER_KEY[:-4] + "QkI=")
    assert found["keys", "ENCRYPTION_KEY"].grade is Grade.FAILS
    assert found["destinations", "main"].grade is Grade.FAILS


async def test_the_screen_in_force_is_the_one_that_is_asked_for(
    database: Database, look: Look
) -> None:
    await off(look, database_url=database.url)
    async with database.write() as connection:
        await screens.create_first(connection, a_screen("of the page"), actor="me")
    found = await off(look, database_url=database.url)
    assert found["list source", "screen"].words == "of the page, in force"
    assert "first start" in (await off(look))["list source", "screen"].words


async def test_a_database_of_another_version_is_not_read_further(
    rows: Rows, database: Database, look: Look
) -> None:
    await rows.destination(url="https://destination.example/x")
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    found = await off(look, database_url=database.url)
    assert "newer relay" in found["database", "schema"].todo
    assert ("keys", "ENCRYPTION_KEY") not in found
    assert found["destinations", "destinations"].grade is Grade.SKIPPED


def test_a_database_that_is_not_there_is_told_without_its_password(look: Look) -> None:
    found = look(database_url=f"postgresql://relay:{CANARY}@127.0.0.1:9/relay")
    assert found["database", "reachable"].grade is Grade.FAILS
    assert CANARY not in str(found)


def test_an_embedded_database_at_rest(tmp_path: Path) -> None:
    data = tmp_path / "postgres-18" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("18\n")
    assert "does not run now" in store.embedded(tmp_path).finding.words
    (data / "postmaster.pid").write_text("999999999\n")  # of a killed run
    assert "does not run now" in store.embedded(tmp_path).finding.words
    (data / "PG_VERSION").write_text("9\n")
    assert store.embedded(tmp_path).finding.grade is Grade.FAILS


def a_screen(name: str) -> screens.Kept:
    url = parse_screen_url("https://finviz.com/screener.ashx?v=111&f=cap_small")
    screen = Screen(url=url, top_n=15, refresh=timedelta(minutes=3))
    return screens.Kept(id=screens.ScreenId(uuid4()), name=name, version=1, screen=screen)


# ── Destinations ────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def listener() -> AsyncGenerator[tuple[int, asyncio.Queue[bytes]]]:
    """Takes connections, notes the first bytes that come, hangs up."""
    came: asyncio.Queue[bytes] = asyncio.Queue()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await came.put(await reader.read(65_536))
        except ConnectionError:
            await came.put(b"")
        finally:
            writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came


async def first(came: asyncio.Queue[bytes]) -> bytes:
    return await asyncio.wait_for(came.get(), 30)


async def test_a_destination_is_reached_and_gets_no_request() -> None:
    settings = Settings(**SECRETS, private_destinations=HERE)  # pyright: ignore[reportArgumentType]  as the environment has them
    async with listener() as (port, came):
        url = f"http://127.0.0.1:{port}/{CANARY}"
        found = await places.looked_at("main", url, settings, offline=False)
        assert (found.grade, await first(came)) == (Grade.OK, b"")
        assert CANARY not in str(found)


async def test_who_speaks_no_tls_gets_a_greeting_of_tls_and_nothing_else() -> None:
    settings = Settings(**SECRETS, private_destinations=HERE)  # pyright: ignore[reportArgumentType]  as the environment has them
    async with listener() as (port, came):
        looking = reach(f"https://127.0.0.1:{port}/{CANARY}", settings.private_destinations)
        with pytest.raises(UnreachedError):
            await looking
        said = await first(came)
        assert said.startswith(b"\x16\x03")
        assert CANARY.encode() not in said


async def test_an_address_that_may_not_be_is_not_reached_for() -> None:
    settings = Settings(**SECRETS)  # pyright: ignore[reportArgumentType]  as the environment has them
    async with listener() as (port, came):
        url = f"https://127.0.0.1:{port}/x"
        found = await places.looked_at("main", url, settings, offline=False)
        assert (found.grade, came.empty()) == (Grade.FAILS, True)


# ── Who answers ─────────────────────────────────────────────────────────────────────────────


class Relay(BaseHTTPRequestHandler):
    """Answers as the relay does, or, on another path, as nobody we know."""

    asked: list[tuple[str, str, str | None]] = []  # noqa: RUF012  of one test at a time

    def do_GET(self) -> None:
        self.asked.append((self.command, self.path, self.headers.get("authorization")))
        known = {"/health": (200, {"status": "alive"})}
        status, body = known.get(self.path, (405, {"detail": "alerts are posted"}))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def relay() -> Generator[int]:
    Relay.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Relay) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_our_own_port_is_told_from_a_stranger_and_from_a_free_one(
    relay: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "PATIENCE", 60)
    assert machine.listening("127.0.0.1", relay).grade is Grade.OK
    assert Relay.asked == [("GET", "/health", None)]


async def test_a_stranger_at_the_port_fails() -> None:
    async with listener() as (port, _):
        found = await off(machine.listening, "127.0.0.1", port)
    assert found.grade is Grade.FAILS
    assert "is free" in machine.listening("127.0.0.1", port).words


async def test_the_public_address_is_asked_by_a_get_without_a_token(relay: int) -> None:
    found = await outside.examine(f"http://127.0.0.1:{relay}")
    assert [(one.name, one.grade) for one in found] == [
        ("reachable", Grade.OK),
        ("webhook", Grade.OK),
    ]
    assert Relay.asked == [("GET", "/webhook/in", None)]


async def test_what_opens_with_no_key_is_counted(rows: Rows, database: Database) -> None:

    await rows.destination(url="https://destination.example/x", keys=SigningKeys(b"n" * 32))
    async with database.read() as connection:
        assert set(await openable(connection, rows.vault)) == {"current"}
        other = Vault.from_key(OTHER_KEY[:-4] + "QkI=")
        assert set(await openable(connection, other)) == {"no key"}


def test_the_command_says_it_for_programs(relay: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", "doctor", "--offline", "--json"],
        check=False,
        cwd=tmp_path,
        env={"RELAY_ENVIRONMENT": "system", "PORT": str(relay)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    told = json.loads(done.stdout)
    assert (told["version"], told["ok"]) == (VERSION, True)
    words = {one["name"]: one["words"] for one in told["findings"]}
    assert words["listening"] == f"the relay runs and answers on 127.0.0.1:{relay}"
    assert list(tmp_path.iterdir()) == []
