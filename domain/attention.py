"""Attention: what somebody should look at, told from the events; and what settles it again.

Pure: an event with the facts around it makes an `Item`, or says that one is `Over`, or neither.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

from domain.signal import Side


class Severity(StrEnum):
    """Urgent: money may be lost now. Warning: look today. Info: good to know."""

    URGENT = "urgent"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Severity).index(self)


class Cause(StrEnum):
    """Why somebody should look. docs/glossary.md says of each what settles it."""

    SELL_UNDELIVERED = "sell_undelivered"
    SELL_REFUSED = "sell_refused"
    BUY_DEAD = "buy_dead"
    HELD = "held"
    POSITION_REOPENED = "position_reopened"
    BREAKER_OPEN = "breaker_open"
    DESTINATION_GONE = "destination_gone"
    LIST_STALE = "list_stale"
    LIST_UNKNOWN = "list_unknown"
    LIST_SUSPECT = "list_suspect"
    ALERT_INVALID = "alert_invalid"
    NEAR_LIMIT = "near_limit"
    SOURCE_SILENT = "source_silent"
    BUY_AFTER_BUY = "buy_after_buy"
    SELL_WITHOUT_BUY = "sell_without_buy"


STANDING = frozenset({Cause.NEAR_LIMIT, Cause.SOURCE_SILENT})
"""Seen anew at every look, which makes them no more frequent."""

THE_LIST = "list"
"""The key of what concerns the list: there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notable:
    """An event that may concern attention, with the facts around it.

    ``bought`` is how the last buy of the ticker before a refused sell was judged, if there was one.
    """

    at: datetime
    event: str
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    actor: str | None = None
    side: Side | None = None
    partial: bool = False
    ticker: str | None = None
    source: str | None = None
    destination: str | None = None
    attempts: int = 0
    bought: str | None = None
    signal_id: UUID | None = None
    delivery_id: UUID | None = None
    position_id: UUID | None = None
    destination_id: UUID | None = None

    @property
    def reason(self) -> str:
        return str(self.detail.get("reason") or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What somebody should look at. There is one open item a ``cause`` and ``key``."""

    cause: Cause
    key: str
    severity: Severity
    text: str
    at: datetime
    signal_id: UUID | None = None
    delivery_id: UUID | None = None
    position_id: UUID | None = None
    destination_id: UUID | None = None
    source: str | None = None
    ticker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """What settles the open item of a cause: that of a ``key``, or all of a ``ticker``."""

    cause: Cause
    why: str
    key: str | None = None
    ticker: str | None = None

    def settles(self, item: Item) -> bool:
        return (
            self.cause is item.cause
            and self.key in {None, item.key}
            and self.ticker in {None, item.ticker}
        )


Finding: TypeAlias = Item | Over


def findings(events: Iterable[Notable]) -> Iterator[Finding]:
    """What events say, in their order; an event settles before it raises."""
    for event in events:
        yield from overs_of(event)
        item = item_of(event)
        if item:
            yield item


def rounds(found: Iterable[Finding]) -> Iterator[tuple[list[Over], list[Item]]]:
    """The same in as few rounds as can be: in each, all that settles may go before what raises."""
    overs: list[Over] = []
    items: list[Item] = []
    for one in found:
        if isinstance(one, Item):
            items.append(one)
            continue
        if any(one.settles(item) for item in items):
            yield overs, items
            overs, items = [], []
        overs.append(one)
    yield overs, items


# ── What raises ─────────────────────────────────────────────────────────────────────────────


def item_of(event: Notable) -> Item | None:
    noun, _, verb = event.event.partition(".")
    match noun:
        case "delivery":
            return _of_delivery(event, verb)
        case "signal":
            return _of_signal(event, verb)
        case "position":
            return _of_position(event, verb)
        case "destination":
            return _of_destination(event, verb)
        case _:
            return _of_list(event)


def _item(event: Notable, cause: Cause, key: object, severity: Severity, words: str) -> Item:
    return Item(
        cause=cause,
        key=str(key),
        severity=severity,
        text=words,
        at=event.at,
        signal_id=event.signal_id,
        delivery_id=event.delivery_id,
        position_id=event.position_id,
        destination_id=event.destination_id,
        source=event.source,
        ticker=event.ticker,
    )


def lane_key(event: Notable) -> str:
    """A ticker at a destination; of a signal that got to none, its ticker alone."""
    return f"{event.destination_id or ''}:{event.ticker or ''}"


def _of_delivery(event: Notable, verb: str) -> Item | None:
    if verb == "held":
        return _held(event)
    if verb in {"delivered", "queued"}:
        return None
    if event.side is Side.SELL:
        return _undelivered(event, verb)
    if verb == "dead":
        words = f"The buy of {event.ticker} at {_where(event)} is dead{_because(event)}."
        return _item(event, Cause.BUY_DEAD, lane_key(event), Severity.WARNING, words)
    return None


def _held(event: Notable) -> Item:
    severity = Severity.URGENT if event.side is Side.SELL else Severity.WARNING
    words = (
        f"The {event.side} of {event.ticker} at {_where(event)} is held: its outcome is unknown."
        " Look there, then resolve it."
    )
    return _item(event, Cause.HELD, event.delivery_id, severity, words)


def _undelivered(event: Notable, verb: str) -> Item:
    """No sell ends in anything but delivered without this (invariant I13)."""
    if verb == "superseded" and event.reason == "entry_unsent":
        words = f"The sell of {event.ticker} at {_where(event)} was not sent: its buy never was."
        return _item(event, Cause.SELL_UNDELIVERED, lane_key(event), Severity.INFO, words)
    words = (
        f"The sell of {event.ticker} did not get to {_where(event)}: {verb}{_because(event)}."
        " What it was to sell may still be held."
    )
    return _item(event, Cause.SELL_UNDELIVERED, lane_key(event), Severity.URGENT, words)


def _where(event: Notable) -> str:
    return event.destination or "its destination"


def _because(event: Notable) -> str:
    tried = {0: ", never tried", 1: ", tried once"}.get(event.attempts)
    told = f" ({event.reason})" if event.reason else ""
    return told + (tried or f", tried {event.attempts} times")


def _of_signal(event: Notable, verb: str) -> Item | None:
    if verb == "invalid":
        words = f"An alert of {event.source} could not be read as a signal: {event.reason}."
        key = f"{event.source}:{event.reason}"
        return _item(event, Cause.ALERT_INVALID, key, Severity.WARNING, words)
    if event.side is not Side.SELL:
        return None
    if verb == "expired":
        words = f"A sell of {event.ticker} was too old to be sent when its turn came."
        return _item(event, Cause.SELL_UNDELIVERED, lane_key(event), Severity.URGENT, words)
    return _refused(event) if verb == "rejected" else None


def _refused(event: Notable) -> Item | None:
    """That an exit is on its way already is no reason to look; that it has nowhere to go is one."""
    match event.reason:
        case "already_closing":
            return None
        case "no_position" if event.bought in {"rejected", "expired"}:
            words = f"A sell of {event.ticker} had nothing to sell: its buy was turned away."
            severity = Severity.INFO
        case "no_position":
            words = (
                f"A sell of {event.ticker} had no position here. If you hold one from before,"
                " sell it yourself, or mark the position as open."
            )
            severity = Severity.WARNING
        case "no_destination":
            words = f"A sell of {event.ticker} has nowhere to go: no destination is in use."
            severity = Severity.URGENT
        case reason:
            words = f"A sell of {event.ticker} was refused: {reason}."
            severity = Severity.WARNING
    return _item(event, Cause.SELL_REFUSED, event.ticker, severity, words)


def _of_position(event: Notable, verb: str) -> Item | None:
    """Of an exit that failed there is an urgent item already: this one says what became of it."""
    if verb != "open" or event.detail.get("was") != "closing" or event.actor:
        return None
    words = f"The position of {event.ticker} is open again: its exit ended undelivered."
    return _item(event, Cause.POSITION_REOPENED, event.position_id, Severity.INFO, words)


def _of_destination(event: Notable, verb: str) -> Item | None:
    if verb == "breaker_open":
        cause = str(event.detail.get("cause") or "it fails")
        words = f"{_where(event)} fails ({cause}): it is tried now and then, the rest waits."
        return _item(event, Cause.BREAKER_OPEN, event.destination_id, Severity.WARNING, words)
    if verb == "disabled" and event.reason == "http 410":
        words = f"{_where(event)} wants nothing more (410 Gone) and is disabled."
        return _item(event, Cause.DESTINATION_GONE, event.destination_id, Severity.URGENT, words)
    return None


def _of_list(event: Notable) -> Item | None:
    match event.event:
        case "trust.stale":
            words = "The list is stale: buys are rejected, sells go out."
            return _item(event, Cause.LIST_STALE, THE_LIST, Severity.WARNING, words)
        case "trust.unknown":
            words = "There is no list: buys are rejected, sells go out."
            return _item(event, Cause.LIST_UNKNOWN, THE_LIST, Severity.WARNING, words)
        case "list.suspect":
            words = "Finviz answered with a surprising list. It counts when a second look agrees."
            return _item(event, Cause.LIST_SUSPECT, THE_LIST, Severity.INFO, words)
        case _:
            return None


# ── What settles ────────────────────────────────────────────────────────────────────────────


def overs_of(event: Notable) -> list[Over]:
    noun, _, verb = event.event.partition(".")
    match noun:
        case "delivery":
            return _after_delivery(event, verb)
        case "position":
            return _after_position(event, verb)
        case _:
            return [
                Over(cause=cause, key=str(event.destination_id or THE_LIST), why=why)
                for cause, why in _SETTLED.get(event.event, ())
            ]


_SETTLED: Mapping[str, tuple[tuple[Cause, str], ...]] = {
    "destination.breaker_closed": ((Cause.BREAKER_OPEN, "its breaker closed"),),
    "destination.disabled": ((Cause.BREAKER_OPEN, "it was disabled"),),
    "destination.enabled": ((Cause.DESTINATION_GONE, "it was enabled"),),
    "trust.fresh": (
        (Cause.LIST_STALE, "the list is fresh"),
        (Cause.LIST_UNKNOWN, "the list is fresh"),
    ),
    "trust.stale": ((Cause.LIST_UNKNOWN, "there is a list, though a stale one"),),
    "trust.unknown": ((Cause.LIST_STALE, "there is no list at all"),),
    "list.ok": ((Cause.LIST_SUSPECT, "a list was believed"),),
    "list.empty": ((Cause.LIST_SUSPECT, "a list was believed"),),
    "list.accepted": ((Cause.LIST_SUSPECT, "it was accepted"),),
    "list.refused": ((Cause.LIST_SUSPECT, "it was refused"),),
}


def _after_delivery(event: Notable, verb: str) -> list[Over]:
    """Whatever becomes of a held delivery settles it; what arrived settles what did not before."""
    found: list[Over] = []
    if verb != "held":
        found.append(Over(cause=Cause.HELD, key=str(event.delivery_id), why=f"it is {verb}"))
    if verb != "delivered" or event.partial or event.reason == "dry_run":
        return found
    if event.side is Side.BUY:
        return [*found, Over(cause=Cause.BUY_DEAD, key=lane_key(event), why="a later one arrived")]
    sold = "a sell arrived"
    return [
        *found,
        Over(cause=Cause.SELL_UNDELIVERED, key=lane_key(event), why=sold),
        Over(cause=Cause.SELL_UNDELIVERED, key=f":{event.ticker}", why=sold),
        Over(cause=Cause.SELL_REFUSED, key=event.ticker, why=sold),
    ]


def _after_position(event: Notable, verb: str) -> list[Over]:
    if verb == "open":
        return []
    key, why = str(event.position_id), f"it is {verb}"
    found = [Over(cause=Cause.POSITION_REOPENED, key=key, why=why)]
    if event.actor and event.ticker:
        why = f"{event.actor} marked the position as {verb}"
        found.append(Over(cause=Cause.SELL_UNDELIVERED, ticker=event.ticker, why=why))
    return found
