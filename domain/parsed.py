"""From the bytes of an alert to its fields, or to the reason why there are none."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl

MOST_BYTES = 65_536
DEEPEST = 32
MOST_KEYS = 200
JSON_BLANKS = " \t\r\n"

_COMMON = 48
_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")

# Names whose value decides what is bought or sold, in the form `canonical` gives.
TICKER_NAMES = ("ticker", "symbol", "tvinstrument", "underlying")
ACTION_NAMES = ("action", "side", "orderaction", "strategyorderaction", "direction", "dir")
LOOSE_ACTION_NAMES = ("signal", "data", "type", "order", "position", "positionside")
AFTER_NAMES = ("sentiment", "marketposition", "newposition", "positionsize", "newpositionsize")
BEFORE_NAMES = (
    "prevmarketposition",
    "previousmarketposition",
    "prevposition",
    "previousposition",
)
DECISIVE = frozenset((*TICKER_NAMES, *ACTION_NAMES, *LOOSE_ACTION_NAMES, *AFTER_NAMES)) | {
    *BEFORE_NAMES,
    "closeposition",
    "reduceonly",
}


class InvalidCode(StrEnum):
    """Why a body is no alert: the only list."""

    EMPTY_BODY = "empty_body"
    TOO_LARGE = "too_large"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    NOT_JSON = "not_json"
    BODY_IS_ARRAY = "body_is_array"
    BODY_NOT_AN_OBJECT = "body_not_an_object"
    TOO_DEEP = "too_deep"
    TOO_MANY_KEYS = "too_many_keys"
    NON_FINITE_NUMBER = "non_finite_number"
    FORBIDDEN_CHARACTER = "forbidden_character"
    REPEATED_KEY = "repeated_key"
    NO_TICKER = "no_ticker"
    INVALID_TICKER = "invalid_ticker"
    NO_ACTION = "no_action"
    UNKNOWN_ACTION = "unknown_action"
    UNSUPPORTED_ACTION = "unsupported_action"
    CONFLICTING_ACTIONS = "conflicting_actions"
    UNRESOLVED_PLACEHOLDER = "unresolved_placeholder"
    TIME_IN_FUTURE = "time_in_future"


_DETAILS: Mapping[InvalidCode, str] = {
    InvalidCode.EMPTY_BODY: "the body is empty",
    InvalidCode.TOO_LARGE: f"a body has at most {MOST_BYTES} bytes",
    InvalidCode.INVALID_UTF8: "the body is not UTF-8",
    InvalidCode.INVALID_JSON: "the body begins like JSON and is not: look for missing quotes,"
    " commas, NaN and typographic quotes",
    InvalidCode.NOT_JSON: "the body is neither JSON nor a text form that is known",
    InvalidCode.BODY_IS_ARRAY: "one alert per request: send an object, no array",
    InvalidCode.BODY_NOT_AN_OBJECT: "the body is JSON, but no object",
    InvalidCode.TOO_DEEP: f"the body is nested more than {DEEPEST} levels deep",
    InvalidCode.TOO_MANY_KEYS: f"the body has more than {MOST_KEYS} keys",
    InvalidCode.NON_FINITE_NUMBER: "a number is too large to be one",
    InvalidCode.FORBIDDEN_CHARACTER: "NUL and lone surrogates cannot be stored",
    InvalidCode.REPEATED_KEY: "a key that decides what is traded stands twice, with two values",
    InvalidCode.NO_TICKER: "no ticker: send it as `ticker` or `symbol`",
    InvalidCode.INVALID_TICKER: "the ticker has 1 to 32 of the letters A-Z, digits, and . ! _ -",
    InvalidCode.NO_ACTION: "no action: send `action` or `side` with buy or sell",
    InvalidCode.UNKNOWN_ACTION: "the action is not known: send buy, sell, exit or add",
    InvalidCode.UNSUPPORTED_ACTION: "the action is an order command, neither buy nor sell",
    InvalidCode.CONFLICTING_ACTIONS: "the body says both buy and sell, long and short, or open"
    " and close",
    InvalidCode.UNRESOLVED_PLACEHOLDER: "a placeholder arrived unfilled where it decides what is"
    " traded",
    InvalidCode.TIME_IN_FUTURE: "the send time is more than five minutes ahead",
}
_UNREADABLE = frozenset(
    {
        InvalidCode.EMPTY_BODY,
        InvalidCode.INVALID_UTF8,
        InvalidCode.INVALID_JSON,
        InvalidCode.NOT_JSON,
    }
)


@dataclass(frozen=True, slots=True)
class Invalid:
    """Why a body is no alert. ``detail`` is ours alone: it repeats nothing of the body."""

    code: InvalidCode
    detail: str

    @classmethod
    def because(cls, code: InvalidCode) -> "Invalid":
        return cls(code, _DETAILS[code])

    @property
    def readable(self) -> bool:
        """Whether it could be read at all (HTTP 422), or not (400)."""
        return self.code not in _UNREADABLE


class Parsed(NamedTuple):
    """A body that could be read. ``fields`` are those of an object or form, None for a text.

    The numbers among them are ``Number``: their digits as sent.
    """

    text: str
    fields: Mapping[str, Any] | None


class Number(str):
    """A JSON number as its own digits: nothing is rounded, and no huge integer is computed."""

    __slots__ = ()


class InvalidError(Exception):
    """Ends the reading of a body; it does not leave ``parse`` and ``interpret``."""

    def __init__(self, code: InvalidCode) -> None:
        super().__init__(code)
        self.code = code


def canonical(name: str) -> str:
    """Return a name without letter case, blanks and signs: order_action and orderAction are one."""
    return _canonical(name) if len(name) <= _COMMON else _canonical.__wrapped__(name)


@lru_cache(maxsize=2_048)
def _canonical(name: str) -> str:
    # The same few names come with every alert; only short ones are remembered.
    lower = name.lower()
    if lower.isalnum() and lower.isascii():
        return lower
    return "".join(letter for letter in lower if letter in _ALPHABET)


def parse(body: bytes, content_type: str = "") -> Parsed | Invalid:
    """Return the fields of an object or form, or the text of anything else that may be known.

    What it is decides the body itself, not its content type (senders label JSON as forms and as
    text); only a body that is no JSON is read as a form when it is labelled so. UTF-8, with or
    without a byte order mark. The limits: 64 KiB, 32 levels, 200 keys, finite numbers, neither NUL
    nor lone surrogates (PostgreSQL stores none of these as text).
    """
    if len(body) > MOST_BYTES:
        return Invalid.because(InvalidCode.TOO_LARGE)
    try:
        return _parse(body.decode().removeprefix("\ufeff").strip(JSON_BLANKS), content_type)
    except UnicodeDecodeError:
        return Invalid.because(InvalidCode.INVALID_UTF8)
    except InvalidError as error:
        return Invalid.because(error.code)


def _parse(text: str, content_type: str) -> Parsed:
    if not text.strip():
        raise InvalidError(InvalidCode.EMPTY_BODY)
    if "\0" in text:
        raise InvalidError(InvalidCode.FORBIDDEN_CHARACTER)
    try:
        value = load(text)
    except ValueError:
        return _parse_text(text, content_type)
    if isinstance(value, dict):
        return Parsed(text, cast("dict[str, Any]", value))
    is_array = isinstance(value, list)
    raise InvalidError(InvalidCode.BODY_IS_ARRAY if is_array else InvalidCode.BODY_NOT_AN_OBJECT)


def _parse_text(text: str, content_type: str) -> Parsed:
    if text[0] in '{["':
        raise InvalidError(InvalidCode.INVALID_JSON)
    if "x-www-form-urlencoded" in content_type.lower() and "=" in text:
        return Parsed(text, _form(text))
    return Parsed(text, None)


def _form(text: str) -> dict[str, str]:
    if text.count("&") >= MOST_KEYS:
        raise InvalidError(InvalidCode.TOO_MANY_KEYS)
    fields = _object(parse_qsl(text, keep_blank_values=True, errors="strict"))
    _check_characters(fields)
    return fields


def load(text: str) -> object:
    """Return what a JSON text says, numbers as ``Number``.

    Raises ValueError when it is no JSON, which NaN and Infinity are not (RFC 8259, section 6), and
    InvalidError when it breaks a limit.
    """
    text = text.strip(JSON_BLANKS)
    try:
        value, end = _DECODER.raw_decode(text)
    except RecursionError:
        raise InvalidError(InvalidCode.TOO_DEEP) from None
    if end < len(text):
        raise ValueError("more than one value")
    if text.count("{") + text.count("[") > DEEPEST or text.count(":") > MOST_KEYS:
        _check_shape(value)
    if "\\u" in text:
        _check_characters(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict; of a repeated key the last one counts, unless it decides what is traded.

    Readers differ in which of two values they take. If ours took one ticker or side and the
    destination's the other, what was judged would not be what is traded.
    """
    if len(pairs) > MOST_KEYS:  # counted here too: one name may stand ten thousand times
        raise InvalidError(InvalidCode.TOO_MANY_KEYS)
    fields = dict(pairs)
    if len(fields) < len(pairs) and any(
        fields[name] != value and canonical(name) in DECISIVE for name, value in pairs
    ):
        raise InvalidError(InvalidCode.REPEATED_KEY)
    return fields


