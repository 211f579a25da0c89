"""Several processes of the relay behind one port: started together, watched, stopped together."""

import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeAlias

from config import Settings
from launcher import systemd
from launcher.environment import ROOT
from launcher.server import STOPPED_AT_ONCE, NoStartError, ending_signals
from launcher.terminal import say

log = logging.getLogger(__name__)

COMMAND = (sys.executable, str(ROOT / "run.py"), "process")
QUICK = 10.0  # seconds: who ends sooner than this did not really start
PATIENCE_AT_START, PATIENCE = 5, 10  # quick ends in a row
LONGEST_PAUSE = 5.0
SLACK = 20.0  # seconds to end beside the grace periods of connections, requests and workers


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is told, through a pipe that nobody else can read: it holds secrets."""

    number: int
    of: int
    settings: dict[str, Any]
    database_url: str
    data_folder: str
    meeting: str
    sockets: Sequence[int]

    def written(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Self:
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class Ready:
    """A process serves."""

    number: int


class Stop:
    """Somebody wants all of it to end."""


News: TypeAlias = Ready | Stop | NoStartError


class Processes:
    """``settings.workers`` replicas of this code on one database, one set of listening sockets.

    They start one after another: the first migrates, and serves meanwhile. One that dies is
    started again after a pause; one that keeps dying ends them all, which `run` tells by raising
    NoStartError.
    """

    def __init__(
        self,
        settings: Settings,
        database_url: str,
        data_folder: Path,
        *,
        on_ready: Callable[[], None],
        at_once: Callable[[], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._command = command
        self._settings, self._url, self._folder = settings, database_url, data_folder
        self._on_ready, self._at_once = on_ready, at_once
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()  # may be put to by a signal
        self._members: list[_Member] = []
        self._stopping = False

    def stop(self) -> None:
        """Begin to stop, from any thread."""
        self._news.put(Stop())

    def run(self, sockets: list[socket.socket], _log_file: Path) -> None:
        """Serve on these sockets until told to stop; every process has a log of its own."""
        with (
            ending_signals(self._handle),
            TemporaryDirectory(prefix="relay-", ignore_cleanup_errors=True) as meeting,
        ):
            self._members = self._made(sockets, meeting)
            lost = self._watch()
            self._stopping = True
            say("Stopping: finishing what is under way. Ctrl-C again stops at once.")
            for one in sockets:  # a connection is refused from now on, as by a single process
                one.close()
            self._end()
        if lost:
            raise lost

    def _made(self, sockets: Sequence[socket.socket], meeting: str) -> "list[_Member]":
        count = self._settings.workers
        return [
            _Member(
                Order(
                    number=number,
                    of=count,
                    settings=self._settings.handed(),
                    database_url=self._url,
                    data_folder=str(self._folder),
                    meeting=meeting,
                    sockets=[one.fileno() for one in sockets],
                ),
                self._command,
                self._news.put,
            )
            for number in range(1, count + 1)
        ]

    def _watch(self) -> NoStartError | None:
        """Start one when the one before is ready; return when it is time to end, and why."""
        waiting = iter(self._members)
        newest = next(waiting)
        newest.start()
        while True:
            match self._next():
                case Stop():
                    return None
                case NoStartError() as lost:
                    return lost
                case Ready(number) if newest and number == newest.number:
                    newest = next(waiting, None)
                    if newest:
                        newest.start()
                    else:
                        self._on_ready()
                case Ready():  # one that had died
                    pass

    def _next(self) -> News:
        while True:
            systemd.beat()
            with suppress(queue.Empty):  # looks up now and then: a signal may reach another thread
                return self._news.get(timeout=1)

    def _end(self) -> None:
        started = [member for member in self._members if member.is_alive()]
        for member in started:
            member.stop()
        deadline = time.monotonic() + 3 * self._settings.shutdown_grace_sec + SLACK
        for member in started:
            member.join(max(0.0, deadline - time.monotonic()))
            if member.is_alive():
                log.error("process.hangs", extra={"_process": member.number})
                member.kill()
                member.join()

    def _handle(self, number: int, _frame: object) -> None:
        if self._stopping and number == signal.SIGINT:
            threading.Thread(target=self._end_at_once, daemon=True).start()
        else:
            self.stop()

    def _end_at_once(self) -> None:
        for member in self._members:
            member.kill()
        self._at_once()
        os._exit(STOPPED_AT_ONCE)


class _Member(threading.Thread):
    """Keeps one process alive: starts it, hears it, starts it again when it ends unasked."""

    def __init__(self, order: Order, command: Sequence[str], tell: Callable[[News], None]) -> None:
        super().__init__(name=f"process {order.number}", daemon=True)
        self.number = order.number
        self._order, self._command, self._tell = order, command, tell
        self._guard, self._stopping = threading.Lock(), threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_once = False

    def run(self) -> None:
        # Both are for the parent alone: what it starts here inherits that they are blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            refused, end = self._live()
            if self._stopping.is_set():
                return
            failures = failures + 1 if time.monotonic() - began < QUICK else 1
            if refused and not self._ready_once:  # the next try would end in the same way
                self._tell(refused)
                return
            if failures >= (PATIENCE if self._ready_once else PATIENCE_AT_START):
                self._give_up(failures, refused.line if refused else end)
                return
            pause = min(0.1 * 2 ** (failures - 1), LONGEST_PAUSE)
            extra = {"_process": self.number, "end": end, "restart_in_sec": pause}
            log.error("process.died", extra=extra)
            self._stopping.wait(pause)

    def _give_up(self, failures: int, why: str) -> None:
        log_file = Path(self._order.data_folder) / "logs" / f"process-{self.number}.log"
        words = f"Process {self.number} ended {failures} times in a row ({why}); see {log_file}"
        log.critical("process.lost", extra={"_process": self.number, "problem": words})
        self._tell(NoStartError(words))

    def _live(self) -> tuple[NoStartError | None, str]:
        """One life, from start to end: why it would not start, if it said so, and how it ended."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._guard:
                if self._stopping.is_set():
                    return None, "stopped"
                try:
                    self._process = process = self._spawned(theirs)
                except OSError as error:
                    return None, str(error)
            refused = self._heard(ours)
            code = process.wait()
        return refused, f"exit code {code}" if code >= 0 else f"signal {-code}"

    def _spawned(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        """Start it in our process group: who kills that kills all of the relay."""
        return subprocess.Popen(
            [*self._command, str(self.number)],
            stdin=theirs.fileno(),
            pass_fds=self._order.sockets,
        )

    def _heard(self, ours: socket.socket) -> NoStartError | None:
        """Tell it what to do, and listen until it has ended."""
        refused = None
        with suppress(ConnectionError), ours.makefile("rb") as lines:
            ours.sendall(self._order.written())
            for line in lines:
                said = json.loads(line)
                if said["is"] == "ready":
                    self._ready_once = True
                    self._tell(Ready(self.number))
                else:
                    refused = NoStartError(said["why"], said["code"])
        return refused

    def stop(self) -> None:
        """Ask it to finish what is under way and end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with self._guard:
            self._stopping.set()
            if self._process:
                self._process.send_signal(number)
