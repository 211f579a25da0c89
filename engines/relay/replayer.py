"""The replayer: makes new signals of old ones at an operator's word, and has them judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from database import batches, gate, journal, replays, selections
from database.audit import Facts
from database.batches import Batch, BatchId, BatchKind
from database.pool import Connection
from database.replays import Copy
from database.selections import Found, Selection, Subject
from domain.signal import Side, SignalId, uuid7
from engines.clock import Clock, Entropy
from engines.metrics import Metrics
from engines.relay import command
from engines.relay.judge import Judge

AT_ONCE = 100
"""Bodies are copied by so many, because each may be large."""

SUBJECTS: Mapping[BatchKind, Subject] = {
    BatchKind.REPLAY: replays.REPLAYED,
    BatchKind.RESEND: replays.RESENT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An operator's word: replay signals, or resend deliveries. ``expect``: exactly so many."""

    kind: BatchKind
    actor: str
    force: bool = False
    reason: str | None = None
    expect: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a command made: its signals in order, each with its verdict."""

    batch: BatchId
    found: Found
    signals: Sequence[Facts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayer:
    """One command is one transaction, the caller's, in which no one else judges.

    So of two commands at once the second sees what the first one did. A replay is a new decision:
    it is journaled behind everything acknowledged before, and judged by what is in force now.
    """

    judge: Judge
    lifetimes: Mapping[Side, timedelta]
    metrics: Metrics
    clock: Clock
    entropy: Entropy
    wake_forwarder: Callable[[], None]

    async def carry_out(self, connection: Connection, selection: Selection, order: Order) -> Done:
        """Make one batch of what is chosen and not refused, in the order in which it first came.

        Raises NotAsExpectedError, and NoDestinationError when one may go nowhere.
        """
        await gate.hold_alone(connection)
        subject = SUBJECTS[order.kind]
        found = await selections.look(connection, subject, selection, force=order.force)
        found = found.expected(order.expect)
        copies = await self._journal(connection, subject, found.ids)
        batch = await self._attach(connection, copies, order)
        await self._judge(connection, copies)
        return Done(batch=batch, found=found, signals=await replays.made_by(connection, batch))

    def _new_id(self) -> UUID:
        return uuid7(self.clock(), self.entropy(10))

    async def _journal(
        self, connection: Connection, subject: Subject, ids: Sequence[UUID]
    ) -> list[Copy]:
        """Append copies in this order. From then on nobody else does, until this is committed."""
        copies: list[Copy] = []
        for first in range(0, len(ids), AT_ONCE):
            becomes = {id: SignalId(self._new_id()) for id in ids[first : first + AT_ONCE]}
            few = await replays.copies(connection, subject, becomes, self.lifetimes)
            await journal.append(connection, [entry for _, entry in few])
            copies += [copy for copy, _ in few]
        return copies

    async def _attach(self, connection: Connection, copies: list[Copy], order: Order) -> BatchId:
        """Say who made them, of what, and why: in the batch, and in the trail of each original."""
        batch = Batch(
            id=BatchId(self._new_id()),
            kind=order.kind,
            snapshot=[_snapshot(copy) for copy in copies],
            made_by=order.actor,
            reason=order.reason,
        )
        await batches.begin(connection, batch)
        await batches.attach(connection, batch.id, [copy.made for copy in copies])
        await replays.tell(connection, batch, copies, forced=order.force)
        return batch.id

    async def _judge(self, connection: Connection, copies: list[Copy]) -> None:
        tickers = {copy.ticker for copy in copies}
        own = [copy.made.id for copy in copies]
        for judged in await command.judge_all(connection, self.judge, tickers, own):
            for _, verdict in judged.verdicts:
                self.metrics.verdicts.labels(verdict.status, verdict.reason or "").inc()


def _snapshot(copy: Copy) -> Facts:
    told: Mapping[str, Any] = {
        "signal_id": copy.made.replay_of,
        "delivery_id": copy.delivery,
        "destination_id": copy.made.only,
        "ticker": copy.ticker,
        "side": copy.side,
        "as": copy.made.id,
    }
    return {name: value for name, value in told.items() if value is not None}
