"""`run.py send`: an alert as a sender would post it, and what becomes of it; or a rehearsal."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher import asking, fate
from launcher.asking import INGEST, TRADE, Found, Relay, Reply, UnreachableError, a_key, answered
from launcher.fate import EXIT_CODES, TURNED_AWAY, code_of, follow
from launcher.terminal import Refusal, agreed, aside, say, visible

MOST_BYTES = 65_536

EPILOG = f"""\
examples: python run.py send --dry-run '{{"ticker": "NASDAQ:AAPL", "action": "buy"}}'
          python run.py send --ticker AAPL --action buy --yes
          python run.py send --yes --json --wait 60 - < alert.json

Without --dry-run it is an alert like any other: what is approved becomes a real order. In a
terminal it is rehearsed first, and you are asked. Sent twice it is two signals, unless both have
the same --key.

{EXIT_CODES}
--dry-run: 0 it would be approved, 3 it would not"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands; it needs nothing but Python."""
    parser.description = "Posts an alert to the running relay and says what becomes of it."
    parser.epilog = EPILOG
    parser.add_argument(
        "message", nargs="?", metavar="MESSAGE", help="the alert as it is; - reads it from stdin"
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="the alert as it is")
    parser.add_argument("--ticker", help="instead of a message, with --action: such as AAPL")
    parser.add_argument("--action", help="such as buy or sell")
    parser.add_argument("--price", help="what it tells of the price")
    parser.add_argument("--content-type", metavar="TYPE", help="how it is labelled (JSON or text)")
    parser.add_argument("--dry-run", action="store_true", help="rehearse it: nothing is sent")
    parser.add_argument("--yes", action="store_true", help="send it without asking")
    fate.add_options(parser)
    asking.add_options(parser)


def run_send(options: argparse.Namespace) -> int:
    """Return how it ended. Raises Refusal."""
    relay, body = Relay.of(options), message(options)
    label: str = options.content_type or ("application/json" if _is_json(body) else "text/plain")
    if options.dry_run:
        return _rehearse(relay, body, label, as_json=options.json)
    if not options.yes and not _confirmed(relay, body, label):
        raise Refusal("Nothing was sent.")
    key: str = a_key(options.key)
    reply = _post(relay, body, label, key)
    return _told(relay, reply, options)


# ── What is sent ────────────────────────────────────────────────────────────────────────────


def message(options: argparse.Namespace) -> bytes:
    """The body. Raises Refusal unless it is said in just one way."""
    composed = options.ticker or options.action or options.price
    given = [one for one in (options.message, options.file, composed) if one is not None]
    if len(given) != 1:
        raise Refusal("Say what to send: a MESSAGE, - or --file, or --ticker with --action.", 2)
    if composed:
        return _composed(options)
    found = _from_file(options.file) if options.file else _given(options.message)
    if not found.strip():
        raise Refusal("There is nothing to send: the message is empty.", 2)
    return found


def _given(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    return text.encode("utf-8", "surrogateescape")


def _from_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}.", 2) from None


def _composed(options: argparse.Namespace) -> bytes:
    if not (options.ticker and options.action):
        raise Refusal("--ticker and --action go together.", 2)
    parts = {"ticker": options.ticker, "action": options.action, "price": options.price}
    return json.dumps({name: value for name, value in parts.items() if value}).encode()


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


# ── Before: what would become of it ─────────────────────────────────────────────────────────


def _rehearsal(relay: Relay, body: bytes, label: str) -> Reply:
    try:
        asked = {"body": body.decode(), "content_type": label}
    except UnicodeDecodeError:
        raise Refusal("It is not UTF-8: the relay would refuse it.", TURNED_AWAY) from None
    return relay.ask("POST", "/api/rehearsals", TRADE, body=asked)


def _rehearse(relay: Relay, body: bytes, label: str, *, as_json: bool) -> int:
    try:
        found = answered(relay, _rehearsal(relay, body, label), "reading", TRADE)
    except UnreachableError as error:
        raise Refusal(str(error)) from None
    if as_json:
        say(json.dumps(found, indent=2))
    else:
        for line in (*foreseen(found), "Nothing was sent or kept."):
            say(line)
    decision = found["decision"]
    return 0 if decision and decision["status"] == "approved" else TURNED_AWAY


