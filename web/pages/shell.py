"""What pages share: who looks, how a template is drawn, and what is around every page."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from database import attention_items, gate
from database.pool import ReadConnection, acting_from
from domain.attention import Severity
from engines.access.doorkeeper import Visit
from web.dependencies import Parts, State, origin_of, session_of, state_of
from web.errors import problem
from web.static import ADDRESS
from web.views.shell import NoPageView, Shell, ShellView, pause_view

router = APIRouter(prefix="/admin", include_in_schema=False)

TEMPLATES = Path(__file__).parents[2] / "templates"
jinja = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

HOME = "/admin"
SIGN_IN = "/admin/login"


@dataclass(frozen=True, slots=True)
class Page:
    """A template and what it is given: the fields of one frozen view."""

    template: str
    view: Any

    def render(self, status: int = 200) -> HTMLResponse:
        given = {field.name: getattr(self.view, field.name) for field in fields(self.view)}
        return HTMLResponse(jinja.get_template(self.template).render(given, static=ADDRESS), status)


class SignedOutError(Exception):
    """Nobody is signed in here, or not any more."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in operator, and what he asks for."""

    request: Request
    parts: State
    session: str
    visit: Visit

    @property
    def name(self) -> str:
        return self.visit.grant.name

    async def shell(self, connection: ReadConnection, here: str) -> Shell:
        """What is around a page; ``here`` is its name in the header."""
        in_force = await gate.read(connection)
        waiting = await attention_items.counts(connection)
        keeper, now = self.parts["doorkeeper"], self.parts["clock"]()
        tell = self.visit.said and not is_partial(self.request)
        return Shell(
            here=here,
            paused=pause_view(in_force.pause, now),
            waiting=sum(waiting.values()),
            urgent=Severity.URGENT in waiting,
            operator=self.name,
            said=await keeper.told(self.session) if tell else None,
            proved=self.visit.proved,
            version=self.parts["rules"].version,
            revision=self.parts["rules"].revision,
        )


def is_partial(request: Request) -> bool:
    """Whether a page reads a part of itself again, rather than a browser a whole page."""
    return "hx-request" in request.headers or request.url.path.startswith("/admin/partials/")


async def _visitor(request: Request) -> Visitor:
    parts, session = state_of(request), session_of(request)
    visit = await parts["doorkeeper"].visit(session)
    if visit is None or session is None:
        raise SignedOutError
    acting_from.set(origin_of(request))
    return Visitor(request, parts, session, visit)


Visiting = Annotated[Visitor, Depends(_visitor)]
"""Who looks at a page. Whoever is not signed in is led to the sign-in page, and back after."""


async def _signed_out(request: Request, _error: Exception) -> Response:
    """A whole page leads to signing in; a part of one says that it is time to."""
    if is_partial(request):
        return problem(401, "signed_out", "Sign in again.")
    return RedirectResponse(_sign_in_for(request), 303)


def _sign_in_for(request: Request) -> str:
    """Where to sign in, and what to come back to: a page that was only looked at.

    What was ordered is not done, and not ordered again by itself: the sign-in page says so.
    """
    path, query = request.url.path, request.url.query
    if request.method != "GET":
        return f"{SIGN_IN}?ended=undone"
    if path == HOME:
        return SIGN_IN
    return f"{SIGN_IN}?to={quote(f'{path}?{query}' if query else path)}"


def shown(request: Request, answer: JSONResponse) -> Response:
    """An answer for programs as it is; to a person who opened a page, as a page."""
    page = request.url.path.startswith(HOME) and not is_partial(request)
    if not (page and request.method == "GET" and "text/html" in request.headers.get("accept", "")):
        return answer
    told = json.loads(bytes(answer.body))
    view = NoPageView(title=told["title"], words=told["detail"])
    drawn = Page("no_page.html", view).render(answer.status_code)
    kept = {name: value for name, value in answer.headers.items() if not name.startswith("content")}
    drawn.headers.update(kept)
    return drawn


def install(app: FastAPI) -> None:
    """Teach an application where to lead those who are not signed in."""
    app.add_exception_handler(SignedOutError, _signed_out)


@router.get("/partials/shell")
async def shell_partial(visitor: Visiting, parts: Parts, here: str = "") -> Response:
    """What a live page reads of its shell again."""
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, here[:40])
    return Page("partials/shell.html", ShellView(shell=shell)).render()
