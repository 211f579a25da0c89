"""Addresses of the original relay: those that mean the same work on, the others say where to go.

docs/migration.md has all of them. Each call here is one of ours, with its rules, in other words.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from database import destinations as kept_destinations
from database import sells as kept_sells
from database.positions import Wanted
from domain.access import Scope
from domain.gate import Reason
from domain.position import PositionState
from domain.rate import Window
from domain.universe import Trust
from engines.relay.desk import Command
from web import destinations, lists, lookout, positions, screens
from web.dependencies import Parts, Reader, State, actor_with, proven
from web.errors import ProblemError
from web.payloads_original import (
    CopySent,
    LimiterSent,
    PauseSent,
    StrategySent,
    TickerSent,
    WebhookSent,
)
from web.payloads_screens import Copy, PauseIn
from web.payloads_trade import PositionClose, PositionIn
from web.sells import Key, placed
from web.signals import normalised

router = APIRouter(include_in_schema=False)

Shown: TypeAlias = dict[str, Any]

OF_THE_ORIGINAL = "asked for at an address of the original relay"


# ── Who may: a token in the body, as its scripts send it ────────────────────────────────────


def asks(scope: Scope, *, no: int = 403, sensitive: bool = False) -> Callable[[Request], object]:
    """A dependency for whoever has ``scope``; others get ``no``, the original's status.

    ``sensitive`` is what asks a session for a token that was shown just now.
    """

    async def check(request: Request) -> str:
        token = _token_in(await request.body())
        if sensitive and token is None:
            await proven(request)
        try:
            return await actor_with(request, scope, token)
        except ProblemError as error:
            if error.status != 401:
                raise
            raise ProblemError(no, error.code, error.detail) from None

    return check


def _token_in(body: bytes) -> str | None:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return None
    token = cast("dict[str, object]", given).get("token") if isinstance(given, dict) else None
    return token if isinstance(token, str) and len(token) <= 512 else None


Trader = Annotated[str, Depends(asks(Scope.TRADE))]
SellingAll = Annotated[str, Depends(asks(Scope.TRADE, sensitive=True))]
Configurer = Annotated[str, Depends(asks(Scope.CONFIG))]
Redirecting = Annotated[str, Depends(asks(Scope.CONFIG, sensitive=True))]
Strategist = Annotated[str, Depends(asks(Scope.CONFIG, no=401))]


# ── Orders ──────────────────────────────────────────────────────────────────────────────────


@router.post("/admin/order/sell-individual")
async def sell_one(given: TickerSent, parts: Parts, actor: Trader, key: Key = None) -> Shown:
    """As POST /sell/individual."""
    return _one_sold(given, await _sell(given, parts, actor, key))


@router.post("/admin/order/close-position")
async def close_position(given: TickerSent, parts: Parts, actor: Trader, key: Key = None) -> Shown:
    """As POST /sell/individual; 404 where there is no position, as it was."""
    try:
        sold = await _sell(given, parts, actor, key)
    except ProblemError as error:
        if error.code != Reason.NO_POSITION:
            raise
        raise ProblemError(404, error.code, error.detail, **error.more) from None
    return _one_sold(given, sold) | {"action": "exit"}


async def _sell(given: TickerSent, parts: State, actor: str, key: str | None) -> Shown:
    command = Command(actor=actor, reason=OF_THE_ORIGINAL, key=key)
    return await placed(parts, parts["desk"].sell(normalised(given.ticker), command))


def _one_sold(given: TickerSent, sold: Shown) -> Shown:
    signal = next((one["signal_id"] for one in sold["signals"]), None)
    words = f"Sell of {normalised(given.ticker)} accepted."
    return {"message": words, "signal_id": signal, "batch_id": sold["batch_id"]}


@router.post("/admin/order/sell-all")
async def sell_all(parts: Parts, actor: SellingAll, key: Key = None) -> Shown:
    """As POST /sell/all, which pauses buying too."""
    command = Command(actor=actor, reason=OF_THE_ORIGINAL, key=key)
    sold = await placed(parts, parts["desk"].sell_all(command))
    tickers = [one["ticker"] for one in sold["signals"]]
    return {
        "message": f"{len(tickers)} sells accepted." if tickers else "No open positions to sell.",
        "tickers_processed": tickers,
        "total_requested": len(tickers),
        "batch_id": sold["batch_id"],
        "buying_paused": sold["buying_paused"],
        "already_closing": sold["already_closing"],
        "not_sold": sold["not_sold"],
    }


@router.get("/admin/sell-all-queue")
async def read_what_would_be_sold(parts: Parts, _actor: Reader) -> Shown:
    """What sell-all is about: everything that is held, or being sold."""
    async with parts["pages"].read() as connection:
        held = await kept_sells.holdings(connection)
    return _counted(parts, "tickers", [one.ticker for one in held])


@router.post("/admin/sell-all-queue")
async def enter_position(given: TickerSent, parts: Parts, actor: Trader) -> Shown:
    """As POST /api/positions: there it was a made-up buy, here it is an entry by hand."""
    entry = PositionIn(ticker=given.ticker, reason=OF_THE_ORIGINAL)
    made = await positions.enter(entry, parts, actor)
    return {"message": f"{made['ticker']} entered by hand.", "position_id": made["id"]}


STATES: Mapping[str, tuple[PositionState, ...]] = {
    "open": (PositionState.OPENING, PositionState.OPEN),
    "closing": (PositionState.CLOSING,),
    "closed": (PositionState.CLOSED,),
}
"""A void one was never bought: the original had no word for it."""


@router.get("/admin/orders")
async def read_orders(
    parts: Parts,
    _actor: Reader,
    *,
    status: str | None = None,
    ticker: Annotated[str | None, Query(max_length=128)] = None,
) -> Shown:
    """Positions of each state, newest first; ``more``: there are more than 500 of one."""
    wanted = STATES if status is None else {status: STATES.get(status.lower(), ())}
    name = normalised(ticker) if ticker else None
    found: list[Shown] = []
    more = False
    async with parts["pages"].read() as connection:
        for word, states in wanted.items():
            for state in states:
                asked = Wanted(state=state, ticker=name, after=None, limit=500)
                page = await positions.listed(connection, asked)
                found += [_order(one, word.lower()) for one in page["items"]]
                more = more or page["next"] is not None
    return {"orders": found, "count": len(found), "more": more}


def _order(position: Shown, status: str) -> Shown:
    leaving: Shown = position["exit"] or {}
    return {
        "id": position["id"],
        "ticker": position["ticker"],
        "status": status,
        "opened_at": position["opened_at"],
        "closed_at": position["closed_at"],
        "entry_price": position["entry"]["price"],
        "exit_price": leaving.get("price"),
        "duration_seconds": position["held_for_sec"],
    }


@router.get("/admin/orders/stats")
async def read_order_counts(parts: Parts, _actor: Reader) -> Shown:
    """How many positions there are by state."""
    async with parts["pages"].read() as connection:
        found = await positions.figures(connection)
    counts = {word: sum(found["states"][one] for one in STATES[word]) for word in STATES}
    return {"stats": counts | {"closed_today": found["closed_today"]}} | _now(parts)


@router.post("/admin/orders/{id}/close")
async def close_order(id: UUID, parts: Parts, actor: Trader) -> Shown:
    """As POST /api/positions/{id}/close: it counts as closed, and nothing is sent."""
    closed = await positions.close(id, PositionClose(reason=OF_THE_ORIGINAL), parts, actor)
    return {
        "position_id": closed["id"],
        "ticker": closed["ticker"],
        "status": closed["state"],
        "closed_at": closed["closed_at"],
    }


# ── The list ────────────────────────────────────────────────────────────────────────────────


@router.post("/admin/engine/pause", status_code=204)
async def pause_engine(given: PauseSent, parts: Parts, actor: Configurer) -> None:
    """As POST /api/lookout/pause."""
    await lookout.pause(PauseIn(reason=given.reason or OF_THE_ORIGINAL), parts, actor)


@router.post("/admin/engine/resume", status_code=204)
async def resume_engine(parts: Parts, actor: Configurer) -> None:
    """As POST /api/lookout/resume."""
    await lookout.resume(parts, actor)


@router.post("/admin/engine/manual-refresh", status_code=204, response_model=None)
async def refresh_engine(parts: Parts, actor: Configurer) -> Response | None:
    """As POST /api/universe/refresh."""
    refused = await lookout.refresh(parts, actor)
    return refused if isinstance(refused, Response) else None


@router.get("/admin/top-n-tickers")
async def read_top_n(parts: Parts, actor: Reader) -> Shown:
    """The tickers that may be bought right now, best first: none where the list is not fresh."""
    found = await lists.read_universe(parts, actor)
    fresh = found["trust"] == Trust.FRESH
    tickers = [one["ticker"] for one in found["tickers"] if one["counts"] and fresh]
    last: Shown = found["last_fetch"] or {}
    engine = {"update_status": last.get("outcome"), "paused": found["paused"] is not None}
    return _counted(parts, "tickers", tickers) | {
        "trust": found["trust"],
        "last_update": last.get("at"),
        "engine_info": engine,
    }


@router.get("/admin/finviz/config")
async def read_finviz(parts: Parts, actor: Reader) -> Shown:
    """As GET /finviz/config, by the names that the original's POST had."""
    found = await lists.read_screen(parts, actor)
    return {
        "finviz_url": found["url"],
        "top_n": found["top_n"],
        "refresh_interval_sec": found["refresh"],
    } | _now(parts)


