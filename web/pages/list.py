"""The page of the list: as it is now, and how the looks at Finviz ended."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from database import history, lookout, movements
from database.universes import Current
from domain.gate import list_max_age
from domain.universe import FetchOutcome
from web.dependencies import Parts, State
from web.errors import ProblemError
from web.lists import age_of, look, trust_of, trust_since
from web.lookout import APART
from web.pages import past_lists
from web.pages.shell import Page, Visiting, Visitor
from web.signals import before, cursor
from web.universes import rows_shown
from web.views.list_now import (
    OUTCOMES,
    ListNowView,
    LooksView,
    Ticking,
    again_in,
    look_row,
    move,
    next_look,
    outcome_counts,
    pending_view,
    rows_of,
    sentence_of,
    ticking,
    waiting_row,
)
from web.views.lists import list_view
from web.views.words import duration, moment

router = APIRouter(prefix="/admin", include_in_schema=False)

DAY = timedelta(days=1)
MOST_ROWS = 300
"""Of a list that is read again and again; a version's own page has every row."""

MOVES, WAITING, LOOKS = 12, 50, 50

Given: TypeAlias = Annotated[str | None, Query(max_length=64)]


@dataclass(frozen=True, slots=True)
class Asked:
    """A version of the list, the one at a time, or the ranks of a ticker; or the list now."""

    version: Given = None
    at: Given = None
    ticker: Given = None
    since: Annotated[str | None, Query(alias="from", max_length=64)] = None
    until: Annotated[str | None, Query(alias="to", max_length=64)] = None


@router.get("/list")
async def list_page(
    visitor: Visiting, parts: Parts, asked: Annotated[Asked, Depends()]
) -> Response:
    """The list, now or in the past."""
    if asked.version is not None:
        return await past_lists.version_page(visitor, parts, asked.version)
    if asked.at is not None:
        return await past_lists.then_page(visitor, parts, asked.at)
    if asked.ticker is not None:
        return await past_lists.ranks_page(visitor, parts, asked.ticker, asked.since, asked.until)
    return Page("list.html", await list_now(visitor, parts)).render()


@router.get("/partials/list")
async def list_partial(visitor: Visiting, parts: Parts) -> Response:
    """What a live page reads again."""
    return Page("partials/list.html", await list_now(visitor, parts)).render()


async def list_now(
    visitor: Visitor,
    parts: State,
    *,
    refused: str | None = None,
    tried: str | None = None,
    typed: str = "",
) -> ListNowView:
    rules = parts["rules"]
    async with parts["pages"].read() as connection:
        current, last = await look(connection)
        version = current.universe.version if current.universe else 0
        found = await history.one(connection, version)
        beside = await movements.beside(connection, version)
        moves = await movements.moves(connection, version, within=DAY, limit=MOVES)
        waiting = await movements.waiting(connection, limit=WAITING)
        by_hand = await lookout.state(connection)
        shell = await visitor.shell(connection, "list")
    screen, now, age = current.screen, current.now, age_of(current)
    listed = list_view(
        current, last, trust_of(current, rules), trust_since(current, rules), elite=rules.elite
    )
    members = current.universe.members(screen.top_n, screen.margin) if current.universe else []
    sentence, tone = sentence_of(listed, len(members))
    shown = rows_shown(found[1], screen.top_n, screen.margin) if found else []
    return ListNowView(
        shell=shell,
        list=listed,
        sentence=sentence,
        tone=tone,
        age=None if age is None else ticking(age),
        lasts=_lasts(current, parts),
        next_look=next_look(last),
        looked=last and moment(last.at, last.now),
        refresh=duration(screen.refresh),
        rows=rows_of(shown, beside.former, most=MOST_ROWS),
        moves=[move(one, now) for one in moves],
        waiting=[waiting_row(one, now) for one in waiting],
        pending=pending_view(last and last.pending, current),
        again=again_in(by_hand, APART, now),
        refused=refused,
        tried=tried,
        typed=typed,
    )


def _lasts(current: Current, parts: State) -> Ticking | None:
    """How long the list counts if nobody looks again; None: it does not count now."""
    age = age_of(current)
    if age is None or current.universe is None:
        return None
    left = list_max_age(current.screen.refresh, parts["rules"].list_max_age) - age
    if current.universe.valid_until:
        left = min(left, current.universe.valid_until - current.now)
    return ticking(left) if left > timedelta(0) else None


# ── The log of looks ────────────────────────────────────────────────────────────────────────


@router.get("/list/looks")
async def looks_page(
    visitor: Visiting, parts: Parts, outcome: Given = None, cursor: Given = None
) -> Response:
    """Every look at Finviz with its outcome."""
    return Page("looks.html", await _looks(visitor, parts, outcome, cursor)).render()


@router.get("/partials/list/looks")
async def looks_partial(
    visitor: Visiting, parts: Parts, outcome: Given = None, cursor: Given = None
) -> Response:
    """What a live page reads again."""
    return Page("partials/looks.html", await _looks(visitor, parts, outcome, cursor)).render()


async def _looks(
    visitor: Visitor, parts: State, outcome: str | None, given: str | None
) -> LooksView:
    wanted = FetchOutcome(outcome) if outcome in list(FetchOutcome) else None
    try:
        until = before(given)
    except ProblemError:
        until = None
    async with parts["pages"].read() as connection:
        rows = await history.fetches(connection, outcome=wanted, before=until, limit=LOOKS + 1)
        counts = await movements.outcomes(connection, within=DAY)
        shell = await visitor.shell(connection, "list")
    now = parts["clock"]()
    filtered = f"?outcome={wanted}" if wanted else ""
    page, joint = f"/admin/list/looks{filtered}", "&" if wanted else "?"
    more = cursor(rows[LOOKS - 1]["id"]) if len(rows) > LOOKS else None
    return LooksView(
        shell=shell,
        outcome=wanted or "",
        meaning=OUTCOMES[wanted] if wanted else "",
        query=f"{filtered}{joint}cursor={cursor(until)}" if until else filtered,
        counts=outcome_counts(counts),
        rows=[look_row(row, now) for row in rows[:LOOKS]],
        newest=page if until else None,
        older=f"{page}{joint}cursor={more}" if more else None,
    )
