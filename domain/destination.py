"""A destination: where approved signals go, on which terms, and how much at once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from domain.delivery import DestinationId, Guarantee
from domain.mapping import BodyMapping
from domain.rate import TRADERSPOST, Window, parse_windows

DEFAULT_WINDOWS = (Window(limit=60, seconds=60),)
MOST_WINDOWS = 5
MOST_CONCURRENT = 64
MOST_HEADERS = 20
LONGEST_HEADER = 2_000
LONGEST_OVERLAP = timedelta(days=7)

_NAME = re.compile(r"[a-z0-9_.-]([a-z0-9 _.-]{0,62}[a-z0-9_.-])?", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", re.ASCII)
_VISIBLE = re.compile(r"[!-~]([ -~]*[!-~])?", re.ASCII)
_NOT_THEIRS = re.compile(
    r"(content|webhook|relay|proxy)-.*|host|transfer-encoding|connection|keep-alive|te|trailer"
    r"|upgrade|expect|idempotency-key|user-agent|accept-encoding|date|via|traceparent|tracestate"
)
"""What we say of a request ourselves, or what belongs to the connection (RFC 9110 §7.6)."""


class DestinationState(StrEnum):
    """Enabled: sent to. Paused: keeps what is approved, sends nothing. Disabled: gets nothing new.

    What is queued when it is disabled waits for it to be enabled again until its own end of life.
    """

    ENABLED = "enabled"
    PAUSED = "paused"
    DISABLED = "disabled"


class Mode(StrEnum):
    """Live: requests leave. Dry run: everything but the request happens."""

    LIVE = "live"
    DRY_RUN = "dry_run"


class Turn(StrEnum):
    """What an operator may tell a destination."""

    PAUSE = "pause"
    RESUME = "resume"
    DISABLE = "disable"
    ENABLE = "enable"


TURNS: Mapping[Turn, tuple[frozenset[DestinationState], DestinationState]] = {
    Turn.PAUSE: (frozenset({DestinationState.ENABLED}), DestinationState.PAUSED),
    Turn.RESUME: (frozenset({DestinationState.PAUSED}), DestinationState.ENABLED),
    Turn.DISABLE: (
        frozenset({DestinationState.ENABLED, DestinationState.PAUSED}),
        DestinationState.DISABLED,
    ),
    Turn.ENABLE: (frozenset({DestinationState.DISABLED}), DestinationState.ENABLED),
}
"""From which states a turn leads to which."""


class DestinationError(ValueError):
    """A destination cannot be so; ``field`` names what is wrong, no message repeats a secret."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """``previous`` signs beside ``current`` until ``until``, so that receivers can change over."""

    current: bytes = field(repr=False)
    previous: bytes | None = field(default=None, repr=False)
    until: datetime | None = None

    def at(self, now: datetime) -> tuple[bytes, ...]:
        """The keys that sign at this moment, the newest first."""
        overlaps = self.previous is not None and self.until is not None and now < self.until
        return (self.current, self.previous) if overlaps and self.previous else (self.current,)

    def rotated(self, key: bytes, *, now: datetime, overlap: timedelta) -> "SigningKeys":
        """A new key; the one before it signs beside it for ``overlap``. Raises DestinationError."""
        if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
            raise DestinationError("overlap", "must be 0 seconds to 7 days (604800)")
        return SigningKeys(key, self.current, now + overlap) if overlap else SigningKeys(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One version of it. ``url``, ``keys`` and ``headers`` are secrets: logs show ``name``.

    A delivery keeps address, mode, guarantee, headers and mapping of the version it was approved
    for; windows, concurrency and keys are those of the current one. ``concurrency`` counts requests
    at once in one replica (None: FORWARDING_WORKERS); ``timeout`` bounds a whole request,
    ``connect_timeout`` its connecting. What an operator gives is checked by the functions below.
    """

    id: DestinationId
    name: str
    url: str
    keys: SigningKeys
    windows: tuple[Window, ...]
    version: int
    concurrency: int | None = None
    timeout: timedelta = timedelta(seconds=5)
    connect_timeout: timedelta = timedelta(seconds=2)
    mode: Mode = Mode.LIVE
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    mapping: BodyMapping = field(default_factory=BodyMapping)

    def __repr__(self) -> str:
        return f"Destination({self.name!r}, version={self.version})"


def default_windows(url: str) -> tuple[Window, ...]:
    """TradersPost's two windows for its addresses, 60 a minute for any other."""
    host = (urlsplit(url).hostname or "").lower()
    ours = host == "traderspost.io" or host.endswith(".traderspost.io")
    return TRADERSPOST if ours else DEFAULT_WINDOWS


def own_hosts(public_url: str | None) -> frozenset[str]:
    """The hosts that are this relay itself, and never a destination."""
    host = urlsplit(public_url or "").hostname
    return frozenset({host} if host else ())


def checked_name(text: str) -> str:
    """A name, trimmed. Raises DestinationError, as do the functions below."""
    name = text.strip()
    if not _NAME.fullmatch(name):
        raise DestinationError(
            "name", "must be 1 to 64 of the letters a-z, digits, - _ . and blank"
        )
    return name


def checked_windows(text: str) -> tuple[Window, ...]:
    """Windows as in `60/60s,500/3600s`; nothing at all means no limit."""
    if not text.strip():
        return ()
    try:
        windows = parse_windows(text)
    except ValueError as error:
        raise DestinationError("windows", str(error)) from None
    if len(windows) > MOST_WINDOWS or len({w.seconds for w in windows}) < len(windows):
        raise DestinationError("windows", f"must be at most {MOST_WINDOWS}, of different lengths")
    return windows


def checked_concurrency(number: int | None) -> int | None:
    if number is not None and not 1 <= number <= MOST_CONCURRENT:
        raise DestinationError(
            "concurrency", f"must be a whole number from 1 to {MOST_CONCURRENT}, or null"
        )
    return number


def checked_timeout(seconds: float) -> timedelta:
    """How long a whole request may take."""
    if not 0.5 <= seconds <= 10:
        raise DestinationError("timeout", "must be 0.5 to 10 seconds")
    return timedelta(seconds=seconds)


def checked_connect_timeout(seconds: float) -> timedelta:
    """How long connecting may take."""
    if not 0.1 <= seconds <= 5:
        raise DestinationError("connect_timeout", "must be 0.1 to 5 seconds")
    return timedelta(seconds=seconds)


def checked_headers(given: Mapping[str, str]) -> dict[str, str]:
    """Headers for every request to a destination (RFC 9110 §5), their names in lower case."""
    headers = {name.lower(): value.strip(" \t") for name, value in given.items()}
    if len(headers) < len(given):
        raise DestinationError("headers", "must name each header once")
    if len(headers) > MOST_HEADERS:
        raise DestinationError("headers", f"must be at most {MOST_HEADERS}")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise DestinationError("headers", "must have names of 1 to 64 letters, digits and -")
        if _NOT_THEIRS.fullmatch(name):
            raise DestinationError("headers", f"must not have {name}: the relay sets it itself")
        if len(value) > LONGEST_HEADER or not _VISIBLE.fullmatch(value):
            raise DestinationError(
                "headers", f"must have 1 to {LONGEST_HEADER} visible ASCII characters in {name}"
            )
    return headers
