"""The command line itself: its table, `--help` by Python alone, pipes and plain terminals."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

import version
from launcher.command_line import parser_for
from launcher.commands import COMMANDS, SERVING
from launcher.environment import ROOT
from launcher.terminal import PIPE

BARE = (sys.executable, "-E", "-s", "-S", str(ROOT / "run.py"))
"""Python alone: no packages are found."""

NAMES = [one.name for one in COMMANDS]
SLOW = {"asyncio", "email", "http.client", "importlib.metadata", "ssl", "subprocess", "random"}
MOST = 150
"""Modules beyond Python's own start; 60 to 100 are loaded, and the relay itself has 1,500."""

LOADED = """
import contextlib, io, json, sys
before = set(sys.modules)
from launcher.command_line import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main(sys.argv[1:])
print(json.dumps(sorted(set(sys.modules) - before)))
"""

WHOLE = """
from launcher.commands import COMMANDS, SERVING
for one in (*COMMANDS, SERVING):
    module, run = one.load(), "run_" + (one.name.replace("-", "_") or "serving")
    assert callable(getattr(module, "add_options", None)), one.name
    assert callable(getattr(module, run, None)), (one.name, run)
print(len(COMMANDS))
"""


def bare(script: str, *arguments: str) -> str:
    return subprocess.run(
        [*BARE[:-1], "-c", script, *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def test_every_command_is_known_without_packages() -> None:
    assert int(bare(WHOLE)) == len(COMMANDS) == len(set(NAMES))


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["status", "--help"], ["send", "--help"], ["tail", "--help"]],
)
def test_the_first_answer_loads_little(arguments: Sequence[str]) -> None:
    loaded = set(json.loads(bare(LOADED, *arguments)))
    assert loaded & SLOW == set()
    assert len(loaded) < MOST
    others = {one.module for one in (*COMMANDS, SERVING)} - {SERVING.module}
    assert len(loaded & others) == (1 if len(arguments) > 1 else 0)


@pytest.mark.parametrize("name", [one.name for one in COMMANDS if not one.rest])
def test_the_help_of_each_has_an_example_and_its_exit_codes(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser_for([name]).parse_args([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "exit codes: " in said
    assert f"python run.py {name}" in said[said.index("\nexample") :]


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser_for([]).parse_args(["--help"])
    said = capsys.readouterr().out
    assert [name for name in NAMES if f"\n    {name}" not in said] == []
    assert "exit codes: " in said


def test_it_says_which_version_it_is() -> None:
    done = subprocess.run([*BARE, "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"{version.named()}\n"


def test_a_terminal_that_knows_ascii_alone_gets_plain_signs() -> None:
    done = subprocess.run(
        [*[one for one in BARE if one != "-E"], "whatif", "--help"],
        check=True,
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert b'{"every": ..., "sources": ...}' in done.stdout
    assert done.stderr == b""


def test_it_ends_quietly_when_nobody_reads_any_more() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [*BARE, "completion", "bash"], stdout=writing, stderr=subprocess.PIPE
    ) as process:
        os.close(writing)
        said = process.communicate(timeout=30)[1]
    assert (process.returncode, said) == (PIPE, b"")
