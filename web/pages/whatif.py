"""The page of what-if: what another top N, margin or wait would have changed lately."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Query
from fastapi.responses import Response

from database import universes
from web import whatif as whatif_calls
from web.dependencies import Parts, State
from web.errors import ProblemError
from web.pages.forms import read
from web.pages.shell import Page, Visiting, Visitor
from web.views.whatif import WhatIfView, result_of
from web.whatif import WhatIfIn

router = APIRouter(prefix="/admin", include_in_schema=False)

Given: TypeAlias = Annotated[str | None, Query(max_length=20)]

HOURS = ("1", "24", "168")
MOST_FLIPS = 200
PATIENCE = 25.0
"""Seconds after which a page says so instead of waiting on."""

UNFINISHED = (
    "This takes longer than {:g} s: ask for fewer hours. Nothing was changed, and what was begun"
    " ends by itself."
)
_going_on: set[asyncio.Task[Any]] = set()
"""What-ifs that nobody waits for any more: kept until they end."""


@router.get("/list/whatif")
async def whatif_page(
    visitor: Visiting,
    parts: Parts,
    *,
    hours: Given = None,
    top_n: Given = None,
    margin: Given = None,
    wait: Given = None,
) -> Response:
    """The form, and once something is asked its answer. Nothing is written."""
    typed = {"top_n": top_n or "", "margin": margin or "", "wait": wait or ""}
    chosen = hours if hours in HOURS else HOURS[1]
    found: dict[str, Any] | None = None
    status, refused = 200, None
    try:
        found = await _ask(visitor, parts, chosen, typed) if any(typed.values()) else None
    except ProblemError as problem:
        status, refused = problem.status, problem.detail
    async with parts["pages"].read() as connection:
        current = await universes.current(connection)
        shell = await visitor.shell(connection, "list")
    screen = current.screen
    view = WhatIfView(
        shell=shell,
        hours=chosen,
        **typed,
        top_n_now=screen.top_n,
        margin_now=screen.margin,
        wait_now=f"{screen.wait.total_seconds():g}" if screen.wait else "0: off",
        result=None if found is None else result_of(found, parts["clock"]()),
        refused=refused,
    )
    return Page("list_whatif.html", view).render(status)


async def _ask(visitor: Visitor, parts: State, hours: str, typed: dict[str, str]) -> dict[str, Any]:
    since = parts["clock"]() - timedelta(hours=int(hours))
    terms = {name: _number(name, value) for name, value in typed.items() if value}
    asked = {"from": since, "limit": MOST_FLIPS} | terms
    given = read(WhatIfIn, asked, *asked)
    task = asyncio.create_task(whatif_calls.what_if(given, parts, visitor.name))
    done, _ = await asyncio.wait({task}, timeout=PATIENCE)
    if not done:
        _going_on.add(task)
        task.add_done_callback(_ended)
        raise ProblemError(503, "unfinished", UNFINISHED.format(PATIENCE))
    return task.result()


def _ended(task: asyncio.Task[Any]) -> None:
    _going_on.discard(task)
    if not task.cancelled():
        task.exception()  # its page was told that it was left alone


def _number(name: str, given: str) -> float:
    try:
        return float(given) if name == "wait" else int(given)
    except ValueError:
        raise ProblemError(400, "invalid_field", f"{name} is not a number", field=name) from None
