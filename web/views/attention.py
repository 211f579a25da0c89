"""What wants a look, as people see it: items by cause, what each means, and what can be done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from domain.attention import Cause, Severity
from domain.delivery import DeliveryState
from domain.signal import Side
from web.views.destinations import error_words
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, counted, duration, moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A cause for people: its ``title``, what it means, and what can be done."""

    title: str
    meaning: str
    remedy: str


ADVICE: Mapping[Cause, Advice] = {
    Cause.SELL_UNDELIVERED: Advice(
        title="A sell did not arrive",
        meaning="What it was to sell may still be held at the destination.",
        remedy="Look at your broker. If you still hold it, resend the sell below or sell it there,"
        " then mark the position as closed.",
    ),
    Cause.SELL_REFUSED: Advice(
        title="A sell was turned away",
        meaning="No request was sent for it, because there was nothing to sell as far as we know.",
        remedy="If you hold the ticker from before, sell it at your broker, or enter the position"
        " on the page of positions: its next sells pass.",
    ),
    Cause.BUY_DEAD: Advice(
        title="A buy was refused for good",
        meaning="The destination said no, and is not asked again: nothing was bought there.",
        remedy="Read its answer on the signal's page. Mend what it complains of, then resend the"
        " buy below if you still want it.",
    ),
    Cause.HELD: Advice(
        title="It is not known whether it arrived",
        meaning="The request left, but no whole answer came, and this destination is to get"
        " nothing twice.",
        remedy="Look there, then say below what became of it: it arrived, send it again, or"
        " drop it.",
    ),
    Cause.POSITION_REOPENED: Advice(
        title="A position is open again",
        meaning="Its exit ended undelivered, so that it is still held as far as we know.",
        remedy="Sell it again from its page, or mark it as closed if you sold it at your broker.",
    ),
    Cause.BREAKER_OPEN: Advice(
        title="A destination fails",
        meaning="It is tried now and then; everything else for it waits, and buys expire"
        " meanwhile.",
        remedy="Look at its last answers, and whether it is up. It mends itself when it answers"
        " again; “Close its breaker now” on its page does so at once.",
    ),
    Cause.DESTINATION_GONE: Advice(
        title="A destination wants nothing more",
        meaning="It answered 410 Gone and was disabled: it gets no new buys, and exits of what it"
        " bought wait.",
        remedy="Get a new webhook address there, enter it on its page, and enable it. Sell at"
        " your broker what must be sold now.",
    ),
    Cause.LIST_STALE: Advice(
        title="The list is too old",
        meaning="Finviz has not given a good answer for a while: buys are rejected, sells go out.",
        remedy="See on the page of the list why the fetches fail. A fixed list of tickers does in"
        " the meantime.",
    ),
    Cause.LIST_UNKNOWN: Advice(
        title="There is no list",
        meaning="Nothing was fetched yet for the present screen: buys are rejected, sells go out.",
        remedy="See on the page of the list why the fetches fail, and try the screen there.",
    ),
    Cause.LIST_SUSPECT: Advice(
        title="A surprising list waits to be believed",
        meaning="It shrank, or shares little with the last one. The last good list counts"
        " meanwhile.",
        remedy="Usually a second look settles it. Accept or refuse it on the page of the list if"
        " you know better.",
    ),
    Cause.ALERT_INVALID: Advice(
        title="Alerts could not be read",
        meaning="They were kept, but nothing can be bought or sold by them.",
        remedy="Paste the message into the doctor: it says what is read and what to change in"
        " the alert.",
    ),
    Cause.NEAR_LIMIT: Advice(
        title="Too many alerts of one ticker",
        meaning="TradingView stops an alert that fires more than 15 times in 3 minutes: it would"
        " fall silent.",
        remedy="Let the alert fire once per bar close, or use a longer interval.",
    ),
    Cause.SOURCE_SILENT: Advice(
        title="A source is silent",
        meaning="Nothing came from it for longer than it is expected to.",
        remedy="See whether its alerts still run (TradingView's expire and are stopped), and"
        " whether its token is still valid.",
    ),
    Cause.BUY_AFTER_BUY: Advice(
        title="Two buys in a row",
        meaning="This source sends buys and sells in turn, and a sell in between is missing.",
        remedy="Look at the alert that should have sold. If a sell was missed, sell the position"
        " by hand.",
    ),
    Cause.SELL_WITHOUT_BUY: Advice(
        title="A sell without its buy",
        meaning="This source sends buys and sells in turn, and the buy before this sell is"
        " missing.",
        remedy="Look at the alert that should have bought, and whether its buys are turned away"
        " before they get here.",
    ),
}
LINKED = {
    Cause.LIST_STALE: ("/admin/list", "List"),
    Cause.LIST_UNKNOWN: ("/admin/list", "List"),
    Cause.LIST_SUSPECT: ("/admin/list", "List"),
    Cause.ALERT_INVALID: ("/admin/doctor", "Doctor"),
}
"""Where a cause itself is seen to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    to: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRow:
    id: int
    severity: str
    text: str
    count: int
    first: Moment
    last: Moment
    links: Sequence[Link]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The open items of a cause; ``rest``, if not all of them are shown, leads to the others.

    They are all of the cause (``whole``) unless something else is filtered too.
    """

    cause: str
    advice: Advice
    worst: str
    number: int
    items: Sequence[ItemRow]
    rest: str | None
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRow:
    id: int
    title: str
    text: str
    at: Moment
    by: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRow:
    """A held delivery, or a dead letter; ``again`` is the signal it was resent as."""

    id: str
    signal: str
    ticker: str
    side: str
    destination: str
    destination_id: str
    cause: str
    age: Moment
    ends: Moment | None
    again: str | None
    sendable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    value: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The filter in the address; ``query`` is it again, for links and the live part."""

    cause: str
    severity: str
    ticker: str
    destination: str
    query: str
    said: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionView:
    """templates/attention.html and templates/partials/attention.html.

    ``tried`` is the delivery about which something was ``refused``.
    """

    shell: Shell
    sentence: str
    tone: str
    chosen: Chosen
    causes: Sequence[Option]
    destinations: Sequence[Option]
    groups: Sequence[Group]
    held: Sequence[LetterRow]
    held_number: int
    dead: Sequence[LetterRow]
    resolved: Sequence[ResolvedRow]
    first: str | None
    more: str | None
    dead_more: str | None
    key: str
    refused: str | None
    tried: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleRow:
    """One of many that a command is about."""

    signal: str
    side: str
    ticker: str
    destination: str
    at: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkView:
    """templates/attention_bulk.html: what a command over many deliveries would do."""

    shell: Shell
    words: str
    button: str
    filter: str
    would: int
    matching: int
    refusals: Sequence[str]
    examples: Sequence[ExampleRow]
    given: Mapping[str, str]
    key: str
    refused: str | None


NAMED = {
    Severity.URGENT: ("urgent", "urgent"),
    Severity.WARNING: ("warning", "warnings"),
    Severity.INFO: ("for information", "for information"),
}


def sentence(counts: Mapping[Severity, int], held: int) -> tuple[str, str]:
    """What is open, in words, and the tone."""
    if not counts:
        return "Nothing wants a look.", "good"
    told = [counted(counts[one], *NAMED[one]) for one in Severity if one in counts]
    more = f" {counted(held, 'delivery waits', 'deliveries wait')} for your word." if held else ""
    tone = "bad" if Severity.URGENT in counts else "warn" if Severity.WARNING in counts else "good"
    return f"{', '.join(told)}.{more}", tone


def item_row(row: Mapping[str, Any], now: datetime) -> ItemRow:
    return ItemRow(
        id=row["id"],
        severity=row["severity"],
        text=row["text"],
        count=row["count"],
        first=moment(row["first_at"], now),
        last=moment(row["last_at"], now),
        links=list(links(row)),
    )


def links(row: Mapping[str, Any]) -> list[Link]:
    """Where to look: the signal with its deliveries, the position, the destination, the source."""
    found = [Link(to=to, words=words) for to, words in [LINKED.get(row["cause"], ("", ""))] if to]
    for name, path in (("signal", "signals"), ("position", "positions")):
        if id := row[f"{name}_id"]:
            found.append(Link(to=f"/admin/{path}/{id}", words=name.capitalize()))
    if id := row["destination_id"]:
        words = row["destination"] or "Destination"
        found.append(Link(to=f"/admin/destinations/{id}", words=words))
    if row["source"]:
        query = urlencode({"source": row["source"]})
        found.append(Link(to=f"/admin/signals?{query}", words=f"Signals of {row['source']}"))
    return found


def title_of(cause: str) -> str:
    return ADVICE[Cause(cause)].title


def resolved_row(row: Mapping[str, Any], now: datetime) -> ResolvedRow:
    return ResolvedRow(
        id=row["id"],
        title=title_of(row["cause"]),
        text=row["text"],
        at=moment(row["resolved_at"], now),
        by=row["resolved_by"] or NOTHING,
        why=row["resolved_why"] or "",
    )


def letter_row(row: Mapping[str, Any], now: datetime) -> LetterRow:
    held = row["state"] == DeliveryState.HELD
    late = row["side"] == Side.BUY and row["expires_at"] <= now
    return LetterRow(
        id=str(row["id"]),
        signal=str(row["signal_id"]),
        ticker=row["ticker"],
        side=row["side"],
        destination=row["destination"],
        destination_id=str(row["destination_id"]),
        cause=_cause(row),
        age=moment(row["finished_at"] or row["queued_at"], now),
        ends=Moment(row["due_at"], f"in {duration(row['due_at'] - now)}") if held else None,
        again=str(row["again"]) if row["again"] else None,
        sendable=not (held and late),
    )


def example_row(row: Mapping[str, Any], now: datetime) -> ExampleRow:
    return ExampleRow(
        signal=str(row["signal_id"]),
        side=row["side"],
        ticker=row["ticker"],
        destination=row["destination"],
        at=moment(row["received_at"], now),
    )


def _cause(row: Mapping[str, Any]) -> str:
    """Why it came to this: what the last answer was, and how often it was tried."""
    answer = f"answered {row['status']}" if row["status"] else error_words(row["error"] or "")
    tried = counted(row["attempts"], "attempt", "attempts")
    words = [one for one in (row["reason"], answer, tried) if one]
    return ", ".join(dict.fromkeys(words))
