"""Due deliveries leased in lane order, and windows counted, as `database.lanes`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from database.lanes import LATEST_WRITE, TRANSIT
from domain.breaker import Breaker
from domain.delivery import Delivery, DeliveryState, DestinationId, Guarantee, Outcome
from domain.destination import DestinationState
from domain.rate import Room, Used, Window
from domain.signal import Side
from tests.simulation.store import AttemptRow, DeliveryRow, Store

NO_TIME = timedelta(0)


@dataclass(frozen=True, slots=True)
class Hold:
    version: int
    pause: timedelta
    breaker: Breaker


def hold(store: Store, destination: DestinationId) -> Hold | None:
    row = store.destinations[destination]
    if row.state is not DestinationState.ENABLED:
        return None
    pause = NO_TIME if row.hold_until is None else max(NO_TIME, row.hold_until - store.now)
    return Hold(row.version, pause, row.breaker)


def in_flight(store: Store, destination: DestinationId, left: timedelta) -> int:
    """One whose lease has less than ``left`` to go has ended, or its sender has died."""
    return sum(
        row.state is DeliveryState.SENDING and not row.lost(store.now + left)
        for row in store.waiting[destination].values()
    )


def usage(
    store: Store, destination: DestinationId, windows: Sequence[Window], replica: str
) -> list[Used]:
    """What was sent within each window, over all replicas (unless that rule is broken)."""
    return [_used(store, destination, window, replica) for window in windows]


def _used(store: Store, destination: DestinationId, window: Window, replica: str) -> Used:
    span = timedelta(seconds=window.seconds) + TRANSIT
    began, buys, total = store.now - span, 0, 0
    for attempt in store.attempts_since(destination, began - LATEST_WRITE):
        at = _left_at(attempt)
        mine = store.rules.shared_windows or attempt.replica == replica
        if mine and at is not None and at > began:
            buys += attempt.side is Side.BUY
            total += 1
    return Used(buys=buys, total=total)


def _left_at(attempt: AttemptRow) -> datetime | None:
    """When it left, or the last moment at which it may have; None when it never did."""
    if attempt.finished_at is None:
        return attempt.started_at + LATEST_WRITE
    return attempt.written_at


def lease(
    store: Store,
    destination: DestinationId,
    room: Room,
    *,
    lasting: timedelta,
    left: timedelta | None = None,
    replica: str = "",
) -> list[Delivery]:
    """Take the heads of due lanes, sells first, as far as there is room."""
    heads = [row for row in _heads(store, destination) if _may_leave(row, store, left)]
    sells = [row for row in heads if row.signal.side is Side.SELL]
    buys = [row for row in heads if row.signal.side is Side.BUY][: room.buys]
    return [
        _leased(store, row, lasting, replica) for row in [*sells[: room.total], *buys][: room.total]
    ]


def _heads(store: Store, destination: DestinationId) -> Iterator[DeliveryRow]:
    """The first of each lane; a held one keeps no exit waiting, but every buy."""
    before_buys, before_sells = set[str](), set[str]()
    for row in sorted(store.waiting[destination].values(), key=lambda row: row.signal.seq):
        ticker, side = row.signal.ticker, row.signal.side
        blocked = before_buys if side is Side.BUY else before_sells
        if ticker not in blocked or not store.rules.lanes:
            yield row
        before_buys.add(ticker)
        if row.state is not DeliveryState.HELD:
            before_sells.add(ticker)


def _may_leave(row: DeliveryRow, store: Store, left: timedelta | None) -> bool:
    if row.expires_at <= store.now or (left is not None and row.expires_at > store.now + left):
        return False
    if row.state is DeliveryState.QUEUED:
        return row.due_at <= store.now
    return row.lost(store.now) and row.kept.guarantee is Guarantee.AT_LEAST_ONCE


def _leased(store: Store, row: DeliveryRow, lasting: timedelta, replica: str) -> Delivery:
    lost = row.state is DeliveryState.SENDING
    row.possibly_sent = row.possibly_sent or lost
    row.state, row.lease_until = DeliveryState.SENDING, store.now + lasting
    row.epoch += 1
    row.attempts += 1
    attempt = AttemptRow(
        delivery=row,
        epoch=row.epoch,
        replica=replica,
        started_at=store.now,
        expires_at=row.expires_at,
        possible_resend=row.possibly_sent,
    )
    store.attempts[row.key, row.epoch] = attempt
    store.attempts_at[row.destination].append(attempt)
    store.tell(
        "delivery.sending",
        row.signal.id,
        row.key,
        attempt=row.attempts,
        possible_resend=row.possibly_sent,
        destination_version=row.version,
    )
    return row.leased(store.now)


def tried_lately(
    store: Store, destination: DestinationId, within: timedelta, lasting: timedelta
) -> bool:
    """Whether a request to it ended within this time, or is on its way."""
    return any(
        one.finished_at is None
        or (one.finished_at > store.now - within and one.outcome is not Outcome.WITHHELD)
        for one in store.attempts_since(destination, store.now - within - lasting)
    )


def next_due(store: Store, destination: DestinationId) -> timedelta | None:
    dues = [
        row.due_at - store.now
        for row in store.waiting[destination].values()
        if row.due_at > store.now
    ]
    return min(dues, default=None)
