"""The past of the lists: every version, any moment, a ticker's rank over time, and every look."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query

from database import history, ranks, screens
from database.history import Former, Ranked
from database.pool import ReadConnection
from database.ranks import Ranks, Wanted
from database.screens import Kept, ScreenId
from domain.gate import list_max_age
from domain.spell import spells
from domain.universe import FetchOutcome, trust
from web.dependencies import Parts, Reader, Rules
from web.errors import ProblemError
from web.payloads import invalid
from web.signals import before, cursor, normalised

router = APIRouter(prefix="/api", tags=["history"])

DAY = timedelta(days=1)
LONGEST = timedelta(days=400)

Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(alias="cursor", max_length=40)]
ScreenName = Annotated[str | None, Query(max_length=40)]


@router.get("/universes")
async def list_universes(
    parts: Parts,
    _actor: Reader,
    *,
    screen: ScreenName = None,
    limit: Limit = 50,
    cursor_: Cursor = None,
) -> dict[str, Any]:
    """Versions of a screen's list (the active one's; or of `all`), newest first."""
    async with parts["pages"].read() as connection:
        kept = None if screen == "all" else await _screen(connection, screen)
        rows = await history.page(
            connection, screen=kept and kept.id, before=before(cursor_), limit=limit + 1
        )
    more = len(rows) > limit
    return {
        "items": rows[:limit],
        "next": cursor(rows[limit - 1]["version"]) if more else None,
    }


@router.get("/universes/at")
async def read_universe_at(parts: Parts, _actor: Reader, time: datetime) -> dict[str, Any]:
    """The state of the list at a moment: the screen in force, its list and the trust in it."""
    async with parts["pages"].read() as connection:
        former = await history.at(connection, utc(time, "time"))
    if former is None:
        raise _unknown("There was no screen yet at this time.")
    return _former_shown(former, parts["rules"])


@router.get("/universes/rank")
async def read_rank(
    parts: Parts,
    _actor: Reader,
    *,
    ticker: Annotated[str, Query(min_length=1, max_length=40)],
    from_: Annotated[datetime | None, Query(alias="from")] = None,
    to: datetime | None = None,
    screen: ScreenName = None,
) -> dict[str, Any]:
    """A ticker's rank over time, when it came in and went out, and the signals of it."""
    until = utc(to, "to") if to else parts["clock"]()
    since = utc(from_, "from") if from_ else until - DAY
    if not timedelta(0) < until - since <= LONGEST:
        raise invalid("from", f"from must be before to, by at most {LONGEST.days} days")
    async with parts["pages"].read() as connection:
        kept = await _screen(connection, screen)
        wanted = Wanted(screen=kept.id, ticker=normalised(ticker), since=since, until=until)
        found = await ranks.over_time(connection, wanted)
    return {"screen_id": kept.id, "screen": kept.name} | _ranks_shown(wanted, found)


@router.get("/universes/{version}")
async def read_version(
    version: Annotated[int, Path(ge=0, le=2**63 - 1)], parts: Parts, _actor: Reader
) -> dict[str, Any]:
    """One version of a list with its rows."""
    async with parts["pages"].read() as connection:
        found = await history.one(connection, version)
    if found is None:
        raise _unknown("There is no list of this version.")
    facts, ranked = found
    return {**facts, "rows": rows_shown(ranked, facts["top_n"], facts["margin"])}


@router.get("/fetches")
async def list_fetches(
    parts: Parts,
    _actor: Reader,
    *,
    outcome: FetchOutcome | None = None,
    limit: Limit = 50,
    cursor_: Cursor = None,
) -> dict[str, Any]:
    """Every look at Finviz with its outcome, newest first."""
    async with parts["pages"].read() as connection:
        rows = await history.fetches(
            connection, outcome=outcome, before=before(cursor_), limit=limit + 1
        )
    more = len(rows) > limit
    return {"items": rows[:limit], "next": cursor(rows[limit - 1]["id"]) if more else None}


async def _screen(connection: ReadConnection, given: str | None) -> Kept:
    """The screen of this id, or the active one. Raises ProblemError."""
    if given is None:
        kept = await screens.active(connection)
        if kept is None:
            raise ProblemError(503, "starting", "The first screen is not there yet.")
        return kept
    try:
        kept = await screens.one(connection, ScreenId(UUID(given)))
    except ValueError:
        raise invalid("screen", "screen must be the id of one") from None
    if kept is None:
        raise ProblemError(404, "no_such_screen", "There is no screen with this id.")
    return kept


def _unknown(detail: str) -> ProblemError:
    return ProblemError(404, "no_such_universe", detail)


def utc(given: datetime, field: str) -> datetime:
    """A time that PostgreSQL and Python can both reckon with; without a zone it is UTC."""
    if not 1970 <= given.year <= 9000:
        raise invalid(field, f"{field} must lie between the years 1970 and 9000")
    return given.astimezone(UTC) if given.tzinfo else given.replace(tzinfo=UTC)


def rows_shown(ranked: Ranked, top_n: int, margin: int) -> list[dict[str, Any]]:
    """A list for callers; ``counts``: the ticker is in."""
    universe = ranked.universe
    return [
        {
            "rank": rank,
            "ticker": ticker,
            "price": _told(ranked.prices, rank),
            "volume": _told(ranked.volumes, rank),
            "counts": rank <= universe.cutoff(ticker, top_n, margin),
            "kept": ticker in universe.kept,
        }
        for rank, ticker in enumerate(universe.tickers, start=1)
    ]


def _told(values: Sequence[float | None] | None, rank: int) -> float | None:
    return values[rank - 1] if values else None


def _former_shown(former: Former, rules: Rules) -> dict[str, Any]:
    screen, looked = former.screen, former.looked
    universe = former.ranked and former.ranked.universe
    age = universe and former.at - universe.confirmed_at
    max_age = list_max_age(screen.refresh, rules.list_max_age)
    return {
        "at": former.at,
        "screen_id": former.screen_id,
        "screen": former.name,
        "url": screen.url or None,
        "top_n": screen.top_n,
        "margin": screen.margin,
        "trust": trust(universe, former.at, max_age),
        "version": universe and universe.version,
        "fetched_at": universe and universe.fetched_at,
        "confirmed_at": universe and universe.confirmed_at,
        "age_sec": age and round(age.total_seconds(), 3),
        "total": universe and universe.total,
        "last_fetch": looked
        and {"outcome": looked.outcome, "at": looked.at, "detail": looked.detail},
        "rows": rows_shown(former.ranked, screen.top_n, screen.margin) if former.ranked else [],
    }


def _ranks_shown(wanted: Wanted, found: Ranks) -> dict[str, Any]:
    return {
        "ticker": wanted.ticker,
        "from": wanted.since,
        "to": wanted.until,
        "sampled": found.every is not None,
        "every_sec": found.every and found.every.total_seconds(),
        "capped": found.capped,
        "points": [
            {"at": point.at, "version": point.version, "rank": point.rank, "in": point.is_in}
            for point in found.points
        ],
        "spells": [
            {
                "entered_at": spell.entered_at,
                "dropped_at": spell.dropped_at,
                "for_sec": round(spell.lasted.total_seconds(), 3),
            }
            for spell in spells(found.points, since=wanted.since, until=wanted.until)
        ],
        "signals": found.signals,
    }
