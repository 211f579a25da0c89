"""The machine: what it is, what a tree of processes spends on it, and what all others do."""

import os
import platform
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from launcher.postgres_programs import find

TICK = os.sysconf("SC_CLK_TCK")
NOT_WORK = (3, 4, 5, 6)
"""Of the columns of /proc/stat: idle and waiting; interrupts, which are nobody's."""

PACKAGES = ("uvicorn", "uvloop", "httptools", "sqlalchemy", "asyncpg", "httpx")


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds since the boot: of all processes, and of ours."""

    at: float
    everybody: float
    ours: float


def described() -> dict[str, Any]:
    """What a reader must know of the machine to read absolute figures."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_model()}",
        "system": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "postgres": find().major,
        "packages": {name: version(name) for name in PACKAGES},
        "load before": round(os.getloadavg()[0], 2),
    }


def disk_waits(seconds: float, rate: int) -> list[float]:
    """How long each of ``rate`` writes of 8 kB a second took to be on the disk, in seconds.

    On the disk where a benchmark has its database; what else the machine does is in it.
    """
    found: list[float] = []
    with NamedTemporaryFile() as file:
        file.write(bytes(1 << 24))  # as PostgreSQL does: the log has its size before it is written
        file.flush()
        os.fsync(file.fileno())
        for number in range(int(seconds * rate)):
            os.pwrite(file.fileno(), bytes(8192), number % 2_000 * 8192)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            found.append(time.perf_counter() - began)
            time.sleep(max(0.0, 1 / rate - found[-1]))
    return found


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown model"


def fields(pid: int) -> list[str]:
    """/proc/PID/stat from the state on: its third field is the first here."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def own_seconds(pid: int) -> float:
    """CPU seconds of one process, its children apart."""
    found = fields(pid)
    return (int(found[11]) + int(found[12])) / TICK


def tree(root: int) -> set[int]:
    """A process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                parents[int(entry.name)] = int(fields(int(entry.name))[1])
    found, size = {root}, 0
    while size != len(found):
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


def seconds_of(pids: Iterable[int]) -> float:
    """CPU seconds of these processes and of those of their children that have ended."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += sum(int(field) for field in fields(pid)[11:15])
    return total / TICK


def spent() -> Spent:
    columns = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    work = sum(int(one) for place, one in enumerate(columns) if place not in NOT_WORK)
    return Spent(time.perf_counter(), work / TICK, seconds_of(tree(os.getpid())))


def others(before: Spent, after: Spent) -> float:
    """How many cores' worth of work those took that are not ours, a hypervisor's share included."""
    mine = after.ours - before.ours
    return max(0.0, after.everybody - before.everybody - mine) / (after.at - before.at)


def memory_mb(pid: int) -> dict[str, float]:
    """Resident and proportional memory of one process."""
    found: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in {"Rss", "Pss"}:
            found[name] = int(value.split()[0]) * 1024 / 1e6
    return found
