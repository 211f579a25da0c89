"""uvicorn as we need it: its signals end in an orderly return, its failures in one line."""

import gc
import logging
import os
import re
import resource
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeAlias

import uvicorn

from launcher.terminal import say

log = logging.getLogger(__name__)

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

STOPPED_AT_ONCE = 130
ENOUGH_FILES = 65_536
GARBAGE = 20_000
"""Objects made, and still there, until young ones are looked through: an alert makes a few hundred
that go by themselves."""


class NoStartError(Exception):
    """The relay cannot start, or not go on: a line for a person, and the exit code."""

    def __init__(self, line: str, code: int = 1) -> None:
        super().__init__(line, code)
        self.line, self.code = line, code


CAUSE = re.compile(r"^[A-Za-z_][\w.]*: .+$", re.MULTILINE)  # the last lines of tracebacks


class Entrance:
    """The application, with the reason of a failed start kept as one line."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.express = getattr(application, "express", None)
        self.failure = ""

    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._application(scope, receive, self._watched(send))
        return self._application(scope, receive, send)

    def _watched(self, send: Send) -> Send:
        async def watch(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                trace = str(message.get("message", "")).strip()
                causes = CAUSE.findall(trace) or [trace.rpartition("\n")[2]]
                self.failure = causes[-1] or "the application gave no reason"
                log.error("startup.failed", extra={"_file_only": True, "_trace": trace})
                message = {"type": message["type"], "message": ""}
            await send(message)

        return watch


def allow_open_files() -> None:
    """Every connection is a file, and a login shell often allows no more than 1,024."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if most == resource.RLIM_INFINITY else min(most, ENOUGH_FILES)
    if now != resource.RLIM_INFINITY and now < wanted:
        with suppress(ValueError, OSError):  # macOS says that it has no limit, and has one
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@contextmanager
def ending_signals(handle: Callable[[int, FrameType | None], None]) -> Generator[None]:
    """Have ``handle`` called at every signal that asks us to end."""
    handled = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup keeps us running
        handled.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Server(uvicorn.Server):
    """Drains on the first signal and returns; `at_once` is for a person who asks twice.

    uvicorn itself raises the signal again when it has shut down, which would end the process
    before PostgreSQL is stopped.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        on_ready: Callable[[], None],
        at_once: Callable[[], None],
        say: Callable[[str], None] = say,
    ) -> None:
        super().__init__(config)
        self._on_ready, self._at_once, self._say = on_ready, at_once, say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        gc.collect()
        gc.freeze()  # what is loaded stays: going over all of it would stop everything for 0.1 s
        gc.set_threshold(GARBAGE)
        gc.enable()
        if self.started and not self.should_exit:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._say("Stopping: finishing what is under way. Ctrl-C again stops at once.")
        await super().shutdown(sockets=sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        with ending_signals(self.handle_exit):
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  uvicorn's
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
            threading.Thread(target=self._end_at_once, daemon=True).start()
        self.should_exit = True

    def _end_at_once(self) -> None:
        """Run apart from the interrupted thread, which may hold any lock."""
        self._at_once()
        os._exit(STOPPED_AT_ONCE)
