"""What the forms of an operator do: each what its call of the API does, by the same function."""

import re
from collections.abc import Awaitable, Callable
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from database.batches import BatchId
from domain.access import Scope
from domain.position import PositionId
from web import buying as buying_calls
from web import positions as position_calls
from web import sells as sell_calls
from web.dependencies import Parts, actor_with
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act, read, seconds
from web.pages.overview import overview_view
from web.pages.positions import batch_view, position_view, positions_view
from web.pages.shell import HOME, Page, Visiting, Visitor
from web.payloads import Word
from web.payloads_trade import (
    BuyingPauseIn,
    Listing,
    PositionClose,
    PositionIn,
    SellAllIn,
    SellIn,
    SellListIn,
)
from web.views.overview import Form

router = APIRouter(prefix="/admin", include_in_schema=False)

CONFIRMED = "SELL ALL"
MOST_BYTES = 60_000
"""The form names every ticker that is held."""

OURS = re.compile(r"/admin(?:/[\w-]+){0,4}")
"""A page of ours that a form may lead back to."""


@router.post("/sell")
async def sell(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Sell one position."""

    async def do(fields: Fields) -> Done:
        given = read(SellIn, fields, "ticker", "reason")
        answer = await sell_calls.sell_one(request, parts, given, fields.get("key"))
        return Done(f"/admin/batches/{answer['batch_id']}")

    async def again(fields: Fields, words: str) -> Page:
        try:
            id = PositionId(UUID(fields.get("position", "")))
        except ValueError:
            return await _positions_again(visitor, "one")(fields, words)
        return Page("position.html", await position_view(visitor, id, parts, words))

    return await act(visitor, do, again)


@router.post("/sell/all")
async def sell_all(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Sell every position, once the word is typed."""

    async def do(fields: Fields) -> Done:
        if " ".join(fields.get("confirm", "").upper().split()) != CONFIRMED:
            words = f"Nothing was sold: type {CONFIRMED} to confirm."
            raise ProblemError(409, "unconfirmed", words)
        given = read(SellAllIn, fields, "reason")
        answer = await sell_calls.sell_all(request, parts, given, fields.get("key"))
        return Done(f"/admin/batches/{answer['batch_id']}")

    again = _positions_again(visitor, "all")
    return await act(visitor, do, again, sensitive=True, most=MOST_BYTES)


@router.post("/sell/list")
async def sell_list(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Sell what is on the sell list."""

    async def do(fields: Fields) -> Done:
        answer = await sell_calls.sell_list(request, parts, SellListIn(), fields.get("key"))
        return Done(f"/admin/batches/{answer['batch_id']}")

    return await act(visitor, do, _positions_again(visitor, "list"))


@router.post("/batches/{id}/retry")
async def retry(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Sell again what this command sold in vain."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        answer = await sell_calls.retry(id, parts, actor, Word(), fields.get("key"))
        return Done(f"/admin/batches/{answer['batch_id']}")

    async def again(_fields: Fields, words: str) -> Page:
        return Page("batch.html", await batch_view(visitor, BatchId(id), parts, words))

    return await act(visitor, do, again)


@router.post("/sell-list/add")
async def add_to_list(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Put tickers on the sell list, or every position there is."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        if "fill" in fields:
            await sell_calls.fill(parts, actor)
        else:
            await sell_calls.add(_listing(fields), parts, actor)
        return Done("/admin/positions")

    return await act(visitor, do, _positions_again(visitor, "list"))


@router.post("/sell-list/remove")
async def remove_from_list(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Take a ticker off the sell list."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        await sell_calls.remove(fields.get("ticker", ""), parts, actor)
        return Done("/admin/positions")

    return await act(visitor, do, _positions_again(visitor, "list"))


@router.post("/positions")
async def enter(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Enter a position held from before."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        given = read(PositionIn, fields, "ticker", "price", "reason")
        entered = await position_calls.enter(given, parts, actor)
        return Done(f"/admin/positions/{entered['id']}")

    return await act(visitor, do, _positions_again(visitor, "enter"))


@router.post("/positions/{id}/close")
async def close(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Mark a position as closed; nothing is sent."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        given = read(PositionClose, fields, "price", "reason")
        await position_calls.close(id, given, parts, actor)
        return Done(f"/admin/positions/{id}")

    async def again(_fields: Fields, words: str) -> Page:
        return Page("position.html", await position_view(visitor, PositionId(id), parts, words))

    return await act(visitor, do, again)


@router.post("/buying/pause")
async def pause(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Stop buying, for some minutes or until somebody resumes."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        given = read(BuyingPauseIn, fields | seconds(fields, "minutes", 60), "reason", "for_sec")
        await buying_calls.pause(parts, actor, given)
        return Done(_back(fields))

    return await act(visitor, do, _pause_again(visitor))


@router.post("/buying/resume")
async def resume(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Let buys pass again."""

    async def do(fields: Fields) -> Done:
        await buying_calls.resume(parts, await actor_with(request, Scope.TRADE), Word())
        return Done(_back(fields), "Buying goes on.")

    return await act(visitor, do, _positions_again(visitor, "pause"))


def _back(fields: Fields) -> str:
    """Where the form came from, if that is a page of ours."""
    to = fields.get("to", "")
    return to if OURS.fullmatch(to) else "/admin/positions"


def _pause_again(visitor: Visitor) -> Callable[[Fields, str], Awaitable[Page]]:
    async def again(fields: Fields, words: str) -> Page:
        if _back(fields) != HOME:
            return await _positions_again(visitor, "pause")(fields, words)
        typed = {name: fields.get(name, "") for name in ("reason", "minutes")}
        form = Form(refused=words, **typed)
        return Page("overview.html", await overview_view(visitor, visitor.parts, pausing=form))

    return again


def _positions_again(visitor: Visitor, tried: str) -> Callable[[Fields, str], Awaitable[Page]]:
    async def again(_fields: Fields, words: str) -> Page:
        view = await positions_view(visitor, visitor.parts, refused=words, tried=tried)
        return Page("positions.html", view)

    return again


def _listing(fields: Fields) -> Listing:
    tickers = fields.get("tickers", "").replace(",", " ").split()
    life = {"expires_in_sec": one["for_sec"]} if (one := seconds(fields, "hours", 3600)) else {}
    return read(Listing, {"tickers": tickers, **life}, "tickers", "expires_in_sec")
