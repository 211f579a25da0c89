"""The pages of positions and of commands, and how far those are."""

import base64
from collections.abc import Mapping
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from database import batches, positions, sells, statistics
from database.batches import BatchId
from database.pool import ReadConnection
from database.positions import Wanted
from domain.position import PositionId, PositionState
from engines.relay.desk import SELLS, unfit
from web import positions as position_calls
from web.dependencies import Parts, State
from web.errors import ProblemError
from web.pages.shell import Page, Visiting, Visitor
from web.views.story import rest, sentence
from web.views.trade import (
    BatchView,
    EventRow,
    PositionsView,
    PositionView,
    SellAllView,
    SignalOf,
    by_hand,
    command,
    command_row,
    draft_row,
    position_row,
    progress_rows,
    progress_sentence,
    standing,
    would,
)
from web.views.words import moment

router = APIRouter(prefix="/admin", include_in_schema=False)

SHOWN = {
    PositionState.OPEN: 300,
    PositionState.OPENING: 300,
    PositionState.CLOSING: 300,
    PositionState.CLOSED: 30,
    PositionState.VOID: 10,
}
"""How many positions of each state the page shows, the newest first."""


@router.get("/positions")
async def positions_page(visitor: Visiting, parts: Parts) -> Response:
    """Positions, with what can be done about them."""
    return Page("positions.html", await positions_view(visitor, parts)).render()


@router.get("/partials/positions")
async def positions_partial(visitor: Visiting, parts: Parts) -> Response:
    """What a live page reads again."""
    return Page("partials/positions.html", await positions_view(visitor, parts)).render()


@router.get("/partials/sell-all")
async def sell_all_partial(_visitor: Visiting, parts: Parts) -> Response:
    """What selling everything comes to now; what is typed beside it stays."""
    async with parts["pages"].read() as connection:
        view = await _sell_all(connection)
    return Page("partials/sell_all.html", view).render()


@router.get("/positions/{id}")
async def position_page(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """One position with its history."""
    return Page("position.html", await position_view(visitor, PositionId(id), parts)).render()


@router.get("/batches/{id}")
async def batch_page(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """How far a command is."""
    return Page("batch.html", await batch_view(visitor, BatchId(id), parts)).render()


@router.get("/partials/batches/{id}")
async def batch_partial(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """What a live page reads again."""
    return Page("partials/batch.html", await batch_view(visitor, BatchId(id), parts)).render()


async def positions_view(
    visitor: Visitor, parts: State, *, refused: str | None = None, tried: str | None = None
) -> PositionsView:
    async with parts["pages"].read() as connection:
        rows = [
            row
            for state, limit in SHOWN.items()
            for row in await positions.page(connection, Wanted(state=state, limit=limit))
        ]
        made = await batches.newest(connection, limit=8)
        counts = await batches.counts(connection, [one.id for one in made])
        drafts = await sells.listed(connection)
        states = await statistics.positions(connection)
        selling = await _sell_all(connection)
        shell = await visitor.shell(connection, "positions")
    now = parts["clock"]()
    sentence, tone = standing(states)
    return PositionsView(
        shell=shell,
        sentence=sentence,
        tone=tone,
        cut=_cut(states),
        positions=[position_row(position_calls.shown(row), now) for row in rows],
        batches=[command_row(one, counts[one.id], now) for one in made],
        sell_list=[draft_row(row) for row in drafts],
        held=selling.held,
        would=selling.would,
        key=_key(parts),
        refused=refused,
        tried=tried,
    )


async def _sell_all(connection: ReadConnection) -> SellAllView:
    """All that would be sold, whether the page lists it or not."""
    held = [one.ticker for one in await sells.holdings(connection) if one.state.live]
    forecast = await sells.forecast(connection, len(held))
    return SellAllView(held=by_hand(held), would=would(len(held), forecast))


def _cut(counts: Mapping[str, int]) -> str:
    if all(counts.get(state, 0) <= limit for state, limit in SHOWN.items()):
        return ""
    return f"The newest {SHOWN[PositionState.OPEN]} of a state are listed."


async def position_view(
    visitor: Visitor, id: PositionId, parts: State, refused: str | None = None
) -> PositionView:
    async with parts["pages"].read() as connection:
        found = await positions.history(connection, id)
        shell = await visitor.shell(connection, "positions")
    if found is None:
        raise ProblemError(404, "no_such_position", "There is no position with this id.")
    now = parts["clock"]()
    return PositionView(
        shell=shell,
        row=position_row(position_calls.shown(found.position), now),
        steps=[
            EventRow(
                at=moment(one["at"], now),
                event=sentence(one["event"], one["detail"], ""),
                detail=rest(one["event"], one["detail"] | _by(one["actor"])),
            )
            for one in found.events
        ],
        signals=[
            SignalOf(
                id=str(one["id"]),
                side=one["side"],
                price=one["price"] or "",
                state=one["status"],
                received=moment(one["received_at"], now),
            )
            for one in found.signals
        ],
        key=_key(parts),
        refused=refused,
    )


def _by(actor: str | None) -> dict[str, str]:
    return {"by": actor} if actor else {}


async def batch_view(
    visitor: Visitor, id: BatchId, parts: State, refused: str | None = None
) -> BatchView:
    async with parts["pages"].read() as connection:
        found = await batches.progress(connection, id)
        if found is None:
            raise ProblemError(404, "no_such_batch", "There is no command with this id.")
        expected = sells.latest_end(await sells.outlook(connection, id))
        retryable = await _retryable(connection, id) if found.batch.kind in SELLS else 0
        shell = await visitor.shell(connection, "positions")
    now = parts["clock"]()
    rows = progress_rows(found)
    sentence, tone = progress_sentence(rows, expected)
    return BatchView(
        shell=shell,
        id=str(id),
        words=command(found.batch),
        sentence=sentence,
        tone=tone,
        by=found.batch.made_by,
        at=moment(found.batch.made_at or now, now),
        reason=found.batch.reason or "",
        finished=sum(one.finished for one in rows),
        total=len(rows),
        rows=rows,
        retryable=retryable,
        refused=refused,
    )


async def _retryable(connection: ReadConnection, id: BatchId) -> int:
    return sum(unfit(one) is None for one in await sells.sold_by(connection, id))


def _key(parts: State) -> str:
    """Names the command of this page, so that a double click is one command."""
    return base64.urlsafe_b64encode(parts["entropy"](12)).decode()
