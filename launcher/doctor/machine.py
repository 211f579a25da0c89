"""The machine and its files, looked at with nothing but Python: what a fresh one may lack."""

import http.client
import json
import os
import pwd
import re
import shutil
import socket
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from launcher import credentials
from launcher.doctor.findings import FILES, MACHINE, PORT, Finding
from launcher.environment import RUNTIME, is_ready

OLDEST = (3, 11)
FULL, NARROW = 200_000_000, 2_000_000_000
"""Bytes of room: below the first nothing may be stored soon, below the second look after it."""

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  we ask there, and listen nowhere
PATIENCE = 3
SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|URL")
PRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def given() -> dict[str, str]:
    """The environment over `.env`, as the relay reads them; blank values are none."""
    env_file = Path(".env")
    found = credentials.read(env_file) if os.access(env_file, os.R_OK) else {}
    found |= dict(os.environ)
    return {name: value for name, value in found.items() if value}


def data_folder(settings: Mapping[str, str]) -> Path:
    return Path(settings.get("DATA_DIR") or "data").resolve()


def readable(folder: Path) -> bool:
    """Whether we may read the settings and secrets, as far as they are there."""
    if os.access(folder, os.F_OK) and not os.access(folder, os.R_OK | os.X_OK):
        return False
    return all(os.access(path, os.R_OK) for path in _secrets(folder))


def _secrets(folder: Path) -> list[Path]:
    files = (folder / credentials.FILE, Path(".env").resolve())
    return [path for path in files if os.access(path, os.F_OK)]


def examine(folder: Path, host: str, port: int) -> list[Finding]:
    """Everything of this module; ``folder`` need not be there."""
    return [
        python(sys.version_info[:3], complete=_can_make_environments()),
        packages(ready=is_ready(RUNTIME)),
        room(folder, *_room(folder)),
        *files(folder),
        listening(host, port),
    ]


# ── Python, packages, room ──────────────────────────────────────────────────────────────────


def python(version: tuple[int, ...], *, complete: bool) -> Finding:
    words = ".".join(map(str, version))
    if version < OLDEST:
        return MACHINE.fails("Python", words, "install Python 3.11 or newer")
    if not complete:
        package = f"python{version[0]}.{version[1]}-venv"
        return MACHINE.warning(
            "Python",
            f"{words}, which cannot make environments",
            f"needed for the first start and for upgrades: sudo apt install {package}",
        )
    return MACHINE.ok("Python", f"{words}, {sys.executable}")


def _can_make_environments() -> bool:
    return bool(find_spec("venv") and find_spec("ensurepip")) or os.environ.get(
        "RELAY_ENVIRONMENT"
    ) == ("system")


def packages(*, ready: bool) -> Finding:
    if ready:
        return MACHINE.ok("packages", f"as {RUNTIME} names them")
    return MACHINE.warning(
        "packages",
        "not installed, or not those of this version: most of what follows needs them",
        "python run.py installs them (it needs the network once)",
    )


def _room(folder: Path) -> tuple[int, int]:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    found = os.statvfs(there)
    return shutil.disk_usage(there).free, found.f_favail if found.f_files else 1


def room(folder: Path, free: int, inodes: int) -> Finding:
    """Whether there is room where the data is, or will be."""
    words = f"{free / 1e9:,.1f} GB free for {folder}"
    if free < FULL or inodes == 0:
        return MACHINE.fails(
            "disk room",
            words if inodes else f"no more files can be made for {folder}",
            "make room now: without it alerts are answered 503 and nothing is stored",
        )
    if free < NARROW:
        return MACHINE.warning(
            "disk room", words, "make room, or shorten RETENTION_DAYS (docs/operations.md, Storage)"
        )
    return MACHINE.ok("disk room", words)


# ── Files and who may read them ─────────────────────────────────────────────────────────────


def files(folder: Path) -> list[Finding]:
    """The folder of the data, and what holds secrets."""
    there = _folder(folder) if os.access(folder, os.F_OK) else _to_be_made(folder)
    return [there, *map(secret, _secrets(folder))]


