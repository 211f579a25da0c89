"""The page of what people did: who, from where, from what to what."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from database import activity
from database.activity import Wanted
from database.audit import Facts
from database.pool import ReadConnection
from web.activity import shown
from web.dependencies import Parts, State
from web.errors import ProblemError
from web.pages.shell import Page, Visiting, Visitor
from web.signals import before as place
from web.signals import cursor, named
from web.views.activity import KINDS, ActivityView, Sieve, activity_row

router = APIRouter(prefix="/admin", include_in_schema=False)

HERE = "/admin/activity"
A_PAGE = 50
FORM = "sieve"
"""The id of the form that filters, by which htmx says that it was that which asked."""

Text = Annotated[str, Query(max_length=100)]


def _sieve(  # noqa: PLR0913  one parameter per filter
    *,
    text: Text = "",
    who: Text = "",
    action: Text = "",
    ticker: Text = "",
    subject: Text = "",
    since: Text = "",
    until: Text = "",
) -> Sieve:
    return Sieve(
        text=text.strip(),
        who=who.strip(),
        action=action.strip().lower(),
        ticker=ticker.strip(),
        subject=subject.strip(),
        since=since.strip(),
        until=until.strip(),
    )


Sieved = Annotated[Sieve, Depends(_sieve)]


@router.get("/activity")
async def activity_page(
    visitor: Visiting, parts: Parts, sieve: Sieved, before: Text = "", after: Text = ""
) -> Response:
    """What people did, by filter, the newest first."""
    view = await _view(visitor, parts, sieve, before, after)
    return Page("activity.html", view).render(400 if view.refused else 200)


@router.get("/partials/activity")
async def activity_partial(
    request: Request,
    visitor: Visiting,
    parts: Parts,
    sieve: Sieved,
    before: Text = "",
    after: Text = "",
) -> Response:
    """What a live page reads again, and what its filters show; those stand in its address then."""
    view = await _view(visitor, parts, sieve, before, after)
    answer = Page("partials/activity.html", view).render()
    if request.headers.get("hx-trigger") == FORM:
        answer.headers["hx-replace-url"] = _address(sieve)
    return answer


async def _view(
    visitor: Visitor, parts: State, sieve: Sieve, before: str, after: str
) -> ActivityView:
    refused, rows = None, list[Facts]()
    newer = older = False
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "activity")
        try:
            wanted = replace(
                _wanted(sieve), before=place(before or None), after=place(after or None)
            )
            rows, newer, older = await _page(connection, wanted)
        except ProblemError as problem:
            refused = problem.detail
    now = parts["clock"]()
    return ActivityView(
        shell=shell,
        sieve=sieve,
        kinds=KINDS,
        rows=[activity_row(row, shown(row), now) for row in rows],
        refused=refused,
        filtered=sieve != Sieve(),
        before=before,
        after=after if newer else "",
        newer=_address(sieve, after=cursor(rows[0]["id"])) if newer else None,
        older=_address(sieve, before=cursor(rows[-1]["id"])) if older else None,
        export=_query(_exported(sieve)) if not refused else "",
    )


async def _page(connection: ReadConnection, wanted: Wanted) -> tuple[list[Facts], bool, bool]:
    """Rows, and whether there are newer and older ones. Who comes to the top sees the top."""
    rows = await activity.page(connection, replace(wanted, limit=A_PAGE + 1))
    more = len(rows) > A_PAGE
    if wanted.after is not None and not more:
        return await _page(connection, replace(wanted, after=None))
    if wanted.after is not None:
        return rows[1:], True, True
    return rows[:A_PAGE], wanted.before is not None and bool(rows), more


def _wanted(sieve: Sieve) -> Wanted:
    """Raises ProblemError 400, in words for whoever typed it."""
    return Wanted(
        who=sieve.who or None,
        action=f"{sieve.action}." if sieve.action in KINDS else sieve.action or None,
        subject=_id(sieve.subject),
        ticker=named(sieve.ticker),
        text=sieve.text or None,
        since=_time("from", sieve.since),
        until=_time("to", sieve.until),
    )


def _id(given: str) -> UUID | None:
    try:
        return UUID(given) if given else None
    except ValueError:
        raise ProblemError(400, "invalid_field", "subject: it is no id") from None


def _time(name: str, given: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(given) if given else None
    except ValueError:
        words = f"{name}: write a time in UTC, such as 2026-01-05T15:30"
        raise ProblemError(400, "invalid_field", words) from None
    return at and (at if at.tzinfo else at.replace(tzinfo=UTC))


def _exported(sieve: Sieve) -> Sieve:
    """As the API takes it: kinds as beginnings of events, times with their zone."""
    wanted = _wanted(sieve)
    return replace(
        sieve,
        action=wanted.action or "",
        since=wanted.since.isoformat() if wanted.since else "",
        until=wanted.until.isoformat() if wanted.until else "",
    )


def _query(sieve: Sieve, **more: str) -> str:
    given = {**asdict(sieve), **more}
    return urlencode({name: value for name, value in given.items() if value})


def _address(sieve: Sieve, **more: str) -> str:
    query = _query(sieve, **more)
    return f"{HERE}?{query}" if query else HERE
