"""The forms of a destination, read into what the API's calls take."""

import json
from collections.abc import Mapping
from typing import Any

from domain.body import MASK
from web.pages.forms import Fields, read
from web.payloads import DestinationChange, DestinationIn, invalid

NO_LIMIT = "none"
TERMS = ("name", "windows", "concurrency", "timeout", "connect_timeout", "mode", "guarantee")


def new_of(fields: Fields) -> DestinationIn:
    """A new destination. Raises ProblemError 400 naming the field."""
    for name, noun in (("name", "a name"), ("url", "an address")):
        if name not in fields:
            raise invalid(name, f"{name}: {noun} is needed")
    given = _terms(fields, {}) | {"url": fields["url"], "headers": _headers(fields)}
    return read(DestinationIn, given, *given)


def change_of(fields: Fields, constants: Mapping[str, Any]) -> DestinationChange:
    """A change of what is no secret; masked ``constants`` stay. Raises ProblemError 400."""
    if "name" not in fields:
        raise invalid("name", "name: a name is needed")
    given = _terms(fields, constants) | {"version": _number(fields, "version", int)}
    return read(DestinationChange, given, *given)


def place_of(fields: Fields) -> DestinationChange:
    """Another address, other headers, or both. Raises ProblemError 400."""
    gone = dict.fromkeys(fields.get("drop", "").split(), None)
    given = {"url": fields.get("url"), "headers": {**gone, **_headers(fields)}}
    return read(DestinationChange, given, *given)


def renewal_of(fields: Fields, mapping: Mapping[str, Any]) -> DestinationChange:
    """All that is sealed of one, anew; what its ``mapping`` does besides stays.

    Raises ProblemError 400.
    """
    if "url" not in fields:
        raise invalid("url", "url: an address is needed")
    given = {
        "url": fields["url"],
        "headers": _headers(fields),
        "mapping": {**mapping, "add": _constants(fields, {})},
    }
    return read(DestinationChange, given, *given)


def _terms(fields: Fields, constants: Mapping[str, Any]) -> dict[str, Any]:
    windows = fields.get("windows")
    return {
        **{name: fields.get(name) for name in TERMS},
        "windows": "" if windows and windows.lower() == NO_LIMIT else windows,
        "concurrency": _number(fields, "concurrency", int),
        "timeout": _number(fields, "timeout", float),
        "connect_timeout": _number(fields, "connect_timeout", float),
        "mapping": {
            "preset": fields.get("preset", "as_received"),
            "rename": _pairs(fields, "rename", "="),
            "add": _constants(fields, constants),
        },
    }


def _number(fields: Fields, name: str, kind: type[int] | type[float]) -> float | None:
    if name not in fields:
        return None
    try:
        return kind(fields[name])
    except ValueError:
        raise invalid(name, f"{name}: not a number") from None


def _headers(fields: Fields) -> dict[str, str]:
    return _pairs(fields, "headers", ":")


def _pairs(fields: Fields, name: str, sign: str) -> dict[str, str]:
    """Lines of "name = value", or "Name: value". What cannot be read is not repeated."""
    found: dict[str, str] = {}
    for number, line in enumerate(fields.get(name, "").splitlines(), start=1):
        left, split, right = (part.strip() for part in line.partition(sign))
        if not line.strip():
            continue
        if not split or not left or not right:
            raise invalid(name, f"{name}: line {number} is not “name {sign} value”")
        if left in found:
            raise invalid(name, f"{name}: line {number} names something a second time")
        found[left] = right
    return found


def _constants(fields: Fields, kept: Mapping[str, Any]) -> dict[str, Any]:
    return {n: _constant(n, v, kept) for n, v in _pairs(fields, "add", "=").items()}


def _constant(name: str, text: str, constants: Mapping[str, Any]) -> Any:
    """A number, true, false and null as such, anything else as text; a mask stays what it hides."""
    if text == MASK and name in constants:
        return constants[name]
    try:
        return json.loads(text)
    except ValueError:
        return text
