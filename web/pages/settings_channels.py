"""The pages of channels: make one of each kind, change it, test it, and see what was told there."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from domain.channel import TERMS, ChannelId, ChannelKind
from web import channels as channel_calls
from web.dependencies import Parts
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act
from web.pages.settings import first_problem, number, proved, shown, whole
from web.pages.shell import Page, Visiting, Visitor
from web.payloads import Word
from web.payloads_channels import ChannelChange, ChannelNew
from web.views.settings_channels import (
    LABELS,
    ChannelsView,
    ChannelView,
    channel_form,
    channel_row,
    kind_links,
    notice_row,
)

router = APIRouter(prefix="/admin", include_in_schema=False)

HERE = "/admin/settings/channels"
NOTICES = 30
NAMES = {name: label for name, (label, _) in LABELS.items()} | {
    "name": "Name",
    "window": "At most once in",
    "severity": "What is told",
    "kind": "Kind",
}

T = TypeVar("T", bound=BaseModel)


@router.get("/settings/channels")
async def channels_page(visitor: Visiting, kind: ChannelKind | None = None) -> Response:
    """Every channel, and with a ``kind`` the form for another of it."""
    return Page("settings_channels.html", await _channels(visitor, kind)).render()


@router.get("/partials/settings/channels")
async def channels_partial(visitor: Visiting) -> Response:
    """What a live page reads again."""
    return Page("partials/settings_channels.html", await _channels(visitor)).render()


@router.get("/settings/channels/{id}")
async def channel_page(id: UUID, visitor: Visiting) -> Response:
    """One channel: its fields, and what was told there."""
    return Page("settings_channel.html", await _channel(visitor, id)).render()


@router.get("/partials/settings/channels/{id}")
async def channel_partial(id: UUID, visitor: Visiting) -> Response:
    """What a live page reads again."""
    return Page("partials/settings_channel.html", await _channel(visitor, id)).render()


@router.post("/settings/channels")
async def create(visitor: Visiting, parts: Parts) -> Response:
    """Add a channel; the signing secret of a webhook is shown this once."""

    async def do(fields: Fields) -> Page:
        given = _read(ChannelNew, {"kind": fields.get("kind"), **_terms(fields, _kind(fields))})
        made = await channel_calls.create_channel(given, parts, visitor.name)
        view = await _channel(
            proved(visitor), made["id"], secret=made.get("signing_secret"), tried="made"
        )
        return Page("settings_channel.html", view)

    async def again(fields: Fields, words: str) -> Page:
        view = await _channels(visitor, _kind(fields), fields, refused=words)
        return Page("settings_channels.html", view)

    return await shown(visitor, do, again, sensitive=True)


@router.post("/settings/channels/{id}")
async def change(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """Change a channel; an empty secret stays as it is. A new signing secret is shown, once."""
    made: list[Page] = []

    async def do(fields: Fields) -> Done:
        version = whole(fields, "version", "version")
        given = _read(ChannelChange, {"version": version, **_terms(fields, _kind(fields))})
        done = await channel_calls.change_channel(id, given, parts, visitor.name)
        if secret := done.get("signing_secret"):
            view = await _channel(proved(visitor), id, secret=secret, tried="renewed")
            made.append(Page("settings_channel.html", view))
        words = f"{done['name']} is saved." if done["changed"] else "Nothing was changed."
        return Done(f"{HERE}/{id}", words)

    answer = await act(visitor, do, _again(visitor, id, "change"), sensitive=True)
    return made[0].render() if made else answer


@router.post("/settings/channels/{id}/test")
async def test(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """Send a word now, and say what came back."""

    async def do(_fields: Fields) -> Done:
        told = await channel_calls.tested(parts, ChannelId(id))
        if isinstance(told, timedelta):
            raise ProblemError(429, "too_soon", channel_calls.too_soon(told))
        if told["error"]:
            answered = f" It answered: {told['answer']}" if told["answer"] else ""
            raise ProblemError(
                502, "not_sent", f"The test did not arrive: {told['error']}.{answered}"
            )
        said = f": {told['answer']}" if told["answer"] else "."
        return Done(f"{HERE}/{id}", f"The test was sent, and taken{said}")

    return await act(visitor, do, _again(visitor, id, "test"))


@router.post("/settings/channels/{id}/archive")
async def archive(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """Put a channel away for good."""

    async def do(fields: Fields) -> Done:
        why = Word(reason=fields.get("reason"))
        gone = await channel_calls.archive_channel(id, parts, visitor.name, why)
        return Done(HERE, f"{gone['name']} is archived: nothing more is told there.")

    return await act(visitor, do, _again(visitor, id, "archive"))


def _again(visitor: Visitor, id: UUID, tried: str) -> Any:
    async def again(fields: Fields, words: str) -> Page:
        typed = fields if tried == "change" else None
        view = await _channel(visitor, id, typed, tried=tried, refused=words)
        return Page("settings_channel.html", view)

    return again


def _kind(fields: Mapping[str, str]) -> ChannelKind:
    try:
        return ChannelKind(fields.get("kind", ""))
    except ValueError:
        raise ProblemError(400, "invalid_field", "There is no such kind of channel.") from None


def _terms(fields: Mapping[str, str], kind: ChannelKind) -> dict[str, Any]:
    """What the form of this kind has; what is empty is left out."""
    given = {name: fields.get(name) for name in TERMS[kind]}
    return {
        **{name: text for name, text in given.items() if text is not None},
        "name": fields.get("name", ""),
        "severity": fields.get("severity"),
        "window": number(fields, "window", NAMES["window"]),
        "enabled": "enabled" in fields,
    }


def _read(payload: type[T], given: Mapping[str, Any]) -> T:
    try:
        return payload.model_validate(given)
    except ValidationError as error:
        raise first_problem(error, NAMES) from None


async def _channels(
    visitor: Visitor,
    kind: ChannelKind | None = None,
    fields: Mapping[str, str] | None = None,
    *,
    refused: str | None = None,
) -> ChannelsView:
    parts = visitor.parts
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "settings")
    found = await channel_calls.list_channels(parts, visitor.name)
    return ChannelsView(
        shell=shell,
        channels=[channel_row(one, parts["clock"]()) for one in found["items"]],
        kinds=kind_links(),
        form=channel_form(kind, fields or {"enabled": True}, new=True) if kind else None,
        refused=refused,
    )


async def _channel(
    visitor: Visitor,
    id: UUID,
    fields: Mapping[str, str] | None = None,
    *,
    secret: str | None = None,
    tried: str | None = None,
    refused: str | None = None,
) -> ChannelView:
    parts, now = visitor.parts, visitor.parts["clock"]()
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "settings")
    found = await channel_calls.read_channel(parts, ChannelId(id))
    told = await channel_calls.list_notices(id, parts, visitor.name, limit=NOTICES, cursor_=None)
    return ChannelView(
        shell=shell,
        channel=channel_row(found, now),
        archived=found["archived_at"] is not None,
        version=found["version"],
        form=channel_form(ChannelKind(found["kind"]), fields or found, new=False),
        notices=[notice_row(one, now) for one in told["items"]],
        secret=secret,
        tried=tried,
        refused=refused,
    )
