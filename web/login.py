"""Signing in and out: a token once, a session cookie after."""

import ipaddress
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from web.admin import Page
from web.dependencies import SESSION_COOKIES, Parts, require_same_origin, session_of
from web.errors import ProblemError
from web.views import LoginView

router = APIRouter(prefix="/admin", include_in_schema=False)

REFUSED = "That did not work."
INSECURE = (
    "Signing in needs https here, or this machine's own address (http://127.0.0.1): over plain http"
    " anybody on the way could read your token. Put a reverse proxy with a certificate in front,"
    " or open an SSH tunnel (ssh -L 8000:127.0.0.1:8000 …) and use http://127.0.0.1:8000/admin."
)
MOST_BYTES = 4_096


@router.get("/login")
async def form(request: Request) -> Response:
    """The sign-in page; where a sign-in would be unsafe it says why instead."""
    return _page() if _is_safe(request) else _page(insecure=INSECURE)


@router.post("/login")
async def sign_in(request: Request, parts: Parts) -> Response:
    """Exchange the token for a session. Says nothing about why it failed."""
    require_same_origin(request)
    if not _is_safe(request):
        return _page(403, insecure=INSECURE)
    token = await _token(request)
    origin = request.client.host if request.client else "unknown"
    session = await parts["doorkeeper"].sign_in(token, origin)
    if session is None:
        return _page(401, refused=REFUSED)
    answer = RedirectResponse("/admin", 303)
    _set_cookie(answer, session, secure=request.url.scheme == "https")
    return answer


@router.post("/logout")
async def sign_out(request: Request, parts: Parts) -> Response:
    """End the session everywhere."""
    require_same_origin(request)
    if session := session_of(request):
        await parts["doorkeeper"].sign_out(session)
    answer = RedirectResponse("/admin/login", 303)
    for name in SESSION_COOKIES:
        answer.delete_cookie(name, path="/", secure=name.startswith("__Host-"))
    return answer


def _page(status: int = 200, **words: str) -> Response:
    page = Page("login.html", LoginView(**words)).render()
    page.status_code = status
    return page


async def _token(request: Request) -> str:
    size, body = 0, b""
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_BYTES:
            raise ProblemError(413, "too_large", "A sign-in is smaller than that.")
        body += chunk
    given = parse_qs(body.decode("latin-1")).get("token", [""])
    return given[0].strip()


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
