"""What-if: /api/whatif judges a past period again under other settings, and writes nothing."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from database import gate, past
from database.past import Period, TooMuchError
from domain.asked import Asked, Usual
from domain.gate import SellPolicy, Verdict
from domain.past import Past
from domain.rulebook import shown_rulebook
from domain.rules import Rulebook
from domain.screen import TOP_N_MAX
from domain.signal import Side, SignalStatus
from domain.whatif import Comparison, Flip, compare
from engines.universe.calendar import days_off_in
from web.dependencies import Parts, Reader, Rules
from web.errors import ProblemError
from web.moments import Moment
from web.payloads_rules import RulebookIn

router = APIRouter(prefix="/api/whatif", tags=["what-if"])

ONE_AT_A_TIME = asyncio.Lock()
"""A period may take seconds of a processor and a hundred megabytes: once is enough."""

PAUSE_EVERY, PAUSE = 128, 0.000_5
"""Steps of ten microseconds or so, and seconds: nobody waits for the interpreter for long."""

UNEXPLAINED = (
    "Verdicts that do not come out of the records as they were given count as given: {} of them."
    " LIST_MAX_AGE_SEC, SELL_POLICY or what a source may send was another then, or the list or a"
    " position changed in that very moment."
)


class WhatIfIn(BaseModel):
    """A period, and what is to be otherwise in it; what is left out is as it was at the time.

    ``wait`` (hold-and-see), ``list_max_age`` and the times to live are in seconds. ``rules`` is a
    whole rulebook, in place of every one that was in force.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"from": "2026-11-20T14:30:00Z", "top_n": 20, "margin": 5, "wait": 30}],
        },
    )

    since: Moment = Field(alias="from")
    until: Moment | None = Field(None, alias="to")
    top_n: int | None = Field(None, strict=True, ge=1, le=TOP_N_MAX)
    margin: int | None = Field(None, strict=True, ge=0, lt=TOP_N_MAX)
    wait: float | None = Field(None, strict=True, ge=0, le=3_600)
    list_max_age: float | None = Field(None, strict=True, ge=1, le=86_400)
    buy_ttl: float | None = Field(None, strict=True, gt=0, le=86_400)
    sell_ttl: float | None = Field(None, strict=True, gt=0, le=86_400)
    sell_policy: SellPolicy | None = None
    rules: RulebookIn | None = None
    limit: int = Field(1_000, strict=True, ge=1, le=10_000)

    def period(self, now: datetime) -> Period:
        """Until now at most. Raises ProblemError."""
        until = min(self.until or now, now)
        if self.since >= until:
            raise ProblemError(
                400, "invalid_field", "from must be before to, and past.", field="from"
            )
        try:
            return Period(self.since, until)
        except TooMuchError as error:
            raise too_much(error) from None

    def asked(self, rules: Rules, rulebook: Rulebook | None) -> Asked:
        lives = {Side.BUY: self.buy_ttl, Side.SELL: self.sell_ttl}
        return Asked(
            top_n=self.top_n,
            margin=self.margin,
            wait=_seconds(self.wait),
            list_max_age=_seconds(self.list_max_age),
            sell_policy=self.sell_policy,
            rules=rulebook,
            longer={
                side: timedelta(seconds=life) - rules.lifetimes[side]
                for side, life in lives.items()
                if life is not None
            },
        )


def _seconds(given: float | None) -> timedelta | None:
    return None if given is None else timedelta(seconds=given)


def too_much(error: TooMuchError) -> ProblemError:
    return ProblemError(400, "too_much", f"What-if takes {error}.", field="from")


@router.post("")
async def what_if(given: WhatIfIn, parts: Parts, _actor: Reader) -> dict[str, Any]:
    """The verdicts of a past period that would flip under other settings. Nothing is sent."""
    rules, period = parts["rules"], given.period(parts["clock"]())
    if ONE_AT_A_TIME.locked():
        raise ProblemError(429, "busy", "Another what-if is being worked out: try again soon.")
    async with parts["pages"].read() as connection:
        directions = (await gate.read(connection)).rulebook.directions
        known = await gate.sources(connection)
    rulebook = given.rules and given.rules.rulebook(known, "rules.")
    async with ONE_AT_A_TIME:
        try:
            recorded = await past.read(parts["pages"], period, rulebook)
        except TooMuchError as error:
            raise too_much(error) from None
        usual = Usual(
            list_max_age=rules.list_max_age,
            sell_policy=rules.sell_policy,
            directions=directions,
            days_off=await asyncio.to_thread(days_off_in, period.since.year, period.until.year + 1),
        )
        asked = given.asked(rules, rulebook)
        found = await asyncio.to_thread(compare, recorded, asked, usual, _pauses())
    settings = given.model_dump(exclude={"since", "until", "limit", "rules"})
    settings["rules"] = rulebook and shown_rulebook(rulebook)
    return {
        "period": {"from": period.since, "to": period.until},
        "settings": settings,
        "judged": len(recorded.signals),
        "recorded": _counts(found.recorded),
        "would": _counts(found.would),
        "flips": [_shown(flip) for flip in found.flips[: given.limit]],
        "more": max(len(found.flips) - given.limit, 0),
        "notes": list(_notes(found, recorded)),
    }


def _pauses() -> Callable[[], None]:
    """Sleep now and then, for the thread of a long computation gives way only when it sleeps."""
    steps = count(1)

    def pause() -> None:
        if next(steps) % PAUSE_EVERY == 0:
            time.sleep(PAUSE)

    return pause


def _counts(found: Mapping[SignalStatus, int]) -> dict[str, int]:
    statuses = (SignalStatus.APPROVED, SignalStatus.REJECTED, SignalStatus.EXPIRED)
    return {str(status): found.get(status, 0) for status in statuses}


def _shown(flip: Flip) -> dict[str, Any]:
    signal, would = flip.recorded.signal, flip.would
    waited = {"waited_sec": round(flip.waited.total_seconds(), 3)}
    return {
        "signal_id": signal.id,
        "at": signal.received_at,
        "ticker": signal.ticker,
        "side": signal.side,
        "was": _told(flip.recorded.verdict),
        "would": _told(would) | waited,
        "words": flip.words,
    }


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "status": verdict.status,
        "reason": verdict.reason,
        "rank": verdict.rank,
        "cutoff": verdict.cutoff,
        "version": verdict.universe_version,
    }


def _notes(found: Comparison, recorded: Past) -> Iterator[str]:
    if found.known_rows is not None:
        yield (
            f"Lists of this period hold {found.known_rows} rows; ranks beyond are not known, and"
            " count as not in the list."
        )
    if found.unexplained:
        yield UNEXPLAINED.format(found.unexplained)
    if recorded.undecided:
        yield f"Signals that have no verdict yet are left out: {recorded.undecided}."
