"""A clone in an empty folder, with empty home and caches: how long until it does its work.

`python -m bench fresh` runs the demo, as who asks and, for root, as an ordinary user too;
`--test` runs `run.py test` there instead. What is committed counts, not what lies beside it.
"""

import argparse
import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from bench.figures import Figure
from bench.stage import ROOT, free_port
from launcher import credentials

ORDINARY = "nobody"
PATIENCE, PATIENCE_OF_TESTS = 900, 7_200
"""Seconds: a slow index of packages is a finding too."""

PASSED_ON = ("PIP_", "SSL_", "REQUESTS_", "http_proxy", "https_proxy", "no_proxy", "LANG")
"""Beginnings of variables that say where packages come from."""

SYSTEMS = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Who:
    """Whom it is run as, and the Python that everybody in his place would have."""

    name: str
    uid: int
    gid: int
    python: str

    @property
    def is_me(self) -> bool:
        return self.uid == os.geteuid()

    def command(self, *arguments: str) -> list[str]:
        """His Python with these arguments, started by who may become him."""
        if self.is_me:
            return [self.python, *arguments]
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        return [*become, self.python, *arguments]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--test", action="store_true", help="fresh: run.py test instead of demo")


def options(given: argparse.Namespace) -> dict[str, Any]:
    return {"test": given.test}


def run(*, test: bool = False) -> list[Figure]:
    """Once as each; printed as it comes."""
    if _git("status", "--porcelain"):
        print("  (changes that are not committed are not in the clone)")
    found: list[Figure] = []
    for who in everybody():
        with clone(who) as (folder, took):
            tell = tested if test else shown
            found += tell(who, folder, took)
    for one in found:
        print(f"  {one.what}: {one.value:.1f} {one.unit}")
    return found


def everybody() -> list[Who]:
    me = pwd.getpwuid(os.geteuid())
    here = Who(me.pw_name, me.pw_uid, me.pw_gid, _base())
    if here.uid != 0:
        return [here]
    other = pwd.getpwnam(ORDINARY)
    return [here, _reaching(Who(other.pw_name, other.pw_uid, other.pw_gid, _base()))]


def _base() -> str:
    """The Python below this environment: its packages are not for the clone."""
    return str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())


def _reaching(who: Who) -> Who:
    """With a Python that he may run: root's own may be in root's home."""
    fits = (  # once it runs, it has to find itself
        "import os, sys, venv, ensurepip;"
        "sys.exit(sys.version_info < (3, 11) or not os.access(sys.executable, os.X_OK))"
    )
    for python in (who.python, shutil.which("python3", path=SYSTEMS)):
        him = replace(who, python=python or "")
        if python and not subprocess.call(him.command("-c", fits), cwd="/", stderr=DEVNULL):
            return him
    raise SystemExit(f"{who.name} has no Python 3.11 with venv here: as root nothing can be said")


@contextlib.contextmanager
def clone(who: Who) -> Generator[tuple[Path, float]]:
    """A folder of his with `clone`, `home` and `cache`; and how long the clone took."""
    folder = Path(tempfile.mkdtemp(prefix="fresh-"))
    try:
        folder.chmod(0o755)
        for name in ("home", "cache"):
            (folder / name).mkdir()
        began = time.perf_counter()
        _git("clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder / "clone"))
        took = time.perf_counter() - began
        if not who.is_me:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, who.uid, who.gid, follow_symlinks=False)
        yield folder, took
    finally:
        shutil.rmtree(folder)


def _git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True)


def environment(who: Who, folder: Path, ours: Mapping[str, str]) -> dict[str, str]:
    """An empty home and caches; of ours only what says where packages come from."""
    return {name: value for name, value in ours.items() if name.startswith(PASSED_ON)} | {
        "PATH": f"{Path(who.python).parent}:{SYSTEMS}",
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PIP_CACHE_DIR": str(folder / "cache" / "pip"),
        "USER": who.name,
    }


def started(who: Who, folder: Path, *arguments: str, port: int = 0) -> subprocess.Popen[bytes]:
    """run.py in the clone, with nothing of this machine but Python and where packages are."""
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            who.command("run.py", *arguments),
            cwd=folder / "clone",
            env=environment(who, folder, os.environ) | ({"PORT": str(port)} if port else {}),
            stdin=DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


# ── The demo ────────────────────────────────────────────────────────────────────────────────


def shown(who: Who, folder: Path, took: float) -> list[Figure]:
    """Seconds from the clone to the first page, and to the first signal that was forwarded."""
    port, began = free_port(), time.perf_counter()
    relay = started(who, folder, "--demo", port=port)
    try:
        page = _until(lambda: _page(port), relay, folder, began) + took
        forwarded = _until(lambda: _forwarded(port, folder), relay, folder, began) + took
    finally:
        _end(relay)
    name = "root" if who.uid == 0 else "an ordinary user"
    return [
        Figure(what=f"fresh: clone, as {name}", value=took, unit="s"),
        Figure(what=f"fresh: clone to first page, as {name}", value=page, unit="s"),
        Figure(what=f"fresh: clone to first forwarded, as {name}", value=forwarded, unit="s"),
    ]


def _until(
    there: Callable[[], bool], relay: subprocess.Popen[bytes], folder: Path, began: float
) -> float:
    """Seconds since ``began`` until it is so."""
    while not there():
        if relay.poll() is not None or time.perf_counter() - began > PATIENCE:
            raise SystemExit(f"It ended, or took too long:\n{_output(folder)}")
        time.sleep(0.05)
    return time.perf_counter() - began


def _output(folder: Path) -> str:
    return (folder / "output").read_text(errors="replace")[-3_000:]


def _page(port: int) -> bool:
    return _get(port, "/admin/login") is not None


def _forwarded(port: int, folder: Path) -> bool:
    secrets = credentials.read(next((folder / "clone").glob("data/demo/**/secrets.env")))
    answer = _get(port, "/api/deliveries?state=delivered&limit=1", secrets["ADMIN_TOKEN"])
    return bool(answer and json.loads(answer)["items"])


def _get(port: int, path: str, token: str = "") -> bytes | None:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.read()
    except (urllib.error.URLError, OSError):
        return None


def _end(relay: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does; PostgreSQL ends with it."""
    relay.send_signal(signal.SIGINT)
    try:
        relay.wait(60)
    except subprocess.TimeoutExpired:
        relay.kill()
        relay.wait()


# ── The tests ───────────────────────────────────────────────────────────────────────────────


def tested(who: Who, folder: Path, took: float) -> list[Figure]:
    """Seconds from the clone to the end of all tests. Raises SystemExit when one fails."""
    began = time.perf_counter()
    running = started(who, folder, "test")
    try:
        code = running.wait(PATIENCE_OF_TESTS)
    finally:
        if running.poll() is None:
            _end(running)
    seconds = time.perf_counter() - began + took
    print(f"  as {who.name}: {_output(folder).strip().splitlines()[-1]}")
    if code:
        raise SystemExit(f"run.py test as {who.name} ended with {code}:\n{_output(folder)}")
    name = "root" if who.uid == 0 else "an ordinary user"
    return [Figure(what=f"fresh: clone to tested, as {name}", value=seconds, unit="s")]
