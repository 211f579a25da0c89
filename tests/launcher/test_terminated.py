"""SIGTERM: a command that it ends says so and looks by no means done; serving ends well by it."""

import argparse
import signal
import sys
from collections.abc import Generator, Sequence
from types import SimpleNamespace

import pytest

from launcher import environment, serving
from launcher.command_line import main
from launcher.commands import COMMANDS, Command
from tests.launcher.programs import line, running

TERMINATED = 128 + signal.SIGTERM
WAITING = """
import asyncio, sys
from launcher import command_line, completion

async def wait():
    try:
        print("half way")
        await asyncio.sleep(60)
    finally:
        print("left in order")

completion.run_completion = lambda options: asyncio.run(wait())
sys.exit(command_line.main(["completion", "bash"]))
"""


def terminated(_options: argparse.Namespace) -> int:
    signal.raise_signal(signal.SIGTERM)
    return 0


def no_options(parser: argparse.ArgumentParser) -> None:
    """None but those by which a command may do with Python alone."""
    parser.set_defaults(**{one.bare_with: None for one in COMMANDS if one.bare_with})


def no_environment(_arguments: Sequence[str], _requirements: str) -> None:
    """What a stub needs is here."""


def stub(command: Command) -> object:
    """What needs nothing, and is sent SIGTERM while it runs."""
    name = f"run_{command.name.replace('-', '_') or 'serving'}"
    options = no_options if command.name else serving.add_options
    return SimpleNamespace(**{"add_options": options, name: terminated})


@pytest.fixture(autouse=True)
def stubs(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setattr(Command, "load", stub)
    monkeypatch.setattr(environment, "ensure", no_environment)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def ended(*arguments: str) -> object:
    with pytest.raises(SystemExit) as raised:
        sys.exit(main(arguments))
    return raised.value.code


@pytest.mark.parametrize("name", [one.name for one in COMMANDS])
def test_a_command_does_not_look_done(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(name) == TERMINATED
    assert capsys.readouterr() == ("", "Stopped by SIGTERM, before its end.\n")


def test_who_serves_has_no_other_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended() == ended("--demo") == 0
    assert capsys.readouterr() == ("", "")


def test_a_scenario_that_was_to_end_by_itself_did_not() -> None:
    assert ended("--demo", "--scenario", "bar-close", "--exit") == TERMINATED


def test_what_is_under_way_is_left_in_order() -> None:
    with running(WAITING) as command:
        assert line(command) == "half way"
        command.send_signal(signal.SIGTERM)
        assert line(command) == "left in order"
        assert line(command) == "Stopped by SIGTERM, before its end."
        assert command.wait(60) == TERMINATED
