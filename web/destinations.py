"""Destinations as an operator runs them: /api/destinations."""

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Header, Response

from database import destinations, pending_addresses, resolutions
from database.destination_tests import Refusal
from database.destinations import NameTakenError
from database.pool import Connection
from database.vault import SealError
from domain.delivery import DestinationId
from domain.destination import (
    TURNS,
    Destination,
    DestinationState,
    SigningKeys,
    Turn,
    default_windows,
)
from domain.signal import uuid7
from domain.signature import PREFIX
from engines.destinations.examiner import Examined, milliseconds
from web.dependencies import SENSITIVE, Configurer, Parts, Reader, State, Trader
from web.errors import ProblemError
from web.payloads import (
    Cancellation,
    DestinationChange,
    DestinationIn,
    Rotation,
    meant_version,
)

router = APIRouter(prefix="/api/destinations", tags=["destinations"])

KEY_BYTES = 32

Shown: TypeAlias = dict[str, Any]

WRONG_KEY = (
    "It was sealed with another ENCRYPTION_KEY, and does not open: enter its address anew, or start"
    " the relay with that key."
)
WRONG_CONSTANTS = (
    "mapping: the constants it adds were sealed with another ENCRYPTION_KEY, and do not open: give"
    " the mapping anew, as a whole."
)

UNTESTED = {
    Refusal.WRONG_KEY: (409, WRONG_KEY),
    Refusal.NO_SUCH_DESTINATION: (404, "There is no destination with this id."),
    Refusal.WRONG_STATE: (409, "It is disabled: nothing is sent to it, not even a test."),
    Refusal.WINDOW_FULL: (409, "A rate window of it is full: a test would be one too many."),
    Refusal.TOO_SOON: (429, "It was tested a moment ago: once in 5 seconds is enough."),
}


def missing() -> ProblemError:
    return ProblemError(404, "no_such_destination", "There is no destination with this id.")


def taken() -> ProblemError:
    return ProblemError(409, "name_taken", "Another destination has this name.", field="name")


def shut() -> ProblemError:
    """What is refused of a destination that does not open."""
    return ProblemError(409, "wrong_key", WRONG_KEY)


def secret_of(key: bytes) -> str:
    """A key as receivers are given it (Standard Webhooks)."""
    return PREFIX + base64.b64encode(key).decode()


async def _answer(parts: State, id: DestinationId) -> Shown:
    """A destination as it is now, with what can be done about what waits for its older versions."""
    async with parts["pages"].read() as connection:
        found = await destinations.listed(connection, parts["vault"], id)
    if not found:
        raise missing()
    return found[0] | {"advice": _advice(found[0])}


def _advice(row: Shown) -> str | None:
    """Nothing is silently sent to another address than the one it was approved for."""
    if not row["opens"]:
        return f"Nothing is sent to it. {WRONG_KEY}"
    if not row["queued_older"]:
        return None
    return (
        f"{row['queued_older']} queued for older versions: they go to the address and on the terms"
        " of those. POST …/retarget sends them to the current version, POST …/cancel-queued"
        " cancels them."
    )


@router.get("")
async def list_destinations(parts: Parts, _actor: Reader) -> Shown:
    """Every destination by name: masked address, terms, state, breaker, and what waits."""
    async with parts["pages"].read() as connection:
        found = await destinations.listed(connection, parts["vault"])
    return {"items": [row | {"advice": _advice(row)} for row in found], "next": None}


@router.get("/{id}")
async def read_destination(id: UUID, parts: Parts, _actor: Reader, response: Response) -> Shown:
    """One destination with its versions, the newest first."""
    destination = DestinationId(id)
    shown = await _answer(parts, destination)
    async with parts["pages"].read() as connection:
        versions = await destinations.history(connection, parts["vault"], destination)
    response.headers["etag"] = f'"{shown["version"]}"'
    return shown | {"versions": versions}


@router.post("", status_code=201, dependencies=SENSITIVE)
async def create_destination(given: DestinationIn, parts: Parts, actor: Configurer) -> Shown:
    """Add a destination; buys approved from now on go there too. Shows its signing secret, once."""
    key = parts["entropy"](KEY_BYTES)
    blank = Destination(
        id=DestinationId(uuid7(parts["clock"](), parts["entropy"](10))),
        name="",
        url="",
        keys=SigningKeys(key),
        windows=(),
        version=1,
    )
    wanted = given.applied_to(blank, parts["rules"])
    if given.windows is None:
        wanted = replace(wanted, windows=default_windows(wanted.url))
    async with parts["pages"].write() as connection:
        if not await destinations.create(connection, parts["vault"], wanted, actor=actor):
            raise taken()
    return await _answer(parts, wanted.id) | {"signing_secret": secret_of(key)}


