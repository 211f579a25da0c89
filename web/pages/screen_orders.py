"""What is done to a screen as a whole: in force, a copy, put away, taken out; and all as a file."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from domain.access import Scope
from domain.screen import ScreenKind
from web import screen_files
from web import screens as screen_calls
from web.dependencies import Parts, State, actor_with
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act, read
from web.pages.screens import HERE, MOST_BYTES, screen_view, screens_view
from web.pages.shell import Page, Visiting, Visitor
from web.payloads_screens import Copy, Import
from web.views.words import counted

router = APIRouter(prefix="/admin/list/screens", include_in_schema=False)


@router.post("/export")
async def write_file(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Write every screen into FINVIZ_CONFIG_FILE."""

    async def do(_fields: Fields) -> Done:
        said = await screen_files.write_screens(parts, await actor_with(request, Scope.CONFIG))
        written = counted(said["screens"], "screen", "screens")
        return Done(HERE, f"{written} written into {said['file']}.")

    return await act(visitor, do, _table_again(visitor))


@router.post("/import")
async def import_file(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Take over exported screens; or only say what would come of it."""
    shown: list[Page] = []

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        said = await screen_files.import_screens(_file(fields), parts, actor)
        words = [f"{name}: {', '.join(said[name])}" for name in OUTCOMES if said[name]]
        if said["preview"]:
            found = tuple(words) or ("Nothing.",)
            view = await screens_view(visitor, parts, typed=fields["file"], found=found)
            shown.append(Page("screens.html", view))
            return Done(HERE)
        return Done(HERE, f"Imported. {'; '.join(words) or 'Nothing was in it'}.")

    answer = await act(visitor, do, _table_again(visitor), most=MOST_BYTES)
    return shown[0].render() if shown else answer


OUTCOMES = ("created", "changed", "unchanged")


def _file(fields: Fields) -> Import:
    try:
        given = json.loads(fields.get("file", ""))
        screens: Any = given["screens"]
    except (ValueError, KeyError, TypeError, RecursionError):
        words = "This is no file of screens: paste one as Export made it."
        raise ProblemError(400, "invalid_field", words, field="file") from None
    flags = {"preview": "preview" in fields, "replace": "replace" in fields}
    return read(Import, {"screens": screens} | flags, "screens", *flags)


def _table_again(visitor: Visitor) -> Callable[[Fields, str], Awaitable[Page]]:
    async def again(fields: Fields, words: str) -> Page:
        typed = fields.get("file", "")
        view = await screens_view(visitor, visitor.parts, refused=words, typed=typed)
        return Page("screens.html", view)

    return again


@router.post("/{id}/activate")
async def activate(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Put it in force instead of the active one."""

    async def order(_fields: Fields, parts: State, actor: str) -> Done:
        said = await screen_calls.activate(id, parts, actor)
        fixed = said["kind"] == ScreenKind.FIXED
        asked = "Nobody is asked for it: it counts within seconds."
        words = f"“{said['name']}” is in force. {asked if fixed else 'Finviz is asked for it now.'}"
        return Done("/admin/list", words if said["changed"] else "It was in force already.")

    return await _order(id, request, visitor, parts, order)


@router.post("/{id}/duplicate")
async def duplicate(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Keep a second screen of the same terms."""

    async def order(fields: Fields, parts: State, actor: str) -> Done:
        said = await screen_calls.duplicate(id, parts, actor, read(Copy, fields, "name"))
        return Done(f"{HERE}/{said['id']}", f"“{said['name']}” is the copy; it is not in force.")

    return await _order(id, request, visitor, parts, order)


@router.post("/{id}/archive")
async def archive(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Put it away, with its history."""

    async def order(_fields: Fields, parts: State, actor: str) -> Done:
        said = await screen_calls.archive(id, parts, actor)
        return Done(f"{HERE}/{id}", f"“{said['name']}” is archived; its name is free again.")

    return await _order(id, request, visitor, parts, order)


@router.post("/{id}/restore")
async def restore(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Take an archived one out again."""

    async def order(_fields: Fields, parts: State, actor: str) -> Done:
        said = await screen_calls.restore(id, parts, actor)
        return Done(f"{HERE}/{id}", f"“{said['name']}” is back; it is not in force.")

    return await _order(id, request, visitor, parts, order)


async def _order(
    id: UUID,
    request: Request,
    visitor: Visitor,
    parts: State,
    order: Callable[[Fields, State, str], Awaitable[Done]],
) -> Response:
    async def do(fields: Fields) -> Done:
        return await order(fields, parts, await actor_with(request, Scope.CONFIG))

    async def again(_fields: Fields, words: str) -> Page:
        return Page("screen.html", await screen_view(visitor, parts, id, refused=words))

    return await act(visitor, do, again)
