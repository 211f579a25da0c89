"""Rehearsals: what is read in an alert, what would be decided now, and what would leave."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from database import sources
from database.journal import Entry, Receipt
from database.verdicts import NoDestinationError
from domain import advice
from domain.alert import Alert, Invalid, Parsed, parse
from domain.body import cut_token, masked
from domain.gate import Verdict
from domain.parsed import MOST_BYTES
from domain.signal import WEBHOOK, SignalStatus
from domain.source import Source
from domain.why import Waited, explain
from engines.relay.rehearsal import BusyError, Parcel, Rehearsed
from web.dependencies import Parts, State, Trader
from web.errors import ProblemError
from web.posted import Posted, taken

router = APIRouter(tags=["rehearsals"])

Shown: TypeAlias = dict[str, Any]


class RehearsalIn(BaseModel):
    """An alert as its sender would post it. ``source`` is whose policy it is taken by."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"body": '{"ticker": "AAPL", "action": "buy"}'}]},
    )

    body: str = Field(max_length=MOST_BYTES)
    content_type: str = Field(default="", max_length=200)
    source: str = Field(default=WEBHOOK, max_length=60)


@router.post("/api/rehearsals")
async def rehearse(given: RehearsalIn, parts: Parts, _actor: Trader) -> Shown:
    """What would become of an alert if it came now. Nothing is kept, and nothing is sent.

    It is journaled and judged as any other, and all of that is undone.
    """
    return await rehearsed(parts, given)


async def rehearsed(parts: State, given: RehearsalIn) -> Shown:
    """The reading, the decision and the requests. Raises ProblemError 400, 429 or 503."""
    source, posted = await source_of(parts, given.source), _posted(given)
    parsed = parse(posted.body, posted.content_type)
    reading, entry = taken(parts, source, posted, parsed)
    played = await _played(parts, entry) if isinstance(reading, Alert) else None
    return {
        "reading": _reading(parts, source, posted, parsed, reading),
        "decision": played and _decision(played),
        "requests": [_request(parcel) for parcel in played.parcels] if played else [],
    }


async def sent(parts: State, given: RehearsalIn, actor: str) -> Receipt:
    """Journal an alert for real, as the webhook does. Raises ProblemError where it is none."""
    source, posted = await source_of(parts, given.source), _posted(given)
    reading, entry = taken(parts, source, posted, parse(posted.body, posted.content_type))
    if isinstance(reading, Invalid):
        raise ProblemError(400, reading.code, f"{reading.detail}. {advice.fix(reading.code)}")
    receipt = await parts["rehearsal"].perform(entry, actor=actor)
    if receipt is None:
        raise ProblemError(409, "repeat", "It repeats an alert that is gone: send it again.")
    return receipt


async def source_of(parts: State, name: str) -> Source:
    """A source there is. Raises ProblemError 400."""
    async with parts["pages"].read() as connection:
        known = {one.source.name: one.source for one in await sources.listed(connection)}
    if name not in known:
        raise ProblemError(400, "invalid_field", "source: there is none", field="source")
    return known[name]


def _posted(given: RehearsalIn) -> Posted:
    try:
        body = given.body.encode()
    except UnicodeEncodeError:
        raise ProblemError(400, "invalid_field", "body: half a character", field="body") from None
    return Posted(body=body, content_type=given.content_type, token=None, idempotency_key=None)


async def _played(parts: State, entry: Entry) -> Rehearsed:
    try:
        return await parts["rehearsal"].play(entry)
    except BusyError:
        raise ProblemError(
            429, "too_many_rehearsals", "Too many rehearsals just now: ask again in a few seconds."
        ) from None
    except NoDestinationError:
        raise ProblemError(
            503, "changed_meanwhile", "Destinations changed just now: ask again."
        ) from None


# ── What is read ────────────────────────────────────────────────────────────────────────────


def _reading(
    parts: State,
    source: Source,
    posted: Posted,
    parsed: Parsed | Invalid,
    reading: Alert | Invalid,
) -> Shown:
    kept, had_token = cut_token(posted.body, parts["keyring"].is_own)
    common: Shown = {
        "source": source.name,
        "body": masked(kept),
        "token_cut": had_token,
        "members": _members(parsed, source.time_field),
        "advice": _advice(posted.body, parsed, reading, source.time_field),
    }
    if isinstance(reading, Invalid):
        status = 422 if reading.readable else 400
        answer = {"status": SignalStatus.INVALID, "answer": status, "code": reading.code}
        return answer | {"detail": reading.detail, "alert": None} | common
    return {"status": "read", "answer": 202, "code": None, "detail": None} | {
        "alert": _alert(reading),
        **common,
    }


