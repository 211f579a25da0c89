"""The store in memory: the rows of the database, on a clock that others move.

What is done to the rows stands in the modules beside, named after those of `database/`; each of
their functions is one transaction.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from domain.breaker import Breaker
from domain.delivery import (
    Delivery,
    DeliveryId,
    DeliveryState,
    DestinationId,
    Guarantee,
    Outcome,
)
from domain.destination import DestinationState, Mode
from domain.gate import Verdict
from domain.position import Position, PositionId, PositionState
from domain.rate import Window
from domain.signal import Side, Signal, SignalId, SignalStatus
from domain.ticker import Ticker

Key: TypeAlias = tuple[SignalId, DestinationId]
"""A delivery by what it delivers, and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the relay keeps to. Each may be broken on purpose: the checker has to notice.

    ``reunions``: a position that stands for another is sold wherever that one was bought.
    ``dry_apart``: what was bought live is sold live, and a dry run's buy is none of its kind.
    ``emptied``: one entered by hand is closed when exits arrived wherever it was held, one by one.
    ``waits``: who asked us to wait is sent one sell a minute, not one after another.
    """

    epochs: bool = True
    shared_windows: bool = True
    lanes: bool = True
    departures: bool = True
    breakers: bool = True
    supersede: bool = True
    exits_where_held: bool = True
    marks: bool = True
    reunions: bool = True
    dry_apart: bool = True
    emptied: bool = True
    waits: bool = True


@dataclass(slots=True, eq=False)
class SignalRow:
    signal: Signal
    status: SignalStatus = SignalStatus.RECEIVED
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """One version of a destination, as far as its deliveries keep it."""

    mode: Mode = Mode.LIVE
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE


@dataclass(slots=True, kw_only=True, eq=False)
class DestinationRow:
    id: DestinationId
    windows: tuple[Window, ...] = ()
    concurrency: int = 5
    state: DestinationState = DestinationState.ENABLED
    versions: list[Kept] = field(default_factory=lambda: [Kept()])
    hold_until: datetime | None = None
    breaker: Breaker = field(default_factory=Breaker)

    @property
    def version(self) -> int:
        return len(self.versions)

    @property
    def in_use(self) -> bool:
        return self.state is not DestinationState.DISABLED

    def kept(self, version: int) -> Kept:
        return self.versions[version - 1]


@dataclass(slots=True, kw_only=True, eq=False)
class DeliveryRow:
    """``in_use_then`` are the destinations that were in use when it ended."""

    id: DeliveryId
    signal: Signal
    destination: DestinationId
    version: int
    kept: Kept
    position: PositionId | None
    queued_at: datetime
    due_at: datetime
    expires_at: datetime
    state: DeliveryState = DeliveryState.QUEUED
    reason: str | None = None
    epoch: int = 0
    attempts: int = 0
    possibly_sent: bool = False
    lease_until: datetime | None = None
    finished_at: datetime | None = None
    in_use_then: frozenset[DestinationId] = frozenset()

    @property
    def key(self) -> Key:
        return self.signal.id, self.destination

    @property
    def may_be_there(self) -> bool:
        """Whether the destination has it, may have it, or may yet get it."""
        return self.possibly_sent or not self.state.final or self.state is DeliveryState.DELIVERED

    @property
    def is_exit(self) -> bool:
        """Whether it sells everything."""
        return self.signal.side is Side.SELL and not self.signal.partial

    def lost(self, now: datetime) -> bool:
        """Whether whoever leased it let the lease run out."""
        return self.lease_until is not None and self.lease_until < now

    def leased(self, leased_at: datetime) -> Delivery:
        return Delivery(
            id=self.id,
            destination_id=self.destination,
            destination_version=self.version,
            guarantee=self.kept.guarantee,
            signal_id=self.signal.id,
            ticker=self.signal.ticker,
            side=self.signal.side,
            partial=self.signal.partial,
            epoch=self.epoch,
            attempt=self.attempts,
            possible_resend=self.possibly_sent,
            body=self.signal.id.bytes,
            content_type="application/json",
            received_at=self.signal.received_at,
            leased_at=leased_at,
            expires_at=self.expires_at,
        )


@dataclass(slots=True, kw_only=True, eq=False)
class AttemptRow:
    delivery: DeliveryRow
    epoch: int
    replica: str
    started_at: datetime
    expires_at: datetime
    possible_resend: bool
    finished_at: datetime | None = None
    written_at: datetime | None = None
    outcome: Outcome | None = None
    retry_after: timedelta | None = None

    @property
    def side(self) -> Side:
        return self.delivery.signal.side


@dataclass(slots=True, eq=False)
class PositionRow:
    """``merged`` is the position that stands for this one since both came alive together.

    ``after`` is how many deliveries there were before it.
    """

    position: Position
    opened_at: datetime
    after: int = 0
    merged: PositionId | None = None

    @property
    def state(self) -> PositionState:
        return self.position.state

    @property
    def by_hand(self) -> bool:
        return self.position.entry_signal_id is None


@dataclass(frozen=True, slots=True)
class Event:
    at: datetime
    event: str
    signal: SignalId | None = None
    delivery: Key | None = None
    position: PositionId | None = None
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Word:
    """An operator's word: that he holds a ticker, or (``gone``: of these buys) nothing any more.

    ``number`` is its place among his words, ``after`` how many deliveries there were before it;
    ``back`` are the words that this one takes back.
    """

    number: int
    ticker: Ticker
    after: int
    gone: frozenset[Key] | None = None
    back: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Store:
    """All rows; finished ones are kept, and found by index as in the database.

    ``only`` are the signals for a single destination; ``words`` is what an operator said of
    positions.
    """

    now: datetime
    rules: Rules = field(default_factory=Rules)
    signals: dict[SignalId, SignalRow] = field(default_factory=dict[SignalId, SignalRow])
    undecided: dict[SignalId, SignalRow] = field(default_factory=dict[SignalId, SignalRow])
    destinations: dict[DestinationId, DestinationRow] = field(
        default_factory=dict[DestinationId, DestinationRow]
    )
    deliveries: dict[Key, DeliveryRow] = field(default_factory=dict[Key, DeliveryRow])
    waiting: dict[DestinationId, dict[Key, DeliveryRow]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    of_position: dict[PositionId, list[DeliveryRow]] = field(
        default_factory=lambda: defaultdict(list)
    )
    exits: dict[Ticker, list[DeliveryRow]] = field(default_factory=lambda: defaultdict(list))
    attempts: dict[tuple[Key, int], AttemptRow] = field(
        default_factory=dict[tuple[Key, int], AttemptRow]
    )
    attempts_at: dict[DestinationId, list[AttemptRow]] = field(
        default_factory=lambda: defaultdict(list)
    )
    positions: dict[PositionId, PositionRow] = field(default_factory=dict[PositionId, PositionRow])
    unfinished: dict[Ticker, dict[PositionId, PositionRow]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    events: list[Event] = field(default_factory=list[Event])
    paused: bool = False
    sold_all_at: datetime | None = None
    only: dict[SignalId, DestinationId] = field(default_factory=dict[SignalId, DestinationId])
    words: list[Word] = field(default_factory=list[Word])

    def tell(
        self,
        event: str,
        signal: SignalId | None = None,
        delivery: Key | None = None,
        position: PositionId | None = None,
        **detail: Any,
    ) -> None:
        said = {name: value for name, value in detail.items() if value is not None}
        self.events.append(Event(self.now, event, signal, delivery, position, said))

    def tell_of(self, row: DeliveryRow, word: str | None = None, **detail: Any) -> None:
        """What became of a delivery, as its event."""
        self.tell(
            f"delivery.{word or row.state}", row.signal.id, row.key, reason=row.reason, **detail
        )

    def queue(self, row: DeliveryRow) -> None:
        assert row.key not in self.deliveries, "a delivery for each destination"
        self.deliveries[row.key] = row
        self.waiting[row.destination][row.key] = row
        if row.signal.side is Side.SELL:
            self.exits[row.signal.ticker].append(row)
        if row.position is not None:
            self.of_position[row.position].append(row)
        self.tell_of(
            row,
            destination_id=row.destination,
            destination_version=row.version,
            position_id=row.position or "",
        )

    def end(self, row: DeliveryRow, state: DeliveryState, reason: str | None) -> None:
        """Put a delivery into a state in which nobody works on it; final, unless it is held."""
        assert row.finished_at is None, "a finished delivery never changes"
        row.state, row.reason, row.lease_until = state, reason, None
        if state.final:
            row.finished_at = self.now
            row.in_use_then = frozenset(id for id, one in self.destinations.items() if one.in_use)
            del self.waiting[row.destination][row.key]

    def lane(self, destination: DestinationId, ticker: Ticker) -> Iterator[DeliveryRow]:
        """Every delivery of a lane, finished ones too."""
        return (
            row
            for row in self.deliveries.values()
            if row.destination == destination and row.signal.ticker == ticker
        )

    def all_waiting(self) -> Iterator[DeliveryRow]:
        """Every unfinished delivery."""
        return (row for rows in self.waiting.values() for row in rows.values())

    def keep(self, position: Position, **detail: Any) -> PositionRow:
        """Write a position as it is now, and tell of it."""
        row = self.positions.get(position.id)
        if row is None:
            row = self.positions[position.id] = PositionRow(
                position, self.now, len(self.deliveries)
            )
        row.position = position
        mine = self.unfinished[position.ticker]
        if position.state in {PositionState.CLOSED, PositionState.VOID}:
            mine.pop(position.id, None)
        else:
            mine[position.id] = row
        assert sum(one.state.live for one in mine.values()) <= 1, "one live position of a ticker"
        self.tell(
            f"position.{position.state}",
            position.exit_signal_id or position.entry_signal_id,
            position=position.id,
            ticker=position.ticker,
            successor=row.merged,
            **detail,
        )
        return row

    def hand_over(self, ended: PositionId, standing: PositionId) -> None:
        """What was bought and sold for the one belongs to the other from now on."""
        for row in self.of_position.pop(ended, []):
            row.position = standing
            self.of_position[standing].append(row)

    def positions_of(self, tickers: Iterable[Ticker]) -> list[PositionRow]:
        """Every unfinished position of these tickers, in the order in which they are locked."""
        found = [row for ticker in set(tickers) for row in self.unfinished[ticker].values()]
        return sorted(found, key=lambda row: row.position.id)

    def attempts_since(self, destination: DestinationId, since: datetime) -> Iterator[AttemptRow]:
        """The attempts that began later than this, the newest first."""
        for attempt in reversed(self.attempts_at[destination]):
            if attempt.started_at <= since:
                return
            yield attempt

    def new_delivery_id(self) -> DeliveryId:
        return DeliveryId(UUID(int=len(self.deliveries) + 1))
