"""Signals as callers read them: /api/signals, and one with its whole life."""

import base64
import binascii
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from database import audit, replays, searching
from database.audit import Facts, Life
from database.pool import ReadConnection
from database.searching import Cursor
from database.vault import SealError, Vault
from domain import search
from domain.body import masked
from domain.signal import Side, SignalId
from domain.ticker import Ticker, normalise
from domain.trace import TraceId, trace_of
from domain.why import Around, Waited, explain
from web import searches
from web.dependencies import Parts, Reader
from web.errors import ProblemError
from web.moments import Moment
from web.searches import Asked, Meant

router = APIRouter(prefix="/api/signals", tags=["signals"])

BARE = ("seq", "judged_at", "universe_version", "rank", "cutoff", "list_age_ms", "status", "shown")


def cursor(seq: int) -> str:
    """An opaque name for "after this one"."""
    return base64.urlsafe_b64encode(str(seq).encode()).decode().rstrip("=")


def before(given: str | None) -> int | None:
    """What a cursor names. Raises ProblemError 400."""
    if given is None:
        return None
    try:
        text = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    if not text.isdecimal():
        raise ProblemError(400, "invalid_field", "cursor is not one of ours", field="cursor")
    return min(int(text), 2**63 - 1)


def named(ticker: str | None) -> Ticker | None:
    """The ticker of a filter, where there is one. Raises ProblemError 400."""
    return normalised(ticker) if ticker else None


def normalised(ticker: str) -> Ticker:
    """A ticker in the one spelling it is stored in. Raises ProblemError 400."""
    try:
        return normalise(ticker)
    except ValueError as error:
        raise ProblemError(400, "invalid_field", f"ticker: {error}", field="ticker") from None


def shown(row: Facts) -> dict[str, Any]:
    """A signal for callers: the state that matters now, and the decision with its grounds."""
    told_else = (*BARE, "body", "body_sealed", "traceparent")
    plain = {key: value for key, value in row.items() if key not in told_else}
    return plain | {
        "status": row["shown"],
        "verdict": {
            "status": row["status"],
            "at": row["judged_at"],
            "universe_version": row["universe_version"],
            "rank": row["rank"],
            "cutoff": row["cutoff"],
            "list_age_ms": row["list_age_ms"],
        },
        "why": said(row),
    }


def said(row: Facts, around: Around | None = None, rule: Facts | None = None) -> str:
    """The decision in words; with what the lists did ``around`` it, where that was looked up.

    ``rule`` is the one it broke, as its event tells.
    """
    waited = row["waits_since"] and Waited(row["waits_since"], row["waits_until"], row["judged_at"])
    return explain(
        status=row["status"],
        reason=row["reason"],
        rank=row["rank"],
        cutoff=row["cutoff"],
        age_ms=row["list_age_ms"],
        side=row["side"],
        ticker=row["ticker"],
        waited=waited,
        around=around,
        rule=rule,
    )


def why(life: Life) -> str:
    """The decision in words, with all that is known of it."""
    rules = [one["detail"]["rule"] for one in life.events if "rule" in one["detail"]]
    return said(life.signal, life.around, rules[-1] if rules else None)


def around_shown(signal: Facts, around: Around | None) -> dict[str, Any] | None:
    """What the verdict was based on, and what became of the ticker; times in seconds."""
    return around and {
        "version": around.version,
        "rank": signal["rank"],
        "cutoff": signal["cutoff"],
        "top_n": around.top_n,
        "margin": around.margin,
        "kept": around.kept,
        "list_age_sec": signal["list_age_ms"] / 1000,
        "screen": around.screen,
        "list_total": around.total,
        "entered_at": around.entered_at,
        "entered_after_sec": _seconds(around.entered_after),
        "entered_for_sec": _seconds(around.entered_for),
        "left_before_sec": _seconds(around.left_before),
    }


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds(), 3)


def body_shown(signal: Facts, vault: Vault) -> str:
    """The body as received, with the values of secrets masked."""
    try:
        body = vault.open(signal["body"]) if signal["body_sealed"] else signal["body"]
    except SealError:
        return "(sealed with another ENCRYPTION_KEY)"
    return masked(body)


def life_shown(life: Life, vault: Vault) -> dict[str, Any]:
    """A signal with its events, its deliveries and their attempts."""
    attempts: dict[UUID, list[Facts]] = {}
    for attempt in life.attempts:
        plain = {key: value for key, value in attempt.items() if key != "delivery_id"}
        attempts.setdefault(attempt["delivery_id"], []).append(plain)
    traceparent = life.signal["traceparent"]
    signal, around = shown(life.signal), life.around
    return signal | {
        "trace_id": trace_of(life.signal["id"], traceparent).hex(),
        "verdict": signal["verdict"] | {"around": around_shown(life.signal, around)},
        "why": why(life),
        "body": body_shown(life.signal, vault),
        "events": life.events,
        "deliveries": [
            {**delivery, "attempts": attempts.get(delivery["id"], [])}
            for delivery in life.deliveries
        ],
    }


PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


class Searched(BaseModel):
    """The filters of a search; all that is said must be so."""

    ticker: str = Field("", max_length=40)
    side: Side | None = None
    status: search.Status | None = None
    reason: str = Field("", max_length=40, pattern="^[a-z_]*$")
    source: str = Field("", max_length=40, pattern=PRINTABLE)
    destination: str = Field("", max_length=64, pattern=PRINTABLE)
    since: Moment | None = None
    until: Moment | None = None
    q: str = Field("", max_length=search.LONGEST)

    async def meant(self, connection: ReadConnection, now: datetime) -> Meant:
        """What it comes to. Raises ProblemError 400."""
        choices = await searching.choices(connection)
        given = {name: str(value) for name, value in self if value}
        if self.destination:
            given["destination"] = searches.destination_named(self.destination, choices)
        return await searches.meant(connection, Asked(**given), choices, now)


@router.get("")
async def list_signals(
    parts: Parts,
    _actor: Reader,
    searched: Annotated[Searched, Depends()],
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor_: Annotated[str | None, Query(alias="cursor", max_length=40)] = None,
    trace: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")] = None,
) -> dict[str, Any]:
    """Signals of a filter, newest first; `next` is the cursor of the following page.

    `looked_back_to` is there when the look ended before the page was full: go on from `next`.
    `trace` is the id of a trace: all of its signals, whatever else is asked for.
    """
    if trace:
        async with parts["pages"].read() as connection:
            of_trace = await audit.traced(connection, TraceId(bytes.fromhex(trace)), limit)
        return {"items": [shown(row) for row in of_trace], "next": None}
    after = Cursor(before=before(cursor_))
    async with parts["pages"].read() as connection:
        meant = await searched.meant(connection, parts["clock"]())
        found = await searching.page(connection, meant.wanted, after, limit=limit)
    end = found.looked_to or (found.signals[-1]["seq"] if found.more else None)
    return {
        "items": [shown(row) for row in found.signals],
        "next": None if end is None else cursor(end),
        **({"looked_back_to": found.looked_at} if found.looked_at else {}),
    }


@router.get("/{id}")
async def read_signal(id: UUID, parts: Parts, _actor: Reader) -> dict[str, Any]:
    """One signal's whole life: what came, what was decided and why, every attempt."""
    async with parts["pages"].read() as connection:
        life = await audit.life(connection, SignalId(id))
        family = await replays.family(connection, SignalId(id))
    if life is None:
        raise ProblemError(404, "no_such_signal", "There is no signal with this id.")
    return life_shown(life, parts["vault"]) | dict(family)
