"""`run.py whatif`: asks the running relay which verdicts would flip under other settings."""

import argparse
import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from launcher import asking
from launcher.asking import Relay, UnreachableError, answered
from launcher.terminal import Refusal, say

Answer: TypeAlias = Mapping[str, Any]

PATIENCE = 300
"""Seconds: a month takes the relay minutes at most."""

EPILOG = """\
example: python run.py whatif --since 7d --top-n 20

exit codes: 0 answered, 1 no answer (the last line says why), 2 wrong setting or command"""

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
TERMS: Mapping[str, tuple[type, str]] = {
    "top_n": (int, "how many ranks count"),
    "margin": (int, "how far one that is in may fall below them and stay in"),
    "hold": (float, "seconds a buy may wait for its ticker to come into the list"),
    "list_max_age": (float, "seconds a list may be old for a buy"),
    "buy_ttl": (float, "seconds a buy lives"),
    "sell_ttl": (float, "seconds a sell lives"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands; it needs nothing but Python."""
    parser.description = (
        "Judges a past period again under other settings. Nothing is sent or changed; what is not"
        " given is as it was at the time."
    )
    parser.epilog = EPILOG
    parser.add_argument("--from", dest="since", type=_moment, metavar="TIME", help="ISO 8601")
    parser.add_argument("--to", dest="until", type=_moment, metavar="TIME", help="default: now")
    parser.add_argument(
        "--since", dest="lasting", type=_lasting, metavar="TIME", help="24h (default), 90m, 7d …"
    )
    for name, (kind, words) in TERMS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=words)
    parser.add_argument("--sell-policy", choices=("with_position", "always", "top_n"))
    parser.add_argument(
        "--rules",
        type=_rules,
        metavar="FILE",
        help='a rulebook as JSON, {"every": …, "sources": …}',
    )
    parser.add_argument("--limit", type=int, default=1_000, metavar="N", help="flips to list")
    parser.add_argument("--json", action="store_true", help="the relay's answer as it is")
    asking.add_options(parser)


def _moment(text: str) -> datetime:
    """A time without a zone is one of this machine's."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no time like 2026-11-20T14:30") from None


def _lasting(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is no time like 24h, 90m or 7d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _rules(name: str) -> object:
    try:
        return json.loads(Path(name).read_text(encoding="utf-8"))
    except OSError:
        raise argparse.ArgumentTypeError(f"{name} cannot be read") from None
    except ValueError:
        raise argparse.ArgumentTypeError(f"{name} is not JSON") from None


def run_whatif(options: argparse.Namespace) -> int:
    """Ask, and print what the relay answers. Raises Refusal."""
    relay, body = Relay.of(options), _body(options)
    try:
        reply = relay.ask("POST", "/api/whatif", body=body, patience=PATIENCE)
    except UnreachableError as error:
        raise Refusal(str(error)) from None
    found = answered(relay, reply, "flips")
    if options.json:
        say(json.dumps(found, indent=2))
    else:
        show(found)
    return 0


def _body(options: argparse.Namespace) -> Mapping[str, object]:
    until: datetime = options.until or datetime.now(UTC)
    if options.since and options.lasting:
        raise Refusal("--from or --since, not both.", 2)
    since = options.since or until - (options.lasting or timedelta(days=1))
    terms = {name: getattr(options, name) for name in (*TERMS, "sell_policy", "rules", "limit")}
    terms["wait"] = terms.pop("hold")
    asked = {name: value for name, value in terms.items() if value is not None}
    return asked | {"from": since.isoformat(), "to": until.isoformat()}


def show(found: Answer) -> None:
    flips: list[Answer] = found["flips"]
    if flips:
        rows = [("received (UTC)", "ticker", "side", "it was; would be"), *map(_row, flips)]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            padded = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)]
            say("  ".join((*padded, row[3])))
    if found["more"]:
        say(f"… and {found['more']} more (--limit)")
    say(summary(found))
    for note in found["notes"]:
        say(f"Note: {note}")


def _row(flip: Answer) -> tuple[str, str, str, str]:
    came = datetime.fromisoformat(flip["at"]).astimezone(UTC)
    return f"{came:%Y-%m-%d %H:%M:%S}", flip["ticker"], flip["side"], flip["words"]


def summary(found: Answer) -> str:
    """How many flip and how, in one line."""
    flips: list[Answer] = found["flips"]
    kinds = Counter(f"{one['was']['status']} → {one['would']['status']}" for one in flips)
    shown = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    if found["more"]:
        shown += ", the others not listed"
    count = len(flips) + found["more"]
    return f"{count} of {found['judged']} verdicts would flip" + (f": {shown}." if shown else ".")
