"""`run.py completion`: a script for a shell, made of what the command line understands."""

import argparse
from collections.abc import Iterable, Iterator

from launcher.command_line import parser_for
from launcher.commands import COMMANDS
from launcher.shells import SCRIPTS, Known, Option
from launcher.terminal import say

EPILOG = """\
examples: source <(python run.py completion bash)          # this shell
          python run.py completion bash > ~/.local/share/bash-completion/completions/run.py
          python run.py completion fish > ~/.config/fish/conf.d/run.py.fish

It completes after `run.py`, `./run.py` and `python run.py`. In ~/.bashrc or, after compinit, in
~/.zshrc: source /path/to/the/script. Make it anew after an upgrade.

exit codes: 0 printed, 2 wrong command"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands; it needs nothing but Python."""
    parser.description = "Prints a script that completes commands and options in your shell."
    parser.epilog = EPILOG
    parser.add_argument("shell", choices=tuple(SCRIPTS), help="which one")


def run_completion(options: argparse.Namespace) -> int:
    """Print it."""
    say(SCRIPTS[options.shell](known()))
    return 0


def known() -> list[Known]:
    """What is understood, read off the parser itself; first what stands before any command."""
    parser = parser_for([one.name for one in COMMANDS])
    (commands,) = (one for one in _actions(parser) if isinstance(one.choices, dict))
    subparsers: dict[str, argparse.ArgumentParser] = commands.choices  # pyright: ignore[reportAssignmentType]  of a subparsers action
    return [
        _known("", "", parser),
        *(_known(one.name, one.help, subparsers[one.name]) for one in COMMANDS),
    ]


def _actions(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    return parser._actions  # noqa: SLF001  nothing public tells them


def _known(name: str, words: str, parser: argparse.ArgumentParser) -> Known:
    choices = [
        tuple(map(str, one.choices))
        for one in _actions(parser)
        if one.choices and not one.option_strings and not isinstance(one.choices, dict)
    ]
    return Known(name, words, tuple(_options(parser)), choices[0] if choices else ())


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    formatter = argparse.HelpFormatter(parser.prog)
    for one in _actions(parser):
        if one.option_strings:
            words = formatter._expand_help(one) if one.help else ""  # noqa: SLF001  as it prints it
            takes = one.nargs != 0
            yield Option(
                tuple(one.option_strings), words, takes, tuple(map(str, one.choices or ()))
            )
