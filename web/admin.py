"""The admin pages: the overview, one signal. Each page is a shell around a partial."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from database import audit, statistics
from database.audit import Filter, Life
from database.statistics import Count
from domain.signal import SignalId
from domain.why import Around
from web.dependencies import Parts, State, session_of
from web.errors import ProblemError
from web.health import SICK_AFTER
from web.lists import look, trust_of, trust_since
from web.signals import body_shown, said
from web.views import (
    OverviewView,
    SignalView,
    Step,
    destination_row,
    duration,
    iso,
    list_view,
    moment,
    problems,
    signal_row,
    summary,
)

router = APIRouter(prefix="/admin", include_in_schema=False)

TEMPLATES = Path(__file__).parents[1] / "templates"
jinja = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


@dataclass(frozen=True, slots=True)
class Page:
    """A template and what it is given: the fields of one frozen view."""

    template: str
    view: Any

    def render(self) -> HTMLResponse:
        given = {field.name: getattr(self.view, field.name) for field in fields(self.view)}
        return HTMLResponse(jinja.get_template(self.template).render(given))


async def signed_in(request: Request, parts: State) -> bool:
    return await parts["doorkeeper"].is_signed_in(session_of(request))


@router.get("")
async def overview(request: Request, parts: Parts) -> Response:
    """The whole page."""
    if not await signed_in(request, parts):
        return RedirectResponse("/admin/login", 303)
    return Page("overview.html", await _overview(request, parts)).render()


@router.get("/partials/overview")
async def overview_partial(request: Request, parts: Parts) -> Response:
    """What a live page reads again."""
    if not await signed_in(request, parts):
        raise ProblemError(401, "signed_out", "Sign in again.")
    return Page("partials/overview.html", await _overview(request, parts)).render()


@router.get("/signals/{id}")
async def signal(id: UUID, request: Request, parts: Parts) -> Response:
    """One signal's whole life."""
    if not await signed_in(request, parts):
        return RedirectResponse("/admin/login", 303)
    async with parts["pages"].read() as connection:
        life = await audit.life(connection, SignalId(id))
    if life is None:
        raise ProblemError(404, "no_such_signal", "There is no signal with this id.")
    return Page("signal.html", _signal(life, parts)).render()


async def _overview(request: Request, parts: State) -> OverviewView:
    rules = parts["rules"]
    async with parts["pages"].read() as connection:
        current, last = await look(connection)
        found = await statistics.snapshot(connection)
        rows = await audit.page(connection, Filter(limit=30))
        attention = await audit.attention(connection)
    listed = list_view(
        current, last, trust_of(current, rules), trust_since(current, rules), elite=rules.elite
    )
    sentence, tone = summary(listed, found)
    now = parts["clock"]()
    return OverviewView(
        sentence=sentence,
        tone=tone,
        problems=problems(listed, found, _sick(parts)),
        counts=_totals(found.recent),
        reasons=[count for count in found.recent if count.reason],
        list=listed,
        destinations=[destination_row(standing) for standing in found.standings],
        positions=found.positions,
        signals=[signal_row(row, now) for row in rows],
        attention=[signal_row(row, now) for row in attention],
        webhook=f"{rules.public_url or str(request.base_url).rstrip('/')}/webhook/in",
        version=rules.version,
    )


def _totals(recent: Sequence[Count]) -> dict[str, int]:
    totals = {"received": sum(count.signals for count in recent)}
    for count in recent:
        if count.status != "received":
            totals[count.status] = totals.get(count.status, 0) + count.signals
    return totals


def _sick(parts: State) -> list[str]:
    return [
        f"The worker {w.name} fails ({w.health.failures_in_row} times in a row): {w.health.failure}"
        for w in parts["workers"]
        if w.health.failures_in_row >= SICK_AFTER
    ]


def _signal(life: Life, parts: State) -> SignalView:
    now = parts["clock"]()
    row = life.signal
    facts = {
        "Source": row["source"],
        "Symbol as sent": row["symbol"],
        "Exchange": row["exchange"],
        "Sender's time": row["sender_time"],
        "List version": row["universe_version"],
        "Rank": row["rank"],
        "Top N then": row["cutoff"],
        "List age": _age(row["list_age_ms"]),
        "Expires": row["expires_at"],
        "Reason": row["reason"],
        **_around(life.around),
    }
    return SignalView(
        row=replace(signal_row(row, now), why=said(row, life.around)),
        facts={name: _plain(value) for name, value in facts.items() if value is not None},
        steps=_steps(life, parts),
        attempts=[_attempt(attempt) for attempt in life.attempts],
        body=body_shown(row, parts["vault"]),
        version=parts["rules"].version,
    )


def _around(around: Around | None) -> dict[str, object]:
    """The list it was judged by, and what its ticker did around then."""
    if around is None:
        return {}
    return {
        "Screen": around.screen,
        "Rows of the screen": around.total,
        "Margin": around.margin or None,
        "Came into the list": around.entered_at,
        "Stayed for": around.entered_for and duration(around.entered_for),
        "Had left": around.left_before and f"{duration(around.left_before)} before",
    }


def _age(age_ms: int | None) -> str | None:
    return None if age_ms is None else duration(timedelta(milliseconds=age_ms))


def _steps(life: Life, parts: State) -> list[Step]:
    now = parts["clock"]()
    first = life.signal["received_at"]
    return [
        Step(
            at=moment(event["at"], now),
            since_first=f"+{(event['at'] - first).total_seconds():.3f} s",
            event=event["event"],
            detail=_detail(event["detail"]),
        )
        for event in life.events
    ]


def _detail(detail: Mapping[str, Any]) -> str:
    said = {key: value for key, value in detail.items() if value is not None}
    return ", ".join(f"{key.replace('_', ' ')} {_word(value)}" for key, value in said.items())


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _attempt(attempt: Mapping[str, Any]) -> dict[str, str]:
    names = ("number", "started_at", "outcome", "status", "duration_ms", "error", "answer")
    return {name: _plain(attempt[name]) for name in names}


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return iso(value)
    return "" if value is None else str(value)
