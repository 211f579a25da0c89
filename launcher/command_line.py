"""The command line: what run.py understands, and who does it."""

import argparse
import signal
import sys
from collections.abc import Sequence

from launcher.commands import COMMANDS, SERVING, Command, Needs
from launcher.terminal import make_legible, say

EPILOG = """\
example: python run.py status

`run.py COMMAND --help` says more, with an example and its exit codes.
exit codes: 0 done, 1 cannot run (the last line says why), or what was asked about is not well,
2 wrong setting or command, 130 stopped at once by a second Ctrl-C, 143 a command that SIGTERM
stopped before its end (serving ends well by it: 0).
Settings: .env.example explains each."""


class _Formatter(argparse.HelpFormatter):
    """Lines of a text that has some stay as they are; a single one is filled."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class _Version(argparse.Action):
    """Not before it is asked for: it looks into Git's files."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import version  # noqa: PLC0415  few ask

        say(version.named())
        parser.exit()


def main(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` say and return the exit code."""
    make_legible()
    try:
        return _dispatch(list(arguments))
    except _Terminated as ended:
        print("Stopped by SIGTERM, before its end.", file=sys.stderr)
        return ended.status
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


class _Terminated(SystemExit):
    """By SIGTERM before its end: whoever waits for a command must not think it done."""

    status = 128 + signal.SIGTERM


def _end(_number: int, _frame: object) -> None:
    """Leave through every `with` and `finally`, so that PostgreSQL is stopped too."""
    sys.exit(0)


def _break_off(_number: int, _frame: object) -> None:
    """Leave in the same way; `main` says so when all of it is left."""
    raise _Terminated(_Terminated.status)


def _goes_on(command: Command, options: argparse.Namespace) -> bool:
    """Whether it serves until it is told to stop, as all do but a scenario with an end."""
    return command is SERVING and not options.exit


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["process"]:  # of several: what `launcher.processes` starts
        signal.signal(signal.SIGTERM, _end)
        return _process()
    if command := _handed_on(arguments[:1]):
        return _run(command, argparse.Namespace(rest=arguments[1:]), arguments)
    options = parser_for(arguments).parse_args(arguments)
    return _run(_named(options.command), options, arguments)


def _handed_on(name: list[str]) -> Command | None:
    """The command that reads its options itself, its --help too."""
    return next((one for one in COMMANDS if one.rest and [one.name] == name), None)


def _named(name: str | None) -> Command:
    return next((one for one in COMMANDS if one.name == name), SERVING)


def _run(command: Command, options: argparse.Namespace, arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, _end if _goes_on(command, options) else _break_off)
    bare = command.bare_with and getattr(options, command.bare_with)
    if command.needs is not Needs.PYTHON and not bare:
        from launcher import environment  # noqa: PLC0415  slow, and few need it

        environment.ensure(arguments, command.needs.value)
    name = f"run_{command.name.replace('-', '_') or 'serving'}"
    return getattr(command.load(), name)(options)


def parser_for(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """What understands ``arguments``: of commands that they do not name, it knows only the name."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="A relay for trading alerts. Without a command: serve until Ctrl-C.",
        epilog=EPILOG,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="which relay this is")
    SERVING.load().add_options(parser)
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")
    for one in COMMANDS:
        own = commands.add_parser(
            one.name,
            help=one.help,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        if one.name in arguments:
            one.load().add_options(own)
    return parser


def _process() -> int:
    from launcher.process import run_process  # noqa: PLC0415  started in the environment

    return run_process()
