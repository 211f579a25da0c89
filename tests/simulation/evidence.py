"""A simulated run in the records of `tests.chaos`, so that one checker counts both kinds."""

from datetime import datetime

from domain.delivery import Guarantee
from domain.gate import Verdict
from tests.chaos import records
from tests.chaos.records import Evidence
from tests.simulation.ground import LIST_MAX_AGE, START
from tests.simulation.store import DeliveryRow, Key, SignalRow
from tests.simulation.world import World


def evidence_of(world: World) -> Evidence:
    """Without the blows: a simulation is exact, and nothing is excused."""
    store = world.store
    return Evidence(
        terms=records.Terms(
            windows={
                str(row.id): [(w.limit, w.seconds) for w in row.windows]
                for row in store.destinations.values()
            },
            list_max_age=LIST_MAX_AGE.total_seconds(),
        ),
        arrivals=_arrivals(world),
        signals=[_signal(row) for row in store.signals.values()],
        deliveries=[_delivery(row) for row in store.deliveries.values()],
        attempts=[
            records.Attempt(
                delivery_id=name(row.delivery.key),
                epoch=row.epoch,
                started_at=seconds(row.started_at),
                finished_at=row.finished_at and seconds(row.finished_at),
                outcome=row.outcome,
            )
            for row in store.attempts.values()
        ],
        events=[
            records.Event(
                id=number,
                event=event.event,
                signal_id=str(event.signal) if event.signal else None,
                delivery_id=name(event.delivery) if event.delivery else None,
            )
            for number, event in enumerate(store.events)
        ],
        positions=[
            records.Position(ticker=row.position.ticker, state=row.state)
            for row in store.positions.values()
        ],
        universes={version: list(one.tickers) for version, one in world.universes.items()},
    )


def name(key: Key) -> str:
    return f"{key[0].int}@{key[1].int}"


def seconds(at: datetime) -> float:
    return (at - START).total_seconds()


def once_only(row: DeliveryRow) -> bool:
    return row.kept.guarantee is Guarantee.AT_MOST_ONCE


def _arrivals(world: World) -> list[records.Arrival]:
    return [
        records.Arrival(
            at=seconds(request.arrived_at),
            destination=str(request.key[1]),
            id=str(request.key[0]),
            resend=request.resend,
            digest=request.body.hex(),
            processed=request.reply.processed,
            status=request.reply.status,
        )
        for request in world.requests
        if request.arrived_at is not None
    ]


def _signal(row: SignalRow) -> records.Signal:
    signal, verdict = row.signal, row.verdict
    return records.Signal(
        id=str(signal.id),
        seq=signal.seq,
        ticker=signal.ticker,
        side=signal.side,
        status=row.status,
        reason=verdict and verdict.reason,
        universe=verdict and verdict.universe_version,
        rank=verdict and verdict.rank,
        cutoff=verdict and verdict.cutoff,
        list_age=_age(verdict),
    )


def _delivery(row: DeliveryRow) -> records.Delivery:
    return records.Delivery(
        id=name(row.key),
        signal_id=str(row.signal.id),
        destination=str(row.destination),
        seq=row.signal.seq,
        ticker=row.signal.ticker,
        side=row.signal.side,
        state=row.state,
        queued_at=seconds(row.queued_at),
        expires_at=seconds(row.expires_at),
        finished_at=row.finished_at and seconds(row.finished_at),
        reason=row.reason,
    )


def _age(verdict: Verdict | None) -> float | None:
    age = verdict.list_age if verdict else None
    return None if age is None else age.total_seconds()
