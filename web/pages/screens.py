"""Screens on their pages: a table, one with its form, a try before saving, and the orders."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from database import lookout, movements, universes
from database.screens import ScreenId
from domain.access import Scope
from domain.gate import list_max_age
from domain.screen import ScreenKind
from web import lookout as lookout_calls
from web import screens as screen_calls
from web.dependencies import Parts, State, actor_with
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act, read
from web.pages.shell import Page, Visiting, Visitor
from web.payloads_screens import ScreenChange, ScreenNew, ScreenTry
from web.views.screens import (
    ScreenForm,
    ScreensView,
    ScreenView,
    TriedView,
    fixed_words,
    form_of,
    former_screen,
    new_form,
    screen_row,
    standing,
    tried_view,
    typed_form,
    would_words,
)

router = APIRouter(prefix="/admin/list/screens", include_in_schema=False)

HERE = "/admin/list/screens"
MOST_BYTES = 60_000
"""A fixed list may have a thousand tickers."""

NUMBERS = {"top_n": int, "refresh": float, "margin": int, "wait": float}
TICKS = ("whole_market", "slow_when_closed")


# ── What stands in a form ───────────────────────────────────────────────────────────────────


def terms_of(fields: Fields, *, fixed: bool) -> dict[str, object]:
    """The terms of a screen as a form has them. Raises ProblemError naming the field."""
    kind = "fixed" if fixed else "finviz"
    terms: dict[str, object] = {"kind": kind, "note": fields.get("note", "")}
    terms |= {name: fields[name] for name in ("name", "url", "tickers") if name in fields}
    terms |= {name: _number(fields, name) for name in NUMBERS if name in fields}
    if "valid_until" in fields:
        terms["valid_until"] = _zoned(fields["valid_until"])
    return terms if fixed else terms | {name: name in fields for name in TICKS}


def _zoned(given: str) -> str:
    """Without scripts a field for a time names no zone: it is UTC."""
    return given if given.endswith("Z") or "+" in given else f"{given}Z"


def _number(fields: Fields, name: str) -> float:
    try:
        return NUMBERS[name](fields[name])
    except ValueError:
        kind = "a whole number" if NUMBERS[name] is int else "a number"
        raise ProblemError(400, "invalid_field", f"{name} is not {kind}", field=name) from None


def _is_fixed(fields: Fields) -> bool:
    return fields.get("kind") == "fixed"


# ── Pages ───────────────────────────────────────────────────────────────────────────────────


@router.get("")
async def screens_page(visitor: Visiting, parts: Parts, *, archived: bool = False) -> Response:
    """Every screen that is kept."""
    return Page("screens.html", await screens_view(visitor, parts, archived=archived)).render()


async def screens_view(
    visitor: Visitor,
    parts: State,
    *,
    archived: bool = False,
    refused: str | None = None,
    typed: str = "",
    found: tuple[str, ...] = (),
) -> ScreensView:
    listed = await screen_calls.list_screens(parts, visitor.name, archived=archived)
    async with parts["pages"].read() as connection:
        pause = (await lookout.state(connection)).pause
        shell = await visitor.shell(connection, "list")
    return ScreensView(
        shell=shell,
        rows=[screen_row(one, paused=pause is not None) for one in listed["items"]],
        archived=archived,
        paused=pause and f"{pause.by}: {pause.reason}",
        refused=refused,
        typed=typed,
        found=found,
    )


@router.get("/new")
async def new_page(visitor: Visiting, parts: Parts, kind: str = "") -> Response:
    """The form of a screen that is not there yet."""
    refresh, fixed = screen_calls.usual_refresh(parts["rules"]), kind == "fixed"
    form = new_form(fixed=fixed, refresh=refresh, now=parts["clock"]())
    return Page("screen.html", await _new_view(visitor, parts, form, fixed=fixed)).render()


async def _new_view(
    visitor: Visitor,
    parts: State,
    form: ScreenForm,
    *,
    fixed: bool,
    tried: TriedView | None = None,
    refused: str | None = None,
) -> ScreenView:
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "list")
    return ScreenView(
        shell=shell,
        id="",
        title="A new fixed list" if fixed else "A new screen",
        fixed=fixed,
        standing="",
        form=form,
        warnings=(),
        tried=tried,
        would=(),
        versions=(),
        refused=refused,
    )


@router.get("/{id}")
async def screen_page(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """One screen with its form and its versions."""
    return Page("screen.html", await screen_view(visitor, parts, id)).render()


async def screen_view(
    visitor: Visitor,
    parts: State,
    id: UUID,
    form: ScreenForm | None = None,
    *,
    tried: TriedView | None = None,
    refused: str | None = None,
) -> ScreenView:
    shown = await screen_calls.read_screen(id, parts, visitor.name, Response())
    async with parts["pages"].read() as connection:
        pause = (await lookout.state(connection)).pause
        current = await universes.current(connection)
        known = await movements.known(connection, ScreenId(id))
        shell = await visitor.shell(connection, "list")
    kept = shown["active"] or shown["archived_at"]
    max_age = list_max_age(timedelta(seconds=shown["refresh"]), parts["rules"].list_max_age)
    terms = current.screen
    in_force = current.universe.members(terms.top_n, terms.margin) if current.universe else ()
    now, fixed = parts["clock"](), shown["kind"] == ScreenKind.FIXED
    would = (
        fixed_words(shown, current.name, in_force, current.now)
        if fixed
        else would_words(shown, current.name, in_force, known, max_age)
    )
    return ScreenView(
        shell=shell,
        id=str(id),
        title=shown["name"],
        fixed=fixed,
        standing=standing(shown, paused=pause is not None),
        form=form or form_of(shown),
        warnings=shown["warnings"],
        tried=tried,
        would=() if kept else would,
        versions=[former_screen(one, now) for one in shown["versions"]],
        refused=refused,
    )


# ── Forms ───────────────────────────────────────────────────────────────────────────────────


@router.post("")
async def create(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Keep one more screen."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        terms = terms_of(fields, fixed=_is_fixed(fields))
        made = await screen_calls.create_screen(_given(ScreenNew, terms), parts, actor)
        words = f"“{made['name']}” is kept. It is not in force until you put it in force."
        return Done(f"{HERE}/{made['id']}", words)

    return await _with_form(visitor, None, do)


@router.post("/try")
async def try_new(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Look at what a form says, and show what was read; nothing is kept."""
    return await _try(request, visitor, parts, None)


