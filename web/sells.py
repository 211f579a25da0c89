"""The safety exit: sell one, all, or what is on the sell list; how far a batch is."""

from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request

from database import batches, gate, sells
from database.audit import Facts
from database.batches import Batch, BatchId, Progress
from database.sells import Outlook
from database.verdicts import NoDestinationError
from domain.access import Scope
from domain.gate import Reason
from domain.signal import SignalStatus
from engines.relay.desk import SELLS, Command, Placed, RefusedError
from web.dependencies import Parts, Reader, State, Trader, actor_with, proven
from web.errors import ProblemError
from web.payloads import Word
from web.payloads_trade import Listing, SellAllIn, SellIn, SellListIn
from web.positions import EPOCH
from web.signals import before, cursor, normalised

router = APIRouter(tags=["sells"])

Key = Annotated[
    str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200, pattern=r"^[!-~ ]+$")
]

WORDS: Mapping[str, str] = {
    Reason.NO_POSITION: "There is no position of this ticker here. One that you hold from before"
    " can be entered with POST /api/positions, and sold then.",
    Reason.ALREADY_CLOSING: "An exit of this position is on its way already.",
    Reason.NO_DESTINATION: "There is no destination in use to sell it at.",
    "empty_list": "The sell list is empty: there is nothing to sell.",
    "no_such_batch": "There is no batch with this id.",
    "wrong_kind": "This batch sold nothing: there is nothing to sell again.",
    "nothing_failed": "No sell of this batch ended in vain whose position is still held.",
    "key_reused": "This Idempotency-Key stands for the sell of another ticker: use a new one.",
    "unfinished": "Its sell is still on its way.",
    "delivered": "Its sell was delivered.",
    "not_open": "Its position is over.",
}
STATUSES = {"no_such_batch": 404}


async def placed(parts: State, command: Awaitable[Placed]) -> dict[str, Any]:
    """What a command came to. Raises ProblemError when nothing came of it."""
    try:
        done = await command
    except RefusedError as refused:
        raise _problem(refused) from None
    except NoDestinationError:
        words = WORDS[Reason.NO_DESTINATION]
        raise ProblemError(409, Reason.NO_DESTINATION, words) from None
    return await _answer(parts, done)


def _problem(refused: RefusedError) -> ProblemError:
    words = WORDS.get(refused.code, "It cannot be sold now.")
    status = STATUSES.get(refused.code, 409)
    if refused.signal is None:
        return ProblemError(status, refused.code, words)
    id = str(refused.signal)
    return ProblemError(status, refused.code, f"{words} It is signal {id}.", signal_id=id)


async def _answer(parts: State, done: Placed) -> dict[str, Any]:
    async with parts["pages"].read() as connection:
        found = await batches.progress(connection, done.batch.id)
        outlooks = await sells.outlook(connection, done.batch.id)
        in_force = await gate.read(connection)
    made = found.signals if found else list[Facts]()
    return {
        "batch_id": done.batch.id,
        "kind": done.batch.kind,
        "duplicate": done.duplicate,
        "signals": [
            {
                "signal_id": one["id"],
                "ticker": one["ticker"],
                "status": one["shown"],
                "reason": one["reason"],
            }
            for one in made
            if not _turned_away(one)
        ],
        **_unsold(done.batch, made),
        "buying_paused": in_force.pause is not None,
        "expected_sec": sells.latest_end(outlooks),
        "destinations": [_outlook_shown(one) for one in outlooks],
    }


def _turned_away(signal: Facts) -> bool:
    return signal["status"] in {SignalStatus.REJECTED, SignalStatus.EXPIRED}


