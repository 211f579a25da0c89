"""Words for a person: a line that moves in a terminal, plain lines everywhere else."""

import os
import shutil
import sys
import time
from collections.abc import Callable


class Refusal(SystemExit):
    """Ends the program with one line on stderr and an exit code; never a traceback."""

    def __init__(self, line: str, code: int = 1) -> None:
        print(line, file=sys.stderr, flush=True)
        super().__init__(code)


def say(line: str) -> None:
    print(line, flush=True)


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


class Progress:
    """What is happening and for how long: rewritten in place in a terminal, else said once."""

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._clock, self._began = title, clock, clock()
        self._moves = sys.stdout.isatty()
        if not self._moves:
            say(f"{title} …")

    def step(self, detail: str) -> None:
        if self._moves:
            line = f"{self._title} … {self._seconds()} {detail}"
            print("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1], end="", flush=True)

    def done(self, outcome: str = "done") -> None:
        start = f"\r\x1b[K{self._title}: " if self._moves else "  "
        say(f"{start}{outcome} in {self._seconds()}")

    def abandoned(self) -> None:
        if self._moves:
            print("\r\x1b[K", end="", flush=True)

    def _seconds(self) -> str:
        return f"{self._clock() - self._began:.1f} s"
