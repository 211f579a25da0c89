"""The page of sessions: who is signed in, from where; end one of them, or all."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from web.dependencies import Parts
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act
from web.pages.login import without_cookies
from web.pages.shell import SIGN_IN, Page, Visiting, Visitor
from web.views.settings_sessions import SessionsView, session_row
from web.views.words import duration

router = APIRouter(prefix="/admin", include_in_schema=False)

HERE = "/admin/settings/sessions"
ENDED = f"{SIGN_IN}?ended=all"

Name = Annotated[str, Path(pattern="^[0-9a-f]{12}$")]


@router.get("/settings/sessions")
async def sessions_page(visitor: Visiting) -> Response:
    """Who is signed in."""
    return Page("settings_sessions.html", await _view(visitor)).render()


@router.get("/partials/settings/sessions")
async def sessions_partial(visitor: Visiting) -> Response:
    """What a live page reads again."""
    return Page("partials/settings_sessions.html", await _view(visitor)).render()


@router.post("/settings/sessions/{name}/end")
async def end(name: Name, visitor: Visiting, parts: Parts) -> Response:
    """End one session, wherever it is."""

    async def do(_fields: Fields) -> Done:
        if not await parts["doorkeeper"].end(name, visitor.name):
            raise ProblemError(404, "no_such_session", "That session is over already.")
        return Done(HERE, "1 session was ended: its pages lead to the sign-in page now.")

    async def again(_fields: Fields, words: str) -> Page:
        return Page("settings_sessions.html", await _view(visitor, refused=words))

    return await act(visitor, do, again)


@router.post("/settings/sessions/end-all")
async def end_all(visitor: Visiting, parts: Parts) -> Response:
    """End every session, this one too."""

    async def do(_fields: Fields) -> Done:
        await parts["doorkeeper"].end_all(visitor.name)
        return Done(ENDED)

    async def again(_fields: Fields, words: str) -> Page:
        return Page("settings_sessions.html", await _view(visitor, refused=words, tried=True))

    answer = await act(visitor, do, again, sensitive=True)
    return without_cookies(answer) if answer.headers.get("location") == ENDED else answer


async def _view(
    visitor: Visitor, *, refused: str | None = None, tried: bool = False
) -> SessionsView:
    keeper = visitor.parts["doorkeeper"]
    async with visitor.parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "settings")
    policy = keeper.policy
    return SessionsView(
        shell=shell,
        sessions=[session_row(one, policy) for one in await keeper.sessions(visitor.session)],
        idle=duration(policy.idle),
        absolute=duration(policy.absolute),
        proof=duration(policy.proof),
        tried=tried,
        refused=refused,
    )
