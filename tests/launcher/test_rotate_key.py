"""`run.py rotate-key` (H15): everything sealed anew, wherever it was killed, beside whom it may."""

import asyncio
import json
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from config import Settings
from database import channels, destinations, pending_addresses, resealing
from database.pool import Database
from database.resealing import OLD_KEY
from database.sealed import COLUMNS
from database.vault import SealError, Vault
from domain.attention import Severity
from domain.channel import Channel, ChannelId, ChannelKind
from domain.destination import Destination, SigningKeys
from domain.mapping import BodyMapping
from domain.signature import sign
from engines.clock import utc_now
from launcher import credentials
from launcher.environment import ROOT
from launcher.rotate_key import run_rotation
from tests.conftest import KEY
from tests.database.rows import Rows, an_entry
from tests.database.sealing import unbound
from tests.web.stage import relay, until

NOW = utc_now()
BODY = b'{"ticker":"A","side":"buy","secret":"alert-canary"}'
ADDRESS = "https://destination.example/hook/canary-1"
OTHERS = {
    "ADMIN_TOKEN": "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
    "WEBHOOK_TOKEN": "b1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
    "FINVIZ_UPDATE_TOKEN": "c1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
    "DEST_WEBHOOK_SIGNING_SECRET": f"whsec_{KEY}",
}
KILLED = """
import os, signal, sys
from database import resealing, vault
from launcher.command_line import main
resealing.BATCH, seal, left = 3, vault.Vault.seal, [int(sys.argv[1])]

def sealing(self, *given):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), int(sys.argv[2]))
    return seal(self, *given)

vault.Vault.seal = sealing
sys.exit(main(["rotate-key"]))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Database) -> Path:
    """A DATA_DIR with its secrets, and a database of one's own, as the command finds them."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "data").mkdir(mode=0o700)
    lines = "".join(f"{name}={value}\n" for name, value in OTHERS.items())
    (tmp_path / "data" / "secrets.env").write_text(f"# kept\n{lines}ENCRYPTION_KEY={KEY}\n")
    monkeypatch.setenv("DATABASE_URL", database.url)
    return tmp_path / "data"


@pytest.fixture
async def main(rows: Rows) -> Destination:
    """A secret in every sealed column."""
    vault = rows.vault
    one = await rows.destination(
        url=ADDRESS,
        keys=SigningKeys(b"n" * 32, b"k" * 32, utc_now() + timedelta(days=1)),
        headers={"authorization": "Bearer header-canary"},
        mapping=BodyMapping(add={"license_id": "6012345678901"}),
    )
    moved = replace(one, url=f"{ADDRESS}-moved")
    channel = Channel(
        id=ChannelId(uuid4()),
        name="phone",
        kind=ChannelKind.SLACK,
        secrets={"url": "https://hooks.slack.com/services/channel-canary"},
        severity=Severity.URGENT,
    )
    async with rows.database.write() as connection:
        await pending_addresses.enter(connection, vault, one, moved, actor="me")
        await channels.create(connection, vault, channel, actor="me")
    for number in range(8):
        sealed = unbound(BODY) if number % 2 else vault.seal(BODY)
        await rows.append(an_entry(f"T{number}", body=sealed, body_sealed=True))
    return one


def rotate(*, check: bool = False) -> int:
    """In a thread of its own, because the command has a loop of its own."""
    return run_rotation(check=check)


async def opened(rows: Rows, key: str) -> Destination:
    async with rows.database.read() as connection:
        ((id, version),) = (await destinations.enabled_versions(connection)).items()
        found = await destinations.at_version(connection, Vault.from_key(key), id, version)
    assert found
    return found