# ── Strategies: screens ─────────────────────────────────────────────────────────────────────


def _strategy(screen: Shown) -> Shown:
    return {
        "id": screen["id"],
        "name": screen["name"],
        "url": screen["url"],
        "description": screen["note"],
        "top_n": screen["top_n"],
        "refresh_interval_sec": screen["refresh"],
        "is_active": screen["active"],
        "updated_at": screen["updated_at"],
    }


def _said(words: str, screen: Shown) -> Shown:
    return {"message": f"{words}: {screen['name']}.", "strategy_id": screen["id"]}


@router.get("/admin/finviz/strategies")
async def read_strategies(parts: Parts, actor: Reader) -> Shown:
    """As GET /api/screens."""
    found = await screens.list_screens(parts, actor)
    return _counted(parts, "strategies", [_strategy(one) for one in found["items"]])


@router.get("/admin/finviz/strategies/active")
async def read_active(parts: Parts, actor: Reader) -> Shown:
    """The screen in force."""
    found = (await screens.list_screens(parts, actor))["items"]
    active = next((_strategy(one) for one in found if one["active"]), None)
    if active is None:
        raise ProblemError(404, "no_such_screen", "No screen is in force yet.")
    return {"active_strategy": active}


@router.post("/admin/finviz/strategies")
async def create_strategy(given: StrategySent, parts: Parts, actor: Strategist) -> Shown:
    """As POST /api/screens."""
    return _said("Created", await screens.create_screen(given.new(), parts, actor))


