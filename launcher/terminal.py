"""Words for a person: a line that moves in a terminal, plain lines everywhere else."""

import codecs
import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable

PIPE = 141
"""The exit code of a program whose reader has gone: 128 and SIGPIPE."""

PLAIN = {"…": "...", "→": "->", "•": "*", "—": "-", "·": "-"}
"""What a terminal gets that knows nothing but ASCII."""


class Refusal(SystemExit):
    """Ends the program with one line on stderr and an exit code; never a traceback."""

    def __init__(self, line: str, code: int = 1) -> None:
        print(line, file=sys.stderr, flush=True)
        super().__init__(code)


def say(line: str) -> None:
    """Print it; end quietly where nobody reads it any more, as in `… | head`."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains when it ends
        raise SystemExit(PIPE) from None


def aside(line: str) -> None:
    """What is not the answer itself: it must not get into a pipe."""
    print(line, file=sys.stderr, flush=True)


def visible(text: str) -> str:
    """Text of others, in one line and without what would command a terminal."""
    return "".join(one if one.isprintable() else " " for one in text)


def agreed(question: str) -> bool:
    """Whether the person says yes. Raises Refusal where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise Refusal("Nothing was done: nobody is there to be asked. --yes does not ask.", 2)
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def make_legible() -> None:
    """Let nothing fail because a terminal lacks a sign: it gets a plain one."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(PLAIN.get(one, "?") for one in signs), error.end


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


TICK = 0.5
"""Seconds after which a line that moves is drawn again: nobody wonders whether it hangs."""


class Progress:
    """What is happening and for how long: rewritten in place in a terminal, else said once.

    ``plain=False``: said nowhere else.
    """

    def __init__(
        self, title: str, clock: Callable[[], float] = time.monotonic, *, plain: bool = True
    ) -> None:
        self._title, self._clock, self._began = title, clock, clock()
        self._detail, self._over, self._drawing = "", threading.Event(), threading.Lock()
        self._moves = sys.stdout.isatty()
        if self._moves:
            self._draw()
            threading.Thread(target=self._tick, daemon=True).start()
        elif plain:
            say(f"{title} …")

    def step(self, detail: str) -> None:
        self._detail = detail
        self._draw()

    def done(self, outcome: str = "done") -> None:
        self.abandoned()
        say(f"{f'{self._title}: ' if self._moves else '  '}{outcome} in {self._seconds()}")

    def abandoned(self) -> None:
        """Take the line away; harmless when it is gone."""
        with self._drawing:
            if self._moves and not self._over.is_set():
                print("\r\x1b[K", end="", flush=True)
            self._over.set()

    def _tick(self) -> None:
        while not self._over.wait(TICK):
            self._draw()

    def _draw(self) -> None:
        with self._drawing:
            if self._moves and not self._over.is_set():
                line = f"{self._title} … {self._seconds()} {self._detail}"
                cut = line[: shutil.get_terminal_size().columns - 1]
                print(f"\r\x1b[K{cut}", end="", flush=True)

    def _seconds(self) -> str:
        return f"{self._clock() - self._began:.1f} s"
