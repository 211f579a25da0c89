"""`run.py whatif`: asks the running relay which verdicts would flip under other settings."""

import argparse
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

from launcher import credentials
from launcher.terminal import Refusal, say

Answer: TypeAlias = Mapping[str, Any]

PATIENCE = 300
"""Seconds: a month takes the relay minutes at most."""

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  we ask there, and listen nowhere
TOKENS = ("FINVIZ_UPDATE_TOKEN", "ADMIN_TOKEN")
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
    parser.add_argument("--from", dest="since", type=_moment, metavar="TIME", help="ISO 8601")
    parser.add_argument("--to", dest="until", type=_moment, metavar="TIME", help="default: now")
    parser.add_argument(
        "--since", dest="lasting", type=_lasting, metavar="TIME", help="24h (default), 90m, 7d …"
    )
    for name, (kind, words) in TERMS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=words)
    parser.add_argument("--sell-policy", choices=("with_position", "always", "top_n"))
    parser.add_argument("--limit", type=int, default=1_000, metavar="N", help="flips to list")
    parser.add_argument("--json", action="store_true", help="the relay's answer as it is")
    parser.add_argument("--url", type=_address, help="where the relay runs; default: HOST and PORT")


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


def _address(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        known = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
    except ValueError:
        known = False
        parts = urlsplit("")
    if not known:
        raise argparse.ArgumentTypeError("it must be like http://127.0.0.1:8000")
    return parts


def run_whatif(options: argparse.Namespace) -> int:
    """Ask, and print what the relay answers. Raises Refusal."""
    settings = _settings()
    token = next((settings[name] for name in TOKENS if settings.get(name)), None)
    if token is None:
        raise Refusal(f"{' or '.join(TOKENS)} is needed: in the environment, .env or DATA_DIR.", 2)
    found = _ask(options.url or _own(settings), token, _body(options))
    if options.json:
        say(json.dumps(found, indent=2))
    else:
        show(found)
    return 0


def _settings() -> dict[str, str]:
    """The environment, then `.env`, then what was generated, as the relay itself reads them."""
    given = credentials.read(Path(".env")) | {k: v for k, v in os.environ.items() if v}
    folder = Path(given.get("DATA_DIR") or "data")
    return credentials.read(folder / credentials.FILE) | {k: v for k, v in given.items() if v}


def _own(settings: Mapping[str, str]) -> SplitResult:
    host = settings.get("HOST") or "127.0.0.1"
    host = ANYWHERE.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    return urlsplit(f"http://{shown}:{settings.get('PORT') or 8000}")


def _body(options: argparse.Namespace) -> Mapping[str, object]:
    until: datetime = options.until or datetime.now(UTC)
    if options.since and options.lasting:
        raise Refusal("--from or --since, not both.", 2)
    since = options.since or until - (options.lasting or timedelta(days=1))
    terms = {name: getattr(options, name) for name in (*TERMS, "sell_policy", "limit")}
    terms["wait"] = terms.pop("hold")
    asked = {name: value for name, value in terms.items() if value is not None}
    return asked | {"from": since.isoformat(), "to": until.isoformat()}


def _ask(at: SplitResult, token: str, body: Mapping[str, object]) -> Answer:
    """By no proxy and to nowhere else: the token is for the relay alone."""
    where = f"{at.scheme}://{at.netloc.rpartition('@')[2]}"
    kind = HTTPSConnection if at.scheme == "https" else HTTPConnection
    connection = kind(at.hostname or "", at.port, timeout=PATIENCE)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    try:
        connection.request("POST", f"{at.path.rstrip('/')}/api/whatif", json.dumps(body), headers)
        reply = connection.getresponse()
        status, text = reply.status, reply.read()
    except TimeoutError:
        raise Refusal(f"The relay at {where} did not answer within {PATIENCE} s.") from None
    except (OSError, HTTPException):
        raise Refusal(
            f"No relay answers at {where}: start it (python run.py), or say where it is (--url)."
        ) from None
    finally:
        connection.close()
    return _understood(where, status, text)


def _understood(where: str, status: int, text: bytes) -> Answer:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"flips", "detail"} & set(found):  # pyright: ignore[reportUnknownArgumentType]  JSON
        raise Refusal(f"What answers at {where} is not this relay (HTTP {status}).")
    if status == 401:
        raise Refusal(f"The relay at {where} does not take this {TOKENS[0]}.")
    if status != 200:
        raise Refusal(f"The relay at {where}: {found['detail']}", 2 if status == 400 else 1)
    return found  # pyright: ignore[reportUnknownVariableType]  JSON


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
