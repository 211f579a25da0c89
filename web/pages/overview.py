"""The overview: how the relay stands now, what to do about it, and the first steps there."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from database import audit, statistics
from database.audit import Filter
from database.pool import ReadConnection
from database.statistics import Snapshot
from engines.worker import Worker
from web.dependencies import Parts, State
from web.health import SICK_AFTER
from web.lists import look, trust_of, trust_since
from web.pages.shell import Page, Visiting, Visitor
from web.views.first_steps import Checklist, FirstStepsView, checklist
from web.views.lists import ListView, list_view
from web.views.overview import (
    SPANS,
    Form,
    Now,
    NowView,
    OverviewView,
    Work,
    WorkView,
    day_view,
    destination_row,
    queue_rows,
    summary,
    worker_row,
    worst_row,
)
from web.views.problems import problems
from web.views.shell import Shell
from web.views.signals import signal_row
from web.views.words import iso

router = APIRouter(prefix="/admin", include_in_schema=False)

LATEST, WORST = 16, 4
"""Signals, and attention items, that are shown."""

DAY = timedelta(hours=24)

Minutes = Annotated[int, Query(ge=10, le=1440)]


@router.get("")
async def overview(visitor: Visiting, parts: Parts, minutes: Minutes = 60) -> Response:
    """The whole page; ``minutes`` is how far its charts go back."""
    return Page("overview.html", await overview_view(visitor, parts, minutes)).render()


@router.get("/partials/overview")
async def overview_partial(visitor: Visiting, parts: Parts) -> Response:
    """What a live page reads again: how it stands."""
    async with parts["pages"].read() as connection:
        listed, found = await _listed(connection, parts), await statistics.snapshot(connection)
        shell = await visitor.shell(connection, "overview")
        steps = await _checklist(connection, visitor, listed, found)
        now = await _now(connection, parts, listed, found, shell)
    view = NowView(shell=shell, now=now, checklist=_unfinished(steps))
    return Page("partials/overview.html", view).render()


@router.get("/partials/work")
async def work_partial(visitor: Visiting, parts: Parts) -> Response:
    """What a live page reads again: what is at work."""
    async with parts["pages"].read() as connection:
        listed = await _listed(connection, parts)
        work = await _work(connection, visitor, listed, await statistics.snapshot(connection))
    return Page("partials/work.html", WorkView(work=work)).render()


@router.get("/first-steps")
async def first_steps(visitor: Visiting, parts: Parts) -> Response:
    """What connects the relay, step by step; the overview shows it until all is done."""
    return Page("first_steps.html", await _first_steps(visitor, parts)).render()


@router.get("/partials/first-steps")
async def first_steps_partial(visitor: Visiting, parts: Parts) -> Response:
    """What a live page reads again."""
    return Page("partials/first_steps.html", await _first_steps(visitor, parts)).render()


async def overview_view(
    visitor: Visitor, parts: State, minutes: int = 60, pausing: Form | None = None
) -> OverviewView:
    """``pausing`` is what was typed to pause buying, where that was refused."""
    async with parts["pages"].read() as connection:
        listed, found = await _listed(connection, parts), await statistics.snapshot(connection)
        shell = await visitor.shell(connection, "overview")
        steps = await _checklist(connection, visitor, listed, found)
        return OverviewView(
            shell=shell,
            now=await _now(connection, parts, listed, found, shell),
            checklist=_unfinished(steps),
            work=await _work(connection, visitor, listed, found),
            minutes=minutes,
            spans=SPANS,
            pausing=pausing or Form(),
        )


async def _first_steps(visitor: Visitor, parts: State) -> FirstStepsView:
    async with parts["pages"].read() as connection:
        listed, found = await _listed(connection, parts), await statistics.snapshot(connection)
        return FirstStepsView(
            shell=await visitor.shell(connection, "overview"),
            checklist=await _checklist(connection, visitor, listed, found),
        )


async def _listed(connection: ReadConnection, parts: State) -> ListView:
    rules = parts["rules"]
    current, last = await look(connection)
    trust, since = trust_of(current, rules), trust_since(current, rules)
    return list_view(current, last, trust, since, elite=rules.elite)


async def _now(
    connection: ReadConnection, parts: State, listed: ListView, found: Snapshot, shell: Shell
) -> Now:
    now = parts["clock"]()
    sentence, tone = summary(listed, found, shell.paused)
    fates = await statistics.fates(connection)
    worst = await statistics.worst(connection, WORST)
    return Now(
        sentence=sentence,
        tone=tone,
        problems=problems(listed, found, _failing(parts), now),
        worst=[worst_row(row, now) for row in worst],
        open=shell.waiting,
        day=day_view(found.recent, fates, iso(now - DAY)),
        positions=found.positions,
    )


async def _work(
    connection: ReadConnection, visitor: Visitor, listed: ListView, found: Snapshot
) -> Work:
    parts = visitor.parts
    now, workers = parts["clock"](), parts["workers"]
    rows = await audit.page(connection, Filter(limit=LATEST))
    return Work(
        signals=[signal_row(row, now) for row in rows],
        webhook=_webhook(visitor),
        destinations=[destination_row(standing, now) for standing in found.standings],
        queue=queue_rows(found.backlog),
        list=listed,
        workers=[worker_row(w.name, w.health, now, sick=_is_sick(w)) for w in workers],
        well=sum(not _is_sick(worker) for worker in workers),
    )


async def _checklist(
    connection: ReadConnection, visitor: Visitor, listed: ListView, found: Snapshot
) -> Checklist:
    """A wrong token is looked for only as long as no right one came."""
    steps = await statistics.first_steps(connection)
    knock = None if steps.heard_at else await statistics.knocked(connection)
    return checklist(
        steps,
        found.standings,
        listed,
        webhook=_webhook(visitor),
        knock=knock,
        now=visitor.parts["clock"](),
    )


def _unfinished(steps: Checklist) -> Checklist | None:
    """What goes wrong later is said by the overview itself."""
    return None if steps.begun or steps.finished else steps


def _webhook(visitor: Visitor) -> str:
    own = visitor.parts["rules"].public_url or str(visitor.request.base_url).rstrip("/")
    return f"{own}/webhook/in/YOUR_WEBHOOK_TOKEN"


def _failing(parts: State) -> list[str]:
    return [
        f"The worker {w.name} fails ({w.health.failures_in_row} times in a row): {w.health.failure}"
        for w in parts["workers"]
        if _is_sick(w)
    ]


def _is_sick(worker: Worker) -> bool:
    return worker.health.failures_in_row >= SICK_AFTER
