"""The environment: recognised, repaired, made by one run at a time, never made needlessly."""

import errno
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from launcher import environment
from launcher.environment import PINNED, ROOT, Environment, ensure, is_ready
from launcher.terminal import Refusal

PIP = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/../calls"
case "$*" in
  *--version*) exit {sound} ;;
  *install*) {install} ;;
esac
"""


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    file = tmp_path / "requirements.txt"
    file.write_text("one==1.0 \\\n    --hash=sha256:00\n")
    return file


def made(tmp_path: Path, *, sound: int = 0, install: str = "exit 0") -> Environment:
    """Make an environment whose Python only notes what it is asked."""
    made = Environment(tmp_path / ".venv")
    made.python.parent.mkdir(parents=True)
    made.python.write_text(PIP.format(sound=sound, install=install))
    made.python.chmod(0o755)
    return made


def test_after_an_installation_nothing_is_asked_again(tmp_path: Path, requirements: Path) -> None:
    own = made(tmp_path)
    assert not own.has(requirements)
    own.install(requirements)
    assert own.has(requirements)
    calls = (own.folder / "calls").read_text()
    assert "--require-hashes --only-binary :all:" in calls
    assert own.has(requirements)
    assert (own.folder / "calls").read_text() == calls


def test_other_requirements_or_another_python_are_noticed(
    tmp_path: Path, requirements: Path
) -> None:
    own = made(tmp_path)
    own.install(requirements)
    content = requirements.read_text()
    requirements.write_text("one==1.1\n")
    assert not own.has(requirements)
    requirements.write_text(content)
    assert own.has(requirements)
    own.python.rename(own.python.with_name("python3.99"))
    own.python.symlink_to("python3.99")
    assert not own.has(requirements)


def test_a_killed_installation_is_begun_anew(tmp_path: Path, requirements: Path) -> None:
    own = made(tmp_path)
    own.install(requirements)
    own.unfinished.touch()
    assert not own.has(requirements)
    assert not own._is_sound()  # pyright: ignore[reportPrivateUsage]  what makes install start over


def test_a_failed_installation_is_tried_again_on_the_same_environment(
    tmp_path: Path, requirements: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = made(tmp_path, install="echo 'ERROR: hashes differ'; exit 1")
    with pytest.raises(Refusal):
        own.install(requirements)
    assert capsys.readouterr().err == "The packages cannot be installed: ERROR: hashes differ\n"
    assert not own.has(requirements)
    assert not own.unfinished.exists()


def test_no_network_is_said_in_one_line(
    tmp_path: Path, requirements: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cause = "NewConnectionError: Failed to establish a new connection: [Errno 111]"
    own = made(tmp_path, install=f"echo '{cause}'; exit 1")
    with pytest.raises(Refusal):
        own.install(requirements)
    said = capsys.readouterr().err
    assert said.startswith("The packages cannot be downloaded: no network")
    assert said.count("\n") == 1


def test_a_full_disk_is_said_in_one_line(
    tmp_path: Path, requirements: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cause = (
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    )
    own = made(tmp_path, install=f"echo '{cause}'; exit 1")
    with pytest.raises(Refusal):
        own.install(requirements)
    assert "the disk is full. Packages" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "clone it into a folder of your own"), (errno.ENOSPC, "make room")],
)
def test_a_folder_that_cannot_be_written_is_told_with_what_to_do(
    number: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path))

    (tmp_path / "requirements.txt").write_text("one==1.0\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.delenv("RELAY_ENVIRONMENT", raising=False)
    monkeypatch.setattr(Environment, "install", refuse)
    with pytest.raises(Refusal):
        ensure([])
    assert words in capsys.readouterr().err


def test_it_is_ready_when_nothing_is_left_to_make(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.delenv("RELAY_ENVIRONMENT", raising=False)
    assert not is_ready(requirements.name)
    made(tmp_path).install(requirements)
    assert is_ready(requirements.name)


def test_a_python_without_venv_is_told_what_to_install(
    tmp_path: Path,
    requirements: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec

    def without_ensurepip(name: str) -> ModuleSpec | None:
        return None if name == "ensurepip" else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", without_ensurepip)
    with pytest.raises(Refusal):
        Environment(tmp_path / ".venv").install(requirements)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"sudo apt install python{version}-venv" in capsys.readouterr().err


def test_an_image_that_says_so_needs_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("RELAY_ENVIRONMENT", "system")
    ensure([])
    assert list(tmp_path.iterdir()) == []


def test_the_same_start_over_and_over_is_refused(
    tmp_path: Path,
    requirements: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made(tmp_path).install(requirements)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("RELAY_RESTARTED", "1")
    with pytest.raises(Refusal):
        ensure([])
    assert "is not a working environment" in capsys.readouterr().err


def test_a_start_outside_goes_on_inside(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = made(tmp_path)
    own.install(requirements)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("RELAY_RESTARTED", "")
    started: list[list[str]] = []

    def note(_program: str, arguments: list[str]) -> None:
        started.append(arguments)

    monkeypatch.setattr(os, "execv", note)
    ensure(["--demo"], requirements.name)
    assert started == [[str(own.python), str(tmp_path / "run.py"), "--demo"]]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_pinned_package_has_a_hash(name: str) -> None:
    text = (ROOT / name).read_text()
    blocks = [block for block in text.split("\n") if "==" in block and not block.startswith(" ")]
    assert len(PINNED.findall(text)) == len(blocks) > 20
    assert text.count("--hash=sha256:") >= len(blocks)
