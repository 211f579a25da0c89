"""A signal: one instruction about one ticker, from one source, at one time. Immutable."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.ticker import Ticker

SignalId = NewType("SignalId", UUID)

WEBHOOK, OPERATOR = "webhook", "operator"
"""Sources there are always: alerts with the token of the settings, and whoever sells by hand."""


class Side(StrEnum):
    """What the sender wants done."""

    BUY = "buy"
    SELL = "sell"


class SignalStatus(StrEnum):
    """Where a signal stands. It leaves RECEIVED once, and never returns."""

    RECEIVED = "received"
    INVALID = "invalid"
    EXPIRED = "expired"
    REJECTED = "rejected"
    APPROVED = "approved"


@dataclass(frozen=True, slots=True)
class Wait:
    """Hold-and-see: the time in which a buy may wait for its ticker to come into the list."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What the gate and the forwarder know of a signal.

    ``closes`` is what the sender said: True ends a position, False opens or adds to one, None when
    the message does not say. ``partial`` marks an exit that leaves part of the position open.
    ``expires_at`` is the end of its life on the database's clock; ``wait`` is there while it waits
    for its ticker to come into the list. ``source`` is who sent it.
    """

    id: SignalId
    seq: int
    ticker: Ticker
    side: Side
    closes: bool | None
    partial: bool
    price: Decimal | None
    received_at: datetime
    expires_at: datetime
    wait: Wait | None = None
    source: str = WEBHOOK

    @property
    def by_hand(self) -> bool:
        """An operator's own: the list, and what a sell needs of it, is nothing to it."""
        return self.source == OPERATOR


MILLISECONDS = (1 << 48) - 1
CHANCE = (1 << 80) - 1 & ~(0xF << 76 | 0x3 << 62)
VERSION_AND_VARIANT = 0x7 << 76 | 0x2 << 62


def uuid7(now: datetime, entropy: bytes) -> UUID:
    """Return a UUIDv7: milliseconds since 1970, then chance (RFC 9562, section 5.7).

    ``entropy`` is ten random bytes; the version and variant bits are overwritten in it.
    """
    return UUID(bytes=uuid7_bytes(now, entropy))


def uuid7_bytes(now: datetime, entropy: bytes) -> bytes:
    """The sixteen bytes of such a UUID."""
    time = (int(now.timestamp() * 1000) & MILLISECONDS) << 80
    chance = int.from_bytes(entropy[:10], "big") & CHANCE
    return (time | chance | VERSION_AND_VARIANT).to_bytes(16, "big")