@router.post("/{id}")
async def change(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Make the next version of a screen."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        terms = terms_of(fields, fixed=_is_fixed(fields))
        if fields.get("version", "").isdecimal():
            terms["version"] = int(fields["version"])
        made = await screen_calls.change_screen(id, _given(ScreenChange, terms), parts, actor, None)
        return Done(f"{HERE}/{id}", _changed_words(made))

    return await _with_form(visitor, id, do)


def _changed_words(made: Mapping[str, Any]) -> str:
    if not made["changed"]:
        return "Nothing was otherwise, so nothing was changed."
    fixed = made["kind"] == ScreenKind.FIXED
    looked = "its tickers count within seconds" if fixed else "Finviz is asked at once"
    force = f" It is in force, and {looked}." if made["active"] else ""
    return f"“{made['name']}” is at version {made['version']} now.{force}"


@router.post("/{id}/try")
async def try_changed(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Look at a screen with what its form says; nothing is kept."""
    return await _try(request, visitor, parts, id)


async def _try(request: Request, visitor: Visitor, parts: State, id: UUID | None) -> Response:
    """The page again, with what was read beside the form."""
    shown: list[Page] = []

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        terms = terms_of(fields, fixed=_is_fixed(fields))
        asked = {name: terms[name] for name in terms if name not in {"name", "note"}}
        given = _given(ScreenTry, asked | ({"id": id} if id else {}))
        found = await lookout_calls.attempt(given, parts, actor)
        tried = tried_view(found, given.margin or 0)
        shown.append(await _page(visitor, id, fields, typed_form(fields), tried=tried))
        return Done("")

    answer = await _with_form(visitor, id, do)
    return shown[0].render() if shown else answer


def _given(payload: type[Any], terms: Mapping[str, object]) -> Any:
    return read(payload, terms, *terms)


async def _with_form(
    visitor: Visitor, id: UUID | None, do: Callable[[Fields], Awaitable[Done]]
) -> Response:
    """Do it; what is refused is said beside its field, with what was typed."""
    wrong: list[str] = []

    async def tried(fields: Fields) -> Done:
        try:
            return await do(fields)
        except ProblemError as problem:
            wrong.append(problem.more.get("field", ""))
            raise

    async def again(fields: Fields, words: str) -> Page:
        field = wrong[0] if wrong else ""
        form = typed_form(fields, field, words)
        beside = field in FIELDS
        return await _page(visitor, id, fields, form, refused=None if beside else words)

    return await act(visitor, tried, again, most=MOST_BYTES)


FIELDS = frozenset({"name", "note", "url", "tickers", "valid_until", *NUMBERS})
"""Those beside which something can be said."""


async def _page(
    visitor: Visitor,
    id: UUID | None,
    fields: Fields,
    form: ScreenForm,
    *,
    tried: TriedView | None = None,
    refused: str | None = None,
) -> Page:
    parts = visitor.parts
    view = (
        await _new_view(visitor, parts, form, fixed=_is_fixed(fields), tried=tried, refused=refused)
        if id is None
        else await screen_view(visitor, parts, id, form, tried=tried, refused=refused)
    )
    return Page("screen.html", view)