@router.patch("/{id}", dependencies=SENSITIVE)
async def change_destination(
    id: UUID,
    given: DestinationChange,
    parts: Parts,
    actor: Configurer,
    if_match: Annotated[str | None, Header(max_length=40)] = None,
) -> Shown:
    """Make a new version; what is queued keeps the one it was approved for.

    One that does not open is given its address anew, and answered with a new signing secret, once.
    """
    destination, wanted = DestinationId(id), meant_version(if_match, given.version)
    given = given.model_copy(update={"version": wanted})
    async with parts["pages"].write() as connection:
        try:
            done = await _changed(connection, destination, given, parts, actor)
        except NameTakenError:
            raise taken() from None
    return await _answer(parts, destination) | done


async def _changed(
    connection: Connection, id: DestinationId, given: DestinationChange, parts: State, actor: str
) -> Shown:
    try:
        found = await destinations.hold(connection, parts["vault"], id)
    except SealError:
        return await _renewed(connection, id, given, parts, actor)
    if found is None:
        raise missing()
    current, _ = found
    _require_version(current, given)
    wanted = given.applied_to(current, parts["rules"])
    if wanted != current:
        await destinations.change(connection, parts["vault"], wanted, actor=actor)
    return {"changed": wanted != current}


async def _renewed(
    connection: Connection, id: DestinationId, given: DestinationChange, parts: State, actor: str
) -> Shown:
    """Enter what is sealed anew, over what does not open. Raises ProblemError."""
    key = parts["entropy"](KEY_BYTES)
    found = await destinations.hold_bare(connection, id, SigningKeys(key))
    if found is None:
        raise missing()
    current, has_constants = found
    _require_version(current, given)
    if given.url is None:
        raise shut()
    if has_constants and given.mapping is None:
        raise ProblemError(409, "wrong_key", WRONG_CONSTANTS, field="mapping")
    wanted = given.applied_to(current, parts["rules"])
    await destinations.renew(connection, parts["vault"], wanted, actor=actor)
    return {"changed": True, "signing_secret": secret_of(key)}


def _require_version(current: Destination, given: DestinationChange) -> None:
    if given.version not in {None, current.version}:
        words = f"Somebody has changed it: it is at version {current.version} now."
        raise ProblemError(409, "changed_meanwhile", words)


async def _held(connection: Connection, id: DestinationId, parts: State) -> Destination:
    """Hold it until this transaction ends. Raises ProblemError."""
    try:
        found = await destinations.hold(connection, parts["vault"], id)
    except SealError:
        raise shut() from None
    if found is None:
        raise missing()
    return found[0]


async def _turn(id: UUID, turn: Turn, parts: State, actor: str) -> Shown:
    """Taken out of use it need not open; sent to, it must."""
    destination = DestinationId(id)
    before, after = TURNS[turn]
    async with parts["pages"].write() as connection:
        state = await destinations.hold_state(connection, destination)
        if state is None:
            raise missing()
        if state not in {*before, after}:
            raise ProblemError(409, "wrong_state", f"It is {state}: {turn} does not apply.")
        if state in before and after is DestinationState.ENABLED:
            await _held(connection, destination, parts)
        await destinations.turn(connection, destination, turn, actor=actor)
    return await _answer(parts, destination)


@router.post("/{id}/pause")
async def pause(id: UUID, parts: Parts, actor: Configurer) -> Shown:
    """Send nothing more; what is approved is kept, and waits until its own end of life."""
    return await _turn(id, Turn.PAUSE, parts, actor)


@router.post("/{id}/resume")
async def resume(id: UUID, parts: Parts, actor: Configurer) -> Shown:
    """Send again after a pause."""
    return await _turn(id, Turn.RESUME, parts, actor)


@router.post("/{id}/disable")
async def disable(id: UUID, parts: Parts, actor: Configurer) -> Shown:
    """Take it out of use: it gets no new buys. Exits of what it bought wait for it."""
    return await _turn(id, Turn.DISABLE, parts, actor)


