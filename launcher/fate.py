"""What becomes of a signal: followed until it has ended, and told as it goes on."""

import argparse
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from launcher.asking import Found, Relay, UnreachableError, answered
from launcher.terminal import aside, say, visible

DELIVERED, TURNED_AWAY, NOT_DELIVERED, UNDER_WAY = 0, 3, 4, 5
"""Exit codes of commands that wait for an end."""

EXIT_CODES = """\
exit codes: 0 delivered to every destination, 1 not done (no relay answers, or it did not take it),
2 wrong setting or command, 3 turned away (not a signal, rejected, expired, refused),
4 approved, but not delivered everywhere, 5 still on its way when --wait was over,
130 interrupted: what was sent goes on"""

PAUSE = 0.25
"""Seconds between two looks."""

UNFINISHED = {"queued", "sending"}
STATES = {
    "queued": "Waits to be sent to {to}",
    "sending": "On its way to {to}",
    "held": "Held: it may have arrived at {to}, nobody knows. Look there, then resolve it",
    "delivered": "Delivered to {to}",
    "dead": "Given up at {to}",
    "expired": "Too old to be sent to {to}",
    "superseded": "Made moot at {to} by something else",
    "cancelled": "Cancelled at {to} by an operator",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of a command that makes a signal and waits for its end."""
    parser.add_argument(
        "--wait",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="for its end, at most (default 30; 0: not at all)",
    )
    parser.add_argument("--key", help="an Idempotency-Key: the same one, the same signal")
    parser.add_argument("--json", action="store_true", help="the signal as the API shows it")


def seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1
    if not 0 <= found <= 86_400:
        raise argparse.ArgumentTypeError("it must be from 0 to 86400")
    return found


def follow(relay: Relay, id: str, wait: float, *, quiet: bool) -> Found | None:
    """The signal when it has ended, or when ``wait`` is over; None where nobody could be asked.

    Unless ``quiet``, every change is said once.
    """
    deadline, seen = time.monotonic() + wait, set[str]()
    found: Found | None = None
    while True:
        found = _look(relay, id, deadline) or found
        if found and not quiet:
            _tell(found, seen)
        if (found and is_settled(found)) or time.monotonic() >= deadline:
            break
        time.sleep(PAUSE)
    if not quiet:
        if found:
            _tell(found, seen, all=True)
        _conclude(relay, id, found, wait)
    return found


def _look(relay: Relay, id: str, deadline: float) -> Found | None:
    """A relay that starts again meanwhile is asked again."""
    left = max(1.0, deadline - time.monotonic())
    try:
        reply = relay.ask("GET", f"/api/signals/{id}", patience=min(10, left))
    except UnreachableError:
        return None
    return None if reply.status == 503 else answered(relay, reply, "deliveries")


def is_settled(found: Found) -> bool:
    if found["status"] == "received":
        return False
    return not any(one["state"] in UNFINISHED for one in found["deliveries"])


def code_of(found: Found | None) -> int:
    """The exit code that says how it ended."""
    if found is None or not is_settled(found):
        return UNDER_WAY
    if not found["deliveries"]:
        return TURNED_AWAY
    arrived = all(one["state"] == "delivered" for one in found["deliveries"])
    return DELIVERED if arrived else NOT_DELIVERED


def _tell(found: Found, seen: set[str], *, all: bool = False) -> None:
    """What is over in a moment is not said, unless it is ``all`` there is to say at the end."""
    deliveries = [one for one in found["deliveries"] if all or _lasts(one)]
    for line in (_verdict(found, all=all), *map(_delivery, deliveries)):
        if line and line not in seen:
            seen.add(line)
            say(line)


def _lasts(one: Mapping[str, Any]) -> bool:
    """A state that says more than that it is on its way."""
    return one["state"] not in UNFINISHED or (one["state"] == "queued" and bool(one["attempts"]))


def _verdict(found: Found, *, all: bool) -> str:
    if found["status"] == "received" and not (all or found["waits_until"]):
        return ""
    status, why = found["status"], visible(found["why"] or "")
    turned_away = {"rejected": "Rejected. ", "expired": "Expired. ", "invalid": "Invalid. "}
    return turned_away.get(status, "") + why


def _delivery(one: Mapping[str, Any]) -> str:
    """Where it is; the last attempt says what the destination answered."""
    known: str = STATES.get(one["state"], f"{one['state']} at {{to}}")
    words = known.format(to=visible(one["destination"]))
    last = one["attempts"][-1] if one["attempts"] else None
    told = [visible(one["reason"])] if one["reason"] else []
    if last and last["outcome"]:
        told += _attempt(last, one["state"])
    if one["state"] == "queued" and last:
        told.append(f"again at {_clock(one['due_at'])}")
    return f"{words}: {', '.join(told)}." if told else f"{words}."


def _attempt(last: Mapping[str, Any], state: str) -> list[str]:
    if last["outcome"] == "dry_run":
        return ["the destination is in a dry run, nothing left"]
    told = [f"HTTP {last['status']}"] if last["status"] else []
    if last["error"]:
        told.append(visible(last["error"]))
    if state != "delivered" and last["answer"]:
        told.append(f"it said {visible(last['answer'])[:200]}")
    return [f"attempt {last['number']}", *told]


def _clock(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%H:%M:%S} UTC"


def _conclude(relay: Relay, id: str, found: Found | None, wait: float) -> None:
    there = relay.page(f"/admin/signals/{id}")
    if found is None:
        aside(f"The relay does not answer just now; what was stored goes on: {there}")
    elif not is_settled(found):
        aside(f"Still on its way after {wait:g} s. It goes on: {there}")
    elif code_of(found) == NOT_DELIVERED:
        aside(f"Not delivered everywhere. What can be done: {there}")
