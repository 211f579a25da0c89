"""I21 in memory: the events of a simulated run give its rows."""

from domain.rebuild import (
    DeliveryFacts,
    PositionFacts,
    Rebuilt,
    SignalFacts,
    Told,
    counters,
    differences,
)
from domain.signal import SignalStatus
from tests.chaos.findings import Finding, found
from tests.simulation.store import Event, Key, SignalRow, Store


def replay_equality(store: Store) -> Finding:
    told, kept = Rebuilt(), _kept(store)
    told.tell(_told(event) for event in store.events)
    faults = [*differences(told, kept)]
    if counters(told) != counters(kept):
        faults.append("the counters are not the same")
    words = f"{len(store.events):,} events of {len(kept.deliveries):,} deliveries"
    return found("I21", "replay equality", words, faults)


def _told(event: Event) -> Told:
    detail = {name: _word(value) for name, value in event.detail.items()}
    signal, position = (str(id) if id else None for id in (event.signal, event.position))
    delivery = _name(event.delivery) if event.delivery else None
    return Told(event.at, event.event, signal, delivery, position, detail)


def _word(value: object) -> object:
    """As an event in the database has it: ids are text."""
    return value if isinstance(value, int | str) else str(value)


def _name(key: Key) -> str:
    return f"{key[0]}@{key[1]}"


def _reason(row: SignalRow) -> str | None:
    if row.verdict is None:
        return "expired" if row.status is SignalStatus.EXPIRED else None
    return row.verdict.reason


def _kept(store: Store) -> Rebuilt:
    kept = Rebuilt()
    for id, row in store.signals.items():
        kept.signals[str(id)] = SignalFacts(
            received_at=row.signal.received_at,
            source=row.signal.source,
            ticker=row.signal.ticker,
            side=row.signal.side,
            status=row.status,
            reason=_reason(row),
        )
    for key, row in store.deliveries.items():
        kept.deliveries[_name(key)] = DeliveryFacts(
            signal=str(row.signal.id),
            destination=str(row.destination),
            version=row.version,
            position=str(row.position or ""),
            queued_at=row.queued_at,
            state=row.state,
            reason=row.reason,
            epoch=row.epoch,
            attempts=row.attempts,
            possibly_sent=row.possibly_sent,
        )
    for id, row in store.positions.items():
        entry, exit_ = row.position.entry_signal_id, row.position.exit_signal_id
        kept.positions[str(id)] = PositionFacts(
            opened_at=row.opened_at,
            ticker=row.position.ticker,
            state=row.state,
            entry=entry and str(entry),
            exit=exit_ and str(exit_),
        )
    return kept
