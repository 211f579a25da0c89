"""The command line: what run.py understands, and who does it."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from launcher import environment

Command: TypeAlias = Callable[[list[str]], int]

EPILOG = """\
exit codes: 0 done, 1 cannot run (the last line says why), 2 wrong setting or command,
130 stopped at once by a second Ctrl-C. Settings: .env.example explains each."""


def main(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` say and return the exit code."""
    signal.signal(signal.SIGTERM, _end)
    try:
        return _dispatch(list(arguments))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


def _end(_number: int, _frame: object) -> None:
    """Leave through every `with` and `finally`, so that PostgreSQL is stopped too."""
    sys.exit(0)


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["test"]:  # all that follows is pytest's, its --help too
        return _test(arguments[1:])
    options = _parser().parse_args(arguments)
    if options.command == "docker":
        from launcher.docker import run_in_docker  # noqa: PLC0415  only what a command needs

        return run_in_docker()
    environment.ensure(arguments)
    return _demo() if options.demo else _serve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="A relay for trading alerts. Without a command: serve until Ctrl-C.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--demo", action="store_true", help="everything alive with made-up data, no network"
    )
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")
    commands.add_parser(
        "test", help="install what tests need and run them; what follows goes to pytest"
    )
    commands.add_parser("docker", help="build and start with Docker Compose, follow the logs")
    return parser


def _serve() -> int:
    from launcher.serve import run  # noqa: PLC0415  needs the environment

    return run()


def _demo() -> int:
    from launcher.demo import run_demo  # noqa: PLC0415  needs the environment

    return run_demo()


def _test(arguments: list[str]) -> int:
    environment.ensure(["test", *arguments], environment.DEVELOPMENT)
    from launcher.testing import run_tests  # noqa: PLC0415  needs the environment

    return run_tests(arguments)