@router.post("/{id}/enable")
async def enable(id: UUID, parts: Parts, actor: Configurer) -> Shown:
    """Take it into use again."""
    return await _turn(id, Turn.ENABLE, parts, actor)


@router.post("/{id}/rotate-secret", dependencies=SENSITIVE)
async def rotate_secret(
    id: UUID, parts: Parts, actor: Configurer, given: Rotation | None = None
) -> Shown:
    """Sign with a new key, shown once; the one before signs beside it for a while (a day)."""
    destination, key = DestinationId(id), parts["entropy"](KEY_BYTES)
    overlap = timedelta(seconds=(given or Rotation()).overlap)
    async with parts["pages"].write() as connection:
        current = await _held(connection, destination, parts)
        keys = current.keys.rotated(key, now=parts["clock"](), overlap=overlap)
        await destinations.rotate(connection, parts["vault"], current, keys, actor=actor)
    return await _answer(parts, destination) | {"signing_secret": secret_of(key)}


@router.post("/{id}/retarget")
async def retarget(id: UUID, parts: Parts, actor: Configurer) -> Shown:
    """Send what is queued for older versions to the current one, except what may have left."""
    destination = DestinationId(id)
    async with parts["pages"].write() as connection:
        moved = await resolutions.retarget(connection, destination, actor=actor)
    return await _answer(parts, destination) | {"retargeted": moved}


@router.post("/{id}/cancel-queued")
async def cancel_queued(
    id: UUID, parts: Parts, actor: Trader, given: Cancellation | None = None
) -> Shown:
    """Cancel what is queued for older versions, or all that is queued."""
    destination, wish = DestinationId(id), given or Cancellation()
    async with parts["pages"].write() as connection:
        ended = await resolutions.cancel_queued(
            connection, destination, every=wish.all, actor=actor, why=wish.reason
        )
    return await _answer(parts, destination) | {"cancelled": ended}


@router.post("/{id}/close-breaker")
async def close_breaker(id: UUID, parts: Parts, actor: Configurer) -> Shown:
    """The operator says that it is well again: send as before, without trying it first."""
    destination = DestinationId(id)
    async with parts["pages"].write() as connection:
        closed = await destinations.close_breaker(connection, destination, actor=actor)
    return await _answer(parts, destination) | {"closed": closed}


@router.post("/{id}/test")
async def send_test(id: UUID, parts: Parts, actor: Configurer) -> Shown:
    """Send one marked request that is no order, outside of lanes, positions and rate windows.

    In a dry run it is only shown.
    """
    done = await examined(id, parts, actor)
    return {
        "sent": done.sent,
        "outcome": done.answer.outcome,
        "status": done.answer.status,
        "error": done.answer.error,
        "duration_ms": milliseconds(done.answer) if done.sent else None,
        "answer": done.excerpt,
        "body": done.body,
        "headers": done.headers,
    }


async def examined(id: UUID, parts: State, actor: str) -> Examined:
    """Raises ProblemError where no test may be sent now."""
    done = await parts["examiner"].examine(DestinationId(id), actor=actor)
    if isinstance(done, Refusal):
        status, words = UNTESTED[done]
        raise ProblemError(status, done, words)
    return done


async def enter_address(id: UUID, given: DestinationChange, parts: State, actor: str) -> bool:
    """Let a new address, with its headers, count after a while; without one, headers do at once.

    Returns whether it waits. Raises ProblemError.
    """
    destination = DestinationId(id)
    async with parts["pages"].write() as connection:
        current = await _held(connection, destination, parts)
        wanted = given.applied_to(current, parts["rules"])
        if await pending_addresses.pending(connection, destination):
            words = "A new address waits already: cancel it first, or let it count."
            raise ProblemError(409, "address_waits", words)
        if wanted == current:
            raise ProblemError(400, "invalid_field", "url: that changes nothing", field="url")
        if wanted.url == current.url:
            await destinations.change(connection, parts["vault"], wanted, actor=actor)
            return False
        await pending_addresses.enter(connection, parts["vault"], current, wanted, actor=actor)
    return True


async def cancel_address(id: UUID, parts: State, actor: str) -> None:
    """Forget an address that waits. Raises ProblemError where none does (any more)."""
    async with parts["pages"].write() as connection:
        if not await pending_addresses.cancel(connection, DestinationId(id), actor=actor):
            words = "No address waits any more: it counts already, or was cancelled."
            raise ProblemError(409, "nothing_waits", words)
