"""Completion scripts, in the shells themselves where they are installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from launcher.commands import COMMANDS
from launcher.completion import known
from launcher.shells import SCRIPTS

CASES: list[tuple[str, list[str]]] = [
    ("python run.py st", ["status"]),
    ("python3 ./run.py status --js", ["--json"]),
    ("run.py --demo status --wa", ["--watch"]),
    ("python run.py completion z", ["zsh"]),
    ("python run.py whatif --sell-policy a", ["always"]),
    ("python run.py send --token-", ["--token-file"]),
    ("python run.py status --w status --e", ["--every"]),
    ("python other.py st", []),
]

BASH = """
set -eu
before() { COMPREPLY=("what $1 had before"); }
if [ "$2" = python9 ]; then complete -F before -o nospace python; fi
source "$1"; source "$1"; shift
set +eu
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
case $1 in python*) _relay_python "$1" ;; *) _relay_run_py ;; esac
printf '%s\\n' "${COMPREPLY[@]}"
"""

ZSH = """
compdef() { : }
_files() { : }
_describe() { print -rl -- ${${(P)argv[-1]}%%:*} }
compadd() { print -rl -- ${@:#--} }
source $1; shift
words=("$@") CURRENT=$#
case $1 in (python*) _relay_python ;; (*) _relay_run_py ;; esac
"""

FISH = "source $argv[1]; complete -C $argv[2] | string replace -r '\\t.*' ''; true"


def script(shell: str, folder: Path) -> str:
    file = folder / "made"
    file.write_text(SCRIPTS[shell](known()) + "\n")
    return str(file)


def ran(folder: Path, *command: str) -> list[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here (Debian: sudo apt install {command[0]})")
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60, cwd=folder
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def test_bash(tmp_path: Path) -> None:
    file = script("bash", tmp_path)
    for line, expected in CASES:
        found = ran(tmp_path, "bash", "--norc", "-c", BASH, "bash", file, *line.split())
        assert found == expected, line
    chained = ran(tmp_path, "bash", "--norc", "-c", BASH, "bash", file, "python9", "other.py")
    assert chained == ["what python9 had before"]
    every = ran(tmp_path, "bash", "--norc", "-c", BASH, "bash", file, "run.py", "")
    assert every == [one.name for one in COMMANDS]


def test_zsh(tmp_path: Path) -> None:
    """The shell chooses among what it is offered: everything that goes there."""
    file = script("zsh", tmp_path)
    for line, expected in CASES:
        found = ran(tmp_path, "zsh", "-f", "-c", ZSH, "zsh", file, *line.split())
        assert set(expected) <= set(found), line
        assert bool(found) is bool(expected), line


def test_fish(tmp_path: Path) -> None:
    file = script("fish", tmp_path)
    for line, expected in CASES:
        assert ran(tmp_path, "fish", "--no-config", "-c", FISH, file, line) == expected, line


def test_every_option_is_in_every_script() -> None:
    for make in SCRIPTS.values():
        text = make(known())
        assert not [
            flag
            for one in known()
            for flag in one.flags
            if flag not in text and f"-l {flag.removeprefix('--')} " not in text
            if f"-s {flag.removeprefix('-')} " not in text
        ]