def _members(parsed: Parsed | Invalid, time_field: str | None) -> list[Shown]:
    if isinstance(parsed, Invalid):
        return []
    return [
        {"name": one.name, "tells": one.tells, "secret": one.secret}
        for one in advice.members(parsed, time_field)
    ]


def _advice(
    body: bytes, parsed: Parsed | Invalid, reading: Alert | Invalid, time_field: str | None
) -> Sequence[str]:
    if isinstance(reading, Alert) and isinstance(parsed, Parsed):
        return [*advice.unfilled(body), *advice.hints(parsed, reading, time_field)]
    if isinstance(reading, Alert):
        return []
    special = [*advice.mistakes(body), *advice.unfilled(body)]
    return special or [advice.fix(reading.code)]


def _alert(alert: Alert) -> Shown:
    return {
        "ticker": alert.ticker,
        "symbol": alert.symbol,
        "normalised": advice.normalising(alert),
        "exchange": alert.exchange,
        "side": alert.side,
        "closes": alert.closes,
        "partial": alert.partial,
        "price": None if alert.price is None else str(alert.price),
        "price_text": alert.price_text,
        "time": alert.time,
        "sent_at": alert.sent_at,
        "id": alert.alert_id,
    }


# ── What would be decided, and what would leave ─────────────────────────────────────────────


def _decision(played: Rehearsed) -> Shown:
    verdict = played.verdict
    return {
        "status": played.status,
        "reason": verdict.reason if verdict else played.status,
        "why": _why(played, verdict),
        "repeats": played.repeats,
        "universe_version": verdict and verdict.universe_version,
        "rank": verdict and verdict.rank,
        "cutoff": verdict and verdict.cutoff,
        "list_age_ms": _milliseconds(verdict.list_age) if verdict else None,
        "rule": verdict and verdict.breach and verdict.breach.told(),
        "waits_until": verdict and verdict.wait and verdict.wait.until,
        "expires_at": played.signal and played.signal.expires_at,
        "position": _position(played),
        "superseded": played.superseded,
    }


def _why(played: Rehearsed, verdict: Verdict | None) -> str:
    signal = played.signal
    if signal is None or verdict is None:
        return "It is too old when it comes: by its own send time its life is over."
    return explain(
        status=verdict.status,
        reason=verdict.reason,
        rank=verdict.rank,
        cutoff=verdict.cutoff,
        age_ms=_milliseconds(verdict.list_age),
        side=signal.side,
        ticker=signal.ticker,
        waited=_waited(verdict, played.received_at),
        rule=_rule(verdict),
    )


def _rule(verdict: Verdict) -> Mapping[str, str | None] | None:
    return verdict.breach.told() if verdict.breach else None


def _waited(verdict: Verdict, now: datetime) -> Waited | None:
    if verdict.wait is None:
        return None
    ended = None if verdict.status is SignalStatus.RECEIVED else now
    return Waited(verdict.wait.since, verdict.wait.until, ended)


def _milliseconds(span: timedelta | None) -> int | None:
    return None if span is None else round(span.total_seconds() * 1000)


def _position(played: Rehearsed) -> Shown | None:
    """The position it would open, change or leave."""
    if played.status is not SignalStatus.APPROVED or played.verdict is None:
        return None
    position = played.position
    opens = position is not None and position.entry_signal_id == played.signal_id
    ends = position is not None and position.exit_signal_id == played.signal_id
    return {
        "id": None if opens else played.verdict.position_id,
        "does": "opens" if opens else "ends" if ends else _leaves(played),
        "becomes": position and position.state,
    }


def _leaves(played: Rehearsed) -> str:
    if played.verdict is None or played.verdict.position_id is None:
        return "none"
    return "takes a part of" if played.signal and played.signal.partial else "adds to"


def _request(parcel: Parcel) -> Shown:
    return {
        "destination": parcel.destination,
        "version": parcel.version,
        "mode": parcel.mode,
        "state": parcel.state,
        "breaker": parcel.breaker,
        "method": "POST",
        "url": parcel.url,
        "headers": dict(parcel.headers),
        "body": parcel.body,
    }
