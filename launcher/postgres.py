"""The embedded PostgreSQL: ours alone, on a socket only, supervised, stopped on every exit."""

import fcntl
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

from launcher.postgres_programs import (
    BUILTIN_LOCALE,
    PostgresError,
    as_allowed,
    environment,
    find,
)

log = logging.getLogger(__name__)

PORT = 5432  # part of the socket's name; nothing listens on TCP
LONGEST_SOCKET_FOLDER = 80  # a socket's whole path may have 103 bytes on macOS, 107 on Linux
QUICK = 10.0  # seconds: who dies sooner than this did not really start
PATIENCE_AT_START, PATIENCE = 5, 10  # quick failures in a row
LONGEST_START = 300.0  # seconds, recovery after a crash included
LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")

LEAST_CONNECTIONS, OTHERS = 100, 20  # beside our own: psql, backups

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "shared_buffers": "64MB",
    "jit": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    "log_error_verbosity": "terse",  # details and statements would put alert bodies into the log
    "log_min_error_statement": "panic",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class AlreadyRunningError(PostgresError):
    """Another process of ours holds this data directory."""


class LocalPostgres:
    """A PostgreSQL server that lives as long as this context, under ``root``/postgres-MAJOR.

    ``durable=False`` is for tests: a crash of the machine may lose everything. ``say`` gets what a
    waiting person should know; ``on_lost`` is called, from another thread, when the server keeps
    dying and is given up. Raises PostgresError, whose text is one line.
    """

    def __init__(
        self,
        root: Path,
        *,
        durable: bool = True,
        connections: int = 0,
        say: Callable[[str], None] = log.info,
        on_lost: Callable[[str], None] = log.critical,
    ) -> None:
        self._durable, self._say, self._on_lost = durable, say, on_lost
        self._connections = max(LEAST_CONNECTIONS, connections + OTHERS)
        self._base = root.resolve()
        self._guard, self._stopping = threading.Lock(), threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="postgres", daemon=True)
        self._process: subprocess.Popen[str] | None = None
        self._lock: IO[str] | None = None
        self._last_words = ""
        self._ready_once = False
        self.lost = ""
        self.restarts = 0

    @property
    def url(self) -> str:
        """For SQLAlchemy on asyncpg."""
        return self.dsn.replace("postgresql:", "postgresql+asyncpg:", 1)

    @property
    def dsn(self) -> str:
        """For asyncpg itself."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._sockets))}&port={PORT}"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def version(self) -> int:
        return self._programs.major

    @property
    def folder(self) -> Path:
        return self._root

    @classmethod
    def running(cls, root: Path) -> str:
        """For SQLAlchemy: the address of the one that another process of ours has started."""
        for data in sorted(root.resolve().glob("postgres-*/data")):
            lines = _pid_file(data)
            if len(lines) > 4 and lines[4].strip():
                sockets = quote(lines[4].strip())
                return f"postgresql+asyncpg://postgres@/postgres?host={sockets}&port={PORT}"
        raise PostgresError(f"The PostgreSQL of {root} is starting or stopping: try again.")

    def __enter__(self) -> Self:
        try:
            self._start()
        except OSError as error:
            self.stop()
            raise PostgresError(f"The embedded PostgreSQL cannot start: {error}") from error
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the server: politely, then firmly, then by force. Harmless when not running."""
        with self._guard:
            self._stopping.set()
        for number, patience in ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
            if not self._supervisor.is_alive():
                break
            if self._process:
                self._process.send_signal(number)
            self._supervisor.join(patience)
        if self._lock:
            self._lock.close()
        if hasattr(self, "_sockets") and self._sockets != self._root:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _start(self) -> None:
        programs = find()
        self._root = self._base / f"postgres-{programs.major}"
        self._data, self._log = self._root / "data", self._root / "postgres.log"
        self._refuse_another_major()
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        self._programs = as_allowed(programs, self._root)
        self._sockets = self._socket_folder()
        self._take_over()
        if not (self._data / "PG_VERSION").exists():
            self._create()
        self._supervisor.start()
        self._wait_until_ready()

    def _refuse_another_major(self) -> None:
        others = [path for path in self._base.glob("postgres-*/data") if path.parent != self._root]
        if others and not self._data.exists():
            major = others[-1].parent.name.removeprefix("postgres-")
            raise PostgresError(
                f"{self._base} holds data of PostgreSQL {major}, and this is {self._root.name}: "
                f"set PG_BIN to the programs of {major}, and stay with them or take a backup by"
                " them and restore it here (docs/backup.md)."
            )

    def _take_lock(self) -> None:
        lock = (self._root / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.readline().strip() or "unknown"
            lock.close()
            raise AlreadyRunningError(
                f"Already running: process {holder} uses {self._root}; stop it, or set another "
                "DATA_DIR."
            ) from None
        lock.seek(0)
        _, _, elsewhere = lock.read().strip().partition("\n")
        if elsewhere:  # a killed run could not remove its socket's folder
            shutil.rmtree(elsewhere, ignore_errors=True)
        self._lock = lock
        self._note()

    def _note(self, socket_folder: str = "") -> None:
        """Write into the lock who holds it, and what to clear away if we cannot."""
        assert self._lock is not None
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n{socket_folder}")
        self._lock.flush()

    def _socket_folder(self) -> Path:
        if len(os.fsencode(self._root)) < LONGEST_SOCKET_FOLDER:
            return self._root
        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._note(str(folder))
        if os.geteuid() == 0:
            owner = self._root.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
        return folder

    def _create(self) -> None:
        """Run initdb beside the final place, so that a half-made cluster is never opened."""
        began = time.monotonic()
        self._say(f"Creating the database in {self._root} …")
        unfinished = self._root / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        options = ["-D", unfinished, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        options += LOCALE if self._programs.major >= BUILTIN_LOCALE else ()
        options += () if self._durable else ("--no-sync",)
        done = self._programs.run("initdb", *options)
        if done.returncode:
            raise PostgresError(f"The database cannot be created: {_last_line(done.stderr)}")
        unfinished.rename(self._data)
        self._say(f"Database created in {time.monotonic() - began:.1f} s.")

    def _take_over(self) -> None:
        """Stop a server whose run.py was killed: only one may have these files."""
        for mode, seconds in (("fast", "20"), ("immediate", "10")):
            pid = _recorded_pid(self._data)
            if not pid or not _is_alive(pid):
                return
            if not _serves(pid, self._data):
                self._forget(pid)
                return
            self._say(f"Stopping the PostgreSQL (process {pid}) that a killed run left behind …")
            self._programs.run("pg_ctl", "stop", "-D", self._data, "-m", mode, "-w", "-t", seconds)
        if (pid := _recorded_pid(self._data)) and _serves(pid, self._data):
            raise PostgresError(f"PostgreSQL of a killed run, process {pid}, does not stop.")

    def _forget(self, pid: int) -> None:
        """Drop the record of a dead server whose number another process has got since.

        PostgreSQL would take that process for the server and refuse to start.
        """
        if Path("/proc/self/cwd").exists() and not _any_in(self._data):
            log.warning("postgres.stale_pid", extra={"pid": pid})
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _supervise(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            end = self._live()
            if self._stopping.is_set():
                return
            failures = failures + 1 if time.monotonic() - began < QUICK else 1
            if failures >= (PATIENCE if self._ready_once else PATIENCE_AT_START):
                self._give_up(failures, end)
                return
            pause = min(0.1 * 2 ** (failures - 1), 5.0)
            log.error("postgres.died", extra={"end": end, "restart_in_sec": pause})
            self._stopping.wait(pause)
            self.restarts += 1

    def _give_up(self, failures: int, end: str) -> None:
        words = f": {self._last_words}" if self._last_words else ""
        lost = f"PostgreSQL ended {failures} times in a row ({end}{words}); see {self._log}"
        log.critical("postgres.lost", extra={"problem": lost})
        self.lost = lost
        if self._ready_once:
            self._on_lost(lost)

    def _live(self) -> str:
        """One life of the server, from start to end; return how it ended."""
        settings = SETTINGS | ({} if self._durable else NOT_DURABLE)
        settings["max_connections"] = str(self._connections)
        settings["unix_socket_directories"] = '"' + str(self._sockets).replace('"', '""') + '"'
        flags = [f"-c{name}={value}" for name, value in settings.items()]
        command = self._programs.command(
            "postgres", "-D", self._data, *flags, ends_with=os.getpid()
        )
        with self._guard:
            if self._stopping.is_set():
                return "stopped"
            try:
                self._process = _spawn(command)
            except OSError as error:
                return str(error)
        self._keep_log(self._process)
        code = self._process.wait()
        return f"exit code {code}" if code >= 0 else f"signal {-code}"

    def _keep_log(self, process: subprocess.Popen[str]) -> None:
        """Write what the server says, until the last process of it has ended."""
        handler = RotatingFileHandler(self._log, maxBytes=5_000_000, backupCount=2)
        assert process.stderr is not None
        with process.stderr, closing(handler):
            for line in process.stderr:
                if "FATAL" in line or "PANIC" in line or "could not" in line:
                    self._last_words = line.rpartition("] ")[2].strip()
                handler.emit(logging.makeLogRecord({"msg": line.rstrip("\n")}))

    def _wait_until_ready(self) -> None:
        began, patient = time.monotonic(), False
        while not self._is_ready():
            if self.lost:
                raise PostgresError(self.lost)
            waited = time.monotonic() - began
            if waited > LONGEST_START:
                raise PostgresError(f"PostgreSQL is not ready after {waited:.0f} s; {self._log}")
            if waited > 5 and not patient:
                self._say("PostgreSQL is still starting (after a crash it reads its journal) …")
                patient = True
            time.sleep(0.01)
        self._ready_once = True

    def _is_ready(self) -> bool:
        """Read line 8 of postmaster.pid; a file of a killed server says "ready" too."""
        lines = _pid_file(self._data)
        return len(lines) > 7 and lines[7].strip() == "ready" and lines[0].strip() == str(self.pid)


def _spawn(command: list[str]) -> subprocess.Popen[str]:
    """Start a server in a session of its own: a Ctrl-C in the terminal is for us alone."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment(),
        cwd="/",
        text=True,
        errors="replace",
    )


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _recorded_pid(data: Path) -> int:
    lines = _pid_file(data)
    return int(lines[0]) if lines and lines[0].strip().isdigit() else 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _serves(pid: int, data: Path) -> bool:
    """Whether ``pid`` is the PostgreSQL of ``data`` and not a process that got its number."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except FileNotFoundError:
        command = subprocess.run(  # /proc exists only on Linux
            ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607  wherever ps is
            check=False,
            capture_output=True,
        ).stdout
    return os.fsencode(data) in command


def _any_in(data: Path) -> bool:
    """Whether any process works inside ``data``, as every process of a PostgreSQL does."""
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):  # ended meanwhile, or another user's
            if link.readlink() == data:
                return True
    return False


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
