"""What can be done about a signal and its deliveries: each what its call of the API does."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from domain.access import Scope
from domain.signal import SignalId
from web import deliveries as delivery_calls
from web import replays as replay_calls
from web.dependencies import Parts, actor_with
from web.pages.forms import Done, Fields, act, read
from web.pages.shell import Page, Visiting, Visitor
from web.pages.signal import signal_view
from web.payloads import ResolutionIn, Word
from web.payloads_replay import Forced

router = APIRouter(prefix="/admin/signals/{id}", include_in_schema=False)

RESOLVED = {
    "delivered": "It is resolved as delivered.",
    "queued": "It is sent again, marked as a possible resend.",
    "cancelled": "It is dropped: it never arrived.",
}


@router.post("/replay")
async def replay(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Make a new signal of this one."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        return _made(await replay_calls.replay(id, parts, actor, None, _forced(fields)), "Replayed")

    return await act(visitor, do, _again(visitor, id, "replay"))


@router.post("/deliveries/{delivery}/resend")
async def resend(
    id: UUID, delivery: UUID, request: Request, visitor: Visiting, parts: Parts
) -> Response:
    """Make a new signal for this destination alone."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        made = await replay_calls.resend(delivery, parts, actor, None, _forced(fields))
        return _made(made, "Resent")

    return await act(visitor, do, _again(visitor, id, str(delivery)))


@router.post("/deliveries/{delivery}/cancel")
async def cancel(
    id: UUID, delivery: UUID, request: Request, visitor: Visiting, parts: Parts
) -> Response:
    """End a delivery that waits."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        await delivery_calls.cancel(delivery, parts, actor, read(Word, fields, "reason"))
        return Done(f"/admin/signals/{id}", "The delivery is cancelled: nothing is sent.")

    return await act(visitor, do, _again(visitor, id, str(delivery)))


@router.post("/deliveries/{delivery}/resolve")
async def resolve(
    id: UUID, delivery: UUID, request: Request, visitor: Visiting, parts: Parts
) -> Response:
    """Say what became of a delivery that is held."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        given = read(ResolutionIn, fields, "as", "reason")
        told = await delivery_calls.resolve(delivery, given, parts, actor)
        return Done(f"/admin/signals/{id}", RESOLVED[told["state"]])

    return await act(visitor, do, _again(visitor, id, str(delivery)))


def _forced(fields: Fields) -> Forced:
    given: dict[str, Any] = {**fields, "force": "force" in fields}
    return read(Forced, given, "force", "reason")


def _made(told: Mapping[str, Any], verb: str) -> Done:
    """Leads to the new signal."""
    verdict = told["status"] + (f", {told['reason']}" if told["reason"] else "")
    words = f"{verb} as this new signal: {verdict.replace('_', ' ')}."
    return Done(f"/admin/signals/{told['signal_id']}", words)


def _again(visitor: Visitor, id: UUID, tried: str) -> Callable[[Fields, str], Awaitable[Page]]:
    async def again(_fields: Fields, words: str) -> Page:
        view = await signal_view(visitor, SignalId(id), refused=words, tried=tried)
        return Page("signal.html", view)

    return again
