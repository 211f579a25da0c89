"""The search of the audit trail, a signal unfolded in its row, and saved filters."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from database import audit, saved_filters, searching
from database.audit import Facts, Life
from database.saved_filters import MOST, SavedFilter
from database.searching import Cursor, Found
from domain.signal import SignalId
from web import searches
from web.dependencies import Parts
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act
from web.pages.shell import Page, Visiting, Visitor
from web.searches import Asked
from web.signals import before, why
from web.views.search import (
    PARTIAL,
    PATH,
    SentRow,
    SignalsView,
    chips_of,
    form_of,
    rows_of,
    unfolded,
    ways_of,
)
from web.views.words import NOTHING, counted

router = APIRouter(prefix="/admin", include_in_schema=False)

ROWS = 50
LONGEST_NAME = 40
SHOWN_AT = "hx-current-url"
NONE = Found(signals=(), more=False)


@router.get("/signals")
async def signals_page(visitor: Visiting) -> Response:
    """The search, with what it finds."""
    return Page("signals.html", await signals_view(visitor)).render()


@router.get("/partials/signals")
async def signals_partial(visitor: Visiting) -> Response:
    """What it finds, as it is typed; the browser's address follows."""
    view = await signals_view(visitor)
    answer = Page("partials/signals.html", view).render()
    headers, here = visitor.request.headers, f"{PATH}?{view.query}" if view.query else PATH
    if headers.get("hx-target") == "results" and not headers.get(SHOWN_AT, "").endswith(here):
        answer.headers["hx-replace-url" if "x-typing" in headers else "hx-push-url"] = here
    return answer


@router.get("/partials/signals/{id}")
async def unfolded_signal(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """One signal in short, for its row."""
    async with parts["pages"].read() as connection:
        life = await audit.life(connection, SignalId(id))
    if life is None:
        raise ProblemError(404, "no_such_signal", "There is no signal with this id.")
    view = unfolded(str(id), why(life), life.signal, _sent(life), visitor.parts["clock"]())
    return Page("partials/signals_unfolded.html", view).render()


@router.post("/signals/filters")
async def save_filter(visitor: Visiting, parts: Parts) -> Response:
    """Keep the filter by a name."""

    async def do(fields: Fields) -> Done:
        name, asked = _name(fields), Asked.of(visitor.request.query_params)
        async with parts["pages"].write() as connection:
            saved = SavedFilter(name, asked.query())
            if not await saved_filters.save(connection, visitor.name, "signals", saved):
                words = f"There are {MOST} saved filters already: delete one first."
                raise ProblemError(409, "too_many", words)
        return Done(_address(asked), f"Saved as “{name}”.")

    return await act(visitor, do, _again(visitor))


@router.post("/signals/filters/delete")
async def delete_filter(visitor: Visiting, parts: Parts) -> Response:
    """Forget a saved filter."""

    async def do(fields: Fields) -> Done:
        name, asked = _name(fields), Asked.of(visitor.request.query_params)
        async with parts["pages"].write() as connection:
            if not await saved_filters.delete(connection, visitor.name, "signals", name):
                raise ProblemError(404, "no_such_filter", f"No filter is saved as “{name}”.")
        return Done(_address(asked), f"“{name}” is not saved any more.")

    return await act(visitor, do, _again(visitor))


def _again(visitor: Visitor) -> Callable[[Fields, str], Awaitable[Page]]:
    async def again(fields: Fields, words: str) -> Page:
        view = await signals_view(visitor, words)
        tried = fields.get("name", "")[:LONGEST_NAME]
        return Page("signals.html", replace(view, tried=tried))

    return again


def _name(fields: Fields) -> str:
    """Raises ProblemError 400."""
    name = " ".join(fields.get("name", "").split())
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise ProblemError(400, "invalid_field", f"A name has 1 to {LONGEST_NAME} characters.")
    return name


def _address(asked: Asked) -> str:
    query = asked.query()
    return f"{PATH}?{query}" if query else PATH


async def signals_view(visitor: Visitor, refused: str | None = None) -> SignalsView:
    """What a search shows; one that means nothing finds nothing, and says why."""
    parts, given = visitor.parts, visitor.request.query_params
    asked, now = Asked.of(given), parts["clock"]()
    async with parts["pages"].read() as connection:
        choices = await searching.choices(connection)
        shell = await visitor.shell(connection, "signals")
        saved = await saved_filters.listed(connection, visitor.name, "signals")
        try:
            place = Cursor(before=before(given.get("before")), after=before(given.get("after")))
            meant = await searches.meant(connection, asked, choices, now)
            found = await searching.page(connection, meant.wanted, place, limit=ROWS)
            if place.after is not None and not found.more and len(found.signals) < ROWS:
                place = Cursor()
                found = await searching.page(connection, meant.wanted, place, limit=ROWS)
        except ProblemError as problem:
            meant, found, place, refused = None, NONE, Cursor(before=0), problem.detail
    return SignalsView(
        shell=shell,
        form=form_of(asked, choices),
        chips=chips_of(asked, meant.parts, meant.tickers, now) if meant else [],
        rows=rows_of(found, now),
        ways=ways_of(asked, found, place, now),
        sealed=bool(meant and meant.wanted.texts),
        live=f"{PARTIAL}?{asked.query()}" if place == Cursor() else "",
        query=asked.query(),
        saved=saved,
        tried="",
        refused=refused,
        webhook=f"{base_of(visitor)}/webhook/in",
    )


def base_of(visitor: Visitor) -> str:
    """Where others reach us."""
    return visitor.parts["rules"].public_url or str(visitor.request.base_url).rstrip("/")


def _sent(life: Life) -> list[SentRow]:
    """An unfolded signal's deliveries."""
    last: dict[UUID, Facts] = {one["delivery_id"]: one for one in life.attempts}
    return [
        SentRow(
            destination=one["destination"],
            state=one["state"],
            attempts=counted(one["attempts"], "attempt", "attempts"),
            last=_ended(last.get(one["id"])),
        )
        for one in life.deliveries
    ]


def _ended(attempt: Facts | None) -> str:
    """How an attempt ended, in short."""
    if attempt is None:
        return NOTHING
    if attempt["outcome"] is None:
        return "on its way"
    told = [attempt["outcome"].replace("_", " "), attempt["status"] and f"http {attempt['status']}"]
    return ", ".join(str(one) for one in (*told, attempt["error"]) if one)
