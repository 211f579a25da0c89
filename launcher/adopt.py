"""`run.py adopt`: takes over what an installation of the original relay had."""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from domain.original_settings import Fate, Verdict, decide
from domain.screen import warnings
from launcher import asking
from launcher.adoption import Change, Plan, carry_out, hand_over, planned
from launcher.old_folder import History, Old, look, shown
from launcher.terminal import say

Told: TypeAlias = dict[str, Any]

DESCRIPTION = """\
Reads the folder of an installation of the original relay (.env, finviz_config.json, and what was
saved there of its strategies and its history) and says what would be taken over. Changes nothing
without --apply. No secret is shown."""

EPILOG = """\
example: python run.py adopt ../old-relay
         python run.py adopt ../old-relay --apply

With --apply: .env and finviz_config.json are written here, a copy of each is kept beside it; the
history is imported by the relay that runs here. Where none runs, start it and give the same
command again: what is there already stays as it is. docs/migration.md has it step by step.
exit codes: 0 done, or looked; 1 something could not be taken over; 2 wrong setting or command"""

HEADINGS: Mapping[Fate, str] = {
    Fate.TAKEN: "Taken over",
    Fate.LEFT: "Not taken over",
    Fate.DEAD: "Dead there: nothing that acts read it",
    Fate.UNKNOWN: "Not the original's, and left alone",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands; it needs nothing but Python."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    parser.add_argument("folder", type=Path, metavar="PATH", help="of the old installation")
    parser.add_argument("--apply", action="store_true", help="do it")
    parser.add_argument(
        "--keep-token",
        action="store_true",
        help="take FINVIZ_UPDATE_TOKEN over, where it is long enough: others may know it",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of words")
    asking.add_options(parser)


def run_adopt(options: argparse.Namespace) -> int:
    """Look, and with --apply do. Raises Refusal."""
    old = look(options.folder)
    verdicts = decide(old.settings, keep_token=options.keep_token)
    plan = planned(old, verdicts)
    quiet: bool = options.json
    if not quiet:
        for line in words(old, verdicts, plan):
            say(line)
    told = as_told(old, verdicts, plan)
    if options.apply:
        undo = carry_out(plan)
        relay = asking.Relay.of(options)
        told |= {"undo": undo} | hand_over(relay, old, plan, wrote=bool(undo), quiet=quiet)
        if not quiet:
            for line in _done(told):
                say(line)
    elif not quiet:
        say("\nNothing was changed. To do it, add --apply.")
    if quiet:
        say(json.dumps(told, indent=2))
    return 1 if _is_incomplete(old, told) else 0


def _is_incomplete(old: Old, told: Told) -> bool:
    refused = any(one.good < one.rows or one.problems for one in old.histories)
    return bool(old.problems or refused or told.get("waiting"))


# ── In words ────────────────────────────────────────────────────────────────────────────────


def words(old: Old, verdicts: list[Verdict], plan: Plan) -> Iterator[str]:
    """What was found and what would become of it, a line each."""
    yield f"In {shown(str(old.folder))}:"
    changes = {one.name: one for one in plan.changes}
    for fate, heading in HEADINGS.items():
        found = [one for one in verdicts if one.fate is fate]
        if found:
            yield f"\n{heading}:"
            yield from (f"  {_setting(one, changes)}" for one in found)
    yield from _screens(old, plan)
    yield from _histories(old)
    if plan.removed:
        yield "\nRemoved from .env here, because it is the old value and would be read:"
        yield from (f"  {name}" for name in plan.removed)
    if old.problems:
        yield "\nNot read:"
        yield from (f"  {one}" for one in old.problems)


def _setting(one: Verdict, changes: Mapping[str, Change]) -> str:
    name = one.name if one.becomes in {None, one.name} else f"{one.name} → {one.becomes}"
    change = changes.get(one.becomes or "")
    value = f": {change.told}" if change else ""
    return f"{name}{value}{f' ({one.words})' if one.words else ''}"


def _screens(old: Old, plan: Plan) -> Iterator[str]:
    if not old.screens:
        return
    yield f"\nScreens, of {old.screens_of}:"
    for one in old.screens:
        terms = f"top {one.screen.top_n}, every {one.screen.refresh.total_seconds():g} s"
        yield f"  {shown(one.name)}{' (in force)' if one.active else ''}: {terms}"
        yield from (f"    {line}" for line in warnings(one.screen, elite=plan.elite))
    if plan.furnished:
        yield "  There is a database here: the relay imports them, and you choose under List."
    yield "  Reprocessing of rejected buys: `wait` of a screen does it, off as it stands."


def _histories(old: Old) -> Iterator[str]:
    if old.histories:
        yield "\nHistory:"
    for one in old.histories:
        yield f"  {shown(one.path.name)}: {one.good} of {one.rows} signals can be read"
        yield from (f"    {line}" for line in one.problems)


def _done(told: Told) -> Iterator[str]:
    yield ""
    yield from told["done"]
    yield from told["undo"]
    yield from (f"Still to do: {line}" for line in told["waiting"])


# ── For programs ────────────────────────────────────────────────────────────────────────────


def as_told(old: Old, verdicts: list[Verdict], plan: Plan) -> Told:
    """The same as the words; of secrets no value."""
    return {
        "settings": [
            {"name": one.name, "fate": one.fate, "becomes": one.becomes, "words": one.words}
            | ({} if one.secret else {"value": one.value})
            for one in verdicts
        ],
        "changes": [{"name": one.name, "told": one.told} for one in plan.changes],
        "removed": plan.removed,
        "screens": [
            {"name": one.name, "active": one.active, "top_n": one.screen.top_n}
            for one in old.screens
        ],
        "histories": [_history(one) for one in old.histories],
        "problems": old.problems,
    }


def _history(one: History) -> Told:
    found = {"file": one.path.name, "bytes": one.bytes, "rows": one.rows, "good": one.good}
    return found | {"problems": one.problems}
