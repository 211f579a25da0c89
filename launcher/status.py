"""`run.py status`: how the relay does, in words first; what is wrong and what to do; numbers."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from launcher import asking
from launcher.asking import Found, Relay, UnreachableError, answered
from launcher.standing import Problem, numbers, problems, sentence
from launcher.terminal import say

WELL, UNREACHABLE, ATTENTION = 0, 1, 3

MOST_ITEMS = 5
"""Of what wants attention, that are printed; --json has up to 100."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands; it needs nothing but Python."""
    parser.description = "Says how the relay does, what is wrong, and what to do about it."
    parser.epilog = """\
example: python run.py status
         python run.py status --json | python -m json.tool

exit codes: 0 all well, 1 no relay answers, 2 wrong setting or command,
3 it runs, and something needs attention (with --watch: as it was last)"""
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument("--watch", action="store_true", help="again and again, until Ctrl-C")
    parser.add_argument(
        "--every", type=_seconds, default=2.0, metavar="SECONDS", help="with --watch (default 2)"
    )
    asking.add_options(parser)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0
    if not 0.1 <= found <= 3600:
        raise argparse.ArgumentTypeError("it must be from 0.1 to 3600")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """``state``: well, attention or unreachable. ``status`` is GET /status, ``items`` attention."""

    state: str
    words: str
    problems: list[Problem]
    status: Found | None = None
    items: list[Mapping[str, Any]]


CODES = {"well": WELL, "unreachable": UNREACHABLE, "attention": ATTENTION}


def run_status(options: argparse.Namespace) -> int:
    """0: well, 1: no relay answers, 3: something needs attention."""
    relay = Relay.of(options)
    told = look(relay)
    if not options.watch:
        _print(told, as_json=options.json, on_one_line=False)
        return CODES[told.state]
    try:
        while True:
            if not options.json:
                say("\x1b[2J\x1b[H" if sys.stdout.isatty() else "")
            _print(told, as_json=options.json, on_one_line=True)
            time.sleep(options.every)
            told = look(relay)
    except KeyboardInterrupt:
        return CODES[told.state]


def look(relay: Relay) -> Told:
    """Ask for the state and for what wants attention. Raises Refusal."""
    try:
        reply = relay.ask("GET", "/status")
        if reply.status == 503:
            return _ailing(relay, reply.found["detail"])
        status = answered(relay, reply, "backlog")
        items = answered(relay, relay.ask("GET", "/api/attention?limit=100"), "items")["items"]
    except UnreachableError as error:
        return _down(str(error))
    found = problems(relay, status, items)
    state = "attention" if found else "well"
    return Told(state=state, words=sentence(status), problems=found, status=status, items=items)


def _ailing(relay: Relay, detail: str) -> Told:
    """It runs, and cannot say how it does: most often its database is away."""
    todo = (
        "Nothing is acknowledged meanwhile: senders are asked to come again. See that PostgreSQL"
        f" runs; the log says more. {relay.page('/health/ready')} answers as soon as it is back."
    )
    problem = Problem(words=detail, todo=todo)
    return Told(
        state="attention", words="It runs, but does not work.", problems=[problem], items=[]
    )


def _down(words: str) -> Told:
    problem = Problem(
        words="Where it should be running, alerts get no answer now, and nothing is forwarded.",
        todo="See why: `docker compose ps` and `docker compose logs app`, or `systemctl status` and"
        " `journalctl -u` with the name of its unit.",
    )
    return Told(state="unreachable", words=words, problems=[problem], items=[])


def _print(told: Told, *, as_json: bool, on_one_line: bool) -> None:
    if as_json:
        say(json.dumps(asdict(told), indent=None if on_one_line else 2))
        return
    say(told.words)
    for one in told.problems[:MOST_ITEMS]:
        say(f"\n  ! {one.words}\n    {one.todo}")
    if (more := len(told.problems) - MOST_ITEMS) > 0:
        say(f"\n  … and {more} more (--json has them)")
    if told.status:
        say("")
        for name, words in numbers(told.status):
            say(f"{name:<13}{words}")
