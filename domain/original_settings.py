"""The original relay's `.env`: what each name meant there, and what becomes of it here."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from domain.address import DestinationUrlError, check_destination_url
from domain.weak import SHORTEST, is_well_known


class Fate(StrEnum):
    """What becomes of a setting: taken over, left behind though it did something, or dead there."""

    TAKEN = "taken"
    LEFT = "left"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one. ``value`` is for ``becomes``, which is its name here."""

    name: str
    fate: Fate
    words: str = ""
    becomes: str | None = None
    value: str | None = None
    secret: bool = False


NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
QUOTED = re.compile(r"""(['"])([^'"\\]*)\1\s*(#.*)?""")

RANGES: Mapping[str, tuple[int, int]] = {
    "WORKER_CONCURRENCY": (1, 256),
    "FORWARDING_WORKERS": (1, 64),
    "QUEUE_MAX_SIZE": (1, 10_000_000),
    "DEST_WEBHOOK_MAX_REQ_PER_MIN": (1, 100_000),
    "FINVIZ_REFRESH_SEC": (1, 86_400),
}
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
TRUE, FALSE = {"1", "true", "yes", "on", "t", "y"}, {"0", "false", "no", "off", "f", "n"}

CHANGED: Mapping[str, str] = {
    "FORWARDING_WORKERS": "there of all, here of each destination",
    "QUEUE_MAX_SIZE": "there a queue in memory, here what waits in the database; beyond it 503",
    "DEST_WEBHOOK_MAX_REQ_PER_MIN": "here in any 60 s, a tenth of it for sells alone",
    "DEFAULT_TICKER_REFRESH_SEC": "read on the first start, where no screen says otherwise",
    "DEST_WEBHOOK_URL": "read on a start that finds no destination; afterwards on the page",
}
"""Of what is taken over, what to know."""

RENAMED: Mapping[str, str] = {"DEFAULT_TICKER_REFRESH_SEC": "FINVIZ_REFRESH_SEC"}
SECRETS = frozenset({"DEST_WEBHOOK_URL", "FINVIZ_EMAIL", "FINVIZ_PASSWORD", "FINVIZ_UPDATE_TOKEN"})
ELITE = ("FINVIZ_USE_ELITE", "FINVIZ_EMAIL", "FINVIZ_PASSWORD")

LEFT: Mapping[str, str] = {
    "DATABASE_URL": "that is the original's database; this relay starts one of its own, or uses an"
    " empty one that you name",
    "POSTGRES_PASSWORD": "of the original's database",
    "DATABASE_ECHO": "see LOG_LEVEL",
    "DATABASE_POOL_SIZE": "the relay opens as many connections as it needs (docs/operations.md)",
    "DATABASE_MAX_OVERFLOW": "see DATABASE_POOL_SIZE",
    "DATABASE_POOL_RECYCLE": "see DATABASE_POOL_SIZE",
    "FINVIZ_LOGIN_URL": "the relay knows where to sign in; for tests FINVIZ_BASE_URL",
}

DEAD: Mapping[str, str] = {
    "DEST_WEBHOOK_TIMEOUT": "`timeout` of a destination",
    "MAP_SIDE_TO_ACTION_TRADERSPOST": "the mapping `traderspost` of a destination",
    "TOP_N": "`top_n` of a screen; TOP_N counts on the first start",
    "FINVIZ_REFRESH_SEC": "`refresh` of a screen; FINVIZ_REFRESH_SEC counts on the first start",
    "FINVIZ_TICKERS_PER_PAGE": "found by itself",
    "MAX_REQ_PER_MIN": "found by itself",
    "MAX_CONCURRENCY": "found by itself",
    "PROMETHEUS_PORT": "GET /metrics on PORT",
    "DUAL_WRITE_ENABLED": "",
    "DATABASE_ONLY_MODE": "",
    "SIGNAL_RETENTION_DAYS": "RETENTION_DAYS",
    "METRICS_RETENTION_DAYS": "RETENTION_DAYS",
    "SERVER_PORT": "PORT",
    "FINVIZ_REPROCESS_*": "`wait` of a screen",
    "SELL_ALL_LIST_*": "`expires_in_sec` of the sell list",
    "SIGNAL_TRACKER_*": "",
}
"""Nothing that acts read them there. What they were meant for, here."""

