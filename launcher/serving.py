"""`run.py` without a command: serves the relay, or the demo."""

import argparse

from launcher import demo_options
from launcher.terminal import Refusal


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may stand before a command, or alone."""
    parser.add_argument(
        "--demo", action="store_true", help="everything alive with made-up data, no network"
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="so many processes behind one port, on one database (default: WORKERS, or 1)",
    )
    demo_options.add_options(parser)


def run_serving(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    wishes = demo_options.wishes_of(options)
    if options.demo:
        return _demo(options, wishes)
    from launcher.serve import run  # noqa: PLC0415  needs the environment

    return run() if options.workers is None else run(workers=options.workers)


def _demo(options: argparse.Namespace, wishes: demo_options.Wishes) -> int:
    if options.workers not in {None, 1}:
        raise Refusal(
            "--demo: plays its market in one process, so --workers does not go with it", 2
        )
    from launcher.demo import run_demo  # noqa: PLC0415  needs the environment

    return run_demo(wishes)
