"""A durable PostgreSQL of our own that can be crashed, stopped, filled up and started again."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from launcher.postgres import PORT, SETTINGS, LocalPostgres
from launcher.postgres_programs import Programs, as_allowed, environment, find

MOST_CONNECTIONS = "300"
"""Three replicas, and what a black hole leaves behind of theirs."""
LONGEST_START = 180
SMALL = {"max_wal_size": "64MB", "min_wal_size": "32MB"}


@dataclass(slots=True)
class Server:
    """As the launcher would start it, fsync and all; but whether it lives is ours to say."""

    folder: Path
    programs: Programs = field(init=False)
    starts: int = 0
    _data: Path = field(init=False)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self._data.parent / f".s.PGSQL.{PORT}"

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@/postgres?host={quote(str(self._data.parent))}&port={PORT}"

    @property
    def full(self) -> bool:
        """Whether the disk can be filled: only where it is one of our own."""
        return self.folder.is_mount()

    async def create(self) -> None:
        def made() -> Path:
            with LocalPostgres(self.folder) as postgres:
                return postgres.folder

        root = await asyncio.to_thread(made)
        self._data = root / "data"
        self.programs = as_allowed(find(), root)

    async def start(self) -> None:
        """Start it and wait until it answers; a disk that is still full is waited out.

        Raises TimeoutError where it never does: its log says why.
        """
        async with asyncio.timeout(LONGEST_START):
            while True:
                self._spawn()
                if await self._answers():
                    return
                await asyncio.sleep(0.2)

    def _spawn(self) -> None:
        settings = SETTINGS | SMALL | {"max_connections": MOST_CONNECTIONS}
        settings["unix_socket_directories"] = str(self._data.parent)
        flags = [f"-c{name}={value}" for name, value in settings.items()]
        command = self.programs.command("postgres", "-D", self._data, *flags, ends_with=os.getpid())
        with (self.folder.parent / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment(),
                cwd="/",
            )
        self.starts += 1

    async def _answers(self) -> bool:
        """Return False when it ended before it answered."""
        assert self._process is not None
        while self._process.poll() is None:
            if self._is_ready(self._process.pid):
                return True
            await asyncio.sleep(0.02)
        return False

    def _is_ready(self, pid: int) -> bool:
        """Read line 8 of postmaster.pid; a file of a killed server says "ready" too."""
        with suppress(FileNotFoundError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[7].strip() == "ready" and lines[0].strip() == str(pid)
        return False

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def crash(self) -> None:
        """Kill -9 of every process at one moment: the first is frozen, so that none is added."""
        assert self._process is not None
        first = self._process.pid
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGSTOP)
            doomed = [*children_of(first), first]
            for pid in doomed:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await self._ended()

    async def stop(self) -> None:
        """The fast shutdown of an operator: connections are told, what is committed stays."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        await self._ended()

    async def _ended(self) -> None:
        assert self._process is not None
        await asyncio.to_thread(self._process.wait)

    # ── A disk of its own ───────────────────────────────────────────────────────────────────

    def fill(self) -> None:
        """Write ballast until nothing more fits."""
        with (self.folder / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while ballast.write(b"\0" * 65_536):
                pass

    def clear(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)


def children_of(parent: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            after_name = stat.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent:
                yield int(stat.parent.name)
