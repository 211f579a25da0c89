"""Deliveries as an operator handles them: /api/deliveries, and the word on held and queued ones."""

import base64
import binascii
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from database import resolutions
from database.audit import Facts
from database.resolutions import Refusal, Wanted
from domain.delivery import DeliveryId, DeliveryState, DestinationId
from domain.signal import Side
from web.dependencies import Parts, Reader, Trader
from web.errors import ProblemError
from web.payloads import ResolutionIn, Word, invalid

router = APIRouter(prefix="/api/deliveries", tags=["deliveries"])

REFUSALS = {
    Refusal.NOT_HELD: "It is not held: there is nothing to resolve.",
    Refusal.NOT_QUEUED: "It is not queued: only what waits to be sent can be cancelled.",
    Refusal.EXPIRED: "This buy is too old to be sent: resolve it as delivered or drop it.",
    Refusal.OVERTAKEN: "A newer signal of this ticker has been sent there since: sent now, it would"
    " come out of order.",
    Refusal.BUSY: "It is being worked on just now: try again.",
}


def cursor(row: Facts) -> str:
    """An opaque name for "after this one"."""
    name = row["signal_id"].bytes + row["destination_id"].bytes
    return base64.urlsafe_b64encode(name).decode().rstrip("=")


def after(given: str | None) -> tuple[UUID, UUID] | None:
    """What a cursor names. Raises ProblemError 400."""
    if given is None:
        return None
    try:
        name = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4))
    except (binascii.Error, ValueError):
        name = b""
    if len(name) != 32:
        raise invalid("cursor", "cursor is not one of ours")
    return UUID(bytes=name[:16]), UUID(bytes=name[16:])


@router.get("")
async def list_deliveries(
    parts: Parts,
    _actor: Reader,
    *,
    state: DeliveryState | None = None,
    destination: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor_: Annotated[str | None, Query(alias="cursor", max_length=60)] = None,
) -> dict[str, Any]:
    """Deliveries, those of the newest signals first; `next` is the cursor of the following page."""
    wanted = Wanted(
        state=state,
        destination=DestinationId(destination) if destination else None,
        after=after(cursor_),
        limit=limit + 1,
    )
    async with parts["pages"].read() as connection:
        rows = await resolutions.page(connection, wanted)
    items = rows[:limit]
    return {"items": items, "next": cursor(items[-1]) if len(rows) > limit else None}


@router.post("/{id}/resolve")
async def resolve(id: UUID, given: ResolutionIn, parts: Parts, actor: Trader) -> dict[str, Any]:
    """Say what became of a held delivery: delivered; send it again; drop it, it never arrived."""
    async with parts["pages"].write() as connection:
        done = await resolutions.resolve(
            connection,
            DeliveryId(id),
            given.resolution,
            actor=actor,
            why=given.reason,
            life=parts["rules"].lifetimes[Side.SELL],
        )
    return _told(id, done)


@router.post("/{id}/cancel")
async def cancel(
    id: UUID, parts: Parts, actor: Trader, given: Word | None = None
) -> dict[str, Any]:
    """Cancel a queued delivery; its position follows."""
    why = given and given.reason
    async with parts["pages"].write() as connection:
        done = await resolutions.cancel(connection, DeliveryId(id), actor=actor, why=why)
    return _told(id, done)


def _told(id: UUID, done: Refusal | DeliveryState | None) -> dict[str, Any]:
    if done is None:
        raise ProblemError(404, "no_such_delivery", "There is no delivery with this id.")
    if isinstance(done, Refusal):
        raise ProblemError(409, done, REFUSALS[done])
    return {"id": id, "state": done}
