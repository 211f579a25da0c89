"""`python -m tests.chaos run --replicas 3 --seed 7 --kills 150 --minutes 30 --report FILE`.

The other commands are in `modes.py`.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from launcher.terminal import say
from tests.chaos import modes
from tests.chaos.report import Report, resumed
from tests.chaos.run import Plan, run
from tests.chaos.stage import Scene

COUNTS = {
    "kills": "kill",
    "stops": "stop",
    "rolls": "roll",
    "crashes": "crash",
    "outages": "outage",
    "blackholes": "blackhole",
    "partitions": "partition",
    "slows": "slow",
    "resets": "reset",
    "cuts": "cut",
    "fulls": "full",
}
DONE = {"rolls": "terminate"}
"""A rolling restart is counted by the replicas it ended."""
OWN_DISK = "CHAOS_DISK"
DISK_MB = 400


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    if options.command != "run":
        return _end(modes.go(options, folder, say), folder)
    if options.fulls:
        _in_own_mounts(arguments)
    report = Report(options.report)
    if options.resume:
        report.path, report.runs = options.resume, resumed(options.resume)
    findings = asyncio.run(run(_plan(options, report), folder, report, say))
    for finding in findings:
        say("\n".join(finding.lines))
    return _end(all(finding.ok for finding in findings), folder)


def _plan(options: argparse.Namespace, report: Report) -> Plan:
    """What is still to be done after what was verified before."""
    done = report.verified
    blows = {
        kind: max(0, getattr(options, name) - _done(done[DONE.get(name, kind)], name, options))
        for name, kind in COUNTS.items()
    }
    return Plan(
        scene=Scene(
            replicas=options.replicas,
            seed=options.seed + 1000 * len(report.runs),
            rate=options.rate,
            tickers=options.tickers,
            once=options.once,
            canaries=options.canaries,
            own_disk_mb=DISK_MB if options.fulls else 0,
        ),
        blows=blows,
        alerts=max(0, options.alerts - done["acknowledged"]),
        minutes=options.minutes,
        round=options.round,
        armed=options.armed,
        moods=options.moods,
    )


def _done(count: int, name: str, options: argparse.Namespace) -> int:
    return count // options.replicas if name in DONE else count


def _end(ok: bool, folder: Path) -> int:  # noqa: FBT001  whether it went well
    if ok:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    say(f"Logs and evidence are in {folder}.")
    return 1


def _in_own_mounts(arguments: Sequence[str]) -> None:
    """A small disk is mounted for a run that fills it: where no one else sees it."""
    if os.environ.get(OWN_DISK):  # noqa: TID251  set by ourselves, just below
        return
    program = shutil.which("unshare")
    if program is None:
        raise SystemExit("--fulls needs the program unshare (util-linux)")
    options = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
    again = [program, *options, sys.executable, "-m", "tests.chaos", *arguments]
    os.execve(program, again, os.environ | {OWN_DISK: "1"})  # noqa: TID251  handed on


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    commands = parser.add_subparsers(required=True, dest="command")
    modes.add(commands)
    run = commands.add_parser("run", help="load and blows until the totals are reached")
    run.add_argument("--replicas", type=int, default=3)
    run.add_argument("--seed", type=int, default=1)
    run.add_argument("--alerts", type=int, default=0, help="acknowledged, at least")
    run.add_argument("--minutes", type=float, default=10)
    run.add_argument("--round", type=float, default=10, help="minutes between two checks")
    run.add_argument("--rate", type=float, default=8, help="alerts a second")
    run.add_argument("--tickers", type=int, default=60)
    run.add_argument("--armed", type=float, default=0.5, help="share of starts with a failpoint")
    run.add_argument("--moods", type=float, default=0.15, help="share of bad moods")
    run.add_argument("--report", type=Path)
    run.add_argument(
        "--canaries",
        action="store_true",
        help="secrets of every kind, looked for in logs, tables, answers, pages, exports, frames",
    )
    run.add_argument("--resume", type=Path, help="go on where this report ends")
    run.add_argument(
        "--once",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a second destination, which is sent nothing twice",
    )
    for name in COUNTS:
        run.add_argument(f"--{name}", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
