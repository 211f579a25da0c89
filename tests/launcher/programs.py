"""Small programs for tests that kill what they start, and waiting with a deadline."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from launcher.postgres_programs import find

ROOT = Path(__file__).resolve().parents[2]


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@contextmanager
def running(
    script: str, *arguments: str | Path, python: str = sys.executable, user: int | None = None
) -> Generator[subprocess.Popen[str]]:
    """Run Python ``script`` beside the repository's modules; kill it if it is still there."""
    with subprocess.Popen(
        [python, "-u", "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ask(dsn: str, statement: str) -> str:
    """Return what psql prints for ``statement``; wait while the server is still starting."""
    answer = ""

    def answered() -> bool:
        nonlocal answer
        done = subprocess.run(
            [find().folder / "psql", "-XAtq", dsn, "-c", statement],
            check=False,
            capture_output=True,
            text=True,
        )
        answer = done.stdout.strip()
        return done.returncode == 0

    until(answered)
    return answer