def _float(text: str) -> Number:
    if math.isinf(float(text)):
        raise InvalidError(InvalidCode.NON_FINITE_NUMBER)
    return Number(text)


def _constant(_: str) -> object:
    raise ValueError("NaN and Infinity are no JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=Number, parse_constant=_constant
)


def _check_shape(value: object) -> None:
    level, depth, keys = [value], 0, 0
    while level := [item for item in level if _is_container(item)]:
        depth += 1
        keys += sum(map(_keys, level))
        if depth > DEEPEST:
            raise InvalidError(InvalidCode.TOO_DEEP)
        if keys > MOST_KEYS:
            raise InvalidError(InvalidCode.TOO_MANY_KEYS)
        level = [child for item in level for child in _children(item)]


def _is_container(value: object) -> bool:
    return isinstance(value, dict | list)


def _keys(value: object) -> int:
    return len(cast("dict[str, object]", value)) if isinstance(value, dict) else 0


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast("dict[str, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else []


def _check_characters(value: object) -> None:
    level = [value]
    while level:
        for item in level:
            _check_strings(item)
        level = [child for item in level for child in _children(item)]


def _check_strings(value: object) -> None:
    names = list(cast("dict[str, object]", value)) if isinstance(value, dict) else [value]
    text = "".join(name for name in names if isinstance(name, str))
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidError(InvalidCode.FORBIDDEN_CHARACTER)
