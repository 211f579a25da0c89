"""The page of attention: what wants a look, worst first, and the word on each."""

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from database import attention_items, destinations, letters
from database.audit import Facts
from database.pool import ReadConnection
from database.resolutions import Resolution
from domain.access import Scope
from domain.attention import Cause, Severity
from web import attention as item_calls
from web import bulk
from web import deliveries as delivery_calls
from web import replays as replay_calls
from web.dependencies import Parts, State, actor_with
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act, read
from web.pages.shell import Page, Visiting, Visitor
from web.payloads import ResolutionIn, Word, invalid
from web.payloads_channels import Settled
from web.payloads_replay import Forced
from web.signals import named
from web.views import attention as views
from web.views.attention import AttentionView, Chosen, Group, Option

router = APIRouter(prefix="/admin", include_in_schema=False)

HERE = "/admin/attention"
FEW, MANY = 5, 50
"""So many items are shown of each cause, and of one that is looked at alone."""

LETTERS = 20
FILTERS = ("cause", "severity", "ticker", "destination")
CURSORS = ("after", "dead")


class Verb(StrEnum):
    """What may be said of one delivery."""

    RESEND = "resend"
    DELIVERED = "delivered"
    AGAIN = "again"
    DROP = "drop"


RESOLVED_AS = {
    Verb.DELIVERED: (Resolution.DELIVERED, "Noted: it arrived."),
    Verb.AGAIN: (Resolution.RESEND, "It is sent again, marked as a possible repeat."),
    Verb.DROP: (Resolution.DROP, "Dropped: it ended, and its position follows."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The filter of an address, and how far each list was read."""

    items: attention_items.Sought
    letters: letters.Sought
    after: tuple[int, int] | None
    given: Mapping[str, str]

    def link(self, **more: str) -> str:
        query = urlencode({name: self.given[name] for name in FILTERS if self.given.get(name)})
        rest = urlencode(more)
        return f"{HERE}?{'&'.join(part for part in (query, rest) if part)}".rstrip("?")


@router.get("/attention")
async def attention_page(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """What wants a look, and what can be done about it."""
    try:
        wanted, refused = wanted_of(request.query_params), None
    except ProblemError as error:
        wanted, refused = wanted_of({}), error.detail
    view = replace(await _view(visitor, parts, wanted), refused=refused)
    return Page("attention.html", view).render(400 if refused else 200)


@router.get("/partials/attention")
async def attention_partial(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """What a live page reads again."""
    wanted = wanted_of(request.query_params)
    return Page("partials/attention.html", await _view(visitor, parts, wanted)).render()


@router.post("/attention/resolve")
async def resolve_cause(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Settle all of a cause, as many as were shown."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        given = read(Settled, fields, "cause", "reason")
        number = await item_calls.resolve_cause(given, _expected(fields), parts, actor)
        return Done(_back(fields), f"{number} resolved: {views.title_of(fields['cause'])}.")

    return await act(visitor, do, _again(visitor))


@router.post("/attention/{id}/resolve")
async def resolve_item(id: int, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Settle one item."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        if not 0 <= id < 2**63:
            raise ProblemError(404, "no_such_item", "There is no attention item with this id.")
        done = await item_calls.resolve(id, parts, actor, read(Word, fields, "reason"))
        words = "Resolved." if done["resolved"] else "It was resolved already."
        return Done(_back(fields), words)

    return await act(visitor, do, _again(visitor))


@router.post("/attention/deliveries/{id}/{verb}")
async def say_of(
    id: UUID, verb: Verb, request: Request, visitor: Visiting, parts: Parts
) -> Response:
    """The word on one delivery: a dead one is resent, a held one resolved."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        if verb is not Verb.RESEND:
            resolution, words = RESOLVED_AS[verb]
            given = read(ResolutionIn, {**fields, "as": resolution}, "as", "reason")
            await delivery_calls.resolve(id, given, parts, actor)
            return Done(_back(fields), words)
        forced = read(Forced, {**fields, "force": "force" in fields}, "force", "reason")
        key = bulk.key_of(request.url.path, fields.get("key"))
        made = await replay_calls.resend(id, parts, actor, key, forced)
        return Done(f"/admin/batches/{made['batch_id']}")

    return await act(visitor, do, _again(visitor, tried=str(id)))


def wanted_of(given: Mapping[str, str]) -> Wanted:
    """What an address asks for; empty fields ask nothing. Raises ProblemError 400."""
    said = {name: value.strip() for name, value in given.items() if value.strip()}
    try:
        cause = Cause(said["cause"]) if "cause" in said else None
        severity = Severity(said["severity"]) if "severity" in said else None
        destination = UUID(said["destination"]) if "destination" in said else None
        rank, id = (int(n) for n in said["after"].split("-")) if "after" in said else (0, 0)
        dead = _dead_after(said["dead"]) if "dead" in said else None
    except ValueError:
        raise invalid("filter", "This filter is none of ours: choose another.") from None
    ticker = named(said.get("ticker"))
    return Wanted(
        items=attention_items.Sought(
            cause=cause, severity=severity, ticker=ticker, destination=destination, limit=10
        ),
        letters=letters.Sought(
            ticker=ticker, destination=destination, after=dead, limit=LETTERS + 1
        ),
        after=(rank, id) if "after" in said else None,
        given=said,
    )


def _dead_after(text: str) -> tuple[datetime, UUID]:
    at, _, id = text.partition("~")
    found = datetime.fromisoformat(at)
    if found.tzinfo is None:
        raise ValueError(text)
    return found, UUID(id)


async def _view(visitor: Visitor, parts: State, wanted: Wanted) -> AttentionView:
    now = parts["clock"]()
    async with parts["pages"].read() as connection:
        counts = await attention_items.counts(connection)
        groups = await attention_items.groups(connection, wanted.items)
        each = MANY if wanted.items.cause else FEW
        items = await attention_items.worst(
            connection, wanted.items, each=each + 1, after=wanted.after
        )
        resolved = await attention_items.resolved(connection, wanted.items)
        held = await letters.held(connection, wanted.letters)
        number = await letters.held_number(connection, wanted.letters)
        dead = await letters.dead(connection, wanted.letters)
        places = await _places(connection, parts)
        shell = await visitor.shell(connection, "attention")
    sentence, tone = views.sentence(counts, number)
    return AttentionView(
        shell=shell,
        sentence=sentence,
        tone=tone,
        chosen=_chosen(wanted),
        causes=[Option(value=one, words=views.title_of(one)) for one in Cause],
        destinations=places,
        groups=[_group(one, items, each, wanted, now) for one in groups],
        held=[views.letter_row(row, now) for row in held[:LETTERS]],
        held_number=number,
        dead=[views.letter_row(row, now) for row in dead[:LETTERS]],
        resolved=[views.resolved_row(row, now) for row in resolved],
        first=wanted.link() if wanted.after else None,
        more=_more(wanted, items, each),
        dead_more=_dead_more(wanted, dead),
        key=base64.urlsafe_b64encode(parts["entropy"](12)).decode(),
        refused=None,
        tried=None,
    )


async def _places(connection: ReadConnection, parts: State) -> list[Option]:
    rows = await destinations.listed(connection, parts["vault"])
    return [Option(value=str(row["id"]), words=row["name"]) for row in rows]


def _chosen(wanted: Wanted) -> Chosen:
    names = {name: wanted.given.get(name, "") for name in FILTERS}
    said = {name: value for name, value in wanted.given.items() if name in (*FILTERS, *CURSORS)}
    return Chosen(**names, query=urlencode(said), said=any(names.values()))


def _group(group: Facts, items: Sequence[Facts], each: int, wanted: Wanted, now: datetime) -> Group:
    mine = [row for row in items if row["cause"] == group["cause"]]
    alone = wanted.items.cause is not None
    return Group(
        cause=group["cause"],
        advice=views.ADVICE[Cause(group["cause"])],
        worst=[*Severity][int(group["rank"]) - 1],
        number=group["number"],
        items=[views.item_row(row, now) for row in mine[:each]],
        rest=None if alone or len(mine) <= each else replaced(wanted, cause=group["cause"]),
        whole=not any(wanted.given.get(name) for name in ("severity", "ticker", "destination")),
    )


def replaced(wanted: Wanted, **said: str) -> str:
    return replace(wanted, given={**wanted.given, **said}).link()


def _more(wanted: Wanted, items: Sequence[Facts], each: int) -> str | None:
    """The items of one cause after those that are shown."""
    if wanted.items.cause is None or len(items) <= each:
        return None
    last = items[each - 1]
    return wanted.link(after=f"{last['rank']}-{last['id']}")


def _dead_more(wanted: Wanted, dead: Sequence[Facts]) -> str | None:
    if len(dead) <= LETTERS:
        return None
    last = dead[LETTERS - 1]
    return wanted.link(dead=f"{last['finished_at'].isoformat()}~{last['id']}") + "#dead"


def _expected(fields: Fields) -> int:
    try:
        return int(fields.get("expect", ""))
    except ValueError:
        raise invalid("expect", "expect: how many you saw is needed") from None


def _back(fields: Fields) -> str:
    """The page as it was looked at; nothing but a filter of ours is taken from the form."""
    said = [(n, v) for n, v in parse_qsl(fields.get("back", "")) if n in (*FILTERS, *CURSORS)]
    return f"{HERE}?{urlencode(said)}" if said else HERE


def _again(
    visitor: Visitor, *, tried: str | None = None
) -> Callable[[Fields, str], Awaitable[Page]]:
    async def again(fields: Fields, words: str) -> Page:
        try:
            wanted = wanted_of(dict(parse_qsl(fields.get("back", ""))))
        except ProblemError:
            wanted = wanted_of({})
        view = await _view(visitor, visitor.parts, wanted)
        return Page("attention.html", replace(view, refused=words, tried=tried))

    return again