async def test_everything_is_sealed_anew_and_the_old_key_opens_nothing(
    rows: Rows, folder: Path, main: Destination, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same address and keys come out with the new key; a dump and the old key give nothing."""
    assert await asyncio.to_thread(rotate, check=True) == 1, "half of the bodies are not bound"
    assert await asyncio.to_thread(rotate) == 0
    kept = credentials.read(folder / "secrets.env")
    assert (folder / "secrets.env").read_text().startswith("# kept\n")
    assert {name: kept[name] for name in OTHERS} == OTHERS
    assert "ENCRYPTION_KEY_OLD" not in kept
    assert kept["ENCRYPTION_KEY"] != KEY
    assert (folder / "secrets.env").stat().st_mode & 0o777 == 0o600
    now = await opened(rows, kept["ENCRYPTION_KEY"])
    assert (now.url, now.keys, now.headers, now.mapping) == (
        main.url,
        main.keys,
        main.headers,
        main.mapping,
    )
    with pytest.raises(SealError):
        await opened(rows, KEY)
    seen = await resealing.survey(rows.database, Vault.from_key(KEY))
    assert seen.count(resealing.NO_KEY) == seen.total
    assert {title for title, counted in seen.found.items() if counted} == {
        column.title for column in COLUMNS
    }
    assert await asyncio.to_thread(rotate, check=True) == 0
    (told,) = await rows.sql("SELECT detail FROM events WHERE event = 'key.rotated'")
    assert told == {"sealed": seen.total}
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err
    assert kept["ENCRYPTION_KEY"] not in shown.out + shown.err


@pytest.mark.parametrize(
    ("seals", "number", "code"),
    [
        (1, signal.SIGKILL, -signal.SIGKILL),
        (9, signal.SIGKILL, -signal.SIGKILL),
        (9, signal.SIGTERM, 128 + signal.SIGTERM),
    ],
)
async def test_killed_at_any_moment_a_second_run_goes_on(
    rows: Rows, folder: Path, main: Destination, seals: int, number: int, code: int
) -> None:
    """Both keys stay, so that a relay could start between; then the second run ends it."""
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", KILLED, str(seals), str(int(number))],
        cwd=folder.parent,
        env={
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": rows.database.url,
            "PATH": "",
            "RELAY_ENVIRONMENT": "system",
        },
        check=False,
        capture_output=True,
    )
    assert killed.returncode == code, killed.stderr
    kept = credentials.read(folder / "secrets.env")
    assert kept["ENCRYPTION_KEY_OLD"] == KEY
    both = Vault.from_key(kept["ENCRYPTION_KEY"], KEY)
    seen = await resealing.survey(rows.database, both)
    assert seen.count(OLD_KEY) > 0
    assert seen.count(resealing.NO_KEY) == 0
    assert await asyncio.to_thread(rotate) == 0
    after = credentials.read(folder / "secrets.env")
    assert after["ENCRYPTION_KEY"] == kept["ENCRYPTION_KEY"], "no third key is made"
    assert "ENCRYPTION_KEY_OLD" not in after
    assert (await opened(rows, after["ENCRYPTION_KEY"])).url == main.url


async def test_beside_a_relay_only_when_it_seals_with_the_new_key(
    rows: Rows,
    folder: Path,
    main: Destination,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One that does not would seal with the old key, and open nothing of ours."""
    new = credentials.new_key()
    ignorant, knowing = (
        Database.connect(rows.database.url, keys=Vault.from_key(*keys).fingerprints)
        for keys in ((KEY,), (new, KEY))
    )
    async with ignorant.read():
        with pytest.raises(SystemExit):
            await asyncio.to_thread(rotate)
        assert "stop it" in capsys.readouterr().err
        assert credentials.read(folder / "secrets.env")["ENCRYPTION_KEY"] == KEY
    await ignorant.close()

    async def is_gone() -> bool:
        return not await resealing.relays(rows.database)

    await until(is_gone, "the end of its connections at the server", 40)
    monkeypatch.setenv("ENCRYPTION_KEY", new)
    monkeypatch.setenv("ENCRYPTION_KEY_OLD", KEY)
    async with knowing.read():
        assert await asyncio.to_thread(rotate) == 0
    await knowing.close()
    assert "Take ENCRYPTION_KEY_OLD away" in capsys.readouterr().out
    assert (await opened(rows, new)).url == main.url


async def test_deliveries_go_on_with_the_same_headers_and_signatures(
    rows: Rows, folder: Path, main: Destination
) -> None:
    assert await asyncio.to_thread(rotate) == 0
    key = credentials.read(folder / "secrets.env")["ENCRYPTION_KEY"]
    async with relay(rows.database.url, encryption_key=key) as it:
        posted = await it.post({"ticker": it.finviz.market[0].ticker, "action": "buy"})
        life = await it.settled(posted.json()["signal_id"])
    assert life["status"] == "delivered"
    (parcel,) = it.destination.parcels
    at = int(parcel.headers["webhook-timestamp"])
    signed = [sign(one, id=parcel.id, timestamp=at, body=parcel.body) for one in main.keys.at(NOW)]
    assert parcel.headers["webhook-signature"] == " ".join(signed)
    assert parcel.headers["authorization"] == "Bearer header-canary"
    assert json.loads(parcel.body)["license_id"] == "6012345678901"


async def test_a_key_kept_elsewhere_is_not_ours_to_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "secrets.env").read_bytes()
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    assert await asyncio.to_thread(rotate) == 1
    said = capsys.readouterr().out
    assert "ENCRYPTION_KEY_OLD=(what ENCRYPTION_KEY is now)" in said
    assert (folder / "secrets.env").read_bytes() == before


async def test_constants_of_before_are_sealed_on_the_next_start(rows: Rows, vault: Vault) -> None:
    """Version 0009 sealed them; what stood there in plain is sealed once, in every version."""
    one = await rows.destination(mapping=BodyMapping(rename={"a": "b"}))
    await rows.sql(
        "UPDATE destination_versions SET mapping = mapping || CAST(:add AS jsonb)",
        add=json.dumps({"add": {"license_id": 7}}),
    )
    async with rows.database.write() as connection:
        assert await resealing.seal_plain(connection, vault) == 1
        assert await resealing.seal_plain(connection, vault) == 0
        found = await destinations.at_version(connection, vault, one.id, 1)
    assert found
    assert found.mapping == BodyMapping(rename={"a": "b"}, add={"license_id": 7})
    assert await rows.sql("SELECT mapping ? 'add' FROM destination_versions") == [False]
