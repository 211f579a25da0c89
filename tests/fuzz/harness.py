"""The process that libFuzzer runs in: times every input, and ends with figures.

libFuzzer ends its process itself, so nothing else may live here: `running.py` starts it.
"""

import gc
import importlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import atheris as untyped

OURS = {"alerts": ["domain"], "pages": ["domain", "engines.universe"], "planted": []}
"""What is instrumented: our own parsers, not what they are built on."""
EVERY = 5.0
"""Seconds between two notes of the figures."""


atheris: Any = untyped


class Target(Protocol):
    """What is fuzzed."""

    def most_seconds(self, seeds: list[bytes]) -> float:
        """How much CPU one input may take."""
        ...

    def read(self, data: bytes) -> str:
        """Read an input and check what comes out; return the kind of the outcome."""
        ...

    def mutated(self, data: bytes, most: int, seed: int) -> bytes:
        """Change an input in a way that keeps some of its sense."""
        ...


class TooSlowError(AssertionError):
    """An input took more CPU than it may."""


@dataclass(slots=True)
class Watch:
    """Runs inputs until there were enough of them, or until the time is over."""

    target: Target
    file: Path
    runs: int
    seconds: float
    limit: float
    began: float = field(default_factory=time.monotonic)
    noted: float = 0.0
    executions: int = 0
    slowest: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter[str])

    def __call__(self, data: bytes) -> None:
        try:
            outcome, took = self._timed(data)
            if took > self.limit:
                took = min(took, *(self._timed(data)[1] for _ in range(3)))
            self.executions += 1
            self.outcomes[outcome] += 1
            self.slowest = max(self.slowest, took)
            self._check(took)
        except BaseException as error:
            self.note(repr(error)[:500])
            raise
        self._end_or_go_on()

    def _check(self, took: float) -> None:
        if took > self.limit:
            raise TooSlowError(f"{took:.3f} s where {self.limit:.3f} are allowed")

    def _timed(self, data: bytes) -> tuple[str, float]:
        began = time.thread_time()
        outcome = self.target.read(data)
        return outcome, time.thread_time() - began

    def _end_or_go_on(self) -> None:
        done = self.runs and self.executions >= self.runs
        if not done and self.executions % 64:
            return
        passed = time.monotonic() - self.began
        done = done or (self.seconds and passed >= self.seconds)
        if done or passed - self.noted >= EVERY:
            self.noted = passed
            self.note()
        if done:
            os._exit(0)

    def note(self, failure: str = "") -> None:
        """Write the figures, in one step."""
        passed = time.monotonic() - self.began
        figures: dict[str, Any] = {
            "executions": self.executions,
            "seconds": round(passed, 1),
            "cpu_seconds": round(time.process_time(), 1),
            "per_second": round(self.executions / passed) if passed else 0,
            "slowest_ms": round(self.slowest * 1000, 2),
            "limit_ms": round(self.limit * 1000, 2),
            "outcomes": dict(self.outcomes.most_common()),
            "failure": failure,
        }
        unfinished = self.file.with_suffix(".new")
        unfinished.write_text(json.dumps(figures))
        unfinished.rename(self.file)


def mutator(target: Target) -> Callable[[bytes, int, int], bytes]:
    """Every third input is changed with sense, the others as libFuzzer likes."""

    def change(data: bytes, most: int, seed: int) -> bytes:
        if seed % 3:
            return atheris.Mutate(data, most)
        return target.mutated(data, most, seed)[:most]

    return change


def main(name: str, folder: Path, runs: int, seconds: float, *options: str) -> None:
    """Fuzz until libFuzzer or the watch ends this process."""
    with atheris.instrument_imports(
        include=OURS[name] or ["nothing"], enable_loader_override=False
    ):
        target: Target = importlib.import_module(f"tests.fuzz.{name}").TARGET
    seeds = [path.read_bytes() for path in sorted((folder / "seeds").iterdir())]
    limit = target.most_seconds(seeds)
    watch = Watch(target, folder / "figures.json", runs, seconds, limit)
    gc.freeze()  # as the server does
    atheris.Setup([sys.argv[0], *options], watch, custom_mutator=mutator(target))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), *sys.argv[5:])