def _to_be_made(folder: Path) -> Finding:
    there = next(path for path in folder.parents if path.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        return FILES.ok("data folder", f"{folder} is not there yet: the first start makes it")
    return FILES.fails(
        "data folder",
        f"{folder} is not there, and {_me()} may not make it in {there}",
        "start in a folder of your own, or set DATA_DIR to one",
    )


def _folder(folder: Path) -> Finding:
    state = folder.stat()
    owner = _name(state.st_uid)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK) or _unwritable(folder):
        return FILES.fails(
            "data folder",
            f"{_me()} may not write all of {folder}; it is {owner}'s",
            f"run as {owner}; should all of it be {_me()}'s: sudo chown -R {_me()} {folder}",
        )
    if state.st_mode & 0o066:
        return _exposed("data folder", folder, state.st_mode, "700")
    words = f"{folder} ({stat.filemode(state.st_mode)}, {owner})"
    if os.geteuid() == 0 and state.st_uid != 0:
        words += f"; you are root: as {owner} the doctor sees what the relay sees"
    return FILES.ok("data folder", words)


def _ours(folder: Path) -> list[Path]:
    """What the relay itself writes; PostgreSQL sees to its own."""
    logs = folder / "logs"
    found = [folder, folder / credentials.FILE, logs, *logs.glob("*")]
    return [path for path in found if path.exists()]


def _unwritable(folder: Path) -> bool:
    return not all(os.access(path, os.W_OK) for path in _ours(folder))


def secret(path: Path) -> Finding:
    """A file that holds secrets."""
    name = path.name
    if not os.access(path, os.R_OK):
        owner = _name(path.stat().st_uid)
        return FILES.fails(
            name, f"{_me()} may not read {path}", f"run as {owner}, or: chown {_me()} {path}"
        )
    mode = path.stat().st_mode
    if mode & 0o077 and any(map(SECRET.search, credentials.read(path))):
        return _exposed(name, path, mode, "600")
    return FILES.ok(name, f"{path} ({stat.filemode(mode)})")


def _exposed(name: str, path: Path, mode: int, wanted: str) -> Finding:
    return FILES.warning(
        name,
        f"others on this machine can read {path} ({stat.filemode(mode)})",
        f"chmod {wanted} {path}",
    )


def _me() -> str:
    return _name(os.geteuid())


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# ── The port ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Listener:
    """Who answers at a port: our relay, somebody else, or nobody."""

    there: bool
    ours: bool = False


def listening(host: str, port: int) -> Finding:
    """Whether the relay can listen where it is told to, or does already."""
    try:
        found = ask(ANYWHERE.get(host, host), port)
    except OSError as error:  # a name that does not resolve
        return PORT.fails(
            "listening", f"HOST {host} leads nowhere: {error.strerror}", "correct HOST"
        )
    return judged(host, port, found, least=_least())


def ask(host: str, port: int) -> Listener:
    """Connect, and ask who it is by /health, which needs no token."""
    places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, number, _, place in places:
        with socket.socket(family, kind, number) as probe:
            probe.settimeout(PATIENCE)
            if probe.connect_ex(place) == 0:
                return Listener(there=True, ours=_is_ours(host, port))
    return Listener(there=False)


def _is_ours(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/health")
        return json.loads(connection.getresponse().read(1_000)) == {"status": "alive"}
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def _least() -> int:
    """The lowest port that this user may listen on."""
    if os.geteuid() == 0:
        return 1
    try:
        return int(PRIVILEGED.read_text())
    except (OSError, ValueError):
        return 1024


def judged(host: str, port: int, found: Listener, *, least: int) -> Finding:
    where = f"{host}:{port}"
    if found.ours:
        return PORT.ok("listening", f"the relay runs and answers on {where}")
    if found.there:
        return PORT.fails(
            "listening",
            f"another program listens on {where}, and the relay cannot",
            f"stop it (who is it: ss -ltnp 'sport = :{port}'), or set PORT to another",
        )
    if port < least:
        return PORT.fails(
            "listening",
            f"{_me()} may not listen on port {port}",
            "leave PORT at 8000 with a reverse proxy in front (docs/install.md)",
        )
    return PORT.ok("listening", f"{where} is free: the relay does not run")
