"""The list as callers see it: /api/universe, and the screen behind it at /finviz/config."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request

from database import screens, universes
from database.pool import ReadConnection
from database.universes import Current, LastFetch
from domain.access import Scope
from domain.gate import list_max_age
from domain.screen import ScreenKind, warnings
from domain.universe import Trust, trust, trusted_since
from web.dependencies import Parts, Reader, Rules, actor_with
from web.errors import ProblemError
from web.payloads import ScreenIn

router = APIRouter(tags=["list"])


async def look(connection: ReadConnection) -> tuple[Current, LastFetch | None]:
    """The list in force and how the last look at Finviz went."""
    return await universes.current(connection), await universes.last_fetch(connection)


def trust_of(current: Current, rules: Rules) -> Trust:
    """Whether buys may rely on the list right now."""
    max_age = list_max_age(current.screen.refresh, rules.list_max_age)
    return trust(current.universe, current.now, max_age)


def trust_since(current: Current, rules: Rules) -> datetime:
    """Since when it is so; of no list at all, since the screen was last changed."""
    max_age = list_max_age(current.screen.refresh, rules.list_max_age)
    universe = current.universe
    return trusted_since(universe, current.now, max_age) if universe else current.since


def age_of(current: Current) -> timedelta | None:
    return current.now - current.universe.confirmed_at if current.universe else None


def fetch_shown(last: LastFetch | None) -> dict[str, Any] | None:
    return last and {
        "outcome": last.outcome,
        "at": last.at,
        "since": last.since,
        "detail": last.detail,
        "premium": last.premium,
        "asked_until": last.asked_until,
    }


def pending_shown(last: LastFetch | None) -> dict[str, Any] | None:
    """The suspect list that waits for a second look, or for an operator's word."""
    pending = last and last.pending
    return pending and {
        "reason": pending.reason,
        "since": pending.at,
        "total": pending.total,
        "tickers": pending.tickers,
    }


def pause_shown(last: LastFetch | None) -> dict[str, Any] | None:
    pause = last and last.pause
    return pause and {"since": pause.at, "by": pause.by, "reason": pause.reason}


@router.get("/api/universe")
async def read_universe(parts: Parts, _actor: Reader) -> dict[str, Any]:
    """The list in force with its ranks, how far it is to be trusted, and the last fetch."""
    async with parts["pages"].read() as connection:
        current, last = await look(connection)
    universe, age, screen = current.universe, age_of(current), current.screen
    return {
        "trust": trust_of(current, parts["rules"]),
        "since": trust_since(current, parts["rules"]),
        "last_fetch": fetch_shown(last),
        "next_fetch_at": None if last is None or last.pause else last.next_at,
        "paused": pause_shown(last),
        "pending": pending_shown(last),
        "version": universe and universe.version,
        "age_sec": age and round(age.total_seconds(), 3),
        "fetched_at": universe and universe.fetched_at,
        "valid_until": universe and universe.valid_until,
        "total": universe and universe.total,
        "screen": current.name,
        "top_n": screen.top_n,
        "margin": screen.margin,
        "tickers": [
            {
                "rank": rank,
                "ticker": ticker,
                "counts": rank <= universe.cutoff(ticker, screen.top_n, screen.margin),
            }
            for rank, ticker in enumerate(universe.tickers, start=1)
        ]
        if universe
        else [],
    }


def _screen_shown(current: Current, last: LastFetch | None, rules: Rules) -> dict[str, Any]:
    screen = current.screen
    total = current.universe.total if current.universe else None
    return {
        "url": screen.url or None,
        "top_n": screen.top_n,
        "refresh": screen.refresh.total_seconds(),
        "trust": trust_of(current, rules),
        "last_fetch": fetch_shown(last),
        "warnings": warnings(screen, elite=rules.elite, total=total),
    }


@router.get("/finviz/config")
async def read_screen(parts: Parts, _actor: Reader) -> dict[str, Any]:
    """The active screen, the trust in its list, the last fetch and what is doubtful about it."""
    async with parts["pages"].read() as connection:
        current, last = await look(connection)
    return _screen_shown(current, last, parts["rules"])


@router.post("/finviz/config")
async def change_screen(request: Request, given: ScreenIn, parts: Parts) -> dict[str, Any]:
    """Change the active screen; it is fetched at once, in every replica's gate within seconds."""
    actor = await actor_with(request, Scope.CONFIG, given.token)
    async with parts["pages"].write() as connection:
        kept = await screens.hold_active(connection)
        if kept is None:
            raise ProblemError(503, "starting", "The first screen is not there yet.")
        if kept.screen.kind is ScreenKind.FIXED:
            raise ProblemError(409, "wrong_state", "The active screen is a fixed list.")
        changed = replace(kept, screen=given.applied_to(kept.screen))
        await screens.change(connection, changed, actor=actor)
    parts["wake_keeper"]()
    async with parts["pages"].read() as connection:
        current, last = await look(connection)
    return _screen_shown(current, last, parts["rules"])
