"""Where a sign-in leads back to: never to where only a form is sent, for a browser looks there."""

import re
from collections.abc import Iterable, Iterator
from functools import cache

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute


def page_at(app: FastAPI, path: str) -> str:
    """This path, or the nearest above it that can be looked at; as it is where nothing answers."""
    while (methods := _methods(app, path)) and "GET" not in methods:
        path = path.rpartition("/")[0]
    return path


def _methods(app: FastAPI, path: str) -> set[str]:
    """What is answered there: a path in words goes before one with an id in it."""
    found = [one for one in _answered(app) if one[1].fullmatch(path)]
    ids = min((route.count("{") for route, _, _ in found), default=0)
    return {name for route, _, names in found if route.count("{") == ids for name in names}


@cache
def _answered(app: FastAPI) -> list[tuple[str, re.Pattern[str], set[str]]]:
    return [(one.path, one.path_regex, set(one.methods or ())) for one in _routes(app.routes)]


def _routes(given: Iterable[BaseRoute]) -> Iterator[APIRoute]:
    """As they were written: asking the framework for its own would prepare all of them at once."""
    for one in given:
        if isinstance(one, APIRoute):
            yield one
        elif included := getattr(one, "original_router", None):
            yield from _routes(included.routes)
