"""Signing in and out: a token once, a session cookie after."""

import ipaddress
import re

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from database.pool import acting_from
from web.dependencies import (
    SESSION_COOKIES,
    Parts,
    origin_of,
    require_same_origin,
    session_of,
    too_many,
)
from web.forms import fields_of
from web.pages.shell import HOME, SIGN_IN, Page
from web.pages.way_back import page_at
from web.views.shell import LoginView

router = APIRouter(prefix="/admin", include_in_schema=False)

PAGE = re.compile(r"/admin(?:/(?!\.)[A-Za-z0-9_.-]+)*(?:\?[^\s\\\x00-\x1f]{0,1000})?")
"""Written as we write it: nothing in it is to be resolved, or decoded once more."""

REFUSED = "That did not work."
ENDED = {
    "all": "Every session was ended. Whoever wants in signs in again.",
    "undone": "You were signed out: nothing was done.",
}
"""What led here, by the word for it in the address."""
INSECURE = (
    "Signing in needs https here, or this machine's own address (http://127.0.0.1): over plain http"
    " anybody on the way could read your token. Put a reverse proxy with a certificate in front,"
    " or open an SSH tunnel (ssh -L 8000:127.0.0.1:8000 …) and use http://127.0.0.1:8000/admin."
)


@router.get("/login")
async def form(request: Request, to: str = "", ended: str = "") -> Response:
    """The sign-in page; where a sign-in would be unsafe it says why instead."""
    if not _is_safe(request):
        return _page(insecure=INSECURE)
    return _page(to=_ours(request, to), ended=ENDED.get(ended))


@router.post("/login")
async def sign_in(request: Request, parts: Parts) -> Response:
    """Exchange the token for a session. Says nothing about why it failed."""
    fields = await fields_of(request)
    token, to = fields.get("token", ""), _ours(request, fields.get("to", ""))
    if not _is_safe(request):
        return _page(403, insecure=INSECURE)
    origin = origin_of(request)
    acting_from.set(origin)
    session = await parts["doorkeeper"].sign_in(
        token, origin, request.headers.get("user-agent"), instead=session_of(request)
    )
    if session is None:
        if seconds := await parts["refusals"].wrong("POST /admin/login"):
            answer = _page(429, refused=too_many(seconds).detail, to=to)
            answer.headers["retry-after"] = str(seconds)
            return answer
        return _page(401, refused=REFUSED, to=to)
    answer = RedirectResponse(to or HOME, 303)
    _set_cookie(answer, session, secure=request.url.scheme == "https")
    return answer


@router.post("/logout")
async def sign_out(request: Request, parts: Parts) -> Response:
    """End the session everywhere."""
    require_same_origin(request)
    acting_from.set(origin_of(request))
    if session := session_of(request):
        await parts["doorkeeper"].sign_out(session)
    return without_cookies(RedirectResponse(SIGN_IN, 303))


def without_cookies(answer: Response) -> Response:
    """An answer at which the browser forgets its session."""
    for name in SESSION_COOKIES:
        answer.delete_cookie(name, path="/", secure=name.startswith("__Host-"))
    return answer


def _page(status: int = 200, **words: str | None) -> Response:
    return Page("login.html", LoginView(**words)).render(status)


def _ours(request: Request, to: str) -> str:
    """A page of ours to come back to; anything else is nowhere."""
    if not PAGE.fullmatch(to):
        return ""
    path = to.partition("?")[0]
    there = page_at(request.app, path)
    return to if there == path else there


def _is_safe(request: Request) -> bool:
    """Over https, or both ends on this machine."""
    if request.url.scheme == "https":
        return True
    return _is_loopback(request.url.hostname or "") and bool(
        request.client and _is_loopback(request.client.host)
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _set_cookie(answer: Response, session: str, *, secure: bool) -> None:
    name = SESSION_COOKIES[0] if secure else SESSION_COOKIES[1]
    answer.set_cookie(name, session, path="/", secure=secure, httponly=True, samesite="strict")
