"""Channels, where an operator is told: /api/channels."""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from math import ceil
from typing import Annotated, Any, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response

from database import channels, notices
from database.audit import Facts
from database.channels import NameTakenError
from domain.channel import TERMS, Channel, ChannelId, ChannelKind, checked_terms
from domain.signal import uuid7
from web.dependencies import SENSITIVE, Configurer, Parts, Reader, State
from web.destinations import secret_of
from web.errors import ProblemError, problem
from web.payloads import Word, meant_version
from web.payloads_channels import ChannelChange, ChannelNew, named_fields
from web.signals import before, cursor

router = APIRouter(prefix="/api/channels", tags=["channels"])

APART = timedelta(seconds=10)
"""Between two tests of a channel, over all replicas."""

KEY_BYTES = 32

WRONG_KEY = (
    "It was sealed with another ENCRYPTION_KEY, and does not open: nothing is told there. Enter its"
    " address anew, or switch it off."
)

Shown: TypeAlias = dict[str, Any]


def missing() -> ProblemError:
    return ProblemError(404, "no_such_channel", "There is no channel with this id.")


def taken() -> ProblemError:
    return ProblemError(409, "name_taken", "Another channel has this name.", field="name")


async def read_channel(parts: State, id: ChannelId) -> Shown:
    """One channel, put away or not, masked. Raises ProblemError."""
    async with parts["pages"].read() as connection:
        found = await channels.listed(connection, id, archived=True)
        shut = await channels.unopened(connection, parts["vault"])
    if not found:
        raise missing()
    return {**found[0], "warning": _warning(found[0], shut, parts)}


def _warning(row: Facts, shut: Collection[ChannelId], parts: State) -> str | None:
    if row["id"] in shut:
        return WRONG_KEY
    if row["kind"] == ChannelKind.EMAIL and parts["notifier"].postman is None:
        return "No mail can be sent: SMTP_URL is not set."
    return None


@router.get("")
async def list_channels(parts: Parts, _actor: Reader, *, archived: bool = False) -> Shown:
    """Channels by name, masked, with how many notices wait; ``archived``: with those put away."""
    async with parts["pages"].read() as connection:
        found = await channels.listed(connection, archived=archived)
        shut = await channels.unopened(connection, parts["vault"])
    items = [{**row, "warning": _warning(row, shut, parts)} for row in found]
    return {"items": items, "next": None}


@router.post("", status_code=201, dependencies=SENSITIVE)
async def create_channel(given: ChannelNew, parts: Parts, actor: Configurer) -> Shown:
    """Add a channel. A webhook gets a signing secret, which is shown this once."""
    key = secret_of(parts["entropy"](KEY_BYTES)) if given.kind is ChannelKind.WEBHOOK else None
    id = ChannelId(uuid7(parts["clock"](), parts["entropy"](10)))
    secrets = {"key": key} if key else {}
    blank = Channel(id=id, name="", kind=given.kind, secrets=secrets)
    wanted = given.applied_to(blank, parts["rules"])
    try:
        async with parts["pages"].write() as connection:
            await channels.create(connection, parts["vault"], wanted, actor=actor)
    except NameTakenError:
        raise taken() from None
    return await read_channel(parts, id) | ({"signing_secret": key} if key else {})


@router.patch("/{id}", dependencies=SENSITIVE)
async def change_channel(
    id: UUID,
    given: ChannelChange,
    parts: Parts,
    actor: Configurer,
    if_match: Annotated[str | None, Header(max_length=40)] = None,
) -> Shown:
    """Change a channel; what is left out stays. Switched off, what waits for it is not sent.

    One that does not open is given its terms anew, or is off; a webhook gets another signing
    secret then, which is shown this once.
    """
    wanted = meant_version(if_match, given.version)
    try:
        async with parts["pages"].write() as connection:
            current = await channels.hold(connection, parts["vault"], ChannelId(id))
            if current is None:
                raise missing()
            if wanted not in {None, current.version}:
                words = f"Somebody has changed it: it is at version {current.version} now."
                raise ProblemError(409, "changed_meanwhile", words)
            key = _other_key(current, given, parts)
            changed = _applied(current, given, parts)
            if key:
                changed = replace(changed, secrets={**changed.secrets, "key": key})
            if changed != current:
                await channels.change(connection, parts["vault"], current, changed, actor=actor)
    except NameTakenError:
        raise taken() from None
    shown = await read_channel(parts, ChannelId(id)) | {"changed": changed != current}
    return shown | ({"signing_secret": key} if key else {})