def _unsold(batch: Batch, made: Sequence[Facts]) -> dict[str, Any]:
    """What the command was about and did not sell: being sold already, or not to be sold."""
    closing = [
        {"ticker": one["ticker"], "signal_id": one.get("exit_signal_id")}
        for one in batch.snapshot
        if one["state"] == "closing" and not one.get("skipped")
    ]
    closing += [
        {"ticker": one["ticker"], "signal_id": None}
        for one in made
        if one["reason"] == Reason.ALREADY_CLOSING
    ]
    others = [(one["ticker"], one["skipped"]) for one in batch.snapshot if one.get("skipped")]
    made_of = {one["ticker"] for one in made}
    others += [
        (one["ticker"], Reason.NO_POSITION)
        for one in batch.snapshot
        if one["state"] is None and one["ticker"] not in made_of and not one.get("skipped")
    ]
    others += [
        (one["ticker"], one["reason"])
        for one in made
        if _turned_away(one) and one["reason"] != Reason.ALREADY_CLOSING
    ]
    return {
        "already_closing": closing,
        "not_sold": [
            {"ticker": ticker, "code": code, "detail": WORDS.get(code, "The gate turned it away.")}
            for ticker, code in others
        ],
    }


def _outlook_shown(one: Outlook) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(one).items() if name != "expected"}
    return shown | {"expected_sec": one.expected}


# ── Commands ────────────────────────────────────────────────────────────────────────────────


@router.post("/sell/individual", status_code=202)
async def sell_one(
    request: Request, parts: Parts, given: SellIn | None = None, key: Key = None
) -> dict[str, Any]:
    """Sell one position, whatever the list says of its ticker."""
    given = given or SellIn()
    command = await _command(request, given, key)
    return await placed(parts, parts["desk"].sell(given.named(), command))


@router.post("/sell/all", status_code=202)
async def sell_all(
    request: Request, parts: Parts, given: SellAllIn | None = None, key: Key = None
) -> dict[str, Any]:
    """Pause buying, end the buys that did not leave yet, and sell every position."""
    given = given or SellAllIn()
    if given.token is None:
        await proven(request)
    command = await _command(request, given, key)
    return await placed(parts, parts["desk"].sell_all(command))


@router.post("/sell/list", status_code=202)
async def sell_list(
    request: Request, parts: Parts, given: SellListIn | None = None, key: Key = None
) -> dict[str, Any]:
    """Sell what is on the sell list; what is sold leaves it."""
    given = given or SellListIn()
    command = await _command(request, given, key)
    return await placed(parts, parts["desk"].sell_list(command, pause_buying=given.pause_buying))


async def _command(request: Request, given: SellAllIn, key: str | None) -> Command:
    actor = await actor_with(request, Scope.TRADE, given.token)
    return Command(actor=actor, reason=given.reason, key=key)


# ── Batches ─────────────────────────────────────────────────────────────────────────────────


@router.get("/api/batches")
async def list_batches(
    parts: Parts,
    _actor: Reader,
    *,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor_: Annotated[str | None, Query(alias="cursor", max_length=40)] = None,
) -> dict[str, Any]:
    """Commands over many signals, newest first, with how many are where."""
    micros = before(cursor_)
    start = None if micros is None else _at(micros)
    async with parts["pages"].read() as connection:
        found = await batches.newest(connection, before=start, limit=limit + 1)
        counts = await batches.counts(connection, [one.id for one in found])
    shown = [_batch_shown(one) | {"counts": counts[one.id]} for one in found[:limit]]
    more = len(found) > limit
    return {"items": shown, "next": cursor(_micros(found[limit - 1])) if more else None}


def _at(micros: int) -> datetime | None:
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return None


def _micros(batch: Batch) -> int:
    return ((batch.made_at or EPOCH) - EPOCH) // timedelta(microseconds=1)


def _batch_shown(batch: Batch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "kind": batch.kind,
        "reason": batch.reason,
        "made_at": batch.made_at,
        "made_by": batch.made_by,
        "retry_of": batch.retry_of,
        "of": len(batch.snapshot),
    }


