"""Past positions: all there ever were, by filter, and how they went."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import Response

from database.positions import Wanted
from domain.position import PositionState
from web import positions as calls
from web.dependencies import Parts
from web.errors import ProblemError
from web.pages.shell import Page, Visiting
from web.positions import after
from web.signals import named
from web.views.past_positions import PastPositionsView, figures_told, past_row

router = APIRouter(prefix="/admin", include_in_schema=False)

A_PAGE = 50


@router.get("/positions/past")
async def past_positions(
    visitor: Visiting,
    parts: Parts,
    *,
    ticker: Annotated[str, Query(max_length=128)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
    cursor: Annotated[str | None, Query(max_length=60)] = None,
) -> Response:
    """Positions of a filter, newest first. An unreadable filter is said in place."""
    refused = None
    try:
        wanted = Wanted(
            ticker=named(ticker.strip()), state=_state(state), after=after(cursor), limit=A_PAGE
        )
    except ProblemError as problem:
        refused, wanted = problem.detail, Wanted(limit=A_PAGE)
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "positions")
        found = await calls.listed(connection, wanted)
        figures = await calls.figures(connection)
    kept = {"ticker": ticker, "state": state}
    view = PastPositionsView(
        shell=shell,
        refused=refused,
        ticker=ticker,
        state=wanted.state or "",
        states=list(PositionState),
        told=figures_told(figures["priced"]),
        rows=[past_row(one, parts["clock"]()) for one in found["items"]],
        older=_address(kept, found["next"]) if found["next"] else None,
    )
    return Page("past_positions.html", view).render(400 if refused else 200)


def _state(given: str) -> PositionState | None:
    """Raises ProblemError 400."""
    try:
        return PositionState(given) if given else None
    except ValueError:
        raise ProblemError(400, "invalid_field", "state: there is none of this name") from None


def _address(kept: dict[str, str], cursor: str) -> str:
    given = {name: value for name, value in kept.items() if value}
    return "/admin/positions/past?" + urlencode(given | {"cursor": cursor})
