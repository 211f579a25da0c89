"""What somebody should look at: /api/attention, and the operator's word that it was done."""

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Path, Query

from database import attention_items
from database.attention_items import Sought
from web.dependencies import Parts, Reader, State, Trader
from web.errors import ProblemError
from web.payloads import Word
from web.payloads_channels import AttentionQuery, Settled
from web.signals import before, cursor, named

router = APIRouter(prefix="/api/attention", tags=["attention"])

Shown: TypeAlias = dict[str, Any]

OPEN = {"open": True, "resolved": False, "all": None}


@router.get("")
async def list_items(
    parts: Parts, _actor: Reader, wanted: Annotated[AttentionQuery, Query()]
) -> Shown:
    """Items, newest first, the open ones by default; `next` is the cursor of the following page."""
    limit = wanted.limit
    sought = Sought(
        open=OPEN[wanted.state],
        cause=wanted.cause,
        severity=wanted.severity,
        ticker=named(wanted.ticker),
        source=wanted.source,
        destination=wanted.destination,
        before=before(wanted.cursor),
        limit=limit + 1,
    )
    async with parts["pages"].read() as connection:
        rows = await attention_items.page(connection, sought)
    items = rows[:limit]
    return {"items": items, "next": cursor(items[-1]["id"]) if len(rows) > limit else None}


@router.post("/resolve")
async def resolve_many(given: Settled, parts: Parts, actor: Trader) -> Shown:
    """Settle several; says how many of them were open."""
    async with parts["pages"].write() as connection:
        number = await attention_items.resolve(
            connection, ids=given.ids or (), cause=given.cause, actor=actor, why=given.reason
        )
    return {"resolved": number}


@router.post("/{id}/resolve")
async def resolve(
    id: Annotated[int, Path(ge=0, lt=2**63)],
    parts: Parts,
    actor: Trader,
    given: Word | None = None,
) -> Shown:
    """Settle one: somebody has seen to it. Said twice changes nothing the second time."""
    async with parts["pages"].write() as connection:
        why = given and given.reason
        number = await attention_items.resolve(connection, ids=[id], actor=actor, why=why)
        known = number or await attention_items.is_open(connection, id) is not None
    if not known:
        raise ProblemError(404, "no_such_item", "There is no attention item with this id.")
    return {"id": id, "resolved": number}


async def resolve_cause(given: Settled, expect: int, parts: State, actor: str) -> int:
    """Settle all of a cause, if they are as many as was seen. Raises ProblemError 409."""
    async with parts["pages"].write() as connection:
        number = await attention_items.resolve(
            connection, cause=given.cause, actor=actor, why=given.reason
        )
        if number != expect:
            words = f"{number} are open now, not {expect}: look again. Nothing was done."
            raise ProblemError(409, "changed_meanwhile", words)
    return number
