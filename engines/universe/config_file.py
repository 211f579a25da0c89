"""finviz_config.json: the screen as the original relay's users keep it, read on the first start."""

import json
from datetime import timedelta
from pathlib import Path
from typing import cast

from domain.screen import Screen, ScreenError, parse_screen_url

NAMES = {
    "url": ("url", "finviz_url"),
    "top_n": ("top_n",),
    "refresh": ("refresh", "refresh_interval_sec"),
}


MOST = 1_000_000_000


def read(path: Path, default: Screen) -> Screen:
    """The screen in the file, with ``default`` for what it leaves out or when there is no file.

    Raises ScreenError for a value that cannot be, also when the file is not JSON.
    """
    if not path.exists():
        return default
    given = _fields(path)
    url, top_n, refresh = (_first(given, names) for names in NAMES.values())
    return Screen(
        url=parse_screen_url(str(url)) if url is not None else default.url,
        top_n=_whole("top_n", top_n) if top_n is not None else default.top_n,
        refresh=timedelta(seconds=_number("refresh", refresh))
        if refresh is not None
        else default.refresh,
    )


def _fields(path: Path) -> dict[str, object]:
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ScreenError(path.name, "is not JSON") from error
    if not isinstance(given, dict):
        raise ScreenError(path.name, "is not a JSON object")
    return cast("dict[str, object]", given)


def _first(given: dict[str, object], names: tuple[str, ...]) -> object:
    return next((given[name] for name in names if given.get(name) is not None), None)


def _whole(field: str, value: object) -> int:
    number = _number(field, value)
    if number != int(number):
        raise ScreenError(field, "is not a whole number")
    return int(number)


def _number(field: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and -MOST <= value <= MOST:
        return value
    raise ScreenError(field, "is not a number, or far too great a one")
