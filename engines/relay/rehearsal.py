"""The rehearsal: what would become of an alert now, found by doing it and undoing all of it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from aiolimiter import AsyncLimiter

from database import destinations, journal, rehearsals, verdicts
from database.journal import Entry, Receipt
from database.pool import Connection, Database, ReadConnection
from database.rehearsals import Made
from database.vault import SealError, Vault
from domain.address import shown
from domain.body import masked
from domain.delivery import Delivery
from domain.destination import Destination, Mode
from domain.gate import Judged, Verdict
from domain.position import Position
from domain.signal import Signal, SignalId, SignalStatus
from engines.clock import Clock
from engines.relay import outgoing
from engines.relay.judge import Judge

LONGEST, HOLDS = timedelta(seconds=3), timedelta(seconds=1)
"""At most for the whole, and for the transaction: alerts wait at the journal while it lasts."""
A_MINUTE = 30
"""Rehearsals at most, in each replica: each costs a judgement."""


class BusyError(Exception):
    """So many rehearsals were asked for that the next has to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A request that would leave, as it may be shown: nothing in it is a secret."""

    destination: str
    version: int
    state: str
    breaker: str
    mode: Mode
    url: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What would happen. ``repeats`` is the signal that this alert would be taken for a repeat of.

    The rest is what becomes of it otherwise: without ``verdict`` it is too old on arrival.
    ``position`` is the one it would open or change, ``superseded`` how many waiting buys it ends.
    """

    signal_id: SignalId
    status: SignalStatus
    received_at: datetime
    repeats: SignalId | None = None
    signal: Signal | None = None
    verdict: Verdict | None = None
    position: Position | None = None
    superseded: int = 0
    parcels: Sequence[Parcel] = ()


class _Undone(Exception):  # noqa: N818  it ends a transaction, and nothing failed
    """Carries what was found out of a transaction that is rolled back."""

    def __init__(self, played: Rehearsed, made: Sequence[Made]) -> None:
        super().__init__()
        self.played, self.made = played, made


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """Journal and judge are the real ones, so that the answer is exact; nothing is ever committed.

    What stays of it are gaps in some sequences. The gate is held together with the judges, and the
    rows of the ticker are taken before the journal, so that nobody waits longer than for a judge.
    """

    database: Database
    judge: Judge
    vault: Vault
    clock: Clock
    wake_gatekeeper: Callable[[], None]
    _limit: AsyncLimiter = field(default_factory=lambda: AsyncLimiter(A_MINUTE, 60), init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def play(self, entry: Entry) -> Rehearsed:
        """What would become of this alert. Raises BusyError, and what a database fails with."""
        if not self._limit.has_capacity():
            raise BusyError
        async with asyncio.timeout(LONGEST.total_seconds()), self._turn:
            await self._limit.acquire()
            played, made = await self._undone(entry)
            return replace(played, parcels=await self._parcels(entry, played, made))

    async def perform(self, entry: Entry, *, actor: str) -> Receipt | None:
        """Journal an alert for real, in one fact with whose test it is. None: a lost repeat."""
        async with self.database.write() as connection:
            (receipt,) = await journal.append(connection, [entry])
            if receipt is not None:
                await rehearsals.tell(connection, receipt.id, receipt.ticker, actor=actor)
        self.wake_gatekeeper()
        return receipt

    async def _undone(self, entry: Entry) -> tuple[Rehearsed, Sequence[Made]]:
        """There is no way out of the transaction but an exception: it cannot be committed."""
        try:
            async with (
                asyncio.timeout(HOLDS.total_seconds()),
                self.database.write() as connection,
            ):
                raise _Undone(*await self._played(connection, entry))  # noqa: TRY301  the only way out
        except _Undone as undone:
            return undone.played, undone.made

    async def _played(
        self, connection: Connection, entry: Entry
    ) -> tuple[Rehearsed, Sequence[Made]]:
        assert entry.ticker is not None, "who rehearses has an alert that can be read"
        await rehearsals.begin(connection)
        await verdicts.claim_of(connection, [entry.ticker])
        current = await self.judge.look(connection)
        receipt, repeats = await self._journaled(connection, entry)
        began = Rehearsed(
            signal_id=entry.id, status=receipt.status, received_at=self.clock(), repeats=repeats
        )
        claimed = await verdicts.claim_of(connection, [entry.ticker])
        if receipt.status is not SignalStatus.RECEIVED or claimed is None:
            return began, ()
        judged = await self.judge.judge(connection, claimed, current)
        made, superseded = await rehearsals.made(connection, entry.id)
        played = replace(_found(began, judged), received_at=claimed.now, superseded=superseded)
        return played, made

    async def _journaled(
        self, connection: Connection, entry: Entry
    ) -> tuple[Receipt, SignalId | None]:
        """Journal it; where it repeats another, that one, and once more as if it did not."""
        (first,) = await journal.append(connection, [entry])
        if first is not None and not first.duplicate:
            return first, None
        (alone,) = await journal.append(connection, [entry._replace(key=entry.id.bytes)])
        assert alone is not None, "nobody else has its id for a key"
        return alone, first and first.id

    async def _parcels(self, entry: Entry, played: Rehearsed, made: Sequence[Made]) -> list[Parcel]:
        if not made:
            return []
        async with self.database.read() as connection:
            found = [await self._opened(connection, one) for one in made]
        return [
            self._parcel(entry, played, one, destination)
            for one, destination in zip(made, found, strict=True)
            if destination is not None
        ]

    async def _opened(self, connection: ReadConnection, one: Made) -> Destination | None:
        """None where it does not open: nothing is sent there."""
        id, version = one.destination_id, one.destination_version
        try:
            return await destinations.at_version(connection, self.vault, id, version)
        except SealError:
            return None

    def _parcel(
        self, entry: Entry, played: Rehearsed, made: Made, destination: Destination
    ) -> Parcel:
        """The very request that the forwarder would make of it."""
        delivery = self._delivery(entry, played, made, destination)
        body, headers = outgoing.request(destination, destination.keys, delivery, self.clock())
        return Parcel(
            destination=made.name,
            version=made.destination_version,
            state=made.state,
            breaker=made.breaker,
            mode=destination.mode,
            url=shown(destination.url),
            headers=outgoing.masked_headers(destination, headers),
            body=masked(body),
        )

    def _delivery(
        self, entry: Entry, played: Rehearsed, made: Made, destination: Destination
    ) -> Delivery:
        assert entry.ticker is not None
        assert entry.side is not None
        return Delivery(
            id=made.id,
            destination_id=made.destination_id,
            destination_version=made.destination_version,
            guarantee=destination.guarantee,
            signal_id=entry.id,
            ticker=entry.ticker,
            side=entry.side,
            partial=entry.partial,
            epoch=1,
            attempt=1,
            possible_resend=False,
            body=self.vault.open(entry.body) if entry.body_sealed else entry.body,
            content_type=entry.content_type,
            hop=entry.hop,
            received_at=played.signal.received_at if played.signal else played.received_at,
            leased_at=played.received_at,
            expires_at=made.expires_at,
        )


def _found(began: Rehearsed, judged: Judged) -> Rehearsed:
    """What of a judgement is about this signal."""
    for signal, verdict in (*judged.verdicts, *judged.waiting):
        if signal.id == began.signal_id:
            return replace(
                began,
                status=verdict.status,
                signal=signal,
                verdict=verdict,
                position=next((p for p in judged.positions if p.id == verdict.position_id), None),
            )
    return began
