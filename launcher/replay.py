"""`run.py replay`: a signal once more, as a new one; first what it would do."""

import argparse
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

from launcher import asking, fate
from launcher.asking import TRADE, Found, Relay, UnreachableError, a_key, answered
from launcher.fate import EXIT_CODES, TURNED_AWAY
from launcher.send import ended
from launcher.terminal import Refusal, agreed, aside, say, visible

EPILOG = f"""\
examples: python run.py replay 01a1fc1f-537e-78ef-a699-c5d9b4210879
          python run.py replay 01a1fc1f-537e-78ef-a699-c5d9b4210879 --yes --reason "it was down"

A replay is a new signal with the body of another: it is judged by what is in force now, with a
life from now. What is approved becomes a real order.

{EXIT_CODES}"""

WORDS = {
    "not_a_signal": "no signal can be read from it, there is nothing to send",
    "imported": "it was imported, for the record",
    "held": "its outcome is unknown; resolve it on its page",
    "no_destination": "it would go nowhere: its destination is out of use, or holds nothing of it",
    "not_final": "it is still on its way",
    "already_replayed": "it was replayed already",
    "already_delivered": "it was delivered, once more would do it twice",
    "may_have_arrived": "it may have arrived; look at the destination first",
    "overtaken": "a newer signal of its ticker was delivered since",
    "stale": "this buy is too old, its time to live is over",
}
NEVER = {"not_a_signal", "imported", "held", "no_destination"}
"""What no force helps against."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands; it needs nothing but Python."""
    parser.description = "Sends a signal of the past once more, as a new one."
    parser.epilog = EPILOG
    parser.add_argument("id", metavar="ID", help="of the signal; its first eight digits or more")
    parser.add_argument("--reason", help="why; it goes into the audit trail")
    parser.add_argument(
        "--force", action="store_true", help="also what makes little sense; needs a --reason"
    )
    parser.add_argument("--yes", action="store_true", help="without asking")
    fate.add_options(parser)
    asking.add_options(parser)


def run_replay(options: argparse.Namespace) -> int:
    """Return how the new signal ended. Raises Refusal."""
    if options.force and not options.reason:
        raise Refusal("--force needs a --reason.", 2)
    try:
        return _run(Relay.of(options), options)
    except UnreachableError as error:
        raise Refusal(str(error)) from None


def _run(relay: Relay, options: argparse.Namespace) -> int:
    signal = _signal(relay, options.id)
    aside(_shown(signal))
    if refused := _refused(relay, signal["id"], force=options.force, reason=options.reason):
        aside(f"Not replayed: {_words(refused)}.")
        return TURNED_AWAY
    if not options.yes and not agreed("It may become a real order. Replay it?"):
        raise Refusal("Nothing was done.")
    said = {"force": options.force, "reason": options.reason}
    reply = relay.ask(
        "POST",
        f"/api/signals/{signal['id']}/replay",
        TRADE,
        body={name: value for name, value in said.items() if value},
        headers={"idempotency-key": a_key(options.key)},
        patience=30,
    )
    if reply.status == 409:
        aside(f"Not replayed: {visible(reply.found['detail'])}")
        return TURNED_AWAY
    begun = answered(relay, reply, "signal_id", TRADE)
    if not options.json:
        say(f"Replayed as {begun['signal_id']}.")
    return ended(relay, begun, options)


def _signal(relay: Relay, text: str) -> Mapping[str, Any]:
    """The signal it is about. Raises Refusal unless there is just one."""
    if re.fullmatch(r"[0-9a-fA-F-]{8,36}", text) is None:
        raise Refusal(f"{visible(text)} is no id of a signal, nor the beginning of one.", 2)
    if len(text) == 36:
        return answered(relay, relay.ask("GET", f"/api/signals/{_whole(text)}"), "body")
    asked = f"/api/signals?limit=2&q={quote(text)}"
    found = answered(relay, relay.ask("GET", asked), "items")["items"]
    if not found:
        raise Refusal(f"No signal begins with {text}.", 2)
    if len(found) > 1:
        raise Refusal(f"More than one signal begins with {text}: say more of it.", 2)
    return found[0]


def _whole(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Refusal(f"{text} is no id of a signal.", 2) from None


def _shown(signal: Mapping[str, Any]) -> str:
    what = f"{signal['side']} {signal['ticker']}" if signal["side"] else "no signal"
    why = visible(signal["why"] or "")
    return f"{signal['id']}: {what}, came {signal['received_at']}, {signal['status']}. {why}"


def _refused(relay: Relay, id: str, *, force: bool, reason: str | None) -> str | None:
    """Why it would be refused, as a code; None where it would be done."""
    asked: Found = {"ids": [id], "preview": True, "force": force}
    if reason:
        asked["reason"] = reason
    found = answered(relay, relay.ask("POST", "/api/signals/replay", TRADE, body=asked), "would")
    return None if found["would"] else next(iter(found["refused"]), "it is gone")


def _words(code: str) -> str:
    words = WORDS.get(code, code.replace("_", " "))
    return words if code in NEVER else f"{words} (--force with a --reason does it all the same)"
