"""A replica as a process: started, struck, measured."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.axis import now, until
from tests.chaos.proxy import Proxy
from tests.chaos.records import Sample
from tests.chaos.wire import ask
from tests.end_to_end.stage import ROOT, free_port

FAILPOINT = re.compile(r"^failpoint (\S+) (\S+)$", re.MULTILINE)
LONGEST_START = 120.0
TICK = 0.02
"""The times of files are no finer."""


@dataclass(slots=True, kw_only=True)
class Replica:
    """A process of the relay; ``up`` says whether a sender would choose it now, ``tended`` that
    somebody already does something about it.
    """

    name: str
    folder: Path
    proxy: Proxy
    settings: Mapping[str, str]
    port: int = field(default_factory=free_port)
    up: bool = False
    tended: bool = False
    began: float = 0.0
    starts: list[float] = field(default_factory=list[float])
    process: subprocess.Popen[bytes] | None = None
    _said: int = 0

    async def start(self, failpoints: str = "") -> None:
        """Start it and wait until it is ready."""
        self._spawn(failpoints)
        if await self._ready():
            self.starts.append(now() - self.began)
            self.up = True

    def _spawn(self, failpoints: str) -> None:
        self.folder.mkdir(exist_ok=True)
        self.began = now()
        output = self.folder / "output.log"
        self._said = output.stat().st_size if output.exists() else 0
        with output.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.replica"],
                cwd=self.folder,
                env=self._environment(failpoints),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    async def _ready(self) -> bool:
        """Wait until it says so; return False when it ended before."""
        seen = False

        async def is_ready_or_gone() -> bool:
            nonlocal seen
            seen = await self.is_ready()
            return seen or not self.lives

        await until(is_ready_or_gone, LONGEST_START)
        return seen

    async def is_ready(self) -> bool:
        return (await ask(self.port, "GET", "/health/ready", within=2)).status == 200

    def _environment(self, failpoints: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}  # noqa: TID251  handed on
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "PORT": str(self.port),
            "DATABASE_URL": f"postgresql+asyncpg://postgres@127.0.0.1:{self.proxy.port}/postgres",
            "FAILPOINTS": failpoints,
            "FAILPOINT_SEED": str(len(self.starts)),
            **self.settings,
        }

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def is_frozen(self) -> bool:
        """Whether it was stopped by a signal, its own or ours."""
        try:
            return ") T " in Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False

    def strike(self, number: signal.Signals) -> None:
        """Send a signal; a process that has just ended by itself gets none."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait)

    def struck_at(self) -> str:
        """The failpoint at which this life of it ended, if one did."""
        with (self.folder / "output.log").open("rb") as output:
            output.seek(self._said)
            found = FAILPOINT.findall(output.read().decode(errors="replace"))
        return found[-1][0] if found else ""

    def struck_since(self) -> float:
        """When it said so: a little before it was found."""
        return min(now(), (self.folder / "output.log").stat().st_mtime) - TICK

    def sample(self) -> Sample | None:
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
            descriptors = sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())
        except (OSError, AssertionError):
            return None
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        if not found:
            return None
        resident = int(found[1]) * 1024
        return Sample(at=now(), replica=self.name, resident=resident, descriptors=descriptors)
