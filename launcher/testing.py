"""`run.py test`: one throw-away PostgreSQL for the whole run, then pytest."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from launcher.environment import ROOT
from launcher.postgres import LocalPostgres
from launcher.postgres_programs import PostgresError
from launcher.terminal import Refusal, say

MEMORY = Path("/dev/shm")  # noqa: S108  a folder of our own is made in it
ROOM = 4_000_000_000
CONNECTIONS = 500
"""Of three workers, each with several relays at times: at 100 some were turned away."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def add_options(_parser: argparse.ArgumentParser) -> None:
    """Pytest reads what follows."""


def run_test(options: argparse.Namespace) -> int:
    """Return pytest's exit code."""
    return run_tests(options.rest)


def run_tests(arguments: Sequence[str]) -> int:
    """Run pytest, with three workers unless told otherwise: often they wait. Return its code."""
    if not any(map(shutil.which, BROWSERS)):
        say("No Chromium here: browser tests are skipped (Debian: sudo apt install chromium).")
    with tempfile.TemporaryDirectory(prefix="tests-", dir=_in_memory()) as folder:
        try:
            with LocalPostgres(
                Path(folder), connections=CONNECTIONS, durable=False, say=say
            ) as postgres:
                return _pytest(arguments, postgres.dsn)
        except PostgresError as error:
            raise Refusal(str(error)) from None


def _in_memory() -> Path | None:
    """Where Linux keeps files in memory, when there is room: hundreds of databases come and go."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    return MEMORY if has_room and os.access(MEMORY, os.W_OK) else None


def _pytest(arguments: Sequence[str], dsn: str) -> int:
    chosen = any(a.startswith(("-n", "--numprocesses", "--pdb")) for a in arguments)
    command = [sys.executable, "-m", "pytest", *([] if chosen else ["-n", "3"]), *arguments]
    environment = os.environ | {"TEST_DATABASE_URL": dsn}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as pytest:
        try:
            return pytest.wait()
        except KeyboardInterrupt:  # it went to pytest as well, which reports what it had
            return pytest.wait()
        except SystemExit:
            pytest.terminate()
            raise
