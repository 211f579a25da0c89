"""The pages of destinations: how each stands, and the forms that run it."""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from database import destinations, pending_addresses, recent_attempts
from database.pool import ReadConnection
from domain.access import Scope
from domain.delivery import DestinationId
from web import destinations as calls
from web.dependencies import Parts, State, actor_with
from web.errors import ProblemError
from web.pages.destination_forms import change_of, new_of, place_of, renewal_of
from web.pages.destination_orders import ORDERS, Order
from web.pages.forms import Done, Fields, act
from web.pages.shell import Page, Visiting, Visitor
from web.payloads import Rotation
from web.views import destinations as views
from web.views.destinations import Card, DestinationsView, DestinationView, Terms
from web.views.words import counted

router = APIRouter(prefix="/admin", include_in_schema=False)

NEW = {"timeout": "5", "connect_timeout": "2", "mode": "live", "guarantee": "at_least_once"}
MOST_BYTES = 32_768
SHOWN_VERSIONS = 20
SECRETS = ("url", "headers")
"""Fields that are never shown again, not even to who typed them."""


@router.get("/destinations")
async def destinations_page(visitor: Visiting, parts: Parts) -> Response:
    """Every destination, and a form for another."""
    return Page("destinations.html", await _all(visitor, parts)).render()


@router.get("/partials/destinations")
async def destinations_partial(visitor: Visiting, parts: Parts) -> Response:
    """What a live page reads again."""
    return Page("partials/destinations.html", await _all(visitor, parts)).render()


