"""Everything as it stands, from the audit events alone: a trail that tells all gives the tables."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple, TypeAlias, TypeVar

from domain.delivery import DeliveryState, Outcome
from domain.position import PositionState
from domain.signal import SignalStatus

UNTOLD = "untold"
"""What events of an earlier version did not say. It is equal to anything."""


class Told(NamedTuple):
    """An event, in the order of the trail. A plain tuple, because there are millions."""

    at: datetime
    event: str
    signal: str | None
    delivery: str | None
    position: str | None
    detail: Mapping[str, Any]
    id: int = 0


@dataclass(slots=True, kw_only=True)
class SignalFacts:
    received_at: datetime
    source: str | None
    ticker: str | None
    side: str | None
    status: str = SignalStatus.RECEIVED.value
    reason: str | None = None


@dataclass(slots=True, kw_only=True)
class DeliveryFacts:
    """``epoch`` counts its leases, ``attempts`` those of them that were not withheld."""

    signal: str
    destination: str
    version: int
    position: str | None
    queued_at: datetime
    state: str = DeliveryState.QUEUED.value
    reason: str | None = None
    epoch: int = 0
    attempts: int = 0
    possibly_sent: bool = False


@dataclass(slots=True, kw_only=True)
class PositionFacts:
    opened_at: datetime
    ticker: str
    state: str
    entry: str | None
    exit: str | None = None


Facts = TypeVar("Facts", SignalFacts, DeliveryFacts, PositionFacts)
Count: TypeAlias = tuple[str, date, str, str | None]
"""Of what, on which day (UTC) it came, in which state, for which reason."""

ARRIVED = frozenset({Outcome.DELIVERED.value, Outcome.AMBIGUOUS.value})
STATUSES = frozenset(status.value for status in SignalStatus)
ENDS = frozenset(state.value for state in DeliveryState) - {"queued", "sending"}
STATES = frozenset(state.value for state in PositionState)


@dataclass(slots=True)
class Rebuilt:
    """All rows by their ids. ``faults`` are events that cannot be, in words."""

    signals: dict[str, SignalFacts] = field(default_factory=dict[str, SignalFacts])
    deliveries: dict[str, DeliveryFacts] = field(default_factory=dict[str, DeliveryFacts])
    positions: dict[str, PositionFacts] = field(default_factory=dict[str, PositionFacts])
    faults: list[str] = field(default_factory=list[str])
    events: int = 0
    _bought: dict[str, list[DeliveryFacts]] = field(default_factory=lambda: defaultdict(list))

    def tell(self, trail: Iterable[Told]) -> None:
        """Go on with these events, which come after all that were told before."""
        for told in trail:
            self.events += 1
            kind, _, word = told.event.partition(".")
            if kind == "delivery" and told.delivery:
                self._delivery(told, told.delivery, word)
            elif kind == "signal" and told.signal:
                self._signal(told, told.signal, word)
            elif kind == "position" and told.position:
                self._position(told, told.position, word)

    def _signal(self, told: Told, id: str, word: str) -> None:
        if word == "received":
            self._once(self.signals, id, told)
            say = told.detail.get if "source" in told.detail else _untold
            self.signals[id] = SignalFacts(
                received_at=told.at, source=say("source"), ticker=say("ticker"), side=say("side")
            )
        elif word in STATUSES and (row := self._known(self.signals, id, told)):
            if row.status != "received":
                self.faults.append(f"signal {id} is {row.status}, and {told.event}")
            row.status, row.reason = word, told.detail.get("reason")

    def _delivery(self, told: Told, id: str, word: str) -> None:
        detail = told.detail
        if word == "queued" and "destination_id" in detail:
            self._once(self.deliveries, id, told)
            self._queued(told, id)
            return
        row = self._known(self.deliveries, id, told)
        if row is not None:
            if row.state in ENDS and row.state != "held":
                self.faults.append(f"delivery {id} is {row.state}, and {told.event}")
            _step(row, word, detail)

    def _queued(self, told: Told, id: str) -> None:
        detail = told.detail
        position = detail.get("position_id", UNTOLD)
        row = self.deliveries[id] = DeliveryFacts(
            signal=told.signal or "",
            destination=detail["destination_id"],
            version=detail["destination_version"],
            position=position,
            queued_at=told.at,
        )
        if position:
            self._bought[position].append(row)

    def _position(self, told: Told, id: str, word: str) -> None:
        if word not in STATES:
            return
        row, was = self.positions.get(id), told.detail.get("was")
        if was in STATES and was != (row and row.state):
            self.faults.append(f"position {id} is {row and row.state}, and {told.event} says {was}")
        if row is None:
            row = self.positions[id] = PositionFacts(
                opened_at=told.at,
                ticker=told.detail["ticker"],
                state=word,
                entry=id if id in self.signals else None,
            )
        row.state = word
        if "becomes" in told.detail:  # an operator's word: whatever exit there was is none of it
            row.exit = None
        elif told.signal and told.signal != id:
            row.exit = told.signal
        if successor := told.detail.get("successor"):
            self._hand_over(id, successor)

    def _hand_over(self, merged: str, successor: str) -> None:
        """What was bought and sold for the one belongs to the other from now on."""
        for row in self._bought.pop(merged, ()):
            row.position = successor
            self._bought[successor].append(row)

    def _once(self, rows: Mapping[str, object], id: str, told: Told) -> None:
        if id in rows:
            self.faults.append(f"{told.event} is told twice of {id}")

    def _known(self, rows: Mapping[str, Facts], id: str, told: Told) -> Facts | None:
        row = rows.get(id)
        if row is None:
            self.faults.append(f"{told.event} is told of {id}, of which nothing was told before")
        return row


def _untold(_: str) -> str:
    return UNTOLD


def _step(row: DeliveryFacts, word: str, detail: Mapping[str, Any]) -> None:
    if word in {"sending", "retargeted"}:
        row.version = detail["destination_version"]
        if word == "sending":
            row.state, row.epoch, row.attempts = word, row.epoch + 1, detail["attempt"]
            row.possibly_sent = detail["possible_resend"]
        return
    if "outcome" in detail:
        arrived = row.possibly_sent or detail["outcome"] in ARRIVED
        row.possibly_sent = detail.get("possibly_sent", arrived)
        row.attempts = detail["attempt"]
    else:
        row.possibly_sent = _possibly_sent(row, word)
    row.state = "queued" if word == "retrying" else word
    row.reason = detail.get("reason")


def _possibly_sent(row: DeliveryFacts, word: str) -> bool:
    """After a step without an answer: a lease that ran out, time, or the operator's word."""
    if row.state == "sending":
        return True
    if row.state == "held" and word != "dead":
        return word != "cancelled"
    return row.possibly_sent


