"""A signal of the past with its events, as it comes from a file: checked before it is kept."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias, cast
from uuid import UUID

from domain.signal import Side, SignalStatus
from domain.ticker import normalise

Record: TypeAlias = Mapping[str, object]

_SOURCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_WORD = re.compile(r"[a-z0-9_]{1,64}")
_EVENT = re.compile(r"[a-z]{1,32}\.[a-z_]{1,64}")
_WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_LONGEST_TEXT = 1_000
_REASONED = {SignalStatus.INVALID, SignalStatus.REJECTED, SignalStatus.EXPIRED}


class HistoryError(ValueError):
    """What a file holds cannot have been; the message names the field, and repeats no value."""


class Exact(str):
    """A number of JSON as it was written: none of its digits is lost."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An audit event. ``detail`` is JSON."""

    at: datetime
    event: str
    delivery_id: UUID | None = None
    position_id: UUID | None = None
    actor: str | None = None
    origin: str | None = None
    detail: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalHistory:
    """``columns`` by the names of FIELDS; of a ``masked`` body the secrets are not known here."""

    columns: Mapping[str, Any]
    body: bytes = field(repr=False)
    masked: bool
    events: tuple[Event, ...]

    @property
    def id(self) -> UUID:
        return self.columns["id"]

    def ended(self) -> "SignalHistory":
        """History is over: what was undecided there has expired here."""
        if self.columns["status"] is not SignalStatus.RECEIVED:
            return self
        at, reason = self.columns["expires_at"], "expired"
        ended = {"status": SignalStatus.EXPIRED, "reason": reason, "judged_at": at}
        event = Event(at=at, event="signal.expired", detail=json.dumps({"reason": reason}))
        return replace(self, columns={**self.columns, **ended}, events=(*self.events, event))


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value or len(value) > _LONGEST_TEXT:
        raise ValueError(f"must be a text of at most {_LONGEST_TEXT} characters")
    value.encode()
    return value


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"must be {what}")
        return value

    return read


def _id(value: object) -> UUID:
    if not isinstance(value, str) or len(value) > 64:
        raise ValueError("must be a UUID")
    try:
        return UUID(value)
    except ValueError:
        raise ValueError("must be a UUID") from None


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value not in {"true", "false"}:
        raise ValueError("must be true or false")
    return value == "true"


def _whole(bits: int) -> Callable[[object], int]:
    most = 2 ** (bits - 1)

    def read(value: object) -> int:
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not -most <= value < most:
            raise ValueError("must be a whole number")
        return value

    return read


def _number(value: object) -> Decimal:
    try:
        number = Decimal(_text(value))
    except InvalidOperation:
        raise ValueError("must be a number, as a text") from None
    if not number.is_finite() or abs(number.adjusted()) > 300:
        raise ValueError("must be a number, as a text")
    return number


def time_of(value: object) -> datetime:
    """A time with its zone. Raises ValueError."""
    try:
        time = datetime.fromisoformat(_text(value))
        if time.tzinfo is not None and 1 < time.year < 9999:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time with its zone, such as 2030-01-31T21:00:00Z")


def _ticker(value: object) -> str:
    ticker = normalise(_text(value))
    if ticker != value:
        raise ValueError("is not spelt as it is stored")
    return ticker


FIELDS: Mapping[str, Callable[[object], Any]] = {
    "id": _id,
    "source": _matching(_SOURCE, "a name of a source"),
    "ticker": _ticker,
    "exchange": _text,
    "symbol": _text,
    "side": Side,
    "closes": _flag,
    "partial": _flag,
    "price": _number,
    "price_text": _text,
    "sender_time": time_of,
    "clock_skew": _flag,
    "hop": _whole(16),
    "content_type": _text,
    "received_at": time_of,
    "expires_at": time_of,
    "status": SignalStatus,
    "reason": _matching(_WORD, "a word"),
    "judged_at": time_of,
    "rank": _whole(32),
    "cutoff": _whole(32),
    "list_age_ms": _whole(64),
    "waits_since": time_of,
    "waits_until": time_of,
    "replay_of": _id,
    "imported_from": _text,
}
"""Every column of a signal but its body and what has a meaning in one database only."""

REQUIRED = frozenset(
    {"id", "source", "partial", "clock_skew", "hop", "content_type", "received_at", "expires_at"}
    | {"status"}
)
EVENT_FIELDS: Mapping[str, Callable[[object], Any]] = {
    "at": time_of,
    "event": _matching(_EVENT, "an event"),
    "delivery_id": _id,
    "position_id": _id,
    "actor": _text,
    "origin": _text,
}


def checked(given: Record) -> dict[str, Any]:
    """The columns of a signal. Raises HistoryError."""
    columns = {name: _read(name, read, given.get(name)) for name, read in FIELDS.items()}
    missing = [name for name in FIELDS if name in REQUIRED and columns[name] is None]
    if missing:
        raise HistoryError(f"{missing[0]}: is missing")
    _check_together(columns)
    return columns


def event_of(given: object) -> Event:
    """An event. Raises HistoryError."""
    if not isinstance(given, dict):
        raise HistoryError("events: must hold objects")
    record = cast("Record", given)
    values = {name: _read(name, read, record.get(name)) for name, read in EVENT_FIELDS.items()}
    if values["at"] is None or values["event"] is None:
        raise HistoryError("events: need at and event")
    detail = record.get("detail", {})
    if not isinstance(detail, dict):
        raise HistoryError("detail: is not an object")
    return Event(**values, detail=dumped(cast("object", detail)))


def _read(name: str, read: Callable[[object], Any], value: object) -> Any:
    if value is None:
        return None
    try:
        return read(value)
    except ValueError as error:
        enum = isinstance(read, type)
        raise HistoryError(f"{name}: {'is not known' if enum else error}") from None


def _check_together(columns: Mapping[str, Any]) -> None:
    status = columns["status"]
    if status is not SignalStatus.INVALID and None in (columns["ticker"], columns["side"]):
        raise HistoryError("ticker, side: are missing")
    if (status in _REASONED) != (columns["reason"] is not None):
        raise HistoryError("reason: does not go with the status")
    if (status is SignalStatus.RECEIVED) != (columns["judged_at"] is None):
        raise HistoryError("judged_at: does not go with the status")
    if (columns["waits_since"] is None) != (columns["waits_until"] is None):
        raise HistoryError("waits_since, waits_until: go together")


_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""Behind an escaped backslash it is only a text that looks like one."""


def dumped(value: object) -> str:
    """JSON, with numbers as they were written. Raises HistoryError."""
    try:
        text = _dumped(value)
        text.encode()
    except (ValueError, RecursionError):
        raise HistoryError("detail: is not a text that can be kept") from None
    if _NUL.search(text):
        raise HistoryError("detail: holds NUL")
    return text


def _dumped(value: object) -> str:
    match value:
        case Exact():
            return str(value)
        case dict():
            members = cast("dict[str, object]", value).items()
            told = ", ".join(f"{_quoted(name)}: {_dumped(one)}" for name, one in members)
            return f"{{{told}}}"
        case list():
            return f"[{', '.join(_dumped(one) for one in cast('list[object]', value))}]"
        case _:
            return _quoted(value)


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