@router.get("/api/batches/{id}")
async def read_batch(id: UUID, parts: Parts, _actor: Reader) -> dict[str, Any]:
    """How far a batch is, signal by signal, and when the last of it leaves."""
    batch = BatchId(id)
    async with parts["pages"].read() as connection:
        found = await batches.progress(connection, batch)
        if found is None:
            raise ProblemError(404, "no_such_batch", WORDS["no_such_batch"])
        going = await batches.deliveries(connection, batch)
        outlooks = await sells.outlook(connection, batch)
    unsold = _unsold(found.batch, found.signals) if found.batch.kind in SELLS else {}
    return (
        _batch_shown(found.batch)
        | {"snapshot": found.batch.snapshot}
        | _progress(found, going)
        | unsold
        | {
            "expected_sec": sells.latest_end(outlooks),
            "destinations": [_outlook_shown(one) for one in outlooks],
        }
    )


def _progress(found: Progress, going: Sequence[Facts]) -> dict[str, Any]:
    """Each signal with its deliveries; how many are where; whether all has ended."""
    of: dict[UUID, list[Facts]] = {}
    for one in going:
        of.setdefault(one["signal_id"], []).append(one)
    signals = [
        {
            "signal_id": one["id"],
            "ticker": one["ticker"],
            "side": one["side"],
            "status": one["shown"],
            "reason": one["reason"],
            "replay_of": one["replay_of"],
            "received_at": one["received_at"],
            "judged_at": one["judged_at"],
            "expires_at": one["expires_at"],
            "finished_at": one["finished_at"],
            "deliveries": of.get(one["id"], []),
        }
        for one in found.signals
    ]
    done = all(one["finished_at"] or _turned_away(one) for one in found.signals)
    counts = Counter(one["shown"] for one in found.signals)
    return {"counts": dict(counts), "done": done, "signals": signals}


@router.post("/api/batches/{id}/retry", status_code=202)
async def retry(
    id: UUID, parts: Parts, actor: Trader, given: Word | None = None, key: Key = None
) -> dict[str, Any]:
    """Sell again what this batch sold in vain and is still held, as new signals."""
    command = Command(actor=actor, reason=given and given.reason, key=key)
    return await placed(parts, parts["desk"].retry(BatchId(id), command))


# ── The sell list ───────────────────────────────────────────────────────────────────────────


async def _list_shown(parts: State) -> dict[str, Any]:
    async with parts["pages"].read() as connection:
        return {"items": await sells.listed(connection), "next": None}


@router.get("/api/sell-list")
async def read_sell_list(parts: Parts, _actor: Reader) -> dict[str, Any]:
    """The draft of what to sell, each with the state of its position; nothing happens by itself."""
    return await _list_shown(parts)


@router.post("/api/sell-list")
async def add(given: Listing, parts: Parts, actor: Trader) -> dict[str, Any]:
    """Put tickers on it; those that stand on it get this note and end."""
    names = given.names()
    async with parts["pages"].write() as connection:
        await sells.add(connection, names, actor=actor, note=given.note, life=given.life)
    return await _list_shown(parts)


@router.delete("/api/sell-list/{ticker}")
async def remove(ticker: str, parts: Parts, actor: Trader) -> dict[str, Any]:
    """Take a ticker off it."""
    name = normalised(ticker)
    async with parts["pages"].write() as connection:
        if not await sells.remove(connection, [name], actor=actor, why="removed"):
            raise ProblemError(404, "not_listed", "This ticker is not on the sell list.")
    return await _list_shown(parts)


@router.post("/api/sell-list/clear")
async def clear(parts: Parts, actor: Trader) -> dict[str, Any]:
    """Take everything off it."""
    async with parts["pages"].write() as connection:
        await sells.clear(connection, actor=actor)
    return await _list_shown(parts)


@router.post("/api/sell-list/fill")
async def fill(parts: Parts, actor: Trader) -> dict[str, Any]:
    """Put every position on it that can be sold; what stands on it stays as it is."""
    async with parts["pages"].write() as connection:
        there = {one["ticker"] for one in await sells.listed(connection)}
        held = [one.ticker for one in await sells.holdings(connection) if one.state.live]
        new = [ticker for ticker in held if ticker not in there]
        if new:
            await sells.add(connection, new, actor=actor)
    return await _list_shown(parts)
