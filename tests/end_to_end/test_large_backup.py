"""`--long`: 100,000 signals backed up and restored in memory that does not grow with them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from database.pool import Database
from launcher.backup import size
from tests.database.rows import Rows
from tests.database.test_backups import empty
from tests.end_to_end.stage import ROOT

SIGNALS = """
    INSERT INTO signals (id, source, ticker, symbol, side, hop, content_type, body, body_sealed,
                         received_at, expires_at, status, reason, judged_at)
    SELECT gen_random_uuid(), 'webhook', 'T' || n % 500, 'T', 'buy', 0, 'application/json',
           convert_to('{"ticker":"T","id":"' || repeat(md5(CAST(n AS text)), 6) || '"}', 'UTF8'),
           false, at, at, CASE n % 3 WHEN 0 THEN 'approved' ELSE 'rejected' END,
           CASE n % 3 WHEN 0 THEN NULL ELSE 'not_in_list' END, at
    FROM generate_series(1, :count) AS n,
         LATERAL (SELECT now() - interval '1 day' + n * interval '0.1 s' AS at) AS time
"""
DELIVERIES = """
    INSERT INTO deliveries (signal_id, destination_id, destination_version, seq, ticker, side,
                            state, epoch, attempts, queued_at, due_at, expires_at, finished_at)
    SELECT id, :destination, 1, seq, ticker, side, 'delivered', 1, 1, received_at, received_at,
           received_at, received_at
    FROM signals WHERE status = 'approved'
"""
ATTEMPTS = """
    INSERT INTO attempts (delivery_id, epoch, destination_id, side, number, possible_resend,
                          started_at, finished_at, outcome, status, duration_ms, answer)
    SELECT id, 1, destination_id, side, 1, false, queued_at, queued_at, 'delivered', 200, 1, 'ok'
    FROM deliveries
"""
EVENTS = """
    INSERT INTO events (event, signal_id, detail)
    SELECT kind, id, jsonb_build_object('ticker', ticker, 'universe_version', 7, 'rank', 12,
                                        'cutoff', 15, 'list_age_ms', 1200)
    FROM signals, unnest(ARRAY['signal.received', 'signal.rejected', 'delivery.queued']) AS kind
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of the processor, and MiB of memory at most."""

    seconds: float
    memory: float


@pytest.fixture
async def target(template: str) -> AsyncGenerator[Database]:
    assert template  # there is a server
    async with empty() as database:
        yield database


# By its own memory map: what a child inherits from us would be told by `wait4`.
WEIGHED = """
import os, re, sys
from launcher.command_line import main
assert main(sys.argv[1:]) == 0
used, status = os.times(), open("/proc/self/status").read()
print(used.user + used.system, re.search(r"VmHWM:\\s+(\\d+)", status)[1], file=sys.stderr)
"""


def cost(*arguments: str, **settings: str) -> Cost:
    """Of `run.py` with these arguments."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}  # noqa: TID251  handed on
    done = subprocess.run(
        [sys.executable, "-c", WEIGHED, *arguments],
        cwd=ROOT,
        env={**kept, "RELAY_ENVIRONMENT": "system", **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    seconds, kilobytes = done.stderr.split()
    return Cost(float(seconds), int(kilobytes) / 1024)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_memory_is_flat(
    rows: Rows, target: Database, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("--long"):
        pytest.skip("100,000 signals take a while: --long")
    small = await backed_up(rows, tmp_path / "small.gz")
    destination = await rows.destination()
    async with rows.database.write() as connection:
        given = {"count": 100_000, "destination": destination.id}
        for statement in (SIGNALS, DELIVERIES, ATTEMPTS, EVENTS):
            await connection.execute(text(statement), given)
    path = tmp_path / "large.gz"
    large = await backed_up(rows, path)
    there = {"DATABASE_URL": target.url, "DATA_DIR": str(tmp_path)}
    back = await asyncio.to_thread(cost, "restore", str(path), "--yes", **there)
    print(f"empty {small}, 100,000 signals {large}: {size(path.stat().st_size)}; restored {back}")  # noqa: T201  figures
    assert large.memory < small.memory + 30
    assert back.memory < small.memory + 60


async def backed_up(rows: Rows, path: Path) -> Cost:
    there = {"DATABASE_URL": rows.database.url, "DATA_DIR": str(path.parent)}
    return await asyncio.to_thread(cost, "backup", str(path), **there)
