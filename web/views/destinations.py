"""Destinations as people see them: how each stands, what it answered, what can be changed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from database.destination_rows import ANOTHER_KEY
from database.recent_attempts import MOST, Share
from domain.breaker import BreakerState
from domain.delivery import Answer, Outcome
from domain.destination import DestinationState, Mode
from domain.rate import Window, reserved
from engines.destinations.examiner import Examined, milliseconds
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, counted, duration, moment

ERRORS = {
    "ConnectError": "no connection: nobody answers at this address",
    "ConnectTimeout": "no connection in time: nobody answers at this address",
    "ReadTimeout": "no answer in time",
    "WriteTimeout": "it did not take the request in time",
    "PoolTimeout": "no connection was free in time",
    "ReadError": "the connection broke before an answer came",
    "WriteError": "the connection broke while it was sent",
    "RemoteProtocolError": "what answered does not speak HTTP properly",
    "no connection in time": "no connection within the time for a request: nothing was sent",
    "total deadline passed": "no whole answer in time",
    "TLS refused": "TLS failed: its certificate is not valid for this address, or not trusted",
    "name not resolved": "its name has no address, or none was found in time",
    "no address to send to": "its name does not exist, or leads to a private or special address"
    " (see PRIVATE_DESTINATIONS)",
    "forbidden address": "its name leads to a private or special address"
    " (see PRIVATE_DESTINATIONS)",
}
"""What an error of a request means."""

STOPPED = {
    DestinationState.DISABLED: ("Disabled: it gets no new buys.", "bad"),
    DestinationState.PAUSED: ("Paused: nothing is sent; what is approved is kept.", "warn"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRow:
    """A rate window: ``kept`` of its slots only sells may use."""

    used: int
    limit: int
    span: str
    kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    key: str
    at: Moment
    signal: str
    ticker: str
    side: str
    outcome: str
    status: str
    ms: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRow:
    """An address that does not count yet."""

    url: str
    headers: str
    by: str
    due: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """How a destination stands, in a sentence and in numbers."""

    id: str
    name: str
    url: str
    state: str
    mode: str
    sentence: str
    tone: str
    breaker: str
    breaker_words: str
    asks_to_wait: bool
    waiting: int
    oldest: str
    held: int
    windows: Sequence[WindowRow]
    success: str
    last: AnswerRow | None
    pending: PendingRow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What stands in a form, which field of it was ``wrong``, and ``why``."""

    values: Mapping[str, str]
    wrong: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationsView:
    """templates/destinations.html and templates/partials/destinations.html."""

    shell: Shell
    cards: Sequence[Card]
    terms: Terms
    refused: str | None
    tried: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    number: int
    at: Moment
    by: str
    words: str
    unfinished: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What actions will touch, in words."""

    waiting: str
    queued: int
    older: int
    older_words: str
    previous_until: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationView:
    """templates/destination.html and templates/partials/destination.html.

    ``secret`` is a signing key just made; ``tried`` is the form that was ``refused``.
    """

    shell: Shell
    card: Card
    facts: Mapping[str, str]
    answers: Sequence[AnswerRow]
    versions: Sequence[VersionRow]
    numbers: Numbers
    headers: Sequence[str]
    opens: bool
    version: int
    terms: Terms
    refused: str | None
    tried: str | None
    secret: str | None = field(repr=False)


def card(
    row: Mapping[str, Any],
    last: Sequence[Mapping[str, Any]],
    share: Share,
    pending: Mapping[str, Any] | None,
    now: datetime,
    sell_share: float,
) -> Card:
    sentence, tone = standing(row, now)
    return Card(
        id=str(row["id"]),
        name=row["name"],
        url=row["url"],
        state=row["state"],
        mode="dry run" if row["mode"] == Mode.DRY_RUN else "live",
        sentence=sentence,
        tone=tone,
        breaker=row["breaker"],
        breaker_words=breaker_words(row, now),
        asks_to_wait=row["hold_until"] is not None,
        waiting=waiting_of(row),
        oldest=duration(now - row["oldest_at"]) if row["oldest_at"] else NOTHING,
        held=row["held"],
        windows=[window_row(one, sell_share) for one in row["windows_used"]],
        success=success(share),
        last=answer_row(last[0], now) if last else None,
        pending=pending_row(pending) if pending else None,
    )


def waiting_of(row: Mapping[str, Any]) -> int:
    return row["queued"] + row["sending"]


def standing(row: Mapping[str, Any], now: datetime) -> tuple[str, str]:
    """How a destination stands in one sentence, and its tone."""
    waiting = waiting_of(row)
    wait = f" {counted(waiting, 'delivery', 'deliveries')} waiting." if waiting else ""
    if not row["opens"]:
        words = "It was sealed with another ENCRYPTION_KEY: nothing is sent until its address is"
        return f"{words} entered anew.{wait}", "bad"
    if row["state"] in STOPPED:
        words, tone = STOPPED[row["state"]]
        return f"{words}{wait}", tone
    if row["breaker"] != BreakerState.CLOSED:
        return f"It fails, and is tried now and then.{wait}", "bad"
    if row["hold_until"]:
        left = duration(row["hold_until"] - now)
        sells = "A sell is tried once a minute."
        return f"It asked us to wait: nothing more goes there for {left}. {sells}{wait}", "warn"
    doing = "Dry run: nothing leaves." if row["mode"] == Mode.DRY_RUN else "Sending."
    if row["held"]:
        held = f" {row['held']} held, outcome unknown: they wait for your word."
        return f"{doing}{wait}{held}", "warn"
    return f"{doing}{wait or ' Nothing waits.'}", "good"


def breaker_words(row: Mapping[str, Any], now: datetime) -> str:
    """Since when a breaker is as it is, why, and when it is tried next."""
    since = f"for {duration(now - row['breaker_since'])}" if row["breaker_since"] else ""
    if row["breaker"] == BreakerState.CLOSED:
        return since
    words = [since, f"cause: {row['breaker_cause'] or 'being tried'}"]
    if row["state"] != DestinationState.ENABLED:
        words.append(f"not tried while it is {row['state']}")
    elif row["breaker"] == BreakerState.HALF_OPEN:
        words.append("one at a time is tried")
    elif until := row["breaker_until"]:
        words.append(f"next try in {duration(until - now)}" if until > now else "next try now")
    return ", ".join(word for word in words if word)


def window_row(window: Mapping[str, int], sell_share: float) -> WindowRow:
    size = Window(limit=window["limit"], seconds=window["seconds"])
    return WindowRow(
        used=window["used"],
        limit=size.limit,
        span=f"in the last {span(size.seconds)}",
        kept=reserved(size, sell_share),
    )


def span(seconds: int) -> str:
    known = {60: "minute", 3_600: "hour", 86_400: "day"}
    return known.get(seconds) or duration(timedelta(seconds=seconds))


def success(share: Share) -> str:
    """The share of the requests of a day that arrived."""
    if not share.total:
        return "no request in 24 h"
    percent = 100 * share.delivered / share.total
    shown = "100" if share.delivered == share.total else f"{min(percent, 99.9):.1f}"
    of = f"the latest {share.total:,}" if share.total >= MOST else f"{share.total:,} in 24 h"
    return f"{shown} % of {of}"


def answer_row(row: Mapping[str, Any], now: datetime) -> AnswerRow:
    outcome, error = row["outcome"], row["error"]
    return AnswerRow(
        key=f"{row['signal_id']}-{row['number']}",
        at=moment(row["started_at"], now),
        signal=str(row["signal_id"]),
        ticker=row["ticker"],
        side=row["side"],
        outcome=outcome or "on its way",
        status=NOTHING if row["status"] is None else str(row["status"]),
        ms=NOTHING if row["duration_ms"] is None else str(row["duration_ms"]),
        words=error_words(error) if error else row["answer"] or "",
    )


def error_words(error: str) -> str:
    return ERRORS.get(error, error)


def pending_row(row: Mapping[str, Any]) -> PendingRow:
    due = f"in {duration(row['due_in'])}"
    return PendingRow(
        url=row["url"],
        headers=", ".join(row["becomes"].get("headers", ())),
        by=row["made_by"],
        due=Moment(row["due_at"], due),
    )


def version_row(row: Mapping[str, Any], now: datetime) -> VersionRow:
    mode = "dry run" if row["mode"] == Mode.DRY_RUN else "live"
    words = (row["url"], mode, row["guarantee"].replace("_", " "), row["windows"] or "no limit")
    return VersionRow(
        number=row["version"],
        at=moment(row["made_at"], now),
        by=row["made_by"] or NOTHING,
        words=" · ".join(words),
        unfinished=row["unfinished"],
    )


def numbers(row: Mapping[str, Any], now: datetime) -> Numbers:
    waiting, older, until = waiting_of(row), row["queued_older"], row["previous_key_until"]
    return Numbers(
        waiting=waits(waiting),
        queued=row["queued"],
        older=older,
        older_words=counted(older, "delivery", "deliveries"),
        previous_until=until and f"for {duration(until - now)} more",
    )


def waits(number: int) -> str:
    """How many wait at a destination: "12 deliveries wait here"."""
    if not number:
        return "Nothing waits here now"
    return f"{counted(number, 'delivery waits', 'deliveries wait')} here"


def facts(row: Mapping[str, Any], now: datetime) -> dict[str, str]:
    """The settings of a destination in words."""
    mapping = row["mapping"]
    changes = [
        *(f"{old} becomes {new}" for old, new in mapping["rename"].items()),
        *(f"{name} = {value}" for name, value in mapping["add"].items()),
    ]
    until = row["previous_key_until"]
    return {
        "Rate windows": row["windows"].replace(",", ", ") or "no limit",
        "When the outcome is unknown": {
            "at_least_once": "send again, marked",
            "at_most_once": "hold it for you",
        }[row["guarantee"]],
        "Body": "as received" if mapping["preset"] == "as_received" else "TradersPost's names",
        "Changes of the body": "; ".join(changes) or "none",
        "Headers": _headers(row),
        "Requests at once": str(row["concurrency"] or "as the settings say"),
        "Time for a request": f"{row['timeout']:g} s",
        "Time to connect": f"{row['connect_timeout']:g} s",
        "Signing": f"two keys, the older {duration(until - now)} more" if until else "one key",
    }


def _headers(row: Mapping[str, Any]) -> str:
    if not row["opens"]:
        return ANOTHER_KEY
    return ", ".join(f"{name}: •••" for name in row["headers"]) or "none"


def values(row: Mapping[str, Any]) -> dict[str, str]:
    """What a form is filled with: the settings as they are, secrets masked."""
    mapping = row["mapping"]
    add: Mapping[str, object] = mapping["add"] if row["opens"] else {}
    return {
        "name": row["name"],
        "windows": row["windows"] or "none",
        "concurrency": str(row["concurrency"] or ""),
        "timeout": f"{row['timeout']:g}",
        "connect_timeout": f"{row['connect_timeout']:g}",
        "mode": row["mode"],
        "guarantee": row["guarantee"],
        "preset": mapping["preset"],
        "rename": "\n".join(f"{old} = {new}" for old, new in mapping["rename"].items()),
        "add": "\n".join(f"{name} = {constant(value)}" for name, value in add.items()),
    }


def constant(value: object) -> str:
    """A constant as it is typed: text as it is, unless it would be read as something else."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        json.loads(value)
    except ValueError:
        return value
    return json.dumps(value)


def tested_words(done: Examined) -> str:
    """What became of a test."""
    if not done.sent:
        return f"Dry run: nothing was sent. It would have been {done.body}"
    answer = done.answer
    return f"Test sent. {_judged(answer)} after {milliseconds(answer)} ms." + (
        f" It said: {done.excerpt}" if done.excerpt else ""
    )


def _judged(answer: Answer) -> str:
    if answer.status is None:
        return f"It failed, {error_words(answer.error or 'for no known reason')},"
    if answer.outcome is Outcome.DELIVERED:
        return f"It was taken with {answer.status}"
    return f"It was answered {answer.status}"
