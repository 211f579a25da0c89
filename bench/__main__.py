"""`python -m bench [NAME …]`: run the benchmarks that are named, or those of the budget.

`python -m bench table [FILE]` renews the table in bench/README.md; `python -m bench guard
[--update]` compares the CPU time of the hot path with what is kept of it.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from bench import (
    accept,
    burst,
    forward,
    fresh,
    guard,
    history,
    idle,
    latency,
    leave,
    lists,
    live,
    machine,
    pages,
    processes,
    report,
    slow,
    soak,
)
from bench.figures import Figure

Found: TypeAlias = Sequence[Figure] | Mapping[str, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """``quick`` is how `--quick` runs it, None: not at all. ``more``: only when named, or `--all`.

    ``given`` reads what else the command line said for it.
    """

    title: str
    run: Callable[..., Found]
    quick: Mapping[str, Any] | None = None
    more: bool = False
    given: Callable[[argparse.Namespace], Mapping[str, Any]] = field(default=lambda _: {})


QUICK = {"rounds": 1, "seconds": 1.0}
BENCHMARKS = {
    "accept": Benchmark(title="Durable accept, 64 connections", run=accept.run, quick=QUICK),
    "latency": Benchmark(title="Accept at fixed rates", run=latency.run, quick=QUICK),
    "leave": Benchmark(title="Accepted, leaves, recorded", run=leave.run, quick=QUICK),
    "forward": Benchmark(
        title="Stages, and forwarding without a limit",
        run=forward.run,
        quick={"rounds": 1, "signals": 1_000},
    ),
    "burst": Benchmark(title="A thousand at once", run=burst.run, quick={"rounds": 1}),
    "idle": Benchmark(
        title="Start, idle, memory",
        run=idle.run,
        quick={"rounds": 1, "seconds": 3.0, "settle": 1.0},
    ),
    "lists": Benchmark(title="Reading a page of Finviz", run=lists.run, quick={"parses": 20}),
    "pages": Benchmark(
        title="Pages with millions of signals", run=pages.run, quick={}, given=pages.options
    ),
    "processes": Benchmark(
        title="Several processes against one",
        run=processes.run,
        quick={"rounds": 1, "seconds": 1.0, "signals": 500},
    ),
    "fresh": Benchmark(
        title="A clone in an empty home", run=fresh.run, more=True, given=fresh.options
    ),
    "history": Benchmark(title="A day of lists", run=history.run, more=True),
    "live": Benchmark(title="Live pages: a thousand, one stalled", run=live.run, more=True),
    "slow": Benchmark(title="Two thousand slow sockets", run=slow.run, more=True),
    "soak": Benchmark(title="A page open for ten minutes", run=soak.run, more=True),
}
"""Another one is another line here."""


def main() -> None:
    given = _parser().parse_args()
    if given.names[:1] == ["guard"]:
        raise SystemExit(guard.run(update=given.update))
    if given.names[:1] == ["table"]:
        report.renew(*map(Path, given.names[1:2]))
        return
    for name in given.names or [n for n, one in BENCHMARKS.items() if given.all or not one.more]:
        if name not in BENCHMARKS:
            raise SystemExit(f"{name}: there is {', '.join(BENCHMARKS)}, guard and table")
        _run(name, BENCHMARKS[name], given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="\n".join(f"{name}: {one.title}" for name, one in BENCHMARKS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="short rounds: does it run at all?")
    parser.add_argument("--all", action="store_true", help="those beyond the budget, too")
    parser.add_argument("--json", type=Path, help="where results are kept", default=None)
    parser.add_argument("--update", action="store_true", help="guard: keep what is measured now")
    pages.add_options(parser)
    fresh.add_options(parser)
    return parser


def _run(name: str, one: Benchmark, given: argparse.Namespace) -> None:
    if given.quick and one.quick is None:
        return
    print(f"{name}: {one.title}", flush=True)
    about, began = machine.described(), time.perf_counter()
    found = one.run(**((one.quick or {}) if given.quick else {}), **one.given(given))
    seconds = time.perf_counter() - began
    print(f"  ({name} took {seconds:.0f} s)", flush=True)
    path = given.json or (None if given.quick else report.LATEST)
    if path and found:
        report.keep(path, name, figures(found), about, seconds=round(seconds), quick=given.quick)


def figures(found: Sequence[Figure] | Mapping[str, float]) -> list[Figure]:
    """What a benchmark returned as lines of the table; older ones have names with units."""
    if isinstance(found, Mapping):
        return [Figure(what=name, value=value) for name, value in found.items()]
    return list(found)


if __name__ == "__main__":
    main()
