"""The page of tokens: make one, see it once, and end it."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import ValidationError

from web import tokens as token_calls
from web.dependencies import Parts
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act
from web.pages.settings import EVERYWHERE, first_problem, proved, shown
from web.pages.shell import Page, Visiting, Visitor
from web.payloads import Word
from web.payloads_access import TokenNew
from web.views.settings_tokens import MadeView, TokensView, scope_ticks, token_row

router = APIRouter(prefix="/admin", include_in_schema=False)

HERE = "/admin/settings/tokens"
NAMES = {"name": "Name", "scopes": "What it may do", "expires_at": "Last day"}


@router.get("/settings/tokens")
async def tokens_page(visitor: Visiting) -> Response:
    """Every token there is, and the form for another."""
    return Page("settings_tokens.html", await _view(visitor)).render()


@router.get("/partials/settings/tokens")
async def tokens_partial(visitor: Visiting) -> Response:
    """What a live page reads again."""
    return Page("partials/settings_tokens.html", await _view(visitor)).render()


@router.post("/settings/tokens")
async def make(visitor: Visiting, parts: Parts) -> Response:
    """Make a token, and show it this once."""

    async def do(fields: Fields) -> Page:
        made = await token_calls.create_token(_new(fields), parts, visitor.visit.grant)
        once = MadeView(name=made["name"], token=made["token"], webhook=None)
        return Page("settings_tokens.html", await _view(proved(visitor), made=once))

    async def again(fields: Fields, words: str) -> Page:
        view = await _view(visitor, fields, tried="make", refused=words)
        return Page("settings_tokens.html", view)

    return await shown(visitor, do, again, sensitive=True)


@router.post("/settings/tokens/{id}/revoke")
async def revoke(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """End a token for good; back to the page of its source, if it is one's."""

    async def do(fields: Fields) -> Done:
        why = Word(reason=fields.get("reason"))
        ended = await token_calls.revoke(id, parts, visitor.visit.grant, why)
        to = f"/admin/settings/sources/{ended['source']}" if ended["source"] else HERE
        if not ended["changed"]:
            return Done(to, f"The token {ended['name']} was revoked before.")
        return Done(to, f"The token {ended['name']} is revoked: refused {EVERYWHERE}.")

    async def again(_fields: Fields, words: str) -> Page:
        return Page("settings_tokens.html", await _view(visitor, tried=str(id), refused=words))

    return await act(visitor, do, again, sensitive=True)


def last_day(fields: Mapping[str, str]) -> dict[str, Any]:
    """The end of the last day of a token, in UTC; nothing where it has none."""
    if "ends" not in fields:
        return {}
    try:
        day = date.fromisoformat(fields["ends"])
    except ValueError:
        words = "Last day: not a day, such as 2027-12-31"
        raise ProblemError(400, "invalid_field", words, field="expires_at") from None
    return {"expires_at": f"{day.isoformat()}T23:59:59Z"}


def _new(fields: Mapping[str, str]) -> TokenNew:
    """What is to be made. Raises ProblemError."""
    scopes = fields.get("scopes", "").split()
    given = {"name": fields.get("name", ""), "scopes": scopes, **last_day(fields)}
    try:
        return TokenNew.model_validate(given)
    except ValidationError as error:
        raise first_problem(error, NAMES) from None


async def _view(
    visitor: Visitor,
    fields: Mapping[str, str] | None = None,
    *,
    made: MadeView | None = None,
    tried: str | None = None,
    refused: str | None = None,
) -> TokensView:
    parts, fields = visitor.parts, fields or {}
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "settings")
    now = parts["clock"]()
    kept = await token_calls.list_tokens(parts, visitor.visit.grant)
    return TokensView(
        shell=shell,
        tokens=[token_row(one, now) for one in kept["items"]],
        made=made,
        scopes=scope_ticks(fields.get("scopes", "").split()),
        name=fields.get("name", ""),
        ends=fields.get("ends", ""),
        tried=tried,
        refused=refused,
    )
