"""deploy/systemd without systemd: what a unit says, and its command in a fence like its own."""

import shlex
import socket
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from launcher.environment import ROOT
from tests.deploy import containers
from tests.end_to_end.stage import until

FOLDER = ROOT / "deploy/systemd"
NAME = "trading-signal-processor"
INSTALLED = f"/opt/{NAME}"
NOTIFY = "/run/systemd-notify"


def unit(name: str) -> dict[str, list[str]]:
    """What is assigned, in order; the names of a unit's sections do not collide here."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for line in (FOLDER / name).read_text().splitlines():
        if line and line[0] not in "#;[":
            key, sign, value = line.partition("=")
            assert sign, line
            found[key].append(value)
    return dict(found)


def environment(found: dict[str, list[str]], settings: str) -> dict[str, str]:
    """Its own, and what is in its EnvironmentFile."""
    words = [word for line in found["Environment"] for word in shlex.split(line)]
    lines = [line for line in settings.splitlines() if line and line[0] != "#"]
    return dict(one.split("=", 1) for one in [*words, *lines])


def command(found: dict[str, list[str]], state: Path, manager: Path) -> list[str]:
    """ExecStart as its user would run it: strict root, own /tmp and /dev, no capability, no home.

    What only systemd can: limits of memory, of calls of the system, of kinds of sockets.
    """
    assert found["ProtectSystem"] == ["strict"]
    [writable] = found["ReadWritePaths"]
    [start] = found["ExecStart"]
    [folder] = found["WorkingDirectory"]
    binds = {f"{INSTALLED}/.venv": Path(sys.prefix), writable: state, NOTIFY: manager}
    binds |= {f"{INSTALLED}/{one.name}": one for one in containers.files.in_image()}
    binds["/etc/passwd"] = _users(manager, found["User"][0])
    fence = containers.root(binds, user="977", writable=[writable, NOTIFY])
    return [*fence, "--chdir", folder, *shlex.split(start)]


def _users(folder: Path, name: str) -> Path:
    """PostgreSQL wants to know who runs it."""
    file = folder / "passwd"
    file.write_text(f"{name}:x:977:977::/nonexistent:/usr/sbin/nologin\n")
    return file


class Manager:
    """Stands for systemd at the other end of NOTIFY_SOCKET."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "socket"))
        self._socket.setblocking(False)

    @property
    def address(self) -> str:
        """Where the relay finds it."""
        return f"{NOTIFY}/socket"

    def hear(self, alive: Callable[[], bool], journal: Path) -> list[str]:
        """The next message of who is still alive."""
        found: list[str] = []

        def told() -> bool:
            assert alive(), journal.read_text()
            with suppress(BlockingIOError):
                found.extend(self._socket.recv(4096).decode().splitlines())
            return bool(found)

        until(told, 90, f"a message to systemd (see {journal})")
        return found

    def close(self) -> None:
        self._socket.close()
