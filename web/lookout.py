"""Looking at Finviz by hand: try a screen, refresh, pause, and a word on a suspect list."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any, TypeAlias

from fastapi import APIRouter, Response

from database import adopting, lookout, screens, universes, watches
from database.adopting import Listing
from database.lookout import Lookout
from database.pool import Connection
from database.screens import Kept, ScreenId
from database.universes import LastFetch
from domain.gate import list_max_age
from domain.screen import Screen, ScreenKind, looks_unfiltered
from domain.screen_terms import changed_screen, new_screen
from domain.ticker import Ticker
from domain.universe import FetchOutcome, Row, Suspect, weigh
from engines.universe.source import Answer, UniverseSource
from web.dependencies import Configurer, Parts, Reader, Rules, State
from web.errors import ProblemError, problem
from web.payloads_screens import PauseIn, ScreenTry, Seen, named_fields
from web.screens import missing, usual_refresh, warned

router = APIRouter(tags=["lookout"])

APART = timedelta(seconds=10)
"""Between two looks that people ask for, over all replicas."""

LONGEST = 60.0
"""Seconds a look by hand may take."""

Shown: TypeAlias = dict[str, Any]


# ── Try before saving ───────────────────────────────────────────────────────────────────────


@router.post("/api/screens/try", response_model=None)
async def try_screen(given: ScreenTry, parts: Parts, actor: Configurer) -> Shown | Response:
    """Look once, and show what was read. Nothing of it is kept."""
    try:
        return await attempt(given, parts, actor)
    except TooSoonError as error:
        return _too_soon(error)


async def attempt(given: ScreenTry, parts: State, actor: str) -> Shown:
    """What a look at it shows. Raises ProblemError, TooSoonError among them."""
    screen = await _tried(given, parts)
    if screen.kind is ScreenKind.FINVIZ:
        await _by_hand(parts, lookout.may_try, actor)
    clock = asyncio.get_running_loop().time
    began = clock()
    answer = await fetch_within(LONGEST, parts["source"], screen)
    took = round(clock() - began, 3)
    async with parts["pages"].read() as connection:
        current = await universes.current(connection)
    same = bool(screen.url) and current.screen.url == screen.url
    in_force = current.universe.tickers if same and current.universe else None
    return _answer_shown(answer, screen) | {
        "took_sec": took,
        "warnings": [
            *warned(screen, parts["rules"], current.now, answer.total),
            *_doubts(answer, parts["rules"]),
        ],
        "surprise": _surprise(screen, answer, in_force) if same else None,
    }


async def _tried(given: ScreenTry, parts: State) -> Screen:
    now = parts["clock"]()
    if given.id is None:
        with named_fields():
            return new_screen(given.terms(), refresh=usual_refresh(parts["rules"]), now=now)
    async with parts["pages"].read() as connection:
        kept = await screens.one(connection, ScreenId(given.id))
    if kept is None:
        raise missing()
    with named_fields():
        return changed_screen(kept.screen, given.terms(), now=now)


async def fetch_within(seconds: float, source: UniverseSource, screen: Screen) -> Answer:
    """Look once. No connection to the database is held meanwhile."""
    try:
        async with asyncio.timeout(seconds):
            return await source.fetch(screen)
    except TimeoutError:
        detail = f"no whole list within {seconds:g} s"
        return Answer(outcome=FetchOutcome.UNREACHABLE, detail=detail)


def _answer_shown(answer: Answer, screen: Screen) -> Shown:
    return {
        "outcome": answer.outcome,
        "detail": answer.detail,
        "witness": answer.witness,
        "premium": answer.premium,
        "total": answer.total,
        "pages": answer.pages,
        "rows": [_row_shown(row, screen.top_n) for row in answer.rows],
    }


def _row_shown(row: Row, top_n: int) -> Shown:
    return {
        "rank": row.rank,
        "ticker": row.ticker,
        "price": None if row.price is None else float(row.price),
        "volume": row.volume,
        "counts": row.rank <= top_n,
    }


def _doubts(answer: Answer, rules: Rules) -> list[str]:
    """What only a look can tell."""
    found: list[str] = []
    if rules.elite and answer.premium is False:
        found.append("Finviz does not take this account for an Elite one: quotes are delayed.")
    if answer.outcome.is_list and answer.pages > 1:
        found.append(
            f"Each look needs {answer.pages} requests, a second apart:"
            " a smaller top N (with its margin) needs fewer."
        )
    return found


def _surprise(screen: Screen, answer: Answer, in_force: Sequence[Ticker] | None) -> str | None:
    """Why this answer would not replace the list in force at once."""
    if answer.certain or not answer.outcome.is_list:
        return None
    unfiltered = looks_unfiltered(screen, answer.total or 0)
    weighed = weigh(in_force, answer.tickers, None, unfiltered=unfiltered)
    return weighed.reason if isinstance(weighed, Suspect) else None


# ── Asking, and asking nothing ──────────────────────────────────────────────────────────────

Asked: TypeAlias = Callable[..., Awaitable[timedelta]]


class TooSoonError(ProblemError):
    """A look that somebody asks for too soon; it may be asked for in so many ``seconds``."""

    def __init__(self, seconds: int, words: str) -> None:
        super().__init__(429, "too_soon", words)
        self.seconds = seconds


async def _by_hand(parts: State, ask: Asked, actor: str) -> None:
    """Have Finviz asked by hand. Raises TooSoonError, and ProblemError while it is paused."""
    async with parts["pages"].write() as connection:
        now = await lookout.hold(connection)
        if now.pause:
            words = f"Finviz is asked nothing: {now.pause.by} paused it. Resume first."
            raise ProblemError(409, "paused", words)
        wait = await ask(connection, actor=actor, apart=APART)
    if wait:
        raise _wait_for(wait, now)


def _wait_for(wait: timedelta, now: Lookout) -> TooSoonError:
    seconds = ceil(wait.total_seconds())
    words = (
        f"Finviz asked us to stay away for another {seconds} s."
        if now.asked_until
        else f"The last look by hand was less than {APART.seconds} s ago: wait {seconds} s."
    )
    return TooSoonError(seconds, words)


def _too_soon(error: TooSoonError) -> Response:
    answer = problem(error.status, error.code, error.detail)
    answer.headers["retry-after"] = str(error.seconds)
    return answer


@router.post("/api/universe/refresh", status_code=202, response_model=None)
async def refresh(parts: Parts, actor: Configurer) -> Shown | Response:
    """Let the next look be due now, whenever it was."""
    try:
        await hasten(parts, actor)
    except TooSoonError as error:
        return _too_soon(error)
    return {"due": True}


async def hasten(parts: State, actor: str) -> None:
    """Let the next look be due now. Raises ProblemError, TooSoonError among them."""
    await _by_hand(parts, lookout.refresh, actor)
    parts["wake_keeper"]()


@router.get("/api/lookout")
async def read_lookout(parts: Parts, _actor: Reader) -> Shown:
    """Whether Finviz may be asked: paused by an operator, or asked by Finviz to stay away."""
    async with parts["pages"].read() as connection:
        return _shown(await lookout.state(connection))


def _shown(now: Lookout) -> Shown:
    pause = now.pause
    return {
        "paused": pause and {"since": pause.at, "by": pause.by, "reason": pause.reason},
        "asked_until": now.asked_until,
        "by_hand_at": now.by_hand_at,
    }


@router.post("/api/lookout/pause")
async def pause(given: PauseIn, parts: Parts, actor: Configurer) -> Shown:
    """Ask Finviz nothing more. The list in force ages: buys stop when it is too old."""
    async with parts["pages"].write() as connection:
        changed = await lookout.pause(connection, actor=actor, reason=given.reason)
        return _shown(await lookout.state(connection)) | {"changed": changed}


@router.post("/api/lookout/resume")
async def resume(parts: Parts, actor: Configurer) -> Shown:
    """Ask again; what became due meanwhile is asked at once."""
    async with parts["pages"].write() as connection:
        changed = await lookout.resume(connection, actor=actor)
        shown = _shown(await lookout.state(connection)) | {"changed": changed}
    parts["wake_keeper"]()
    return shown


# ── A word on the suspect list ──────────────────────────────────────────────────────────────


async def _not_this_one(connection: Connection) -> ProblemError:
    last = await universes.last_fetch(connection)
    if last is None or last.pending is None:
        return ProblemError(409, "nothing_pending", "No suspect list waits for a word.")
    words = "Another suspect list waits by now: look at it first."
    return ProblemError(409, "changed_meanwhile", words, field="tickers")


@router.post("/api/universe/accept")
async def accept(given: Seen, parts: Parts, actor: Configurer) -> Shown:
    """Let the suspect list replace the one in force, at once."""
    tickers = given.names()
    async with parts["pages"].write() as connection:
        last = await universes.last_fetch(connection)
        total = await watches.accept(connection, tickers, actor=actor, reason=given.reason)
        kept = await screens.hold_active(connection)
        if total is None or kept is None:
            raise await _not_this_one(connection)
        max_age = list_max_age(kept.screen.refresh, parts["rules"].list_max_age)
        seen_at = _seen_at(last, max_age)
        rows = [Row(rank=rank, ticker=ticker) for rank, ticker in enumerate(tickers, start=1)]
        listing = Listing(rows=rows, total=total, seen_at=seen_at, accepted_by=actor)
        version = await adopting.adopt(connection, kept, listing, max_age=max_age)
        whole_market = await _believe_total(connection, kept, total, actor)
    parts["wake_keeper"]()
    return {"version": version, "tickers": len(rows), "total": total, "whole_market": whole_market}


def _seen_at(last: LastFetch | None, max_age: timedelta) -> datetime:
    """When the suspect list was seen, not too long ago. Raises ProblemError."""
    if last and last.outcome is FetchOutcome.SUSPECT and last.now - last.at <= max_age:
        return last.at
    words = "The last look did not bring it, or is too long ago: refresh first."
    raise ProblemError(409, "too_old", words)


async def _believe_total(connection: Connection, kept: Kept, total: int, actor: str) -> bool:
    """A list that looks like the whole market is not doubted for that again."""
    if not looks_unfiltered(kept.screen, total):
        return kept.screen.whole_market
    meant = replace(kept, screen=replace(kept.screen, whole_market=True))
    await screens.change(connection, meant, actor=actor)
    return True


@router.post("/api/universe/refuse")
async def refuse(given: Seen, parts: Parts, actor: Configurer) -> Shown:
    """Keep the list in force: the suspect one, and any like it, does not replace it."""
    async with parts["pages"].write() as connection:
        if not await watches.refuse(connection, given.names(), actor=actor, reason=given.reason):
            raise await _not_this_one(connection)
    return {"refused": True}
