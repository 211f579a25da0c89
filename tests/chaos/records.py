"""What was seen from outside and what the database says: plain values, all times on one axis.

Nothing here knows where it came from: a run of whole processes and a simulation in memory fill in
the same records, and one checker counts both.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

LEASE = 15.0
NOT_NOW = frozenset({408, 425, 429})

PROCESS_BLOWS = frozenset({"kill", "stop", "terminate", "died"})
DATABASE_BLOWS = frozenset(
    {"crash", "outage", "blackhole", "partition", "slow", "reset", "cut", "full"}
)
"""A partition cuts one replica off its database, a black hole all of them."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One request of an alert, and its answer; ``status`` is None when none came in time."""

    at: float
    latency: float
    replica: str
    status: int | None = None
    id: str | None = None
    duplicate: bool = False
    problem: str = ""

    @property
    def accepted(self) -> bool:
        return self.status is not None and self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert with all its sends; ``number`` is in its body."""

    number: int
    ticker: str
    side: str
    sends: tuple[Send, ...]

    @property
    def ids(self) -> set[str | None]:
        return {send.id for send in self.sends if send.accepted}

    @property
    def acknowledged_at(self) -> float | None:
        return min((s.at + s.latency for s in self.sends if s.accepted), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request as a destination saw it. ``status`` is None when it gave no whole answer.

    ``digest`` is None when the body never came whole; ``wait`` is what Retry-After asked for, and
    ``answered_at`` when.
    """

    at: float
    destination: str
    id: str
    resend: bool
    digest: str | None
    processed: bool
    status: int | None
    wait: float = 0.0
    answered_at: float = 0.0

    @property
    def ambiguous(self) -> bool:
        return self.status is None or (self.status >= 500 and self.status != 503)

    @property
    def final(self) -> bool:
        """Whether it was told yes or never: whoever hears that does not ask again."""
        return self.status is not None and self.status < 500 and self.status not in NOT_NOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A row of the journal; ``alert`` is the number in its body."""

    id: str
    seq: int
    ticker: str
    side: str
    status: str
    alert: int | None = None
    reason: str | None = None
    universe: int | None = None
    rank: int | None = None
    cutoff: int | None = None
    list_age: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A row of the queue."""

    id: str
    signal_id: str
    destination: str
    seq: int
    ticker: str
    side: str
    state: str
    queued_at: float
    expires_at: float
    finished_at: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A request as the relay recorded it; ``finished_at`` is None when nobody settled it."""

    delivery_id: str
    epoch: int
    started_at: float
    finished_at: float | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An audit event; ``id`` is its place in the trail."""

    id: int
    event: str
    signal_id: str | None
    delivery_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    ticker: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """Something we did to the relay or its world, from when until it was whole again.

    ``took`` and ``code`` are those of a process asked to end; ``note`` says where it was struck.
    """

    kind: str
    target: str
    began: float
    ended: float
    took: float | None = None
    code: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A time in which a destination's breaker was not closed."""

    destination: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a replica used at one moment: resident bytes, open descriptors."""

    at: float
    replica: str
    resident: int
    descriptors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was promised in this run. ``windows`` are (limit, seconds), by destination."""

    windows: Mapping[str, Sequence[tuple[int, float]]]
    at_most_once: frozenset[str] = frozenset()
    in_flight: int = 5
    list_max_age: float = 180.0
    refresh: float = 60.0
    answer_within: float = 2.5
    recover_within: float = LEASE + 2
    end_within: float = 15.0
    most_resident: int = 300_000_000
    most_descriptors: int = 256


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything a checker needs, and the ways it is looked up.

    ``retold`` is where the tables are not what the events tell; in ``pauses``, from when until
    when, we who watch stood still ourselves, and with us the machine.
    """

    terms: Terms
    alerts: Sequence[Alert] = ()
    arrivals: Sequence[Arrival] = ()
    signals: Sequence[Signal] = ()
    deliveries: Sequence[Delivery] = ()
    attempts: Sequence[Attempt] = ()
    events: Sequence[Event] = ()
    positions: Sequence[Position] = ()
    universes: Mapping[int, Sequence[str]] = field(default_factory=dict[int, Sequence[str]])
    blows: Sequence[Blow] = ()
    breaks: Sequence[Break] = ()
    samples: Sequence[Sample] = ()
    looks: Sequence[float] = ()
    leaks: Sequence[str] | None = None
    retold: Sequence[str] | None = None
    pauses: Sequence[tuple[float, float]] = ()

    def paused(self, began: float, ended: float) -> float:
        """Seconds of a stretch in which nobody got anywhere."""
        return sum(max(0.0, min(ended, to) - max(began, since)) for since, to in self.pauses)

    @cached_property
    def signal(self) -> dict[str, Signal]:
        return {signal.id: signal for signal in self.signals}

    @cached_property
    def delivery(self) -> dict[tuple[str, str], Delivery]:
        """By destination and signal."""
        return {(each.destination, each.signal_id): each for each in self.deliveries}

    @cached_property
    def attempts_of(self) -> dict[str, list[Attempt]]:
        return grouped((each.delivery_id, each) for each in self.attempts)

    @cached_property
    def arrivals_of(self) -> dict[tuple[str, str], list[Arrival]]:
        """By destination and signal, in the order they came."""
        ordered = sorted(self.arrivals, key=lambda arrival: arrival.at)
        return grouped(((each.destination, each.id), each) for each in ordered)

    @cached_property
    def arrivals_at(self) -> dict[str, list[Arrival]]:
        """By destination, in the order they came."""
        ordered = sorted(self.arrivals, key=lambda arrival: arrival.at)
        return grouped((each.destination, each) for each in ordered)

    @cached_property
    def story_of(self) -> dict[str, list[str]]:
        """The words of each signal itself, in order: the events of no delivery, no position."""
        ordered = sorted(self.events, key=lambda event: event.id)
        return grouped(
            (each.signal_id, each.event)
            for each in ordered
            if each.signal_id and each.event.startswith("signal.")
        )

    @cached_property
    def story_of_delivery(self) -> dict[str, list[str]]:
        ordered = sorted(self.events, key=lambda event: event.id)
        return grouped(
            (each.delivery_id, each.event)
            for each in ordered
            if each.delivery_id and each.event.startswith("delivery.")
        )

    def struck(self, kinds: Iterable[str], *, after: float, before: float) -> list[Blow]:
        """The blows of these kinds that were felt at some time between."""
        wanted = frozenset(kinds)
        return [
            b for b in self.blows if b.kind in wanted and b.began <= before and b.ended >= after
        ]


K = TypeVar("K")


def grouped(pairs: Iterable[tuple[K, T]]) -> dict[K, list[T]]:
    found: dict[K, list[T]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return dict(found)
