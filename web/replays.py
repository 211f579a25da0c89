"""Replay and resend: signals once more, as new ones, to every destination or to one."""

from collections import Counter
from uuid import UUID

from fastapi import APIRouter, Response

from database import selections
from database.audit import Facts
from database.batches import BatchKind
from database.pool import Connection
from database.replays import Refusal
from database.selections import Found, NotAsExpectedError, Selection
from database.verdicts import NoDestinationError
from engines.relay.replayer import SUBJECTS, Order
from web import bulk
from web.bulk import Key, Shown, Work
from web.dependencies import Parts, State, Trader
from web.errors import ProblemError
from web.payloads_replay import Forced, ManyReplays, ManyResends

router = APIRouter(tags=["replays"])

WORDS = {
    Refusal.NOT_A_SIGNAL: "No signal can be read from it: there is nothing to send.",
    Refusal.IMPORTED: "It was imported, for the record: it is not sent.",
    Refusal.HELD: "Its outcome is unknown: resolve it, as delivered, resend or drop.",
    Refusal.NO_DESTINATION: "It would go nowhere: nothing is held at this destination, or it is out"
    " of use.",
    Refusal.NOT_FINAL: "It is still on its way: wait for its end, or cancel it.",
    Refusal.ALREADY_REPLAYED: "It was replayed already: look at that replay.",
    Refusal.ALREADY_DELIVERED: "It was delivered: once more would do it twice. What failed at one"
    " destination is resent there.",
    Refusal.MAY_HAVE_ARRIVED: "It may have arrived: look at the destination first.",
    Refusal.OVERTAKEN: "A newer signal of this ticker was delivered since: sent now, it would come"
    " out of order.",
    Refusal.STALE: "This buy is too old: its time to live is over.",
}
FORCE = " With force and a reason it is done all the same."


@router.post("/api/signals/replay", status_code=202, response_model=None)
async def replay_many(
    given: ManyReplays, parts: Parts, actor: Trader, key: Key, response: Response
) -> Facts | Response:
    """Replay what is chosen, oldest first, in one batch; with `preview` only see what would be."""
    if given.preview:
        response.status_code = 200
        return await _seen(BatchKind.REPLAY, given, parts)
    return await _many(BatchKind.REPLAY, given, parts, actor, key)


@router.post("/api/deliveries/resend", status_code=202, response_model=None)
async def resend_many(
    given: ManyResends, parts: Parts, actor: Trader, key: Key, response: Response
) -> Facts | Response:
    """Resend what is chosen, oldest first, in one batch; with `preview` only see what would be."""
    if given.preview:
        response.status_code = 200
        return await _seen(BatchKind.RESEND, given, parts)
    return await _many(BatchKind.RESEND, given, parts, actor, key)


@router.post("/api/signals/{id}/replay", status_code=202)
async def replay(
    id: UUID, parts: Parts, actor: Trader, key: Key, given: Forced | None = None
) -> Facts:
    """Make a new signal of this one, with a life from now; the gate decides on it at once."""
    return await _one(BatchKind.REPLAY, id, parts, actor, key, given or Forced())


@router.post("/api/deliveries/{id}/resend", status_code=202)
async def resend(
    id: UUID, parts: Parts, actor: Trader, key: Key, given: Forced | None = None
) -> Facts:
    """Make a new signal for the destination of this delivery alone; the gate decides on it."""
    return await _one(BatchKind.RESEND, id, parts, actor, key, given or Forced())


async def _seen(kind: BatchKind, given: ManyReplays | ManyResends, parts: State) -> Shown:
    selection, force = given.selection(), given.checked().force
    async with parts["pages"].read() as connection:
        found = await selections.look(connection, SUBJECTS[kind], selection, force=force)
    return bulk.preview(found)


async def _many(
    kind: BatchKind, given: ManyReplays | ManyResends, parts: State, actor: str, key: bytes | None
) -> Facts | Response:
    selection, order = given.selection(), _order(kind, given, actor, given.expect)

    async def work(connection: Connection) -> Shown:
        done = await parts["replayer"].carry_out(connection, selection, order)
        verdicts = Counter(signal["status"] for signal in done.signals)
        told = {"done": len(done.signals), "refused": done.found.refused, "verdicts": verdicts}
        return {"batch_id": done.batch, **told}

    try:
        return await _made(parts, key, given, work)
    except NotAsExpectedError as error:
        return bulk.changed_meanwhile(error.found)


async def _one(
    kind: BatchKind, id: UUID, parts: State, actor: str, key: bytes | None, given: Forced
) -> Facts:
    selection, order = Selection(ids=[id]), _order(kind, given, actor, 1)

    async def work(connection: Connection) -> Shown:
        done = await parts["replayer"].carry_out(connection, selection, order)
        (signal,) = done.signals
        verdict = {"status": signal["status"], "reason": signal["reason"]}
        return {"batch_id": done.batch, "signal_id": signal["id"], **verdict}

    try:
        return await _made(parts, key, given, work)
    except NotAsExpectedError as error:
        raise _refused(kind, error.found) from None


def _order(kind: BatchKind, given: Forced, actor: str, expect: int | None) -> Order:
    given = given.checked()
    return Order(kind=kind, actor=actor, force=given.force, reason=given.reason, expect=expect or 0)


async def _made(parts: State, key: bytes | None, given: Forced, work: Work) -> Facts:
    try:
        answer = await bulk.once(parts, key, given, work)
    except NoDestinationError:
        raise ProblemError(409, "no_destination", WORDS[Refusal.NO_DESTINATION]) from None
    parts["replayer"].wake_forwarder()
    return answer


def _refused(kind: BatchKind, found: Found) -> ProblemError:
    if not found.matching:
        noun = "signal" if kind is BatchKind.REPLAY else "delivery"
        return ProblemError(404, f"no_such_{noun}", f"There is no {noun} with this id.")
    refusal = Refusal(next(iter(found.refused)))
    forced = FORCE if refusal in SUBJECTS[kind].forced else ""
    return ProblemError(409, refusal, WORDS[refusal] + forced)
