"""Refusals as problem+json (RFC 9457). The only place that turns them into answers."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from database.pool import FAILED, is_unavailable, is_unstorable, kind_of
from database.vault import SealError

log = logging.getLogger(__name__)

WRONG_KEY = (
    "ENCRYPTION_KEY does not open what is stored here. Put back the key it was sealed with "
    "(secrets.env of DATA_DIR, or of the backup), and restart."
)


class ProblemError(Exception):
    """A refusal: HTTP status, a stable code for programs, a sentence for people."""

    def __init__(self, status: int, code: str, detail: str, **more: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.more = status, code, detail, more


def problem(status: int, code: str, detail: str, **more: str) -> JSONResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    headers = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "5"}}.get(status, {})
    if later := more.get("retry_after"):
        headers = {"retry-after": later}
    return JSONResponse(body | more, status, headers, media_type="application/problem+json")


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return problem(error.status, error.code, error.detail, **error.more)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    answer = problem(error.status_code, code, str(error.detail))
    answer.headers.update(error.headers or {})  # a 405 must say what is allowed (RFC 9110 §15.5.6)
    return answer


async def _unreadable(_request: Request, error: Exception) -> JSONResponse:
    """Names the first field and what is wrong with it; never echoes what was sent."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])[:64] or "body"
    return problem(400, "invalid_field", f"{field}: {first['msg']}", field=field)


async def _failed(_request: Request, error: Exception) -> JSONResponse:
    if is_unavailable(error):
        log.warning("request.unavailable", extra={"error": kind_of(error)})
        return problem(503, "database_unavailable", "The database does not answer just now.")
    if is_unstorable(error):
        return problem(400, "invalid_field", "A value has a character that no text here can have.")
    if isinstance(error, SealError):
        log.error("key.does_not_open")
        return problem(500, "wrong_key", WRONG_KEY)
    log.error("request.failed", exc_info=error)
    return problem(500, "internal_error", "Something went wrong; the log says what.")


Tell: TypeAlias = Callable[[Request, Exception], Awaitable[JSONResponse]]


def install(app: FastAPI, shown: Callable[[Request, JSONResponse], Response]) -> None:
    """Teach an application these answers, each as it is ``shown`` to who asked."""

    def teach(kind: type[Exception], tell: Tell) -> None:
        async def told(request: Request, error: Exception) -> Response:
            return shown(request, await tell(request, error))

        app.add_exception_handler(kind, told)

    teach(ProblemError, _refused)
    teach(HTTPException, _http)
    teach(RequestValidationError, _unreadable)
    for kind in (*FAILED, SealError, Exception):
        teach(kind, _failed)