def counters(rebuilt: Rebuilt) -> Counter[Count]:
    """How many of each, by the day they came, their state and its reason."""
    found = Counter(
        ("signals", row.received_at.date(), row.status, row.reason)
        for row in rebuilt.signals.values()
    )
    found.update(
        ("deliveries", row.queued_at.date(), row.state, row.reason)
        for row in rebuilt.deliveries.values()
    )
    found.update(
        ("positions", row.opened_at.date(), row.state, None) for row in rebuilt.positions.values()
    )
    return found


def differences(told: Rebuilt, kept: Rebuilt) -> Iterator[str]:
    """Where the trail and the tables do not say the same, in words; and what cannot be."""
    yield from told.faults
    yield from _differences("signal", told.signals, kept.signals)
    yield from _differences("delivery", told.deliveries, kept.deliveries)
    yield from _differences("position", told.positions, kept.positions)


def _differences(kind: str, told: Mapping[str, Facts], kept: Mapping[str, Facts]) -> Iterator[str]:
    for id, row in kept.items():
        said = told.get(id)
        if said is None:
            yield f"{kind} {id} is in its table, and no event tells of it"
        elif said != row:
            yield from _fields(f"{kind} {id}", asdict(said), asdict(row))
    for id in told.keys() - kept.keys():
        yield f"{kind} {id} was told of, and is not in its table"


def _fields(what: str, told: Mapping[str, Any], kept: Mapping[str, Any]) -> Iterator[str]:
    for name, value in kept.items():
        said = told[name]
        if said not in (value, UNTOLD):
            yield f"{what}: {name} is {value} in its table, {said} by the events"
