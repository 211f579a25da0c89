"""The curve of a ticker's rank for charts: /api/charts/rank."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from domain.charts import Chart, Mark, Series
from web.dependencies import Parts, Reader
from web.universes import read_rank

router = APIRouter(prefix="/api/charts", tags=["charts"])

BAD = frozenset({"rejected", "invalid", "dead"})
WARN = frozenset({"expired", "cancelled", "superseded", "held"})


@router.get("/rank")
async def rank_chart(
    parts: Parts,
    actor: Reader,
    *,
    ticker: Annotated[str, Query(min_length=1, max_length=40)],
    from_: Annotated[datetime | None, Query(alias="from")] = None,
    to: datetime | None = None,
) -> Chart:
    """A ticker's rank over time with its signals; null where it was not among the rows.

    A value lasts until the next one, the last to the end.
    """
    found = await read_rank(parts, actor, ticker=ticker, from_=from_, to=to)
    points = found["points"]
    steps = [*points, {**points[-1], "at": found["to"]}]
    x = [_seconds(step["at"]) for step in steps]
    ranks = [step["rank"] for step in steps]
    inside = [step["rank"] if step["in"] else None for step in steps]
    marks = [_mark(one, x, ranks) for one in reversed(found["signals"])]
    return Chart(
        x=x,
        series=[
            Series(name="rank", unit="", tone="soft", values=ranks, marks=marks),
            Series(name="in the list", unit="", tone="accent", values=inside),
        ],
        note=_note(found),
    )


def _seconds(at: datetime) -> float:
    return round(at.timestamp(), 3)


def _mark(one: Mapping[str, Any], x: Sequence[float], ranks: Sequence[float | None]) -> Mark:
    at, state = _seconds(one["at"]), one["status"]
    place = bisect_right(x, at) - 1
    reason = f": {one['reason']}" if one["reason"] else ""
    return Mark(
        x=at,
        y=ranks[place] if place >= 0 else None,
        label=f"{one['side']} {state}{reason}",
        tone="bad" if state in BAD else "warn" if state in WARN else "good",
    )


def _note(found: Mapping[str, Any]) -> str | None:
    if not found["sampled"]:
        return None
    return f"A point every {found['every_sec']:.0f} s, and wherever it came in or went out."
