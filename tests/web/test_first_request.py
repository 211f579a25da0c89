"""The first to ask waits for nothing that could have been done before."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import cast

import pytest
from fastapi import FastAPI, routing

from tests.web.stage import alive, http_scope, until
from web.app import PREPARING, create_app, framework, prepare
from web.dependencies import State


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of routes that are prepared from now on."""
    noted: list[str] = []
    prepares = vars(routing)["get_dependant"]

    def prepares_noted(*, path: str, **given: object) -> object:
        noted.append(path)
        return prepares(path=path, **given)

    monkeypatch.setattr(routing, "get_dependant", prepares_noted)
    return noted


def ask(app: FastAPI) -> None:
    """A request comes by every route."""
    for route in app.routes:
        route.matches(http_scope("GET", "/nothing/that/is/there", []))


async def is_over() -> bool:
    return not [one for one in asyncio.all_tasks() if one.get_name() == PREPARING]


async def test_every_route_is_prepared_after_the_start(prepared: list[str]) -> None:
    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncGenerator[State]:
        yield cast("State", {})

    async with alive(create_app(lifespan, "a start"), limited=True):
        await until(is_over, "the end of the preparation")
        assert len(prepared) > 100
        prepared.clear()
        ask(framework("a start"))
        assert prepared == []


async def test_meanwhile_others_have_their_turns(prepared: list[str]) -> None:
    preparing = asyncio.create_task(prepare(framework("turns")))
    turns: list[int] = []
    while not preparing.done():
        turns.append(len(prepared))
        await asyncio.sleep(0)
    at_once = max(after - before for before, after in pairwise(turns))
    assert 0 < at_once < len(prepared) / 5


async def test_an_end_in_the_middle_of_it_is_an_end(prepared: list[str]) -> None:
    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncGenerator[State]:
        yield cast("State", {})

    async with alive(create_app(lifespan, "a short life"), limited=True):
        pass
    assert await is_over()
    assert len(prepared) < 5


def test_applications_of_a_process_share_their_routes() -> None:
    assert framework("0") is framework("0")
