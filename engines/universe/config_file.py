"""finviz_config.json: screens as files keep them, ours and those of the original relay."""

import json
import os
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from domain.screen import Screen, ScreenError, ScreenKind
from domain.screen_terms import NamedScreen, changed_screen, named_screen, told

FIRST_NAME = "first screen"
NAMES = {
    "url": ("url", "finviz_url"),
    "top_n": ("top_n",),
    "refresh": ("refresh", "refresh_interval_sec"),
}


def read(path: Path, default: Screen) -> Screen:
    """The screen in the file, with ``default`` for what it leaves out or when there is no file.

    Raises ScreenError for a value that cannot be, also when the file is not JSON.
    """
    return _screen(_fields(path), default) if path.exists() else default


def read_all(path: Path, default: Screen) -> list[NamedScreen]:
    """Every screen in the file, the active one first; of the original's files the only one.

    Raises ScreenError as ``read`` does, with the place in the file: `screens[2].url`.
    """
    given = _fields(path) if path.exists() else {}
    screens = given.get("screens")
    if not screens:
        return [NamedScreen(name=FIRST_NAME, active=True, screen=_screen(given, default))]
    found = named_screens(screens, refresh=default.refresh)
    active = [place for place, one in enumerate(found) if one.active] or [0]
    if len(active) > 1:
        raise ScreenError(f"screens[{active[1]}].active", "is true of another screen already")
    first = found.pop(active[0])
    return [NamedScreen(name=first.name, note=first.note, active=True, screen=first.screen), *found]


def named_screens(
    given: object, *, refresh: timedelta, now: datetime | None = None
) -> list[NamedScreen]:
    """Screens as they were exported. Raises ScreenError, with a field such as `screens[2].url`."""
    if not isinstance(given, list):
        raise ScreenError("screens", "must be a list")
    found: dict[str, NamedScreen] = {}
    for place, one in enumerate(cast("list[object]", given)):
        try:
            screen = named_screen(one, refresh=refresh, now=now)
        except ScreenError as error:
            field = f"screens[{place}].{error.field}".removesuffix(".")
            raise ScreenError(field, error.problem) from None
        if found.setdefault(screen.name.lower(), screen) is not screen:
            raise ScreenError(f"screens[{place}].name", "is that of another screen of the list")
    return list(found.values())


def exported(screens: Sequence[NamedScreen]) -> list[dict[str, Any]]:
    """Screens in the words that ``named_screens`` reads."""
    return [
        {"name": one.name, "note": one.note, "active": one.active} | told(one.screen)
        for one in screens
    ]


def write(path: Path, screens: Sequence[NamedScreen]) -> None:
    """Put these screens into the file, all or nothing; its mode stays. Raises OSError.

    Address, top N and refresh of the active one stand at the top too, where ``read`` and scripts
    for the original relay look.
    """
    asked = [one for one in screens if one.active and one.screen.kind is ScreenKind.FINVIZ]
    top = {name: told(one.screen)[name] for one in asked for name in NAMES}
    content = top | {"screens": exported(screens)}
    text = json.dumps(content, indent=2, ensure_ascii=False, default=datetime.isoformat)
    _replace(path.resolve(), f"{text}\n".encode())


def _replace(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _fields(path: Path) -> dict[str, object]:
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ScreenError(path.name, "is not JSON") from error
    if not isinstance(given, dict):
        raise ScreenError(path.name, "is not a JSON object")
    return cast("dict[str, object]", given)


def _screen(given: dict[str, object], default: Screen) -> Screen:
    return changed_screen(default, {term: _first(given, names) for term, names in NAMES.items()})


def _first(given: dict[str, object], names: tuple[str, ...]) -> object:
    return next((given[name] for name in names if given.get(name) is not None), None)
