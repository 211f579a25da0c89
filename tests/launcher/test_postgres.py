"""The embedded PostgreSQL: one at a time, supervised, and never left in a half-made state."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.postgres import AlreadyRunningError, LocalPostgres
from launcher.postgres_programs import PostgresError, as_allowed, environment, find
from tests.launcher.programs import ask, lives, until


def quick(root: Path) -> LocalPostgres:
    return LocalPostgres(root, durable=False)


def test_serves_on_a_private_socket_only_and_leaves_nothing(tmp_path: Path) -> None:
    with quick(tmp_path) as postgres:
        pid = postgres.pid
        assert ask(postgres.dsn, "SHOW listen_addresses") == ""
        sockets = Path(ask(postgres.dsn, "SHOW unix_socket_directories").strip('"'))
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert stat.S_IMODE(postgres.folder.stat().st_mode) == 0o700
        assert postgres.url == postgres.dsn.replace("postgresql:", "postgresql+asyncpg:")
    assert not lives(pid)
    assert sorted(p.name for p in postgres.folder.iterdir()) == ["data", "lock", "postgres.log"]


def test_data_is_there_at_the_next_start(tmp_path: Path) -> None:
    with quick(tmp_path) as postgres:
        ask(postgres.dsn, "CREATE TABLE kept AS SELECT 7 AS seven")
    with quick(tmp_path) as postgres:
        assert ask(postgres.dsn, "SELECT seven FROM kept") == "7"


def test_a_second_one_is_told_who_holds_the_data(tmp_path: Path) -> None:
    with (
        quick(tmp_path) as postgres,
        pytest.raises(AlreadyRunningError, match=rf"^Already running: process {os.getpid()} "),
        quick(tmp_path),
    ):
        pytest.fail("two servers on one data directory")
    assert not lives(postgres.pid)


def test_a_killed_server_is_started_again_with_every_row(tmp_path: Path) -> None:
    with LocalPostgres(tmp_path) as postgres:
        ask(postgres.dsn, "CREATE TABLE kept AS SELECT 7 AS seven")
        killed = postgres.pid
        os.kill(killed, signal.SIGKILL)
        until(lambda: postgres.pid != killed)
        assert ask(postgres.dsn, "SELECT seven FROM kept") == "7"
        assert postgres.restarts >= 1


def test_a_server_that_was_stopped_from_outside_is_started_again(tmp_path: Path) -> None:
    with quick(tmp_path) as postgres:
        stopped = postgres.pid
        os.kill(stopped, signal.SIGINT)
        until(lambda: postgres.pid != stopped)
        assert ask(postgres.dsn, "SELECT 1") == "1"


def test_an_orphan_of_a_killed_run_is_stopped_first(tmp_path: Path) -> None:
    with quick(tmp_path) as postgres:
        data = postgres.folder / "data"
    programs = as_allowed(find(), data.parent)
    command = programs.command("postgres", "-D", data, "-clisten_addresses=", f"-k{data.parent}")
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as orphan:
        until((data.parent / ".s.PGSQL.5432").exists)
        said: list[str] = []
        with LocalPostgres(tmp_path, durable=False, say=said.append) as postgres:
            assert orphan.wait(60) == 0
            assert ask(postgres.dsn, "SELECT 1") == "1"
    assert any(str(orphan.pid) in each for each in said)


def test_a_stale_record_may_name_an_innocent_process(tmp_path: Path) -> None:
    with quick(tmp_path) as postgres:
        record = postgres.folder / "data" / "postmaster.pid"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        record.write_text(f"{innocent.pid}\n{record.parent}\n1\n5432\n{tmp_path}\n\n\nready\n")
        with quick(tmp_path) as postgres:
            assert ask(postgres.dsn, "SELECT 1") == "1"
        assert innocent.poll() is None
        innocent.kill()


def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    unfinished = tmp_path / f"postgres-{find().major}" / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with quick(tmp_path) as postgres:
        assert ask(postgres.dsn, "SELECT 1") == "1"
    assert not unfinished.exists()


def test_a_server_that_cannot_start_is_given_up_with_its_own_words(tmp_path: Path) -> None:
    with quick(tmp_path) as postgres:
        configuration = postgres.folder / "data" / "postgresql.conf"
    configuration.write_text("shared_preload_libraries = 'nonesuch'\n")
    with pytest.raises(PostgresError, match=r"nonesuch.*postgres\.log"), quick(tmp_path):
        pytest.fail("it cannot have started")


@pytest.mark.slow
def test_giving_up_while_serving_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.postgres.PATIENCE", 2)
    lost: list[str] = []
    with LocalPostgres(tmp_path, durable=False, on_lost=lost.append) as postgres:
        (postgres.folder / "data" / "postgresql.conf").write_text("nonsense\n")
        os.kill(postgres.pid, signal.SIGKILL)
        until(lambda: bool(lost))
    assert lost == [postgres.lost]
    assert "2 times in a row" in lost[0]


def test_a_long_path_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20)
    with quick(deep) as postgres:
        sockets = Path(ask(postgres.dsn, "SHOW unix_socket_directories").strip('"'))
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert sockets != postgres.folder
    assert not sockets.exists()


def test_a_socket_folder_of_a_killed_run_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / "pg-left"
    left.mkdir()
    with quick(tmp_path) as postgres:
        lock = postgres.folder / "lock"
    lock.write_text(f"1\n{left}")
    with quick(tmp_path):
        assert not left.exists()


def test_data_of_another_major_is_never_shadowed_by_an_empty_database(tmp_path: Path) -> None:
    (tmp_path / "postgres-9" / "data").mkdir(parents=True)
    with pytest.raises(PostgresError, match="data of PostgreSQL 9"), quick(tmp_path):
        pytest.fail("it must not have started")


def test_settings_from_outside_do_not_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/elsewhere")
    assert {"PGPORT", "PGDATA"}.isdisjoint(environment())


def test_programs_that_are_named_but_missing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    with pytest.raises(PostgresError, match="PG_BIN"):
        find()