@router.put("/admin/finviz/strategies/{id}")
async def change_strategy(id: UUID, given: StrategySent, parts: Parts, actor: Strategist) -> Shown:
    """As PATCH /api/screens/{id}."""
    return _said("Changed", await screens.change_screen(id, given.change(), parts, actor))


@router.delete("/admin/finviz/strategies/{id}")
async def delete_strategy(id: UUID, parts: Parts, actor: Strategist) -> Shown:
    """As POST /api/screens/{id}/archive: it is put away, and can be restored."""
    return _said("Archived", await screens.archive(id, parts, actor))


@router.post("/admin/finviz/strategies/{id}/activate")
async def activate_strategy(id: UUID, parts: Parts, actor: Strategist) -> Shown:
    """As POST /api/screens/{id}/activate."""
    return _said("Activated", await screens.activate(id, parts, actor))


@router.post("/admin/finviz/strategies/{id}/duplicate")
async def copy_strategy(
    id: UUID, parts: Parts, actor: Strategist, given: CopySent | None = None
) -> Shown:
    """As POST /api/screens/{id}/duplicate."""
    copy = Copy(name=given and given.new_name)
    return _said("Copied", await screens.duplicate(id, parts, actor, copy))


# ── The destination: there was one ──────────────────────────────────────────────────────────


async def _destination(parts: State) -> Shown:
    """The only one in use. Raises ProblemError where there are others, or none."""
    async with parts["pages"].read() as connection:
        found = await kept_destinations.listed(connection, parts["vault"])
    used = [one for one in found if one["state"] != "disabled"]
    if len(used) != 1:
        words = f"{len(used)} destinations are in use: say which, at /api/destinations/{{id}}."
        raise ProblemError(409, "wrong_state", words)
    return used[0]


def _windows(destination: Shown) -> list[Window]:
    used = destination["windows_used"]
    return [Window(limit=one["limit"], seconds=one["seconds"]) for one in used]


@router.get("/admin/webhook/config")
async def read_webhook(parts: Parts, _actor: Reader) -> Shown:
    """Where signals go, masked, and how fast."""
    found = await _destination(parts)
    windows = _windows(found)
    return {
        "webhook_url": found["url"],
        "timeout": found["timeout"],
        "rate_limiting_enabled": bool(windows),
        "max_req_per_min": next((one.limit for one in windows if one.seconds == 60), None),
    }


@router.post("/admin/webhook/update", status_code=204)
async def change_webhook(given: WebhookSent, parts: Parts, actor: Redirecting) -> None:
    """As PATCH /api/destinations/{id}."""
    found = await _destination(parts)
    seen = str(found["version"])
    await destinations.change_destination(found["id"], given.change(), parts, actor, seen)


@router.post("/admin/webhook-rate-limiter/update", status_code=204)
async def change_limiter(given: LimiterSent, parts: Parts, actor: Redirecting) -> None:
    """As PATCH /api/destinations/{id} with `windows`."""
    found = await _destination(parts)
    change, seen = given.change(_windows(found)), str(found["version"])
    await destinations.change_destination(found["id"], change, parts, actor, seen)


def _counted(parts: State, name: str, found: list[Any]) -> Shown:
    return {name: found, "count": len(found)} | _now(parts)


def _now(parts: State) -> Shown:
    return {"timestamp": parts["clock"]().timestamp()}
