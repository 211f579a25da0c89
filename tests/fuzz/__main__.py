"""`python -m tests.fuzz alerts | pages | http | sockets`: fuzzing at length; see --help.

Each prints a report in JSON, writes it to --report, and ends with 1 if there was a finding.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from launcher.postgres import LocalPostgres
from launcher.terminal import say
from tests.fuzz.running import Run, fuzz

Figures: TypeAlias = dict[str, Any]

SMALL, LARGE = 4_096, 70_000
SHARE = 0.02
"""Of the inputs, as large as a body may be: the others are small and fast."""


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    figures, clean = COMMANDS[options.command](options)
    text = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
    say(text)
    if options.report:
        options.report.write_text(text)
    return 0 if clean else 1


def _alerts(options: argparse.Namespace) -> tuple[Figures, bool]:
    """Small bodies first, then some up to the limit."""
    from tests.fuzz.alerts import WORDS, seeds  # noqa: PLC0415  only what a command needs
    from tests.fuzz.test_bombs import FLOODS  # noqa: PLC0415

    large = int(options.runs * SHARE)
    bombs = [b"\0" + body for body in FLOODS.values() if len(body) < LARGE]
    parts = [
        fuzz(
            Run(
                name="alerts",
                seeds=seeds() + (bombs if largest == LARGE else []),
                words=WORDS,
                seed=options.seed,
                runs=runs,
                largest=largest,
                failed=options.failed,
            )
        )
        for runs, largest in ((options.runs - large, SMALL), (large, LARGE))
        if runs
    ]
    total = sum(part.get("executions", 0) for part in parts)
    clean = total >= options.runs and not any(part["failure"] for part in parts)
    return {"executions": total, "parts": parts}, clean


def _pages(options: argparse.Namespace) -> tuple[Figures, bool]:
    from tests.fuzz.pages import WORDS, seeds  # noqa: PLC0415

    figures = fuzz(
        Run(
            name="pages",
            seeds=seeds(options.corpus),
            words=WORDS,
            seed=options.seed,
            seconds=options.minutes * 60,
            largest=options.largest,
            failed=options.failed,
        )
    )
    return figures, not figures["failure"]


def _http(options: argparse.Namespace) -> tuple[Figures, bool]:
    def asked() -> tuple[Figures, bool]:
        import asyncio  # noqa: PLC0415

        from tests.fuzz.requests import Plan, is_clean, run  # noqa: PLC0415  reads the address

        plan = Plan(options.requests, options.seed, options.per_operation)
        figures = asyncio.run(run(plan, "template1", say))
        return figures, is_clean(figures)

    return _with_database(asked)


def _sockets(options: argparse.Namespace) -> tuple[Figures, bool]:
    def thrown() -> tuple[Figures, bool]:
        from tests.fuzz.sockets import Plan, run  # noqa: PLC0415  reads the address

        figures = run(Plan(options.connections, options.seed), say)
        return figures, not figures["faults"]

    return _with_database(thrown)


def _with_database(work: Callable[[], tuple[Figures, bool]]) -> tuple[Figures, bool]:
    """That of TEST_DATABASE_URL, or a throw-away one."""
    if os.environ.get("TEST_DATABASE_URL"):  # noqa: TID251  as for the tests
        return work()
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as folder,
        LocalPostgres(Path(folder), durable=False, say=say) as postgres,
    ):
        os.environ["TEST_DATABASE_URL"] = postgres.dsn  # noqa: TID251  before it is read
        return work()


COMMANDS = {"alerts": _alerts, "pages": _pages, "http": _http, "sockets": _sockets}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    commands = parser.add_subparsers(required=True, dest="command")
    alerts = commands.add_parser("alerts", help="the parser of alerts, by coverage")
    alerts.add_argument("--runs", type=int, default=2_000_000)
    pages = commands.add_parser("pages", help="the reader of Finviz's pages, by coverage")
    pages.add_argument("--minutes", type=float, default=20)
    pages.add_argument("--corpus", type=Path, help="a folder of stored pages to begin with")
    pages.add_argument("--largest", type=int, default=300_000, help="bytes of an input")
    http = commands.add_parser("http", help="the whole application, in one process")
    http.add_argument("--requests", type=int, default=100_000)
    http.add_argument("--per-operation", type=int, default=10, help="by schemathesis, of each kind")
    sockets = commands.add_parser("sockets", help="the server as run.py starts it, by bytes")
    sockets.add_argument("--connections", type=int, default=5_000)
    for one in (alerts, pages, http, sockets):
        one.add_argument("--seed", type=int, default=1)
        one.add_argument("--report", type=Path)
        one.add_argument("--failed", type=Path, default=Path("fuzz-failed"), help="inputs to keep")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
