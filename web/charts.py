"""Charts as numbers: signals by outcome, latency, rate budgets, and the age of the list."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from database import charts, universes
from database.charts import Limited, Outcome
from database.pool import ReadConnection
from domain.charts import Chart, Grid, Mark, Series, ages, grid, peaks, spread
from domain.gate import list_max_age
from web.dependencies import Parts, Reader
from web.errors import ProblemError

router = APIRouter(prefix="/api/charts", tags=["charts"])

Minutes = Annotated[int, Query(ge=10, le=1440, description="How far back, until now.")]

OUTCOMES = {"delivered": "good", "on the way": "ink", "rejected": "soft"} | {
    "expired or invalid": "warn",
    "not delivered": "bad",
}
"""What becomes of signals, from the foot of the stack up, with its tone."""

FATES = {
    "received": "on the way",
    "rejected": "rejected",
    "expired": "expired or invalid",
    "invalid": "expired or invalid",
}
WAITING = frozenset({"queued", "sending"})
TONES = ("accent", "info", "warn", "ink", "soft", "bad")
MOST_LINES = len(TONES)


@router.get("/signals")
async def signals(parts: Parts, _actor: Reader, minutes: Minutes = 60) -> Chart:
    """Signals by what became of them, by the time they came; one number a step."""
    async with parts["pages"].read() as connection:
        over = grid(minutes, await charts.now(connection))
        found = await charts.outcomes(connection, over)
    return Chart(
        x=over.x,
        series=[
            Series(name=name, unit="signals", tone=tone, values=_of(name, found, over.count))
            for name, tone in OUTCOMES.items()
        ],
        note=f"Each column is {_spoken(over.step)}; the last one is not over yet.",
    )


def _of(name: str, found: Sequence[Outcome], count: int) -> list[int]:
    return spread(((one.place, one.signals) for one in found if _fate(one) == name), count)


def _fate(one: Outcome) -> str:
    if one.state is None:
        return FATES[one.status]
    if one.state == "delivered":
        return "delivered"
    return "on the way" if one.state in WAITING else "not delivered"


@router.get("/latency")
async def latency(parts: Parts, _actor: Reader, minutes: Minutes = 60) -> Chart:
    """From the alert to its delivery, in milliseconds: median and 99th percentile of each step."""
    async with parts["pages"].read() as connection:
        over = grid(minutes, await charts.now(connection))
        found = await charts.latencies(connection, over)
    places = [found.get(place) for place in range(over.count)]
    return Chart(
        x=over.x,
        series=[
            Series(name=name, unit="ms", tone=tone, values=[one and one[rank] for one in places])
            for rank, (name, tone) in enumerate(
                (("half within", "accent"), ("99 % within", "warn"))
            )
        ],
        note=f"Of the alerts of {_spoken(over.step)} each, waiting for rate windows included.",
    )


@router.get("/budget")
async def budget(
    parts: Parts,
    _actor: Reader,
    *,
    destination: Annotated[str | None, Query(max_length=40)] = None,
    minutes: Minutes = 60,
) -> Chart:
    """How much of its rate windows each destination used; of one, each window with its limit."""
    async with parts["pages"].read() as connection:
        over = grid(minutes, await charts.now(connection))
        found = await charts.limited(connection, destination)
        if destination is not None and not found:
            words = "No destination in use has this name and a rate window."
            raise ProblemError(404, "no_such_destination", words)
        used = [await _used(connection, one, over) for one in found[:MOST_LINES]]
    if destination is not None:
        return Chart(x=over.x, series=_windows(found[0], used[0], over))
    return Chart(
        x=over.x,
        series=[
            Series(name=one.name, unit="%", tone=tone, values=_fullest(one, windows))
            for one, windows, tone in zip(found, used, TONES, strict=False)
        ],
        note=_left_out(len(found))
        or f"The most of {_spoken(over.step)} each, of the window that was nearest to its limit.",
    )


async def _used(connection: ReadConnection, one: Limited, over: Grid) -> list[list[int]]:
    """The most that was used of each window within each step."""
    shortest = min(window.seconds for window in one.windows)
    slot = next(s for s in range(min(shortest, 60), 0, -1) if over.step % s == 0)
    slot = max(slot, over.step // 60)
    longest = timedelta(seconds=max(window.seconds for window in one.windows) + slot)
    sent = await charts.sent(connection, one.id, over.since, slot, longest)
    slots = over.step // slot
    return [peaks(sent, -(-w.seconds // slot), slots, over.count) for w in one.windows]


def _fullest(one: Limited, used: Sequence[Sequence[int]]) -> list[float]:
    shares = [
        [100 * number / window.limit for number in numbers]
        for window, numbers in zip(one.windows, used, strict=True)
    ]
    return [round(max(step), 1) for step in zip(*shares, strict=True)]


def _windows(one: Limited, used: Sequence[Sequence[int]], over: Grid) -> list[Series]:
    found: list[Series] = []
    for window, numbers, tone in zip(one.windows, used, TONES, strict=False):
        span = _spoken(window.seconds)
        limit = [window.limit] * over.count
        found += [
            Series(name=f"used in {span}", unit="requests", tone=tone, values=numbers),
            Series(name=f"limit in {span}", unit="requests", tone="soft", values=limit),
        ]
    return found


def _left_out(there: int) -> str | None:
    if there <= MOST_LINES:
        return None
    return f"The first {MOST_LINES} of {there} destinations; each has a chart of its own."


@router.get("/list")
async def age(parts: Parts, _actor: Reader, minutes: Minutes = 60) -> Chart:
    """How old the list grew, how old it may be for buys, and the looks that brought none."""
    async with parts["pages"].read() as connection:
        now = await charts.now(connection)
        over = grid(minutes, now)
        found = await charts.looks(connection, over)
        screen = (await universes.current(connection)).screen
    most = list_max_age(screen.refresh, parts["rules"].list_max_age).total_seconds()
    grown = [one and round(one, 1) for one in ages(found.confirmed, found.before, over, now)]
    marks = [
        Mark(x=at, y=None, label=outcome if looks == 1 else f"{outcome}, {looks} looks", tone="bad")
        for at, outcome, looks in found.failed
    ]
    return Chart(
        x=over.x,
        series=[
            Series(name="oldest", unit="s", tone="accent", values=grown, marks=marks),
            Series(name="too old for buys", unit="s", tone="warn", values=[most] * over.count),
        ],
        note="Points at the foot are looks that brought no list." if marks else None,
    )


def _spoken(seconds: int) -> str:
    """A span as a noun: "a minute", "15 minutes", "an hour"."""
    if seconds in {60, 3600}:
        return {60: "a minute", 3600: "an hour"}[seconds]
    return f"{seconds // 60} minutes" if seconds % 60 == 0 else f"{seconds} seconds"
