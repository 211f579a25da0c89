"""The terms of a screen as plain values: read from what callers and files say, and told again."""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from domain.screen import Screen, ScreenError, ScreenKind, parse_screen_url, parse_tickers
from domain.ticker import Ticker

NAME_MAX, NOTE_MAX = 80, 500
TOP_N = 15
LONGEST = timedelta(days=366)
"""How far ahead the end of a fixed list may be."""

MOST = 1_000_000_000
NAMED = frozenset({"name", "note", "active"})
HEADERS = frozenset({"ticker", "tickers", "symbol", "symbols"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedScreen:
    """A screen as it is handed from one relay to another: without id and version."""

    name: str
    screen: Screen
    note: str = ""
    active: bool = False


def told(screen: Screen) -> dict[str, Any]:
    """Every term of a screen; those that its kind does not have are None."""
    return {
        "kind": screen.kind.value,
        "url": screen.url or None,
        "top_n": screen.top_n,
        "refresh": screen.refresh.total_seconds(),
        "margin": screen.margin,
        "wait": screen.wait.total_seconds(),
        "tickers": list(screen.tickers) or None,
        "valid_until": screen.valid_until,
        "whole_market": screen.whole_market,
        "slow_when_closed": screen.slow_when_closed,
    }


def new_screen(
    given: Mapping[str, object], *, refresh: timedelta, now: datetime | None = None
) -> Screen:
    """A screen of these terms. Raises ScreenError naming the one that is wrong.

    None is as good as left out: with tickers it is then a fixed list, of which every ticker counts.
    Without ``now`` a fixed list may have ended.
    """
    terms = _read(given, now)
    tickers = terms.get("tickers", ())
    usual: dict[str, Any] = {
        "kind": ScreenKind.FIXED if tickers else ScreenKind.FINVIZ,
        "top_n": len(tickers) or TOP_N,
        "refresh": refresh,
    }
    return Screen(**(usual | terms))


def changed_screen(
    screen: Screen, given: Mapping[str, object], *, now: datetime | None = None
) -> Screen:
    """The screen with these terms changed. Raises ScreenError naming the one that is wrong.

    Where every ticker of a fixed list counted, every one of its new tickers does.
    """
    ends = screen.valid_until
    same = ends is not None and given.get("valid_until") == ends.isoformat()
    terms = _read(given, None if same else now)
    if terms.get("kind", screen.kind) is not screen.kind:
        raise ScreenError("kind", f"is {screen.kind} and stays so: make another screen")
    if "tickers" in terms and screen.top_n == len(screen.tickers):
        terms = {"top_n": len(terms["tickers"])} | terms
    return replace(screen, **terms)


def named_screen(given: object, *, refresh: timedelta, now: datetime | None = None) -> NamedScreen:
    """A screen under its name, as it was exported. Raises ScreenError naming what is wrong."""
    if not isinstance(given, dict):
        raise ScreenError("", "must be an object")
    values = cast("dict[str, object]", given)
    if unknown := next(iter(values.keys() - READERS.keys() - NAMED), None):
        raise ScreenError(_visible(unknown), "is not known")
    name, note, active = (values.get(part) for part in ("name", "note", "active"))
    return NamedScreen(
        name=checked_name(name),
        note="" if note is None else checked_note(note),
        active=active is not None and _flag("active", active),
        screen=new_screen(values, refresh=refresh, now=now),
    )


def checked_name(value: object) -> str:
    """A name as it is kept. Raises ScreenError."""
    name = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise ScreenError("name", f"must be 1 to {NAME_MAX} visible characters")
    return name


def checked_note(value: object) -> str:
    """A note as it is kept. Raises ScreenError."""
    note = value.strip() if isinstance(value, str) else None
    if note is None or len(note) > NOTE_MAX or not note.replace("\n", "").isprintable():
        raise ScreenError("note", f"must be at most {NOTE_MAX} visible characters")
    return note


def copy_name(name: str, taken: frozenset[str]) -> str:
    """`NAME copy`, `NAME copy 2` and so on: the first that is not taken; case does not matter."""
    ending, number = " copy", 1
    lower = {other.lower() for other in taken}
    while (found := name[: NAME_MAX - len(ending)].rstrip() + ending).lower() in lower:
        number += 1
        ending = f" copy {number}"
    return found


def _read(given: Mapping[str, object], now: datetime | None) -> dict[str, Any]:
    terms = {
        name: reader(name, given[name])
        for name, reader in READERS.items()
        if given.get(name) is not None
    }
    if now is not None and "valid_until" in terms:
        _check_end(terms["valid_until"], now)
    return terms


def _check_end(end: datetime, now: datetime) -> None:
    if not now < end <= now + LONGEST:
        raise ScreenError("valid_until", f"must be ahead, by at most {LONGEST.days} days")


def _kind(field: str, value: object) -> ScreenKind:
    if value not in list(ScreenKind):
        raise ScreenError(field, f"must be one of {', '.join(ScreenKind)}")
    return ScreenKind(value)


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise ScreenError(field, "must be a text")
    return value


def _flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ScreenError(field, "must be true or false")
    return value


def _number(field: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and -MOST <= value <= MOST:
        return value
    raise ScreenError(field, "is not a number, or far too great a one")


def _whole(field: str, value: object) -> int:
    number = _number(field, value)
    if number != int(number):
        raise ScreenError(field, "is not a whole number")
    return int(number)


def _span(field: str, value: object) -> timedelta:
    return timedelta(seconds=_number(field, value))


def _time(field: str, value: object) -> datetime:
    try:
        time = datetime.fromisoformat(_text(field, value).strip())
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ScreenError(field, "must be a time with its zone, such as 2030-01-31T21:00:00Z")


def _tickers(field: str, value: object) -> tuple[Ticker, ...]:
    """A list of names, or a text: names with anything between them, or a table with a header."""
    if isinstance(value, str):
        text = value.removeprefix("\ufeff").strip()
        return parse_tickers(_column(text) or re.sub(r"[\"'|]", " ", text))
    if not isinstance(value, list):
        raise ScreenError(field, "must be a list of texts, or one text")
    return parse_tickers([_text(field, one) for one in cast("list[object]", value)])


def _column(text: str) -> list[str] | None:
    """The tickers of an uploaded CSV, by the name of their column; None when none is named so."""
    head, _, rest = text.partition("\n")
    for sign in ",;\t":
        names = [cell.strip("\"' \r").lower() for cell in head.split(sign)]
        place = next((place for place, name in enumerate(names) if name in HEADERS), None)
        if place is not None:
            try:
                rows = list(csv.reader(rest.splitlines(), delimiter=sign))
            except csv.Error:
                raise ScreenError("tickers", "cannot be read: not a whole CSV") from None
            return [row[place] for row in rows if len(row) > place]
    return None


def _visible(name: str) -> str:
    return "".join(sign for sign in name if sign.isprintable())[:64]


READERS: Mapping[str, Callable[[str, object], Any]] = {
    "kind": _kind,
    "url": lambda field, value: parse_screen_url(_text(field, value)),
    "top_n": _whole,
    "refresh": _span,
    "margin": _whole,
    "wait": _span,
    "tickers": _tickers,
    "valid_until": _time,
    "whole_market": _flag,
    "slow_when_closed": _flag,
}
