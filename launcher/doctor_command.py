"""`run.py doctor`: what is well, what is not, and what to do about each; it changes nothing."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from launcher.doctor import findings, machine
from launcher.doctor.findings import SETTINGS, Finding
from launcher.terminal import Progress, Refusal, say

LACKING = "python run.py installs the packages; until then settings, database and the rest wait"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands."""
    parser.description = """\
Looks at this machine, the settings, the database, the clock, the list source, destinations and the
public address: each ok, a warning or a failure, with what to do. It starts nothing and changes
nothing, sends no alert and no order, and works whether the relay runs or not."""
    parser.epilog = """\
example: python run.py doctor

exit codes: 0 nothing fails, 1 something does, 2 wrong command"""
    parser.add_argument(
        "--offline", action="store_true", help="reach for nothing outside this machine"
    )
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument(
        "--save-pages",
        type=Path,
        metavar="DIR",
        help="save what Finviz answers in DIR, without secrets, to attach to an issue",
    )
    parser.add_argument("--force", action="store_true", help="replace what DIR has of another run")


def run_doctor(options: argparse.Namespace) -> int:
    """Return 0 when nothing fails, else 1. Raises Refusal."""
    if options.offline and options.save_pages:
        raise Refusal("--save-pages asks Finviz, and --offline does not.", 2)
    ready = _enter()
    settings = machine.given()
    port = _port(settings.get("PORT", "8000"))
    folder, host = machine.data_folder(settings), settings.get("HOST", "127.0.0.1")
    found = machine.examine(folder, host, port)
    if machine.readable(folder):
        found += _rest(options, ready=ready)
    else:
        found.append(SETTINGS.skipped("all the rest", "the files above cannot be read"))
    show(found, folder, as_json=options.json)
    return 1 if findings.fails(found) else 0


def _enter() -> bool:
    """Go on among the packages, where they are there already; nothing is installed."""
    from launcher import environment  # noqa: PLC0415  slow, and --help does without

    if environment.is_ready():
        environment.ensure(sys.argv[1:])
        return True
    return False


def _port(text: str) -> int:
    """What is no port at all is told among the settings."""
    return int(text) if text.isdecimal() and 0 < int(text) < 65_536 else 8000


def _rest(options: argparse.Namespace, *, ready: bool) -> Sequence[Finding]:
    if not ready:
        return [SETTINGS.skipped("all the rest", "the packages are not there", LACKING)]
    from launcher.doctor import whole  # noqa: PLC0415  needs the environment

    asked = whole.Asked(options.save_pages, options.force, options.offline)
    if options.json or not sys.stdout.isatty():
        return whole.examine(asked, lambda _: None, {})
    progress = Progress("Looking")
    try:
        return whole.examine(asked, progress.step, {})
    finally:
        progress.abandoned()


def show(found: Sequence[Finding], folder: Path, *, as_json: bool) -> None:
    """To a person, or a program."""
    from version import VERSION, named, revision  # noqa: PLC0415  --help does without

    if as_json:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        about = {"version": VERSION, "revision": revision(), "at": at, "data_dir": str(folder)}
        say(json.dumps(findings.told(found, **about), indent=2))
        return
    say(f"Trading Signal Processor {named()}")
    for line in findings.lines(found):
        say(line)