ALSO_OURS = frozenset({"TOP_N", "FINVIZ_REFRESH_SEC"})
"""Dead there and read here: their values were never tried."""

LIVE_HERE = (
    *("DEST_WEBHOOK_URL", "FINVIZ_UPDATE_TOKEN", "WORKER_CONCURRENCY", "FORWARDING_WORKERS"),
    *("QUEUE_MAX_SIZE", "LOG_LEVEL", "DEST_WEBHOOK_MAX_REQ_PER_MIN"),
    *("DEST_WEBHOOK_RATE_LIMITING_ENABLED", "DEFAULT_TICKER_REFRESH_SEC", *ELITE),
)
"""Live there, and taken over."""

NEW_TOKEN = "the next start makes a new one: put it into your scripts"  # noqa: S105  words
LEAKED = f"the original told its token to whoever asked for its log of actions; {NEW_TOKEN}"


# ── Reading ─────────────────────────────────────────────────────────────────────────────────


class Line(NamedTuple):
    """A line of an env file: a name with its value, or what is wrong with it."""

    number: int
    name: str
    value: str
    problem: str = ""


def lines_of(text: str) -> Iterator[Line]:
    """What the lines of an env file say. What such files are read differently for is a problem."""
    for number, line in enumerate(text.split("\n"), start=1):
        said = line.strip().removeprefix("export ").strip()
        if not said or said.startswith("#"):
            continue
        name, found, value = said.partition("=")
        if not found or not NAME.fullmatch(name.strip()):
            yield Line(number, "", "", "is no NAME=value")
            continue
        yield _line(number, name.strip().upper(), value.strip())


def _line(number: int, name: str, value: str) -> Line:
    if quoted := QUOTED.fullmatch(value):
        value = quoted[2]
    elif value.startswith("#"):
        value = ""
    else:
        value = re.split(r"\s#", value, maxsplit=1)[0].rstrip()
    if not value.isprintable() or re.search(r"""['"\\]|\$\{""", value):
        return Line(number, name, "", "holds quotes, \\ or ${: enter it by hand")
    return Line(number, name, value)


# ── Deciding ────────────────────────────────────────────────────────────────────────────────


def decide(given: Mapping[str, str], *, keep_token: bool) -> list[Verdict]:
    """What becomes of each setting of an original `.env`, in its order. Blank ones count as none.

    The token is taken over with ``keep_token`` alone, and never where it is short or well known.
    """
    return [_decided(name, given, keep_token) for name, value in given.items() if value]


def _decided(name: str, given: Mapping[str, str], keep_token: bool) -> Verdict:  # noqa: FBT001
    if name == "FINVIZ_UPDATE_TOKEN":
        return _token(given[name], keep=keep_token)
    if name in LIVE_HERE:
        return _taken(name, given)
    if name in LEFT:
        return Verdict(name, Fate.LEFT, LEFT[name], secret=True)
    if (words := _dead(name)) is not None:
        instead = f"here {words}" if words else ""
        return Verdict(name, Fate.DEAD, instead)
    return Verdict(name, Fate.UNKNOWN, secret=True)


def _dead(name: str) -> str | None:
    family = next((one for one in DEAD if one.endswith("*") and name.startswith(one[:-1])), name)
    return DEAD.get(family)