@router.get("/destinations/{id}")
async def destination_page(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """One destination with its answers, versions and forms."""
    return Page("destination.html", await _one(visitor, parts, id)).render()


@router.get("/partials/destinations/{id}")
async def destination_partial(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """What a live page reads again."""
    return Page("partials/destination.html", await _one(visitor, parts, id)).render()


@router.post("/destinations")
async def create(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Add a destination; shows its signing secret, once."""
    made: list[Page] = []
    wrong: list[str] = []

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        with _noted(wrong):
            shown = await calls.create_destination(new_of(fields), parts, actor)
        view = await _one(visitor, parts, shown["id"])
        made.append(Page("destination.html", replace(view, secret=shown["signing_secret"])))
        return Done(f"/admin/destinations/{shown['id']}")

    async def again(fields: Fields, words: str) -> Page:
        view = await _all(visitor, parts)
        terms = _wrong(NEW | _kept(fields), wrong, words)
        return Page("destinations.html", replace(view, terms=terms, refused=words, tried="create"))

    answer = await act(visitor, do, again, sensitive=True, most=MOST_BYTES)
    return made[0].render() if made else answer


@router.post("/destinations/{id}")
async def change(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Change its settings, at once."""
    wrong: list[str] = []

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        with _noted(wrong):
            given = change_of(fields, await _constants(parts, id))
            shown = await calls.change_destination(id, given, parts, actor)
        return Done(f"/admin/destinations/{id}", _saved(shown))

    async def again(fields: Fields, words: str) -> Page:
        view = await _one(visitor, parts, id)
        terms = _wrong({**view.terms.values, **_kept(fields)}, wrong, words)
        return Page("destination.html", replace(view, terms=terms, refused=words, tried="change"))

    return await act(visitor, do, again, most=MOST_BYTES)


@router.post("/destinations/{id}/address")
async def address(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Enter another address, which counts after a minute; or other headers, which count at once.

    Over one that does not open it counts at once, and its new signing secret is shown, once.
    """
    made: list[Page] = []
    wrong: list[str] = []

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        row = await _row(parts, id)
        if not row["opens"]:
            with _noted(wrong):
                given = renewal_of(fields, row["mapping"])
                shown = await calls.change_destination(id, given, parts, actor)
            view = await _one(visitor, parts, id)
            made.append(Page("destination.html", replace(view, secret=shown["signing_secret"])))
            return Done(f"/admin/destinations/{id}")
        with _noted(wrong):
            waits = await calls.enter_address(id, place_of(fields), parts, actor)
        words = (
            f"The new address counts in {pending_addresses.WAIT.seconds} s, unless it is cancelled."
            if waits
            else "The headers were changed."
        )
        return Done(f"/admin/destinations/{id}", words)

    again = _again(visitor, id, "address", wrong)
    answer = await act(visitor, do, again, sensitive=True)
    return made[0].render() if made else answer


@router.post("/destinations/{id}/rotate-secret")
async def rotate(id: UUID, request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Make a new signing secret, and show it, once."""
    made: list[Page] = []

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.CONFIG)
        given = Rotation(overlap=0) if "at_once" in fields else Rotation()
        shown = await calls.rotate_secret(id, parts, actor, given)
        view = await _one(visitor, parts, id)
        made.append(Page("destination.html", replace(view, secret=shown["signing_secret"])))
        return Done(f"/admin/destinations/{id}")

    again = _again(visitor, id, "rotate")
    answer = await act(visitor, do, again, sensitive=True)
    return made[0].render() if made else answer


@router.post("/destinations/{id}/{order}")
async def carry_out(
    id: UUID, order: Order, request: Request, visitor: Visiting, parts: Parts
) -> Response:
    """Do one of the plain orders, and say what was done."""
    scope, work = ORDERS[order]

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, scope)
        return Done(f"/admin/destinations/{id}", await work(id, parts, actor, fields))

    return await act(visitor, do, _again(visitor, id, order))


async def _all(visitor: Visitor, parts: State) -> DestinationsView:
    async with parts["pages"].read() as connection:
        rows = await destinations.listed(connection, parts["vault"])
        cards = await _cards(connection, parts, rows)
        shell = await visitor.shell(connection, "destinations")
    return DestinationsView(
        shell=shell, cards=cards, terms=Terms(values=NEW), refused=None, tried=None
    )


async def _one(visitor: Visitor, parts: State, id: UUID) -> DestinationView:
    destination = DestinationId(id)
    async with parts["pages"].read() as connection:
        rows = await destinations.listed(connection, parts["vault"], destination)
        if not rows:
            raise calls.missing()
        (card,) = await _cards(connection, parts, rows)
        last = await recent_attempts.last(connection, destination)
        versions = await destinations.history(connection, parts["vault"], destination)
        shell = await visitor.shell(connection, "destinations")
    now, row = parts["clock"](), rows[0]
    return DestinationView(
        shell=shell,
        card=card,
        facts=views.facts(row, now),
        answers=[views.answer_row(one, now) for one in last],
        versions=[views.version_row(one, now) for one in versions[:SHOWN_VERSIONS]],
        numbers=views.numbers(row, now),
        headers=row["headers"],
        opens=row["opens"],
        version=row["version"],
        terms=Terms(values=views.values(row)),
        refused=None,
        tried=None,
        secret=None,
    )


async def _cards(
    connection: ReadConnection, parts: State, rows: Sequence[Mapping[str, Any]]
) -> list[Card]:
    now, share = parts["clock"](), parts["rules"].sell_share
    pending = await pending_addresses.pending(connection)
    return [
        views.card(
            row,
            await recent_attempts.last(connection, row["id"], limit=1),
            await recent_attempts.share(connection, row["id"]),
            pending.get(row["id"]),
            now,
            share,
        )
        for row in rows
    ]


async def _constants(parts: State, id: UUID) -> Mapping[str, Any]:
    """The constants of its mapping in the clear: a form shows a mask for some, and keeps those."""
    row = await _row(parts, id)
    if not row["opens"]:
        raise calls.shut()
    async with parts["pages"].read() as connection:
        found = await destinations.at_version(
            connection, parts["vault"], DestinationId(id), row["version"]
        )
    return found.mapping.add if found else {}


async def _row(parts: State, id: UUID) -> Mapping[str, Any]:
    async with parts["pages"].read() as connection:
        rows = await destinations.listed(connection, parts["vault"], DestinationId(id))
    if not rows:
        raise calls.missing()
    return rows[0]


@contextmanager
def _noted(wrong: list[str]) -> Generator[None]:
    """Note which field a refusal is about."""
    try:
        yield
    except ProblemError as error:
        if field := error.more.get("field"):
            wrong.append(field)
        raise


def _again(
    visitor: Visitor, id: UUID, tried: str, wrong: Sequence[str] = ()
) -> Callable[[Fields, str], Awaitable[Page]]:
    async def again(_fields: Fields, words: str) -> Page:
        view = await _one(visitor, visitor.parts, id)
        terms = _wrong(view.terms.values, wrong, words)
        return Page("destination.html", replace(view, terms=terms, refused=words, tried=tried))

    return again


def _wrong(values: Mapping[str, str], wrong: Sequence[str], words: str) -> Terms:
    return Terms(values=values, wrong=wrong[0] if wrong else None, why=words)


def _kept(fields: Fields) -> dict[str, str]:
    """What was typed, except secrets."""
    return {name: value for name, value in fields.items() if name not in SECRETS}


def _saved(shown: Mapping[str, Any]) -> str:
    if not shown["changed"]:
        return "Nothing was different: nothing was changed."
    older = shown["queued_older"]
    rest = (
        f" {counted(older, 'delivery', 'deliveries')} queued before keep the terms they were"
        " approved on."
    )
    return f"Saved as version {shown['version']}.{rest if older else ''}"