def _confirmed(relay: Relay, body: bytes, label: str) -> bool:
    """Say what would happen, then ask; where it cannot be foreseen, say that."""
    if sys.stdin.isatty():
        aside(f"This is a real alert for the relay at {relay.where}.")
        try:
            reply = _rehearsal(relay, body, label)
        except UnreachableError as error:
            raise Refusal(str(error)) from None
        unknown = [f"What would become of it is not known: {reply.found.get('detail')}"]
        for line in foreseen(reply.found) if reply.ok else unknown:
            aside(visible(line))
    return agreed("Send it?")


def foreseen(found: Found) -> list[str]:
    """A rehearsal in words."""
    reading, decision = found["reading"], found["decision"]
    advice = [f"Advice: {visible(one)}" for one in reading["advice"]]
    if decision is None:
        code, detail = reading["code"], visible(reading["detail"] or "")
        return [f"It would be refused: {detail} ({code}, HTTP {reading['answer']}).", *advice]
    alert = reading["alert"]
    return [
        f"Read as: {alert['side']} {alert['ticker']}"
        + (f" at {alert['price']}" if alert["price"] else "")
        + ".",
        _decided(decision),
        *(_leaving(one) for one in found["requests"]),
        *advice,
    ]


def _decided(decision: Mapping[str, Any]) -> str:
    """What it says of an approval, or of a wait, begins with that word."""
    why, status = visible(decision["why"]), decision["status"]
    words = why if status in {"approved", "received"} else f"{status.capitalize()}. {why}"
    again = " It repeats a signal of before, and would be folded into it."
    return f"Now: {words}" + (again if decision["repeats"] else "")


def _leaving(one: Mapping[str, Any]) -> str:
    where = f"{visible(one['destination'])} ({one['url']})"
    if one["mode"] == "dry_run":
        return f"To {where} nothing would leave: it is in a dry run."
    if one["state"] != "enabled" or one["breaker"] != "closed":
        state = one["state"] if one["state"] != "enabled" else f"failing, breaker {one['breaker']}"
        return f"It would wait for {where}, which is {state}."
    return f"It would be sent to {where}."


# ── Now, and after ──────────────────────────────────────────────────────────────────────────


def _post(relay: Relay, body: bytes, label: str, key: str) -> Reply:
    if not (label.isascii() and label.isprintable()):
        raise Refusal("--content-type: visible ASCII alone.", 2)
    headers = {"content-type": label, "idempotency-key": key}
    try:
        return relay.ask("POST", "/webhook/in", INGEST, body=body, headers=headers)
    except UnreachableError as error:
        aside(f"If it was sent, it counts. To make sure without sending it twice: --key {key}")
        raise Refusal(str(error)) from None


def _told(relay: Relay, reply: Reply, options: argparse.Namespace) -> int:
    found = reply.found
    if not reply.ok and "signal_id" in found:  # kept, and no signal
        if options.json:
            say(json.dumps(found, indent=2))
        else:
            say(f"Refused: {visible(found['detail'])} ({found['code']}). Kept for you to look at:")
            say(relay.page(f"/admin/signals/{found['signal_id']}"))
        return TURNED_AWAY
    found = answered(relay, reply, "signal_id", INGEST)
    if not options.json:
        what = "A repeat of" if found["duplicate"] else "Stored as"
        say(f"{what} {found['signal_id']}, {found['ticker']}.")
    return ended(relay, found, options)


def ended(relay: Relay, begun: Found, options: argparse.Namespace) -> int:
    """Wait for the end of what was ``begun``, and return the exit code."""
    if not options.wait:
        if options.json:
            say(json.dumps(begun, indent=2))
        return 0
    found = follow(relay, begun["signal_id"], options.wait, quiet=options.json)
    if options.json:
        say(json.dumps(found or begun, indent=2))
    return code_of(found)
