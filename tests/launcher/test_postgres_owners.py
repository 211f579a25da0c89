"""Whose process the embedded PostgreSQL is, and that it never outlives the run that owns it."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from launcher.postgres import LocalPostgres
from launcher.postgres_programs import PostgresError, Programs, find
from tests.launcher.programs import ROOT, ask, line, lives, running, until

NOBODY = 65_534
SERVE = """
import signal, sys
from pathlib import Path
from launcher.command_line import _end
from launcher.postgres import LocalPostgres
signal.signal(signal.SIGTERM, _end)
with LocalPostgres(Path(sys.argv[1]), durable=False) as postgres:
    print(postgres.pid)
    if sys.argv[2:] == ["fail"]:
        raise RuntimeError("an accident")
    signal.pause()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")


@pytest.fixture
def reachable() -> Generator[Path]:
    """Make a folder every account can reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        data = Path(folder) / "data"
        data.mkdir(mode=0o700)
        yield data


@on_linux
def test_kill_9_of_the_run_stops_the_server(reachable: Path) -> None:
    with running(SERVE, reachable) as run:
        server = int(line(run))
        assert lives(server)
        run.kill()
        run.wait()
        until(lambda: not lives(server))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_before_the_run_ends(tmp_path: Path, number: int) -> None:
    with running(SERVE, tmp_path) as run:
        server = int(line(run))
        run.send_signal(number)
        run.wait(60)
        assert not lives(server)
    assert run.returncode == (0 if number == signal.SIGTERM else -number)


def test_an_accident_stops_the_server(tmp_path: Path) -> None:
    with running(SERVE, tmp_path, "fail") as run:
        server = int(line(run))
        assert run.wait(60) == 1
        assert not lives(server)


@as_root
@on_linux
def test_root_runs_it_in_a_user_namespace_and_keeps_the_files(tmp_path: Path) -> None:
    with LocalPostgres(tmp_path, durable=False) as postgres:
        assert ask(postgres.dsn, "SELECT 1") == "1"
        namespace = Path(f"/proc/{postgres.pid}/ns/user").readlink()
        assert namespace != Path("/proc/self/ns/user").readlink()
        assert (postgres.folder / "data" / "PG_VERSION").stat().st_uid == 0


@pytest.fixture
def _without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    works = Programs.works

    def refused(programs: Programs) -> bool:
        return programs.identity != "namespace" and works(programs)

    monkeypatch.setattr(Programs, "works", refused)


@as_root
@on_linux
@pytest.mark.usefixtures("_without_namespaces")
def test_without_namespaces_root_hands_it_to_nobody(reachable: Path) -> None:
    if not _can_run_programs(NOBODY):
        pytest.skip("the PostgreSQL programs lie where nobody cannot reach them")
    for _ in range(2):  # the second time nobody owns the cluster
        with LocalPostgres(reachable, durable=False) as postgres:
            assert ask(postgres.dsn, "SELECT 1") == "1"
            assert Path(f"/proc/{postgres.pid}").stat().st_uid == NOBODY
            pid = postgres.pid
        assert not lives(pid)


@as_root
@pytest.mark.usefixtures("_without_namespaces")
def test_without_namespaces_an_unreachable_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    with (
        pytest.raises(PostgresError, match="start as an ordinary user, or set DATABASE_URL"),
        LocalPostgres(hidden / "data", durable=False),
    ):
        pytest.fail("nobody cannot reach it")
    assert hidden.stat().st_mode & 0o777 == 0o700


@as_root
@on_linux
def test_an_ordinary_user_needs_no_root(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(reachable, NOBODY, NOBODY)
    python = next((p for p in (sys.executable, "/usr/bin/python3") if _can_run(p, NOBODY)), None)
    if not (python and _can_run_programs(NOBODY)):
        pytest.skip("Python or the PostgreSQL programs lie where nobody cannot reach them")
    monkeypatch.setenv("PG_BIN", str(find().folder))
    with running(SERVE, reachable, python=python, user=NOBODY) as run:
        first = line(run)
        assert first.isdigit(), first
        assert Path(f"/proc/{first}").stat().st_uid == NOBODY
        run.kill()
        run.wait()
        until(lambda: not lives(int(first)))


def _can_run_programs(user: int) -> bool:
    return _succeeds([str(find().folder / "postgres"), "--version"], user)


def _can_run(python: str, user: int) -> bool:
    tried = "import sys, launcher.postgres; sys.exit(sys.version_info < (3, 11))"
    return _succeeds([python, "-c", tried], user)


def _succeeds(command: list[str], user: int) -> bool:
    try:
        done = subprocess.run(
            command, check=False, cwd=ROOT, user=user, group=user, capture_output=True
        )
    except PermissionError:
        return False
    return done.returncode == 0
