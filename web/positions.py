"""Positions as callers read and correct them: /api/positions."""

import base64
import binascii
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from database import positions
from database.audit import Facts
from database.pool import ReadConnection
from database.positions import Correction, Wanted
from domain.position import PositionId, PositionState, return_percent
from domain.signal import uuid7
from web.dependencies import Parts, Reader, State, Trader
from web.errors import ProblemError
from web.payloads import invalid
from web.payloads_trade import PositionClose, PositionIn
from web.signals import named, normalised

router = APIRouter(prefix="/api/positions", tags=["positions"])

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REFUSALS = {
    Correction.ALREADY_OPEN: "A position of this ticker is open here already.",
    Correction.BUSY: "A delivery of it is queued, being sent or held: cancel or resolve it first.",
    Correction.WRONG_STATE: "It is closed or void already.",
}


def cursor(row: Facts) -> str:
    """An opaque name for "after this one"."""
    micros = (row["opened_at"] - EPOCH) // timedelta(microseconds=1)
    name = micros.to_bytes(8, "big") + row["id"].bytes
    return base64.urlsafe_b64encode(name).decode().rstrip("=")


def after(given: str | None) -> tuple[datetime, PositionId] | None:
    """What a cursor names. Raises ProblemError 400."""
    if given is None:
        return None
    try:
        name = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4))
        opened_at = EPOCH + timedelta(microseconds=int.from_bytes(name[:8], "big"))
        return opened_at, PositionId(UUID(bytes=name[8:]))
    except (binascii.Error, ValueError, OverflowError):
        raise invalid("cursor", "cursor is not one of ours") from None


def shown(row: Facts) -> dict[str, Any]:
    """A position for callers; what is not known of its entry or exit is null."""
    state = PositionState(row["state"])
    ended = None if state.unfinished else row["updated_at"]
    held = (ended or row["now"]) - row["opened_at"]
    void = state is PositionState.VOID
    leaving = _exit(row, state)
    gain = return_percent(row["entry_price"], row["exit_price"]) if leaving else None
    return {
        "id": row["id"],
        "ticker": row["ticker"],
        "state": state,
        "source": row["source"],
        "opened_at": row["opened_at"],
        "updated_at": row["updated_at"],
        "closed_at": ended,
        "entry": {
            "signal_id": row["entry_signal_id"],
            "price": _price(row["entry_price"]),
            "source": row["source"],
            "at": row["opened_at"],
            "by_hand": row["entry_signal_id"] is None,
        },
        "exit": leaving,
        "return_percent": None if gain is None else round(gain, 4),
        "held_for_sec": None if void else round(held.total_seconds(), 3),
        "signal_count": row["signals"],
    }


def _exit(row: Facts, state: PositionState) -> dict[str, Any] | None:
    """The exit on its way, or done; one that failed is in the history alone."""
    if row["closed_by"]:
        return {
            "signal_id": None,
            "price": _price(row["exit_price"]),
            "source": "operator",
            "at": row["updated_at"],
            "by_hand": True,
        }
    leaving = state in {PositionState.CLOSING, PositionState.CLOSED}
    if not leaving or row["exit_signal_id"] is None:
        return None
    return {
        "signal_id": row["exit_signal_id"],
        "price": _price(row["exit_price"]),
        "source": row["exit_source"],
        "at": row["exit_at"],
        "by_hand": False,
    }


def _price(price: Any) -> str | None:
    return None if price is None else format(price, "f")


@router.get("")
async def list_positions(
    parts: Parts,
    _actor: Reader,
    *,
    state: PositionState | None = None,
    ticker: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor_: Annotated[str | None, Query(alias="cursor", max_length=60)] = None,
) -> dict[str, Any]:
    """Positions, newest first; `next` is the cursor of the following page."""
    wanted = Wanted(state=state, ticker=named(ticker), after=after(cursor_), limit=limit)
    async with parts["pages"].read() as connection:
        return await listed(connection, wanted)


async def listed(connection: ReadConnection, wanted: Wanted) -> dict[str, Any]:
    """A page of positions for callers, and the cursor of the next one."""
    rows = await positions.page(connection, replace(wanted, limit=wanted.limit + 1))
    return {
        "items": [shown(row) for row in rows[: wanted.limit]],
        "next": cursor(rows[wanted.limit - 1]) if len(rows) > wanted.limit else None,
    }


@router.get("/stats")
async def read_statistics(parts: Parts, _actor: Reader) -> dict[str, Any]:
    """How many there are by state, and how those went whose entry and exit both have a price."""
    async with parts["pages"].read() as connection:
        return await figures(connection)


async def figures(connection: ReadConnection) -> dict[str, Any]:
    """How many there are by state, and how those went whose entry and exit both have a price."""
    states, found = await positions.statistics(connection)
    return {
        "states": {state: states.get(state, 0) for state in PositionState},
        "opened_today": found["opened_today"],
        "closed_today": found["closed_today"],
        "priced": {
            "closed": found["closed"],
            "winners": found["winners"],
            "mean_return_percent": _rounded(found["mean_return"]),
            "median_return_percent": _rounded(found["median_return"]),
            "mean_held_sec": _rounded(found["mean_held"]),
        },
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(float(number), 4)


@router.get("/{id}")
async def read_position(id: UUID, parts: Parts, _actor: Reader) -> dict[str, Any]:
    """One position with its history: events, signals, and each of its deliveries."""
    async with parts["pages"].read() as connection:
        found = await positions.history(connection, PositionId(id))
    if found is None:
        raise _missing()
    return shown(found.position) | {
        "events": found.events,
        "signals": found.signals,
        "deliveries": found.deliveries,
    }


def _missing() -> ProblemError:
    return ProblemError(404, "no_such_position", "There is no position with this id.")


@router.post("", status_code=201)
async def enter(given: PositionIn, parts: Parts, actor: Trader) -> dict[str, Any]:
    """Say that a position is open which the relay did not open: its sells pass from now on."""
    ticker = normalised(given.ticker)
    id = PositionId(uuid7(parts["clock"](), parts["entropy"](10)))
    async with parts["pages"].write() as connection:
        refused = await positions.enter(
            connection, id, ticker, price=given.price, actor=actor, reason=given.reason
        )
    return await _told(parts, id, refused)


@router.post("/{id}/close")
async def close(id: UUID, given: PositionClose, parts: Parts, actor: Trader) -> dict[str, Any]:
    """Say that a position is closed. Nothing is sent to any destination."""
    async with parts["pages"].write() as connection:
        try:
            refused = await positions.close(
                connection, PositionId(id), price=given.price, actor=actor, reason=given.reason
            )
        except LookupError:
            raise _missing() from None
    return await _told(parts, PositionId(id), refused)


async def _told(parts: State, id: PositionId, refused: Correction | None) -> dict[str, Any]:
    if refused:
        raise ProblemError(409, refused, REFUSALS[refused])
    async with parts["pages"].read() as connection:
        row = await positions.one(connection, id)
    if row is None:
        raise _missing()
    return shown(row)
