"""Where a sign-in leads back to: never to where only a form is sent, for a browser looks there."""

from collections.abc import Iterable, Iterator

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
    found = [one for one in _routes(app.routes) if one.path_regex.fullmatch(path)]
    ids = min((one.path.count("{") for one in found), default=0)
    return {name for one in found if one.path.count("{") == ids for name in one.methods or ()}


def _routes(given: Iterable[BaseRoute]) -> Iterator[APIRoute]:
    """As they were written: asking the framework for its own would prepare all of them at once."""
    for one in given:
        if isinstance(one, APIRoute):
            yield one
        elif included := getattr(one, "original_router", None):
            yield from _routes(included.routes)