def _other_key(current: Channel, given: ChannelChange, parts: State) -> str | None:
    """What a webhook that did not open signs with, once its address is entered anew."""
    if current.opens or current.kind is not ChannelKind.WEBHOOK or not given.secrets():
        return None
    return secret_of(parts["entropy"](KEY_BYTES))


def _applied(current: Channel, given: ChannelChange, parts: State) -> Channel:
    if current.opens or given.secrets():
        return given.applied_to(current, parts["rules"])
    changed = given.applied_without_terms(current)
    if changed.enabled:
        raise ProblemError(409, "wrong_key", WRONG_KEY)
    return changed


@router.post("/{id}/test", response_model=None)
async def try_channel(id: UUID, parts: Parts, _actor: Configurer) -> Shown | Response:
    """Send a word now, and tell what the other side said."""
    told = await tested(parts, ChannelId(id))
    return _too_soon(told) if isinstance(told, timedelta) else told


async def tested(parts: State, id: ChannelId) -> Shown | timedelta:
    """What the other side said to a word, or how long that has to wait."""
    async with parts["pages"].write() as connection:
        wait = await channels.may_test(connection, id, APART)
        channel = await channels.hold(connection, parts["vault"], id)
    if wait is None or channel is None:
        raise missing()
    if not channel.opens:
        raise ProblemError(409, "wrong_key", WRONG_KEY)
    if wait:
        return wait
    with named_fields():
        _still_allowed(channel, parts)
    told = await parts["notifier"].try_out(channel)
    return {"sent": told.error is None, "error": told.error, "answer": told.answer}


def _still_allowed(channel: Channel, parts: State) -> None:
    """The rules for addresses may have become stricter since."""
    rules = parts["rules"]
    terms = {name: channel.secrets.get(name) for name in TERMS[channel.kind]}
    checked_terms(
        channel.kind, terms, private=rules.private_destinations, own_hosts=rules.own_hosts
    )


def too_soon(wait: timedelta) -> str:
    """Why a test has to wait, in words."""
    seconds = ceil(wait.total_seconds())
    return f"The last test was less than {APART.seconds} s ago: wait {seconds} s."


def _too_soon(wait: timedelta) -> Response:
    answer = problem(429, "too_soon", too_soon(wait))
    answer.headers["retry-after"] = str(ceil(wait.total_seconds()))
    return answer


@router.post("/{id}/archive")
async def archive_channel(
    id: UUID, parts: Parts, actor: Configurer, given: Word | None = None
) -> Shown:
    """Put it away for good: nothing more is told there."""
    why = given and given.reason
    async with parts["pages"].write() as connection:
        if not await channels.archive(connection, ChannelId(id), actor=actor, why=why):
            raise missing()
    return await read_channel(parts, ChannelId(id))


@router.get("/{id}/notices")
async def list_notices(
    id: UUID,
    parts: Parts,
    _actor: Reader,
    *,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor_: Annotated[str | None, Query(alias="cursor", max_length=40)] = None,
) -> Shown:
    """What was told there, newest first, and what became of it."""
    async with parts["pages"].read() as connection:
        if not await channels.listed(connection, ChannelId(id), archived=True):
            raise missing()
        rows = await notices.page(connection, id, before(cursor_), limit + 1)
    items = rows[:limit]
    return {"items": items, "next": cursor(items[-1]["id"]) if len(rows) > limit else None}
