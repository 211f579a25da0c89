"""Two processes behind one port: one is killed, nothing acknowledged is lost, it comes back."""

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.stage import ADMIN_TOKEN, CALLER, Relay, alert, until, world
from tests.launcher.programs import lives

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

SETTINGS = {"DEST_WEBHOOK_RATE_LIMITING_ENABLED": "false", "BUY_TTL_SEC": "900", "WORKERS": "2"}


def processes(relay: Relay) -> dict[int, int]:
    """The processes there are: their ids by number."""
    found: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        words: list[bytes] = []
        with suppress(OSError):  # ended meanwhile
            words = entry.read_bytes().split(b"\0")
        if b"process" in words and _parent(entry.parent) == relay.process.pid:  # pyright: ignore[reportOptionalMemberAccess]  it runs
            found[int(words[words.index(b"process") + 1])] = int(entry.parent.name)
    return found


def _parent(folder: Path) -> int:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def up(relay: Relay) -> list[str]:
    """Which of them tell their metrics, whoever is asked."""
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    with suppress(httpx.HTTPError):  # not now
        said = CALLER.get(f"{relay.url}/metrics", headers=headers).raise_for_status().text
        return [line for line in said.splitlines() if line.startswith("relay_process_up")]
    return []


BOTH = ['relay_process_up{process="1"} 1', 'relay_process_up{process="2"} 1']


def acknowledged(relay: Relay, body: str) -> str:
    """The signal that an alert became; repeated as a sender does when nobody answers."""
    for _ in range(4):
        with suppress(httpx.TransportError):  # its process was killed over it
            return relay.accepted(body)
    pytest.fail("nobody answered four times")


def test_a_killed_one_loses_nothing_and_comes_back_and_one_signal_ends_all(tmp_path: Path) -> None:
    with world(tmp_path / "relay", delay=0.02, settings=SETTINGS) as stage:
        relay = stage.relay
        until(lambda: up(relay) == BOTH, 60, "the second process")
        pids = processes(relay)
        sent = [acknowledged(relay, alert(one, "buy", 1)) for one in stage.tickers[:20]]
        os.kill(pids[1], signal.SIGKILL)
        sent += [acknowledged(relay, alert(one, "buy", 1)) for one in stage.tickers[20:40]]
        until(
            lambda: {one.id for one in stage.destination.arrivals} >= {*sent},
            90,
            "every acknowledged alert at the destination",
        )
        assert len({*sent}) == 40
        until(lambda: up(relay) == BOTH, 60, "the killed process")
        again = processes(relay)
        assert again[2] == pids[2]
        assert again[1] != pids[1]
        assert relay.stop() == 0
        assert relay.output().count("is ready.") == 1
        assert not any(lives(pid) for pid in again.values())
        with socket.socket() as one:
            assert one.connect_ex(("127.0.0.1", relay.port)) != 0
