"""What the forms of pages share: act as asked, say what was done, or what was wrong in place."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, ValidationError

from database.pool import is_unavailable
from web.dependencies import refused
from web.errors import ProblemError
from web.forms import MOST_BYTES, fields_of
from web.pages.shell import Page, Visitor
from web.views.trade import UnavailableView

Fields: TypeAlias = dict[str, str]
T = TypeVar("T", bound=BaseModel)

PROOF = "proof"
"""The field of a form in which a token is asked for again."""


@dataclass(frozen=True, slots=True)
class Done:
    """Where an action leads, and what the page there says of it."""

    to: str
    words: str | None = None


async def act(
    visitor: Visitor,
    do: Callable[[Fields], Awaitable[Done]],
    again: Callable[[Fields, str], Awaitable[Page]],
    *,
    sensitive: bool = False,
    most: int = MOST_BYTES,
) -> Response:
    """Do what a form asks and go where it leads; what is refused is said on the page it is on.

    What is ``sensitive`` is done only for who has shown a token lately, or shows one with it.
    A form has at most ``most`` bytes.
    """
    fields = await fields_of(visitor.request, most)
    try:
        if sensitive:
            await _proved(visitor, fields)
        done = await do(fields)
        if done.words:
            await visitor.parts["doorkeeper"].say(visitor.session, done.words)
        return RedirectResponse(done.to, 303)
    except ProblemError as problem:
        answer = (await again(fields, problem.detail)).render(problem.status)
        if later := problem.more.get("retry_after"):
            answer.headers["retry-after"] = later
        return answer
    except Exception as error:
        if not is_unavailable(error):
            raise
        return _unavailable(visitor, fields)


async def _proved(visitor: Visitor, fields: Fields) -> None:
    """Raises ProblemError 403 where a token is wanted and not shown, or a wrong one is; or 429."""
    given = fields.pop(PROOF, None)
    if visitor.visit.proved:
        return
    if given is None:
        raise ProblemError(403, "proof_needed", "This asks for your token again. Nothing was done.")
    if not await visitor.parts["doorkeeper"].prove(visitor.session, given):
        await refused(visitor.request, f"POST {visitor.request.scope['route'].path}", given)
        raise ProblemError(403, "proof_needed", "That token did not work. Nothing was done.")


def _unavailable(visitor: Visitor, fields: Fields) -> Response:
    """No journal, no order: said at once, with what is to be sold elsewhere now."""
    tickers = (fields.get("ticker") or fields.get("held") or "").split()
    version = visitor.parts["rules"].version
    return Page("unavailable.html", UnavailableView(tickers=tickers, version=version)).render(503)


def read(payload: type[T], fields: Mapping[str, Any], *names: str) -> T:
    """What the API's call takes, from a form. Raises ProblemError 400 in its words."""
    try:
        return payload.model_validate({name: fields[name] for name in names if name in fields})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "form"
        raise ProblemError(400, "invalid_field", f"{name}: {first['msg']}", field=name) from None


def seconds(fields: Mapping[str, str], name: str, unit: float) -> dict[str, float]:
    """A span of a form as ``for_sec``; nothing where it is empty. Raises ProblemError 400."""
    if name not in fields:
        return {}
    try:
        return {"for_sec": float(fields[name]) * unit}
    except ValueError:
        raise ProblemError(400, "invalid_field", f"{name}: not a number", field=name) from None
