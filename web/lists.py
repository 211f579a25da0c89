"""The list as callers see it: /api/universe, and the screen behind it at /finviz/config."""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request

from database import screens, universes
from database.pool import ReadConnection
from database.universes import Current, LastFetch
from domain.access import Scope
from domain.gate import list_max_age
from domain.screen import warnings
from domain.universe import Trust, trust
from web.dependencies import Parts, Reader, Rules, actor_with
from web.errors import ProblemError
from web.payloads import ScreenIn

router = APIRouter(tags=["list"])


async def look(connection: ReadConnection) -> tuple[Current, LastFetch | None]:
    """The list in force and how the last look at Finviz went."""
    return await universes.current(connection), await universes.last_fetch(connection)


def trust_of(current: Current, last: LastFetch | None, rules: Rules) -> Trust:
    """Whether buys may rely on the list right now."""
    if last is None:
        return Trust.UNKNOWN
    max_age = list_max_age(current.screen.refresh, rules.list_max_age)
    return trust(current.universe, last.now, max_age)


def fetch_shown(last: LastFetch | None) -> dict[str, Any] | None:
    return last and {"outcome": last.outcome, "at": last.at, "detail": last.detail}


def age_of(current: Current, last: LastFetch | None) -> timedelta | None:
    universe = current.universe
    return last.now - universe.confirmed_at if universe and last else None


@router.get("/api/universe")
async def read_universe(parts: Parts, _actor: Reader) -> dict[str, Any]:
    """The list in force with its ranks, how far it is to be trusted, and the last fetch."""
    async with parts["pages"].read() as connection:
        current, last = await look(connection)
    universe, age = current.universe, age_of(current, last)
    return {
        "trust": trust_of(current, last, parts["rules"]),
        "last_fetch": fetch_shown(last),
        "version": universe and universe.version,
        "age_sec": age and round(age.total_seconds(), 3),
        "fetched_at": universe and universe.fetched_at,
        "total": universe and universe.total,
        "top_n": current.screen.top_n,
        "next_fetch_at": last and last.next_at,
        "tickers": [
            {"rank": rank, "ticker": ticker}
            for rank, ticker in enumerate(universe.tickers if universe else (), start=1)
        ],
    }


def _screen_shown(current: Current, last: LastFetch | None, rules: Rules) -> dict[str, Any]:
    screen = current.screen
    total = current.universe.total if current.universe else None
    return {
        "url": screen.url,
        "top_n": screen.top_n,
        "refresh": screen.refresh.total_seconds(),
        "trust": trust_of(current, last, rules),
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
        kept = await screens.active(connection)
        if kept is None:
            raise ProblemError(503, "starting", "The first screen is not there yet.")
        await screens.change_active(connection, given.applied_to(kept.screen), actor=actor)
    parts["wake_keeper"]()
    async with parts["pages"].read() as connection:
        current, last = await look(connection)
    return _screen_shown(current, last, parts["rules"])
