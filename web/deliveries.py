"""Deliveries as an operator handles them: /api/deliveries, and the word on held and queued ones."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from database import endings, resolutions, selections
from database.audit import Facts
from database.pool import Connection
from database.resolutions import Refusal, Wanted
from database.selections import NotAsExpectedError, Subject
from domain.delivery import DeliveryId, DeliveryState, DestinationId
from domain.signal import Side
from web import bulk
from web.bulk import Key
from web.dependencies import Parts, Reader, State, Trader
from web.errors import ProblemError
from web.payloads import ResolutionIn, Word, invalid
from web.payloads_replay import Many, ManyResolutions

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


@router.post("/cancel", response_model=None)
async def cancel_many(given: Many, parts: Parts, actor: Trader, key: Key) -> Facts | Response:
    """Cancel what is chosen and queued; with `preview` only see what would be."""

    async def work(connection: Connection, ids: Sequence[UUID]) -> int:
        return await resolutions.cancel_all(connection, ids, actor=actor, why=given.reason)

    return await _many(given, resolutions.CANCELLED, parts, key, work)


@router.post("/resolve", response_model=None)
async def resolve_many(
    given: ManyResolutions, parts: Parts, actor: Trader, key: Key
) -> Facts | Response:
    """Say what became of what is chosen and held; with `preview` only see what would be."""

    async def work(connection: Connection, ids: Sequence[UUID]) -> int:
        return await resolutions.resolve_all(
            connection,
            ids,
            given.resolution,
            actor=actor,
            why=given.reason,
            life=parts["rules"].lifetimes[Side.SELL],
        )

    return await _many(given, resolutions.RESOLVED[given.resolution], parts, key, work)


async def _many(
    given: Many,
    subject: Subject,
    parts: State,
    key: bytes | None,
    end: Callable[[Connection, Sequence[UUID]], Awaitable[int]],
) -> Facts | Response:
    """In one transaction, in which nothing is leased. What somebody settles just now is busy."""
    selection = given.selection()
    if given.preview:
        async with parts["pages"].read() as connection:
            return bulk.preview(await selections.look(connection, subject, selection))

    async def work(connection: Connection) -> bulk.Shown:
        await endings.hold_destinations(connection)
        found = await selections.look(connection, subject, selection)
        done = await end(connection, found.expected(given.expect).ids)
        busy = {Refusal.BUSY: found.would - done} if done < found.would else {}
        return {"done": done, "refused": {**found.refused, **busy}}

    try:
        return await bulk.once(parts, key, given, work)
    except NotAsExpectedError as error:
        return bulk.changed_meanwhile(error.found)


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
