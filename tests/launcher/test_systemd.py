"""What systemd is told, by its own socket and in its own words; nothing where it is not."""

import logging
import os
import socket
from collections.abc import Generator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from launcher import systemd


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Generator[socket.socket]:
    """Stands for systemd."""
    folder = Path(mkdtemp())  # a socket's path must be short
    address = f"@{folder}" if request.param == "abstract" else f"{folder}/s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield listening


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was written of it; of others there may be lines too."""
    return [one.message for one in caplog.records if one.name == systemd.__name__]


def test_lines_are_told_as_sd_notify_knows_them(manager: socket.socket) -> None:
    systemd.tell("READY=1", "STATUS=Serving.")
    assert manager.recv(1000) == b"READY=1\nSTATUS=Serving."


async def test_who_is_watched_beats_and_nobody_else(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.beat()
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    systemd.beat()
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    beating = systemd.beating()
    assert beating["timeout_notify"] == 15
    await beating["callback_notify"]()
    manager.setblocking(False)
    assert manager.recv(1000) == b"WATCHDOG=1"
    with pytest.raises(BlockingIOError):
        manager.recv(1000)


def test_without_systemd_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert systemd.beating() == {}
    systemd.tell("READY=1")
    assert said(caplog) == []


def test_who_does_not_listen_any_more_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    with caplog.at_level(logging.WARNING):
        systemd.tell("READY=1")
    assert said(caplog) == ["systemd.not_told"]