def _token(token: str, *, keep: bool) -> Verdict:
    name, left = "FINVIZ_UPDATE_TOKEN", Fate.LEFT
    if len(token) < SHORTEST:
        short = f"has {len(token)} characters, and {SHORTEST} are needed; {NEW_TOKEN}"
        return Verdict(name, left, short, secret=True)
    if is_well_known(token):
        return Verdict(name, left, f"is a known weak value; {NEW_TOKEN}", secret=True)
    if not keep:
        return Verdict(name, left, f"{LEAKED}, or say --keep-token", secret=True)
    return Verdict(name, Fate.TAKEN, "", name, token, secret=True)


def _taken(name: str, given: Mapping[str, str]) -> Verdict:
    becomes, secret = RENAMED.get(name, name), name in SECRETS
    value, problem = _fitting(becomes, given[name], given)
    if problem:
        return Verdict(name, Fate.LEFT, problem, secret=secret)
    return Verdict(name, Fate.TAKEN, CHANGED.get(name, ""), becomes, value, secret)


def _fitting(name: str, value: str, given: Mapping[str, str]) -> tuple[str, str]:
    """The value as it is spelt here, and why it cannot be taken over."""
    if name in RANGES:
        return value, _out_of(RANGES[name], value)
    if name == "LOG_LEVEL":
        problem = "" if value.upper() in LEVELS else f"is none of {', '.join(LEVELS)}"
        return value.upper(), problem
    if name == "DEST_WEBHOOK_URL":
        return value, _unfit_address(value)
    if name in ELITE and (problem := _no_elite(given)):
        return value, problem
    if name in {"DEST_WEBHOOK_RATE_LIMITING_ENABLED", "FINVIZ_USE_ELITE"}:
        known = value.lower() in TRUE | FALSE
        return str(value.lower() in TRUE).lower(), "" if known else "is neither true nor false"
    return value, ""


def _out_of(bounds: tuple[int, int], value: str) -> str:
    low, high = bounds
    fits = re.fullmatch(r"\d{1,9}", value, re.ASCII) and low <= int(value) <= high
    return "" if fits else f"is no whole number from {low} to {high}"


def _unfit_address(value: str) -> str:
    try:
        check_destination_url(value, private=(), own_hosts=())
    except DestinationUrlError as error:
        return f"{error}; in a network of your own: PRIVATE_DESTINATIONS, and enter it by hand"
    return ""


def _no_elite(given: Mapping[str, str]) -> str:
    """Elite is used and has both halves of a sign-in, or nothing of it is read."""
    used = given.get("FINVIZ_USE_ELITE", "").lower() in TRUE
    if used and given.get("FINVIZ_EMAIL") and given.get("FINVIZ_PASSWORD"):
        return ""
    return "FINVIZ_USE_ELITE, FINVIZ_EMAIL and FINVIZ_PASSWORD count together or not at all"


# ── An old file in place ────────────────────────────────────────────────────────────────────


def at_start(names: Collection[str]) -> str | None:
    """One line on the original's names that are set and that nothing here reads, if there are."""
    upper = {name.upper() for name in names}
    instead = {name: RENAMED[name] for name in RENAMED if name in upper}
    instead |= {name: _first_word(LEFT[name]) for name in LEFT if name in upper}
    dead = {name: _dead(name) or "" for name in upper if _dead(name) is not None}
    instead |= {name: words for name, words in dead.items() if name not in ALSO_OURS}
    instead = {name: words for name, words in instead.items() if name not in READ_ELSEWHERE}
    if not instead:
        return None
    told = (f"{name} ({words})" if words else name for name, words in sorted(instead.items()))
    also = sorted(ALSO_OURS & upper)
    more = f" Read here, though not there: {', '.join(also)}." if also else ""
    return (
        f"Of the original relay, and not read here: {', '.join(told)}.{more}"
        " `python run.py adopt --help`, docs/migration.md."
    )


READ_ELSEWHERE = frozenset({"DATABASE_URL", "POSTGRES_PASSWORD"})
"""The first is ours too, the second Compose's."""


def _first_word(words: str) -> str:
    return re.split(r"[;(]", words, maxsplit=1)[0].strip()
