"""A relay is backed up while alerts pour in, and restored elsewhere, with everything the same."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from database import rebuilding
from database.backup_file import opened
from database.pool import Database
from launcher.postgres import LocalPostgres
from tests.database.test_backups import empty
from tests.database.test_chain import examined
from tests.end_to_end.stage import ROOT, World, alert, until, world

TOLD_ANEW = {
    "deliveries": 0,
    "signals": 0,
    "gate_versions": 1,
    "pending_addresses": 0,
}
"""How many rows more a restore leaves; of events and attention it says so itself."""

BEFORE = """
    SELECT count(*) FROM events WHERE id < (
        SELECT min(id) FROM events WHERE detail->>'reason' = 'restored'
        OR jsonb_exists(detail, 'restored') OR actor = 'the command line')
"""
COUNTED = """
    SELECT (SELECT count(*) FROM signals
            WHERE seq <= (SELECT seq FROM tallied) AND imported_from IS NULL) AS signals,
           (SELECT coalesce(sum(signals), 0) FROM tallies) AS counted
"""


def run(*arguments: str, **settings: str) -> Mapping[str, Any]:
    """`run.py` as a user starts it, and what it says."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}  # noqa: TID251  handed on
    started = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        env={**kept, "RELAY_ENVIRONMENT": "system", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, error = started.communicate(timeout=600)
    assert started.returncode == 0, error + out
    return json.loads(out) if "--json" in arguments else {"said": out}


@contextmanager
def pouring(one: World) -> Generator[None]:
    """Alerts as fast as they are taken, buys and sells of every ticker, until it is over."""
    over = threading.Event()

    def pour() -> None:
        number = 0
        while not over.is_set():
            number += 1
            side = "sell" if number % 3 == 0 else "buy"
            ticker = one.tickers[number % len(one.tickers)]
            with suppress(httpx.TimeoutException):  # whoever is not answered goes on
                assert one.relay.post(alert(ticker, side, number)).status_code in {200, 202, 503}

    pourers = [threading.Thread(target=pour) for _ in range(3)]
    for each in pourers:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in pourers:
            each.join(30)


@pytest.fixture
async def target(template: str) -> AsyncGenerator[Database]:
    assert template  # there is a server
    async with empty() as database:
        yield database


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_backed_up_under_load_and_restored_elsewhere(
    tmp_path: Path, target: Database
) -> None:
    told = await asyncio.to_thread(_backed_up, tmp_path)
    path = tmp_path / "one.gz"
    await asyncio.to_thread(
        run, "restore", str(path), "--yes", DATABASE_URL=target.url, DATA_DIR=str(tmp_path / "new")
    )
    with opened(path) as reading:
        reading.check()
    assert {name: one.rows for name, one in reading.counts.items()} == told["rows"]
    async with target.read() as connection:
        for name, rows in told["rows"].items():
            if name in {"events", "attention"}:
                continue
            count = await connection.execute(text(f"SELECT count(*) FROM {name}"))
            assert (name, count.scalar_one()) == (name, rows + TOLD_ANEW.get(name, 0))
        count = await connection.execute(text(BEFORE))
        assert count.scalar_one() == told["rows"]["events"]
        assert (await rebuilding.compare(connection)).differences == []
        counted = (await connection.execute(text(COUNTED))).one()
        assert counted.signals == counted.counted
        links = dict((await connection.execute(text("SELECT number, hash FROM links"))).all())
    assert links == {number: hash for number, hash in told["links"].items() if number in links}
    assert len(links) == told["rows"]["links"] == told["head"][0]
    assert links[told["head"][0]].hex() == told["head"][1]
    examination = await examined(target)
    assert examination.broken is None
    assert examination.head == told["head"][1]


def _backed_up(folder: Path) -> dict[str, Any]:
    """What the backup says of itself, and the links that the relay has made in the end."""
    with world(folder, settings={"DEST_WEBHOOK_RATE_LIMITING_ENABLED": "false"}) as one:
        data = str(folder / "data")
        until(lambda: _is_linked(folder), 60, "the first link")
        with pouring(one):
            until(lambda: len(one.destination.arrivals) > 50, 60, "the first deliveries")
            told = dict(run("backup", str(folder / "one.gz"), "--json", DATA_DIR=data))
        assert told["rows"]["signals"] > 50
        told["links"] = _links(folder)
        assert run("backup", "--verify", str(folder / "one.gz"), "--json")["rows"] == told["rows"]
        return told


def _is_linked(folder: Path) -> bool:
    """Asking costs a connection, and the notary comes every ten seconds."""
    time.sleep(0.5)
    return bool(_links(folder))


def _links(folder: Path) -> dict[int, bytes]:
    async def read() -> dict[int, bytes]:
        database = Database.connect(
            LocalPostgres.running(folder / "data"), pool=1, patience=timedelta(seconds=30)
        )
        try:
            async with database.read() as connection:
                rows = await connection.execute(text("SELECT number, hash FROM links"))
                return {row.number: row.hash for row in rows}
        finally:
            await database.close()

    return asyncio.run(read())
