"""A delivery: one approved signal on its way to one destination.

QUEUED ──lease──▶ SENDING ──2xx──▶ DELIVERED
   ▲                 │
   └─may yet succeed─┤
                     ├─permanent refusal, or a sell at the end of its life──▶ DEAD
                     ├─a buy at the end of its life──▶ EXPIRED
                     └─outcome unknown, at most once──▶ HELD ──the operator──▶ …
What is HELD for a lost lease alone goes on as from SENDING when its answer is recorded after all.
A buy nobody tried yet with an exit behind it is SUPERSEDED; CANCELLED is the operator's word.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType, TypeAlias
from uuid import UUID

from domain.signal import Side, SignalId

DeliveryId = NewType("DeliveryId", UUID)
DestinationId = NewType("DestinationId", UUID)


class DeliveryState(StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    HELD = "held"
    DELIVERED = "delivered"
    DEAD = "dead"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self not in {DeliveryState.QUEUED, DeliveryState.SENDING, DeliveryState.HELD}


class Guarantee(StrEnum):
    """What is done when an outcome is unknown: sent again, marked; or held for the operator."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class Outcome(StrEnum):
    """What an attempt tells us about the other side.

    NOT_SENT: it never left us. NOT_PROCESSED: the destination said "not now". PERMANENT: it said
    "never". AMBIGUOUS: it may have acted. WITHHELD: we did not try; not counted as an attempt.
    DRY_RUN: the destination is not live; as good as delivered, but nothing left.
    """

    DELIVERED = "delivered"
    DRY_RUN = "dry_run"
    NOT_SENT = "not_sent"
    NOT_PROCESSED = "not_processed"
    PERMANENT = "permanent"
    AMBIGUOUS = "ambiguous"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a forwarder has leased. ``epoch`` fences out whoever held the lease before.

    ``possible_resend`` is True when an earlier attempt may have reached the destination.
    ``replay_of`` is the signal that this one repeats at an operator's word. ``traceparent`` is the
    trace that its sender named. ``leased_at`` and ``expires_at`` are on the database's clock.
    """

    id: DeliveryId
    destination_id: DestinationId
    destination_version: int
    guarantee: Guarantee
    signal_id: SignalId
    ticker: str
    side: Side
    partial: bool = False
    epoch: int
    attempt: int
    possible_resend: bool
    body: bytes = field(repr=False)
    content_type: str
    hop: int = 0
    replay_of: SignalId | None = None
    traceparent: str | None = None
    received_at: datetime
    leased_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How an attempt ended. ``excerpt`` is the start of the destination's answer, if any.

    ``fatal`` says that no other request would fare better (a wrong certificate, a refused token),
    ``gone`` that the destination wants nothing more, ever (RFC 9110 §15.5.11). ``written`` is how
    long after its lease the request began to leave; None when nothing left.
    """

    outcome: Outcome
    status: int | None = None
    fatal: bool = False
    gone: bool = False
    written: timedelta | None = None
    retry_after: timedelta | None = None
    error: str | None = None
    excerpt: str | None = field(default=None, repr=False)
    duration: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination has it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Queue it again, not before ``at``."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """It will not be sent again by itself: final, or HELD."""

    state: DeliveryState
    reason: str


Step: TypeAlias = Delivered | Retry | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Full jitter below a doubling ceiling: 0.25, 0.5, 1, 2, 4, 8, 8 … seconds.

    Sells that outlast it go on every 10 to 15 seconds. See "Exponential Backoff And Jitter" (AWS
    Architecture Blog, 2015).
    """

    base: timedelta = timedelta(milliseconds=250)
    cap: timedelta = timedelta(seconds=8)
    floor: timedelta = timedelta(milliseconds=50)
    steady: timedelta = timedelta(seconds=10)

    def delay(self, attempt: int, side: Side, jitter: float) -> timedelta:
        """The wait after attempt number ``attempt`` (from 1); ``jitter`` in [0, 1)."""
        ceiling = self.base * 2 ** min(attempt - 1, 16)
        if side is Side.SELL and ceiling > self.cap:
            return self.steady * (1 + jitter / 2)
        return max(self.floor, min(ceiling, self.cap) * jitter)


def classify(status: int) -> Outcome:
    """What an HTTP status says about processing (RFC 9110 §15, reference reliability §5.3)."""
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status in {408, 425, 429, 503}:
        return Outcome.NOT_PROCESSED
    return Outcome.AMBIGUOUS if status >= 500 else Outcome.PERMANENT


FATAL_STATUSES = frozenset({401, 403, 404, 410})
"""What a destination says of us or of its address, whatever the body was."""


def after_attempt(
    delivery: Delivery, answer: Answer, policy: RetryPolicy, *, now: datetime, jitter: float
) -> Step:
    """The transition out of SENDING. A `Retry-After` is honoured inside the signal's life."""
    match answer.outcome:
        case Outcome.DELIVERED | Outcome.DRY_RUN:
            return Delivered()
        case Outcome.PERMANENT:
            return Ended(DeliveryState.DEAD, cause(answer))
        case Outcome.AMBIGUOUS if delivery.guarantee is Guarantee.AT_MOST_ONCE:
            return Ended(DeliveryState.HELD, cause(answer))
        case Outcome.WITHHELD if now < delivery.expires_at:
            return Retry(now)
        case _:
            return _again(
                delivery, answer, now + policy.delay(delivery.attempt, delivery.side, jitter)
            )


def end_of_life(side: Side) -> DeliveryState:
    """How a delivery ends when its time is over: a lost sell is loud, a late buy is not wanted."""
    return DeliveryState.DEAD if side is Side.SELL else DeliveryState.EXPIRED


LAST_CHANCE = timedelta(seconds=6)
"""A sell told to wait beyond its life is tried once more this long before its end."""

SELLS_WAIT = timedelta(seconds=60)
"""A sell told to wait for longer is tried after this time all the same."""


def _again(delivery: Delivery, answer: Answer, due: datetime) -> Step:
    wish = answer.retry_after or timedelta(0)
    told = due + (min(wish, SELLS_WAIT) if delivery.side is Side.SELL else wish)
    if told < delivery.expires_at:
        return Retry(told)
    last = delivery.expires_at - LAST_CHANCE
    if delivery.side is Side.SELL and due < last:
        return Retry(last)
    return Ended(end_of_life(delivery.side), f"expired: {cause(answer)}")


def cause(answer: Answer) -> str:
    """Why an attempt ended as it did, in a word."""
    return f"http {answer.status}" if answer.status else (answer.error or answer.outcome)
