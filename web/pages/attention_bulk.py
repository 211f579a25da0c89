"""The word on many deliveries at once: seen first, then done to exactly as many."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from database import destinations
from database.audit import Facts
from database.pool import ReadConnection
from database.resolutions import Resolution
from domain.access import Scope
from domain.delivery import DeliveryState, DestinationId
from web import bulk
from web import deliveries as delivery_calls
from web import replays as replay_calls
from web.dependencies import Parts, State, actor_with
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act, read
from web.pages.shell import Page, Visiting, Visitor
from web.payloads import invalid
from web.payloads_replay import ManyResends, ManyResolutions
from web.views.attention import BulkView, example_row
from web.views.words import counted, iso

router = APIRouter(prefix="/admin", include_in_schema=False)

FILTERS = ("ticker", "destination", "side", "since")
CHOICES = ("does", *FILTERS)
LONGEST = 24 * 400
"""Hours back that a preview looks at, at most."""


class Verb(StrEnum):
    """What may be said of many deliveries."""

    RESEND = "resend"
    DELIVERED = "delivered"
    AGAIN = "again"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A verb for people: what would be done, and the button that does it."""

    title: str
    button: str


WORDS = {
    Verb.RESEND: Words(title="Resend dead letters", button="Resend"),
    Verb.DELIVERED: Words(title="Note held deliveries as arrived", button="Note as arrived:"),
    Verb.AGAIN: Words(title="Send held deliveries again", button="Send again:"),
    Verb.DROP: Words(title="Drop held deliveries", button="Drop"),
}
RESOLUTIONS = {
    Verb.DELIVERED: Resolution.DELIVERED,
    Verb.AGAIN: Resolution.RESEND,
    Verb.DROP: Resolution.DROP,
}
REFUSED = {
    **{str(refusal): words for refusal, words in delivery_calls.REFUSALS.items()},
    **{str(refusal): words for refusal, words in replay_calls.WORDS.items()},
}


@router.get("/attention/bulk")
async def preview(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """What a word on many would do, before it is said."""
    await actor_with(request, Scope.READ)
    given = {name: value for name, value in request.query_params.items() if value}
    if "since" not in given:
        given["since"] = iso(parts["clock"]() - timedelta(hours=_hours(given.pop("hours", "24"))))
    return Page("attention_bulk.html", await _view(visitor, parts, given)).render()


@router.post("/attention/bulk")
async def carry_out(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Do it, to exactly as many as were seen."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        verb, expect = _verb(fields), _expected(fields)
        key = bulk.key_of(request.url.path, fields.get("key"))
        more = {"expect": expect, "reason": fields.get("reason")}
        answer = await _said(verb, _filter(verb, fields) | more, parts, actor, key)
        if isinstance(answer, Response):
            words = "There are not as many any more as you saw: look again. Nothing was done."
            raise ProblemError(409, "changed_meanwhile", words)
        if verb is Verb.RESEND:
            return Done(f"/admin/batches/{answer['batch_id']}")
        return Done("/admin/attention", _done(verb, answer))

    async def again(fields: Fields, words: str) -> Page:
        view = await _view(visitor, parts, fields)
        return Page("attention_bulk.html", replace(view, refused=words))

    return await act(visitor, do, again)


async def _view(visitor: Visitor, parts: State, given: Mapping[str, str]) -> BulkView:
    verb = _verb(given)
    asked = _filter(verb, given)
    found = await _said(verb, asked | {"preview": True}, parts, visitor.name, None)
    if isinstance(found, Response):
        raise ProblemError(500, "internal_error", "A preview is never refused.")
    now = parts["clock"]()
    async with parts["pages"].read() as connection:
        where = await _name(connection, parts, given.get("destination"))
        shell = await visitor.shell(connection, "attention")
    return BulkView(
        shell=shell,
        words=WORDS[verb].title,
        button=f"{WORDS[verb].button} {found['would']}",
        filter=_filter_words(given, where),
        would=found["would"],
        matching=found["matching"],
        refusals=[f"{number}: {REFUSED[why]}" for why, number in found["refused"].items()],
        examples=[example_row(one, now) for one in found["examples"]],
        given={name: given[name] for name in CHOICES if name in given},
        key=base64.urlsafe_b64encode(parts["entropy"](12)).decode(),
        refused=None,
    )


async def _said(
    verb: Verb, asked: Mapping[str, Any], parts: State, actor: str, key: bytes | None
) -> Facts | Response:
    """By the same calls as the API's. A Response says that there are more, or fewer, by now."""
    if verb is Verb.RESEND:
        given = read(ManyResends, asked, *asked)
        return await replay_calls.resend_many(given, parts, actor, key, Response())
    many = read(ManyResolutions, {**asked, "as": RESOLUTIONS[verb]}, *asked, "as")
    return await delivery_calls.resolve_many(many, parts, actor, key)


def _verb(given: Mapping[str, str]) -> Verb:
    try:
        return Verb(given.get("does", ""))
    except ValueError:
        raise invalid("does", "does: say what is to be done") from None


def _hours(text: str) -> float:
    try:
        return min(max(float(text), 0), LONGEST)
    except ValueError:
        raise invalid("hours", "hours: not a number") from None


def _expected(fields: Fields) -> int:
    try:
        return int(fields.get("expect", ""))
    except ValueError:
        raise invalid("expect", "expect: how many you saw is needed") from None


def _filter(verb: Verb, given: Mapping[str, str]) -> dict[str, Any]:
    state = DeliveryState.DEAD if verb is Verb.RESEND else DeliveryState.HELD
    chosen = {name: given[name] for name in FILTERS if name in given}
    return {"filter": {**chosen, "state": state}}


def _filter_words(given: Mapping[str, str], where: str | None) -> str:
    """What is chosen, in words."""
    named = [given.get("side", "buys and sells"), given.get("ticker"), where and f"for {where}"]
    return ", ".join([*(one for one in named if one), f"received since {given['since']}"])


async def _name(connection: ReadConnection, parts: State, id: str | None) -> str | None:
    if id is None:
        return None
    rows = await destinations.listed(connection, parts["vault"], DestinationId(UUID(id)))
    return rows[0]["name"] if rows else None


def _done(verb: Verb, answer: Facts) -> str:
    done, refused = answer["done"], sum(answer["refused"].values())
    what = {
        Verb.DELIVERED: "noted as arrived",
        Verb.AGAIN: "sent again, marked as possible repeats",
        Verb.DROP: "dropped",
    }[verb]
    left = f" {refused} were not: they were refused or busy." if refused else ""
    return f"{counted(done, 'delivery was', 'deliveries were')} {what}.{left}"
