"""Pages of lists of the past: a version, the list at a moment, a ticker's ranks over time."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Query
from fastapi.responses import Response

from database import movements, universes
from database.movements import Beside
from web import universes as universe_calls
from web.dependencies import Parts, State
from web.errors import ProblemError
from web.pages.shell import Page, Visiting, Visitor
from web.views.list_now import rows_of
from web.views.past_lists import (
    HistoryView,
    RanksView,
    ThenView,
    came_row,
    chart_of,
    field,
    ranks_note,
    ranks_sentence,
    spell_row,
    then_facts,
    then_sentence,
    version_facts,
    version_row,
    version_sentence,
)

router = APIRouter(prefix="/admin", include_in_schema=False)

PAGE = 50
DAY = timedelta(days=1)
EVERY_ROW = 10_000

Given: TypeAlias = Annotated[str | None, Query(max_length=64)]


def moment_of(given: str, name: str) -> datetime:
    """A time as a form sends it, in UTC where it names no zone. Raises ProblemError 400."""
    try:
        found = datetime.fromisoformat(given.strip().replace(" ", "+"))
    except ValueError:
        words = f"{name} is not a time: 2026-11-21T15:07:00 is one."
        raise ProblemError(400, "invalid_field", words, field=name) from None
    return universe_calls.utc(found, name)


def version_of(given: str) -> int:
    if not given.isdecimal() or int(given) >= 2**63:
        words = "A version of the list is a whole number."
        raise ProblemError(400, "invalid_field", words, field="version")
    return int(given)


async def version_page(visitor: Visitor, parts: State, given: str) -> Response:
    """One version with its rows."""
    try:
        found = await universe_calls.read_version(version_of(given), parts, visitor.name)
    except ProblemError as problem:
        return await _refused(visitor, parts, problem)
    view = await _then(
        visitor,
        parts,
        found | {"at": found["fetched_at"]},
        title=f"Version {found['version']}",
        told=(version_sentence(found), ""),
        facts=version_facts(found),
    )
    return Page("list_then.html", view).render()


async def then_page(visitor: Visitor, parts: State, given: str) -> Response:
    """The screen, the list and the trust in it at a moment."""
    try:
        time = moment_of(given, "at")
        found = await universe_calls.read_universe_at(parts, visitor.name, time)
    except ProblemError as problem:
        return await _refused(visitor, parts, problem, given)
    view = await _then(
        visitor,
        parts,
        found,
        title=f"The list at {found['at']:%Y-%m-%d %H:%M:%S} UTC",
        told=then_sentence(found),
        facts=then_facts(found),
    )
    return Page("list_then.html", view).render()


async def _then(
    visitor: Visitor,
    parts: State,
    found: Mapping[str, Any],
    *,
    title: str,
    told: tuple[str, str],
    facts: Mapping[str, str],
) -> ThenView:
    version: int | None = found["version"]
    async with parts["pages"].read() as connection:
        beside = Beside() if version is None else await movements.beside(connection, version)
        shell = await visitor.shell(connection, "list")
    sentence, tone = told
    return ThenView(
        shell=shell,
        title=title,
        sentence=sentence,
        tone=tone,
        facts=facts,
        version=version,
        rows=rows_of(found["rows"], beside.former, most=EVERY_ROW),
        entered=found.get("entered", ()),
        dropped=found.get("dropped", ()),
        before=beside.before,
        after=beside.after,
        at=field(found["at"]),
    )


async def _refused(
    visitor: Visitor, parts: State, problem: ProblemError, typed: str = ""
) -> Response:
    view = await _history(visitor, parts, None, refused=problem.detail, typed=typed)
    return Page("list_history.html", view).render(problem.status)


@router.get("/list/history")
async def history_page(visitor: Visiting, parts: Parts, cursor: Given = None) -> Response:
    """Every version of the active screen's list, and a field for any moment."""
    try:
        view = await _history(visitor, parts, cursor)
    except ProblemError as problem:
        return await _refused(visitor, parts, problem)
    return Page("list_history.html", view).render()


async def _history(
    visitor: Visitor,
    parts: State,
    cursor: str | None,
    *,
    refused: str | None = None,
    typed: str = "",
) -> HistoryView:
    found = await universe_calls.list_universes(parts, visitor.name, limit=PAGE, cursor_=cursor)
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "list")
    now, page = parts["clock"](), "/admin/list/history"
    return HistoryView(
        shell=shell,
        at=typed or field(now),
        rows=[version_row(row, now) for row in found["items"]],
        newest=page if cursor else None,
        older=f"{page}?cursor={found['next']}" if found["next"] else None,
        refused=refused,
    )


async def ranks_page(
    visitor: Visitor, parts: State, ticker: str, since: str | None, until: str | None
) -> Response:
    """Where a ticker stood, when it came and went, and its signals then."""
    try:
        found = await _ranks(visitor, parts, ticker, since, until) if ticker.strip() else None
    except ProblemError as problem:
        view = await _ranks_view(visitor, parts, None, (ticker, since, until), problem.detail)
        return Page("list_ranks.html", view).render(problem.status)
    view = await _ranks_view(visitor, parts, found, (ticker, since, until))
    return Page("list_ranks.html", view).render()


async def _ranks(
    visitor: Visitor, parts: State, ticker: str, since: str | None, until: str | None
) -> dict[str, Any]:
    return await universe_calls.read_rank(
        parts,
        visitor.name,
        ticker=ticker,
        from_=moment_of(since, "from") if since else None,
        to=moment_of(until, "to") if until else None,
    )


async def _ranks_view(
    visitor: Visitor,
    parts: State,
    found: Mapping[str, Any] | None,
    typed: tuple[str, str | None, str | None],
    refused: str | None = None,
) -> RanksView:
    async with parts["pages"].read() as connection:
        current = await universes.current(connection)
        shell = await visitor.shell(connection, "list")
    ticker, since, until = typed
    now = parts["clock"]()
    return RanksView(
        shell=shell,
        ticker=found["ticker"] if found else ticker,
        since=field(found["from"]) if found else since or field(now - DAY),
        until=field(found["to"]) if found and until else until or "",
        chart=chart_of(found["ticker"], found["from"], found["to"] if until else None)
        if found
        else "",
        sentence=ranks_sentence(found) if found else "",
        note=ranks_note(found) if found else "",
        spells=[spell_row(one) for one in reversed(found["spells"])] if found else [],
        signals=[came_row(one, now) for one in found["signals"]] if found else [],
        tickers=current.universe.tickers if current.universe else (),
        refused=refused,
    )
