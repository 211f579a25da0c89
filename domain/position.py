"""A position: we have forwarded a buy of this ticker and no sell since.

OPENING ──a destination has the buy──▶ OPEN ──an exit is approved──▶ CLOSING
   └──every delivery ended unsent──▶ VOID           (from OPENING too)   │
OPEN ◀──the exit ended undelivered───────────────────────────────────────┤
CLOSED ◀──every destination that had a buy has the exit──────────────────┘
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import NewType, Self
from uuid import UUID

from domain.signal import OPERATOR, Signal, SignalId
from domain.ticker import Ticker

PositionId = NewType("PositionId", UUID)


class PositionState(StrEnum):
    """Where a position stands; live ones may be sold, a closing one is being sold."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    VOID = "void"

    @property
    def live(self) -> bool:
        return self in {PositionState.OPENING, PositionState.OPEN}

    @property
    def unfinished(self) -> bool:
        return self.live or self is PositionState.CLOSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """``id`` is that of the signal that opened it, or of its own when entered by hand.

    ``source`` is who sent the signal that opened it.
    """

    id: PositionId
    ticker: Ticker
    state: PositionState
    entry_signal_id: SignalId | None
    exit_signal_id: SignalId | None = None
    source: str = OPERATOR

    @classmethod
    def opened_by(cls, signal: Signal) -> Self:
        return cls(
            id=PositionId(signal.id),
            ticker=signal.ticker,
            state=PositionState.OPENING,
            entry_signal_id=signal.id,
            source=signal.source,
        )

    def closed_by(self, signal: Signal) -> Self:
        """An exit of it was approved."""
        return replace(self, state=PositionState.CLOSING, exit_signal_id=signal.id)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the deliveries of its buys, or of its exit, are; none at all: nothing ended.

    Of its buys only those count that were not sold since where they went. ``may_have``: one ended
    that may have arrived. ``done``: of an exit, at least one was delivered, and the others had
    nothing to sell; of buys, all that arrived was sold.
    """

    any_delivered: bool
    possibly_sent: bool
    ended: bool
    done: bool = False
    may_have: bool = False


def follow(
    state: PositionState, entry: Progress | None, exit_: Progress | None, *, emptied: bool = False
) -> PositionState:
    """Where the deliveries of its buys and of its exit put a position. Closed and void stay so.

    A buy whose outcome is unknown counts as held: a sell must stay possible. ``entry`` is None for
    a position entered by hand, ``exit_`` while there is no exit. ``emptied``: one entered by hand
    was sold wherever it was held, by several exits, and nothing is left that was bought since.
    """
    match state:
        case PositionState.OPENING:
            return _entered(entry)
        case PositionState.OPEN:
            becomes = _entered(entry)
            return PositionState.OPEN if becomes is PositionState.OPENING else becomes
        case PositionState.CLOSING if exit_ and exit_.ended:
            return PositionState.CLOSED if exit_.done or emptied else _entered(entry)
        case _:
            return state


def is_moot(entry: Progress) -> bool:
    """Whether a waiting exit is to be superseded: no buy before it ever left for its destination.

    Sent alone, it would open a short. ``entry`` are the buys of the position there, since the last
    exit that arrived.
    """
    return entry.ended and not entry.possibly_sent and not entry.any_delivered


def return_percent(entry: Decimal | None, exit_: Decimal | None) -> float | None:
    """What a position brought, of what it cost; None where a price is not known."""
    if entry is None or exit_ is None or entry <= 0:
        return None
    return float(100 * (exit_ / entry - 1))


def _entered(entry: Progress | None) -> PositionState:
    if entry is None or entry.any_delivered:
        return PositionState.OPEN
    if entry.may_have or (entry.ended and entry.possibly_sent):
        return PositionState.OPEN
    if entry.done:
        return PositionState.CLOSED
    return PositionState.VOID if entry.ended else PositionState.OPENING
