"""Forms of the list's page: look now, pause and resume looking, a word on a suspect list."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from fastapi.responses import Response

from database import screens
from domain.access import Scope
from domain.screen import ScreenKind
from web import lookout as lookout_calls
from web.dependencies import Parts, State, actor_with
from web.pages.forms import Done, Fields, act, read
from web.pages.list import list_now
from web.pages.shell import Page, Visiting, Visitor
from web.payloads_screens import PauseIn, Seen
from web.views.words import counted

router = APIRouter(prefix="/admin/list", include_in_schema=False)

HERE = "/admin/list"
MOST_BYTES = 60_000
"""A suspect list may have a thousand tickers."""


@router.post("/refresh")
async def refresh(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Have Finviz asked now."""

    async def do(_fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        if await _is_fixed(parts):
            return Done(HERE, "Nobody is asked: a fixed list counts as it is.")
        await lookout_calls.hasten(parts, actor)
        return Done(HERE, "Finviz is asked now: what it answers stands here in a few seconds.")

    return await act(visitor, do, _again(visitor, "refresh"))


@router.post("/pause")
async def pause(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Ask Finviz nothing more."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        said = await lookout_calls.pause(read(PauseIn, fields, "reason"), parts, actor)
        by = said["paused"]["by"]
        words = "Looking is paused." if said["changed"] else f"It was paused already, by {by}."
        if await _is_fixed(parts):
            return Done(HERE, f"{words} A fixed list goes on meanwhile.")
        return Done(HERE, f"{words} Buys stop when the list is too old.")

    return await act(visitor, do, _again(visitor, "pause"))


@router.post("/resume")
async def resume(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Ask Finviz again."""

    async def do(_fields: Fields) -> Done:
        said = await lookout_calls.resume(parts, await actor_with(request, Scope.CONFIG))
        words = "Looking goes on." if said["changed"] else "It was not paused."
        return Done(HERE, words)

    return await act(visitor, do, _again(visitor, "resume"))


@router.post("/accept")
async def accept(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Believe the suspect list that was shown, and no other."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        said = await lookout_calls.accept(_seen(fields), parts, actor)
        tickers = counted(said["tickers"], "ticker", "tickers")
        return Done(HERE, f"Version {said['version']} is in force: {tickers} on the list now.")

    return await act(visitor, do, _again(visitor, "pending"), most=MOST_BYTES)


@router.post("/refuse")
async def refuse(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Keep the suspect list that was shown away, and any like it."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        await lookout_calls.refuse(_seen(fields), parts, actor)
        return Done(HERE, "It is kept away, and any like it: the list in force stays.")

    return await act(visitor, do, _again(visitor, "pending"), most=MOST_BYTES)


async def _is_fixed(parts: State) -> bool:
    async with parts["pages"].read() as connection:
        kept = await screens.active(connection)
    return kept is not None and kept.screen.kind is ScreenKind.FIXED


def _seen(fields: Fields) -> Seen:
    given = fields | {"tickers": fields.get("tickers", "").split()}
    return read(Seen, given, "tickers", "reason")


def _again(visitor: Visitor, tried: str) -> Callable[[Fields, str], Awaitable[Page]]:
    async def again(fields: Fields, words: str) -> Page:
        typed = fields.get("reason", "")
        view = await list_now(visitor, visitor.parts, refused=words, tried=tried, typed=typed)
        return Page("list.html", view)

    return again
