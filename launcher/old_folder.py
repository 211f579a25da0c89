"""An old installation's folder: what of it is ours to take over. Its files are anybody's."""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from domain import original
from domain.history import HistoryError
from domain.original import OriginalReader
from domain.original_settings import lines_of
from domain.records import RecordError, Records, cells_of
from domain.screen import ScreenError
from domain.screen_terms import NamedScreen, named_screen
from launcher.terminal import Refusal

ENV, CONFIG, STRATEGIES = ".env", "finviz_config.json", "strategies.json"
MOST_BYTES = 1024 * 1024
"""Of each but the history, which is read in pieces."""
PIECE = 1024 * 1024
MOST_PROBLEMS = 5
USUAL_SCREEN = "from the original relay"


class UnfitFileError(Exception):
    """A file that is not read; ``str`` says why."""


@dataclass(frozen=True, slots=True)
class History:
    """A CSV that the original exported: how many of its rows can be read, and what of the rest."""

    path: Path
    bytes: int
    rows: int
    good: int
    problems: list[str]


@dataclass(slots=True)
class Old:
    """What was found in the folder. ``problems``: what was not read, and why."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict[str, str])
    screens: list[NamedScreen] = field(default_factory=list[NamedScreen])
    screens_of: str = ""
    histories: list[History] = field(default_factory=list[History])
    problems: list[str] = field(default_factory=list[str])


def look(folder: Path) -> Old:
    """Read what is there. Raises Refusal where there is nothing of the original."""
    if not folder.is_dir():
        raise Refusal(f"{shown(str(folder))} is no folder.", 2)
    old = Old(folder)
    _look_at_settings(old)
    _look_at_screens(old)
    for path in sorted(folder.glob("*.csv")):
        _look_at_history(old, path)
    if not (old.settings or old.screens or old.histories or old.problems):
        words = f"no {ENV}, {CONFIG}, {STRATEGIES} or *.csv of the original relay"
        raise Refusal(f"In {shown(str(folder))} there is {words}.", 2)
    return old


def shown(text: str) -> str:
    """Text of somebody else's, fit for a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:200]


# ── Files ───────────────────────────────────────────────────────────────────────────────────


def opened(path: Path) -> int:
    """A descriptor of a file that is one: no link, no pipe, no device. Raises UnfitFileError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        why = "is a link, and not followed" if path.is_symlink() else f"{error.strerror}"
        raise UnfitFileError(why) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnfitFileError("is no file")
    return descriptor


def _text(path: Path) -> str | None:
    """A small file whole; None where there is none. Raises UnfitFileError."""
    if not path.exists() and not path.is_symlink():
        return None
    with os.fdopen(opened(path), "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UnfitFileError(f"has more than {MOST_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnfitFileError("is not UTF-8") from None


def _read(old: Old, name: str) -> str | None:
    try:
        return _text(old.folder / name)
    except UnfitFileError as error:
        old.problems.append(f"{name}: {error}")
        return None


def _json(old: Old, name: str) -> dict[str, Any] | None:
    text = _read(old, name)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return cast("dict[str, Any]", found)
    old.problems.append(f"{name}: is no JSON object")
    return None


# ── Settings and screens ────────────────────────────────────────────────────────────────────


def _look_at_settings(old: Old) -> None:
    for line in lines_of(_read(old, ENV) or ""):
        if line.problem:
            name = f" {line.name}" if line.name else ""
            old.problems.append(f"{ENV}: line {line.number}{name} {line.problem}")
        else:
            old.settings[line.name] = line.value


def _look_at_screens(old: Old) -> None:
    """The strategies of its database where somebody saved them; else its old file."""
    saved, single = _json(old, STRATEGIES), _json(old, CONFIG)
    given = _strategies(saved) if saved else _only(single) if single else []
    old.screens_of = STRATEGIES if saved else CONFIG
    taken: set[str] = set()
    for place, one in enumerate(given):
        try:
            screen = named_screen(one, refresh=timedelta(seconds=180))
        except ScreenError as error:
            old.problems.append(f"{old.screens_of}: {place + 1}. screen: {shown(str(error))}")
            continue
        if screen.name.lower() in taken:
            old.problems.append(f"{old.screens_of}: {place + 1}. screen: its name is taken")
            continue
        taken.add(screen.name.lower())
        old.screens.append(screen)


def _strategies(saved: Mapping[str, Any]) -> list[object]:
    """What `GET /admin/finviz/strategies` answered, in our words."""
    found: object = saved.get("strategies")
    if not isinstance(found, list):
        return []
    return [
        {
            "name": one.get("name"),
            "note": one.get("description") or "",
            "active": bool(one.get("is_active")),
            **_terms(one),
        }
        for one in cast("list[object]", found)
        if isinstance(one, dict)
        for one in [cast("dict[str, Any]", one)]
    ]


def _only(config: Mapping[str, Any]) -> list[object]:
    """The original's one screen; a file of ours has several, which need no taking over."""
    terms = _terms(config)
    return [{"name": USUAL_SCREEN, "active": True, **terms}] if terms["url"] else []


def _terms(given: Mapping[str, Any]) -> dict[str, Any]:
    url = given.get("url") or given.get("finviz_url")
    if isinstance(url, str):  # with an Elite token we read the export of the same screener
        url = url.replace("/export.ashx", "/screener.ashx", 1)
    refresh = given.get("refresh_interval_sec") or given.get("refresh")
    return {"url": url, "top_n": given.get("top_n"), "refresh": refresh}


# ── History ─────────────────────────────────────────────────────────────────────────────────


def _look_at_history(old: Old, path: Path) -> None:
    name = shown(path.name)
    try:
        with os.fdopen(opened(path), "rb") as file:
            found = _counted(iter(lambda: file.read(PIECE), b""))
            size = file.tell()
    except UnfitFileError as error:
        old.problems.append(f"{name}: {error}")
        return
    if found is None:
        old.problems.append(f"{name}: has not the columns of the original's export")
    else:
        rows, good, problems = found
        old.histories.append(History(path, size, rows, good, problems))


def _counted(pieces: Iterator[bytes]) -> tuple[int, int, list[str]] | None:
    """How many rows there are, how many can be read, and what is wrong with the first others.

    None where it is no export of the original's.
    """
    records, reader, problems = Records(quoted=True), OriginalReader(), list[str]()
    rows = good = 0
    try:
        found = _rows(records, pieces)
        if not _is_header(next(found, (0, b""))[1]):
            return None
        for line, record in found:
            rows += 1
            ((_, one),) = reader.feed(line, record)
            if not isinstance(one, HistoryError):
                good += 1
            elif len(problems) < MOST_PROBLEMS:
                problems.append(f"line {line}: {shown(str(one))}")
    except RecordError as error:
        problems.append(f"{error}: nothing behind it can be read")
    return rows, good, problems


def _rows(records: Records, pieces: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    for piece in pieces:
        yield from records.feed(piece)
    yield from records.end()


def _is_header(record: bytes) -> bool:
    try:
        return tuple(cells_of(record.decode().strip())) == original.HEADER
    except ValueError:
        return False
