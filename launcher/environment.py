"""The environment of packages: made next to run.py once, recognised in milliseconds afterwards."""

import errno
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from launcher.terminal import Progress, Refusal, say

ROOT = Path(__file__).resolve().parent.parent
RUNTIME, DEVELOPMENT = "requirements.txt", "requirements-dev.txt"
SYSTEM = "RELAY_ENVIRONMENT"  # "system": this Python has everything, as in the Docker image
RESTARTED = "RELAY_RESTARTED"  # guards against starting ourselves again and again
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)\s*(;.*?)?\\?$", re.MULTILINE)
ROOM = "Packages and an empty database take 400 MB: make room, then start again."
NO_NETWORK = (
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Name or service not known",
    "Network is unreachable",
    "Connection refused",
    "ConnectTimeout",
    "Read timed out",
    "ProxyError",
)


class Environment:
    """A virtual environment in ``folder``, with a marker for each requirements file in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.unfinished = folder / ".unfinished"

    def has(self, requirements: Path) -> bool:
        """Whether exactly these requirements were installed, completely, for its own Python."""
        if self.unfinished.exists() or not self.python.exists():
            return False
        marker = self._marker(requirements)
        return marker.exists() and marker.read_text() == _fingerprint(requirements, self.folder)

    def install(self, requirements: Path) -> None:
        """Make it and install; what a killed earlier try left behind is thrown away first."""
        if not self._is_sound():
            self._make()
        self.unfinished.touch()
        try:
            _pip_install(self.python, requirements)
        except Refusal:  # pip ended by itself, and has put back what it had begun to change
            self.unfinished.unlink()
            raise
        self._marker(requirements).write_text(_fingerprint(requirements, self.folder))
        self.unfinished.unlink()

    def is_ours(self) -> bool:
        """Whether this very process runs in it."""
        return Path(sys.prefix).resolve() == self.folder.resolve()

    def _marker(self, requirements: Path) -> Path:
        return self.folder / f".installed-{requirements.stem}"

    def _is_sound(self) -> bool:
        if self.unfinished.exists() or not self.python.exists():
            return False
        asked = [self.python, "-m", "pip", "--version"]
        return subprocess.run(asked, check=False, capture_output=True).returncode == 0

    def _make(self) -> None:
        if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
            raise Refusal(
                "This Python cannot make environments: install its venv package "
                f"(Debian, Ubuntu: sudo apt install python{sys.version_info[0]}."
                f"{sys.version_info[1]}-venv), then start again."
            )
        progress = Progress(f"Making the environment {self.folder}")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.unfinished.touch()
        base = getattr(sys, "_base_executable", sys.executable)  # ours may be in what was removed
        done = subprocess.run(
            [base, "-m", "venv", self.folder], check=False, capture_output=True, text=True
        )
        if done.returncode:
            progress.abandoned()
            raise Refusal(
                f"The environment cannot be made: {_last_line(done.stdout + done.stderr)}"
            )
        progress.done()


def _fingerprint(requirements: Path, folder: Path) -> str:
    """Stand for the file and for the Python the packages are for: a system upgrade changes it."""
    python = os.fsencode((folder / "bin" / "python").resolve())
    return hashlib.sha256(requirements.read_bytes() + python).hexdigest()


def ensure(arguments: Sequence[str], requirements: str = RUNTIME) -> None:
    """Return inside an environment that has ``requirements``: this one, or by starting again.

    Raises Refusal, with one line that says what to do, where that is impossible.
    """
    wanted, environment = ROOT / requirements, Environment(ROOT / ".venv")
    if os.environ.get(SYSTEM) == "system" or _is_complete_elsewhere(environment, wanted):
        return
    if not environment.has(wanted):
        _prepare(environment, wanted)
    if environment.is_ours():
        return
    if os.environ.get(RESTARTED):
        raise Refusal(
            f"{environment.python} is not a working environment: remove {ROOT / '.venv'}."
        )
    os.environ[RESTARTED] = "1"
    sys.stdout.flush()
    python = str(environment.python)
    os.execv(python, [python, str(ROOT / "run.py"), *arguments])  # noqa: S606  no shell is wanted


def is_ready(requirements: str = RUNTIME) -> bool:
    """Whether `ensure` would have nothing to make."""
    wanted, own = ROOT / requirements, Environment(ROOT / ".venv")
    elsewhere = os.environ.get(SYSTEM) == "system" or _is_complete_elsewhere(own, wanted)
    return elsewhere or own.has(wanted)


def install_runtime() -> None:
    """Make the environment and start nothing: for a service, whose own account may not."""
    _install(RUNTIME)


def install_development() -> None:
    """Make the environment with what tests and checks need, for `.ci/run`."""
    _install(DEVELOPMENT)


def _install(requirements: str) -> None:
    wanted, environment = ROOT / requirements, Environment(ROOT / ".venv")
    if not environment.has(wanted):
        _prepare(environment, wanted)


def _prepare(environment: Environment, wanted: Path) -> None:
    try:
        with _alone_in(ROOT):
            if not environment.has(wanted):  # another run may have made it while we waited
                environment.install(wanted)
    except OSError as error:
        raise Refusal(f"The environment cannot be made in {ROOT}: {_cure(error)}") from None
    except KeyboardInterrupt:
        raise Refusal("\nInterrupted: the next start begins the environment anew.", 130) from None


def _cure(error: OSError) -> str:
    """What is wrong with the folder, and what to do about it."""
    why = f"{error.strerror} ({error.filename})" if error.filename else str(error)
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return f"{why}. Start as its owner, or clone it into a folder of your own."
        case errno.EROFS:
            return f"{why}. Clone it where you may write."
        case errno.ENOSPC | errno.EDQUOT:
            return f"{why}. {ROOM}"
        case _:
            return why


def _is_complete_elsewhere(own: Environment, wanted: Path) -> bool:
    """Whether we run in somebody's virtual environment that has every pinned package."""
    if sys.prefix == sys.base_prefix or own.is_ours():
        return False
    return all(
        _installed(name) == version
        for name, version, condition in PINNED.findall(wanted.read_text())
        if not condition
    )


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pip_install(python: Path, requirements: Path) -> None:
    total = len(PINNED.findall(requirements.read_text()))
    progress = Progress(f"Installing {total} packages of {requirements.name}")
    command = [python, "-m", "pip", "install", "--require-hashes", "--only-binary", ":all:"]
    options = ["--retries", "2", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    with subprocess.Popen(
        [*command, *options, "-r", requirements],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as pip:
        output = _follow(pip, progress, total)
    if pip.returncode:
        progress.abandoned()
        raise Refusal(_why(output))
    progress.done(f"{total} packages")


def _follow(pip: subprocess.Popen[str], progress: Progress, total: int) -> str:
    assert pip.stdout is not None
    lines: list[str] = []
    collected = 0
    for line in pip.stdout:
        lines.append(line)
        if line.startswith("Collecting "):
            collected += 1
            progress.step(f"{collected}/{total} {line.split()[1].partition('=')[0]}")
        elif line.startswith("Installing collected"):
            progress.step("unpacking")
    return "".join(lines)


def _why(output: str) -> str:
    errors = [line for line in output.splitlines() if line.startswith("ERROR")]
    if os.strerror(errno.ENOSPC) in output:
        return f"The packages cannot be installed: the disk is full. {ROOM}"
    if any(sign in output for sign in NO_NETWORK):
        return (
            "The packages cannot be downloaded: no network, or the package index is out of reach. "
            f"Check the connection or proxy, then start again. ({_last_line(output)})"
        )
    return f"The packages cannot be installed: {errors[-1] if errors else _last_line(output)}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"


@contextmanager
def _alone_in(folder: Path) -> Generator[None]:
    """Let one run at a time prepare the environment; the lock is on the folder itself."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another run is preparing the environment: waiting for it …")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
