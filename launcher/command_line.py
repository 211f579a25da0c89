"""The command line: what run.py understands, and who does it."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from launcher import environment, whatif

Command: TypeAlias = Callable[[list[str]], int]

EPILOG = """\
exit codes: 0 done, 1 cannot run (the last line says why), or the doctor found something,
2 wrong setting or command,
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
    if options.command == "whatif":
        return whatif.run_whatif(options)
    environment.ensure(arguments)
    if options.command == "doctor":
        return _doctor(options)
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
    doctor = commands.add_parser(
        "doctor", help="ask Finviz for one answer of each kind: is it read as it should be?"
    )
    _add_options(doctor)
    asking = "ask the running relay which verdicts of a past period would flip"
    whatif.add_options(commands.add_parser("whatif", help=asking, allow_abbrev=False))
    return parser


def _add_options(doctor: argparse.ArgumentParser) -> None:
    doctor.add_argument(
        "--save-pages",
        type=Path,
        metavar="DIR",
        help="save the answers in DIR, without secrets, to attach to an issue",
    )
    doctor.add_argument("--force", action="store_true", help="replace what DIR has of another run")


def _serve() -> int:
    from launcher.serve import run  # noqa: PLC0415  needs the environment

    return run()


def _demo() -> int:
    from launcher.demo import run_demo  # noqa: PLC0415  needs the environment

    return run_demo()


def _doctor(options: argparse.Namespace) -> int:
    from launcher.doctor import run_doctor  # noqa: PLC0415  needs the environment

    return run_doctor(options.save_pages, force=options.force)


def _test(arguments: list[str]) -> int:
    environment.ensure(["test", *arguments], environment.DEVELOPMENT)
    from launcher.testing import run_tests  # noqa: PLC0415  needs the environment

    return run_tests(arguments)
