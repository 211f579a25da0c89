"""The guard: CPU time of the hot path against what it was.

It is measured in turns of plain Python beside it, so that it means the same on another machine.
`python -m bench guard` tells, `python -m bench guard --update` keeps what is measured now.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

from bench.workloads import Work, of_hot_path

BASELINE = Path(__file__).with_name("baseline.json")
WORRY, LIMIT = 1.15, 1.30
"""From which on it warns, and beyond which it fails: how many times the baseline."""

REPEAT, TRIES = 40, 6
"""What is beyond the limit is measured again: a slip of the machine passes, a slow function not."""

TURNS = 10
"""Measured together, so that the yardstick is as long as what it measures."""

Measure: TypeAlias = Callable[[Mapping[str, Work]], Mapping[str, float]]

WORDS = [f"word {number}" for number in range(60)]


class SlowerWarning(UserWarning):
    """A piece of the hot path costs noticeably more than it did."""


class SlowedError(Exception):
    """A piece of the hot path costs more than the limit allows."""


def turn() -> int:
    """The yardstick: names looked up, objects made, texts read and written, functions called."""
    found: dict[str, tuple[int, str]] = {}
    for number, word in enumerate(WORDS):
        name, _, rest = word.partition(" ")
        found[rest] = (number, name.upper())
    text = json.dumps(found)
    read: dict[str, list[object]] = json.loads(text)
    return sum(map(len, sorted(read, key=_last))) + sum(_digit(one) for one in text)


def _last(text: str) -> str:
    return text[::-1]


def _digit(letter: str) -> int:
    return 1 if letter.isdigit() else 0


def in_turns(works: Mapping[str, Work], repeat: int = REPEAT) -> dict[str, float]:
    """How many turns each work costs: the least of many repetitions, all in turns with another.

    The least, because whatever else the machine does can only add; in turns, because it may be
    faster or slower a second later.
    """
    least = dict.fromkeys(["", *works], float("inf"))
    with _without_collections():
        for _ in range(repeat):
            for name, work in [("", _turns), *works.items()]:
                least[name] = min(least[name], _cost(work))
    yardstick = least.pop("") / TURNS
    return {name: cost / yardstick for name, cost in least.items()}


def _turns() -> None:
    for _ in range(TURNS):
        turn()


def _cost(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@contextmanager
def _without_collections() -> Generator[None]:
    """When the garbage collector comes is chance; what it finds is other people's."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def baseline(path: Path = BASELINE) -> Mapping[str, float]:
    """What each work cost, in turns, on this version of Python; empty where nobody measured it."""
    return json.loads(path.read_text()).get(python(), {})


def compared(
    works: Mapping[str, Work],
    before: Mapping[str, float],
    measure: Measure = in_turns,
) -> dict[str, float]:
    """How many times its baseline each work costs. Raises SlowedError beyond the limit."""
    if unknown := works.keys() - before.keys():
        raise KeyError(f"no baseline for {', '.join(sorted(unknown))}: bench guard --update")
    found: dict[str, float] = {}
    doubtful = dict(works)
    for _ in range(TRIES):
        for name, cost in measure(doubtful).items():
            found[name] = min(cost / before[name], found.get(name, float("inf")))
        doubtful = {name: works[name] for name in works if found[name] > LIMIT}
        if not doubtful:
            return found
    raise SlowedError(told(found, doubtful))


def told(found: Mapping[str, float], names: Iterable[str]) -> str:
    return ", ".join(f"{name} costs {found[name]:.2f} times its baseline" for name in names)


def worries(found: Mapping[str, float]) -> str:
    """What costs noticeably more, though not too much; empty when nothing does."""
    return told(found, [name for name, times in found.items() if times > WORRY])


def run(*, update: bool = False) -> int:
    """Print the comparison and return the exit code; with ``update`` keep what was measured."""
    with ExitStack() as stack:
        works = of_hot_path(stack)
        if update:
            _keep(in_turns(works, REPEAT * 3))
            return 0
        if not baseline():
            print(f"there is no baseline for Python {python()}: bench guard --update makes one")
            return 0
        try:
            found = compared(works, baseline())
        except SlowedError as error:
            print(f"failed: {error}")
            return 1
    for name, times in found.items():
        print(f"  {name}: {times:.2f} times its baseline{' (warning)' * (times > WORRY)}")
    return 0


def _keep(measured: Mapping[str, float]) -> None:
    kept: dict[str, Mapping[str, float]] = {}
    if BASELINE.exists():
        kept = json.loads(BASELINE.read_text())
    before = kept.get(python(), {})
    kept[python()] = {name: round(cost, 2) for name, cost in measured.items()}
    BASELINE.write_text(json.dumps(kept, indent=1) + "\n")
    for name, cost in measured.items():
        was = f", was {before[name]:.2f}" if name in before else ""
        print(f"  {name}: {cost:.2f} turns{was}")
