"""The commands beside `run`: each puts up its own stage, measures one thing, and ends."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engines.failpoints import Point
from tests.chaos.lookout import lookout
from tests.chaos.outage import outage
from tests.chaos.overload import overload
from tests.chaos.points import in_turn, strike_points
from tests.chaos.report import machine
from tests.chaos.result import Result, write
from tests.chaos.sell_all import Case as Exits
from tests.chaos.sell_all import sell_all
from tests.chaos.utilisation import Case, utilisation


def add(commands: Any) -> None:
    """Add their parsers."""
    points = _command(commands, "failpoints", "a kill at every failpoint, with 1 and 2 replicas")
    points.add_argument("--replicas", type=int, nargs="+", default=[1, 2])
    points.add_argument("--points", nargs="+", default=list(Point), type=Point)
    down = _command(commands, "outage", "PostgreSQL is stopped for a while")
    down.add_argument("--seconds", type=float, default=600)
    down.add_argument("--rate", type=float, default=20)
    down.add_argument("--sends", type=int, default=1, help="of an alert at most; TradingView: 4")
    flood = _command(commands, "overload", "ten times of what it can take is offered")
    flood.add_argument("--seconds", type=float, default=120)
    flood.add_argument("--queue", type=int, default=20_000, help="QUEUE_MAX_SIZE")
    flood.add_argument("--sockets", type=int, default=400)
    used = _command(commands, "utilisation", "how much of its windows is used")
    used.add_argument("--replicas", type=int, nargs="+", default=[2, 3])
    used.add_argument("--window", default="60/20s")
    used.add_argument("--buys", type=int, default=320)
    exits = _command(commands, "sell_all", "everything is sold while buys pour in")
    exits.add_argument("--replicas", type=int, default=3)
    exits.add_argument("--positions", type=int, default=40)
    exits.add_argument("--window", default="20/10s")
    looks = _command(commands, "lookout", "how often Finviz is asked, whoever is killed")
    looks.add_argument("--replicas", type=int, default=3)
    looks.add_argument("--seconds", type=float, default=600)
    looks.add_argument("--refresh", type=int, default=10)


def _command(commands: Any, name: str, words: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=words)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--report", type=Path)
    return command


def go(options: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> bool:
    """Run one; return whether all was well."""
    results = asyncio.run(RUNS[options.command](options, folder, say))
    for result in results:
        result.tell(say)
    if options.report:
        write(options.report, machine(), results)
    return not any(result.broken for result in results)


async def _failpoints(
    options: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> Sequence[Result]:
    """Stages with one and two replicas at the same time: mostly they wait."""
    return await asyncio.gather(
        *(
            strike_points(
                in_turn(options.points),
                folder / f"of-{count}",
                say,
                replicas=count,
                seed=options.seed + count,
            )
            for count in options.replicas
        )
    )


async def _outage(
    options: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> Sequence[Result]:
    return [
        await outage(
            folder,
            say,
            seconds=options.seconds,
            seed=options.seed,
            rate=options.rate,
            sends=options.sends,
        )
    ]


async def _overload(
    options: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> Sequence[Result]:
    return [
        await overload(
            folder,
            say,
            seconds=options.seconds,
            queue=options.queue,
            sockets=options.sockets,
            seed=options.seed,
        )
    ]


async def _utilisation(
    options: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> Sequence[Result]:
    """Two stages at a time: with a window this narrow they mostly wait."""
    results: list[Result] = []
    for count in options.replicas:
        results += await asyncio.gather(
            *(
                utilisation(
                    folder / f"of-{count}-{'sells' if sells else 'buys'}",
                    say,
                    Case(
                        replicas=count,
                        sells=sells,
                        window=options.window,
                        buys=options.buys,
                        seed=options.seed,
                    ),
                )
                for sells in (False, True)
            )
        )
    return results


async def _lookout(
    options: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> Sequence[Result]:
    return [
        await lookout(
            folder,
            say,
            replicas=options.replicas,
            seconds=options.seconds,
            refresh=options.refresh,
            seed=options.seed,
        )
    ]


async def _sell_all(
    options: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> Sequence[Result]:
    """At a destination that is well, for the time it takes; then with half of it failing."""
    return [
        await sell_all(
            folder / ("failing" if fails else "well"),
            say,
            Exits(
                positions=options.positions,
                replicas=options.replicas,
                window=options.window,
                fails=fails,
                killed=fails,
                seed=options.seed,
            ),
        )
        for fails in (False, True)
    ]


RUNS = {
    "sell_all": _sell_all,
    "lookout": _lookout,
    "failpoints": _failpoints,
    "outage": _outage,
    "overload": _overload,
    "utilisation": _utilisation,
}
