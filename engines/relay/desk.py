"""The desk: an operator's command to sell is one transaction, judged at once, with its batch."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from database import batches, endings, gate, journal, sells, verdicts
from database.audit import Facts
from database.batches import Batch, BatchId, BatchKind, Made
from database.journal import Entry
from database.pool import Connection, Database
from database.sells import Holding
from database.verdicts import Claimed
from domain.gate import Judged, Reason, Verdict
from domain.position import PositionState
from domain.signal import OPERATOR, Side, SignalId, SignalStatus, uuid7
from domain.ticker import Ticker
from engines.clock import Clock, Entropy
from engines.failpoints import Point, Reach, passes
from engines.metrics import Metrics
from engines.relay.judge import Judge

SELLS = frozenset({BatchKind.SELL, BatchKind.SELL_LIST, BatchKind.SELL_ALL, BatchKind.RETRY})
"""Commands whose failed sells can be retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Who commands, and why. Said again with the same ``key`` it is the same command."""

    actor: str
    reason: str | None = None
    key: str | None = None

    def digest(self, kind: BatchKind, of: BatchId | None = None) -> bytes | None:
        if self.key is None:
            return None
        return hashlib.sha256(f"{kind}\n{of or ''}\n{self.key}".encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The batch a command made, or (``duplicate``) had made before."""

    batch: Batch
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A sell to be made; ``replay_of`` is the failed one it stands for."""

    ticker: Ticker
    symbol: str
    replay_of: SignalId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a command comes to: its orders, the snapshot it is about, whose buys end with it."""

    orders: Sequence[Order] = ()
    snapshot: Sequence[Facts] = field(default_factory=list[Facts])
    also: Collection[Ticker] = ()


Planning: TypeAlias = Callable[[Connection], Awaitable[Plan]]


class RefusedError(Exception):
    """A command that does nothing; ``signal`` is the one that is in its way, if any."""

    def __init__(self, code: str, signal: SignalId | None = None) -> None:
        super().__init__(code)
        self.code, self.signal = code, signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Nobody judges while it does: what was judged before it sees, what is judged after obeys."""

    database: Database
    judge: Judge
    metrics: Metrics
    clock: Clock
    entropy: Entropy
    lifetime: timedelta
    wake_forwarder: Callable[[], None]
    wake_gatekeeper: Callable[[], None]
    reach: Reach = passes

    async def sell(self, ticker: Ticker, command: Command) -> Placed:
        """Sell one position. Raises RefusedError when there is none to sell, and nothing is made.

        Also `key_reused`, when the key stands for the sell of another ticker.
        """

        async def plan(connection: Connection) -> Plan:
            held = await sells.holdings(connection, [ticker])
            live = next((one for one in held if one.state.live), None)
            order = Order(ticker=ticker, symbol=live.symbol if live else ticker)
            return Plan(orders=[order], snapshot=_shown(held) or [_nothing(ticker)])

        placed = await self._place(BatchKind.SELL, command, plan, refuse=True)
        if placed.duplicate and placed.batch.snapshot[0]["ticker"] != ticker:
            raise RefusedError("key_reused")
        return placed

    async def sell_all(self, command: Command) -> Placed:
        """Pause buying, end what was not bought yet, and sell every position there is."""

        async def plan(connection: Connection) -> Plan:
            await gate.pause(connection, actor=command.actor, reason=_why(command), until=None)
            await endings.abandon_buys(connection, actor=command.actor)
            held = await sells.holdings(connection)
            waiting = await sells.undecided_buys(connection, waiting=True)
            return Plan(orders=_orders(held), snapshot=_shown(held), also=waiting)

        return await self._place(BatchKind.SELL_ALL, command, plan)

    async def sell_list(self, command: Command, *, pause_buying: bool = False) -> Placed:
        """Sell what stands on the sell list; what is sold leaves it. Refused when it is empty."""

        async def plan(connection: Connection) -> Plan:
            names = [Ticker(one["ticker"]) for one in await sells.listed(connection)]
            if not names:
                raise RefusedError("empty_list")
            if pause_buying:
                await gate.pause(connection, actor=command.actor, reason=_why(command), until=None)
            held = await sells.holdings(connection, names)
            orders, shown = _orders(held), _shown(held)
            undecided = await sells.undecided_buys(connection, names)
            bought = {order.ticker for order in orders}
            orders += [Order(ticker=one, symbol=one) for one in sorted(undecided - bought)]
            known = {one.ticker for one in held} | undecided
            shown += [_nothing(name) for name in names if name not in known]
            return Plan(orders=orders, snapshot=shown)

        return await self._place(BatchKind.SELL_LIST, command, plan)

    async def retry(self, of: BatchId, command: Command) -> Placed:
        """Sell again what a batch sold in vain, and is held still."""

        async def plan(connection: Connection) -> Plan:
            found = await batches.progress(connection, of)
            if found is None:
                raise RefusedError("no_such_batch")
            if found.batch.kind not in SELLS:
                raise RefusedError("wrong_kind")
            sold = await sells.sold_by(connection, of)
            orders = [
                Order(ticker=one["ticker"], symbol=one["symbol"], replay_of=one["id"])
                for one in sold
                if unfit(one) is None
            ]
            if not orders:
                raise RefusedError("nothing_failed")
            return Plan(orders=orders, snapshot=[_retried(one) for one in sold])

        return await self._place(BatchKind.RETRY, command, plan, of=of)

    async def _place(
        self,
        kind: BatchKind,
        command: Command,
        plan: Planning,
        *,
        of: BatchId | None = None,
        refuse: bool = False,
    ) -> Placed:
        key = command.digest(kind, of)
        async with self.database.write() as connection:
            await gate.hold_alone(connection)
            if key and (known := await batches.by_key(connection, key)):
                return Placed(batch=known, duplicate=True)
            planned = await plan(connection)
            batch = Batch(
                id=BatchId(uuid7(self.clock(), self.entropy(10))),
                kind=kind,
                snapshot=planned.snapshot,
                made_by=command.actor,
                key=key,
                retry_of=of,
                reason=command.reason,
            )
            await batches.begin(connection, batch)
            made, judged = await self._make(connection, batch, planned)
            if refuse:
                await _refuse_unsold(connection, made, judged)
            await self._take_off_list(connection, made, judged, command)
            self.reach(Point.GATEKEEPER_BEFORE_COMMIT)
        self.reach(Point.GATEKEEPER_AFTER_COMMIT)
        self._tell(judged)
        return Placed(batch=batch)

    async def _make(
        self, connection: Connection, batch: Batch, plan: Plan
    ) -> tuple[Collection[SignalId], Sequence[Judged]]:
        """Journal the sells and judge them, with all that came before them, in its order."""
        entries = [self._entry(order) for order in plan.orders]
        made = [
            Made(id=entry.id, replay_of=order.replay_of)
            for entry, order in zip(entries, plan.orders, strict=True)
        ]
        if entries:
            await journal.append(connection, entries)
            await batches.attach(connection, batch.id, made)
        tickers = {order.ticker for order in plan.orders} | set(plan.also)
        claimed = await verdicts.claim_of(connection, tickers) if tickers else None
        if claimed is None:
            return (), ()
        current = await self.judge.look(connection)
        judged = [await self.judge.judge(connection, claimed, current)]
        ended = _ended(claimed, judged[0], set(plan.also))
        if ended.verdicts:
            await verdicts.record(connection, ended)
            judged.append(ended)
        return {one.id for one in made}, judged

    def _entry(self, order: Order) -> Entry:
        """A sell like an alert's, unlike any other; the destination reads the buyer's spelling."""
        id = SignalId(uuid7(self.clock(), self.entropy(10)))
        body = {"ticker": order.symbol, "side": "sell", "action": "exit"}
        return Entry(
            id=id,
            source=OPERATOR,
            key=hashlib.sha256(id.bytes).digest(),
            window=timedelta(seconds=1),
            lifetime=self.lifetime,
            content_type="application/json",
            body=json.dumps(body, separators=(",", ":")).encode(),
            body_sealed=False,
            ticker=order.ticker,
            symbol=order.symbol,
            side=Side.SELL,
            closes=True,
        )

    async def _take_off_list(
        self,
        connection: Connection,
        made: Collection[SignalId],
        judged: Sequence[Judged],
        command: Command,
    ) -> None:
        sold = [
            signal.ticker
            for one in judged
            for signal, verdict in one.verdicts
            if signal.id in made and verdict.status is SignalStatus.APPROVED
        ]
        if sold:
            await sells.remove(connection, sold, actor=command.actor, why="sold")

    def _tell(self, judged: Sequence[Judged]) -> None:
        for one in judged:
            for _, verdict in one.verdicts:
                self.metrics.verdicts.labels(verdict.status, verdict.reason or "").inc()
        self.wake_forwarder()
        # Whoever gave up waiting for the gate may look again.
        self.wake_gatekeeper()


def unfit(sold: Facts) -> str | None:
    """Why a sell is not to be made again; None: it ended in vain, and its position is held."""
    if sold["waits"] is None:
        return sold["reason"] or "unfinished"
    if sold["waits"]:
        return "unfinished"
    if sold["done"]:
        return "delivered"
    if sold["position"] == PositionState.CLOSING:
        return Reason.ALREADY_CLOSING
    live = sold["position"] in {PositionState.OPENING, PositionState.OPEN}
    return None if live else "not_open"


def _retried(sold: Facts) -> Facts:
    return {
        "ticker": sold["ticker"],
        "position_id": sold["position_id"],
        "state": sold["position"],
        "skipped": unfit(sold),
    }


def _orders(held: Sequence[Holding]) -> list[Order]:
    return [Order(ticker=one.ticker, symbol=one.symbol) for one in held if one.state.live]


def _shown(held: Sequence[Holding]) -> list[Facts]:
    return [
        {
            "ticker": one.ticker,
            "position_id": one.position_id,
            "state": one.state,
            "exit_signal_id": one.exit_signal_id,
        }
        for one in held
    ]


def _nothing(ticker: Ticker) -> Facts:
    return {"ticker": ticker, "position_id": None, "state": None}


def _why(command: Command) -> str:
    return command.reason or "everything was sold"


def _ended(claimed: Claimed, judged: Judged, tickers: Collection[Ticker]) -> Judged:
    """Buys that would go on waiting for their ticker: it is not bought after everything is sold."""
    decided = {signal.id for signal, _ in judged.verdicts}
    refused = Verdict(status=SignalStatus.REJECTED, reason=Reason.BUYING_PAUSED)
    left = [one for one in claimed.signals if one.id not in decided and one.ticker in tickers]
    return Judged(verdicts=tuple((one, refused) for one in left), positions=())


async def _refuse_unsold(
    connection: Connection, made: Collection[SignalId], judged: Sequence[Judged]
) -> None:
    """Raise RefusedError where the gate let no sell of these pass."""
    for signal, verdict in judged[0].verdicts:
        if signal.id not in made or verdict.status is SignalStatus.APPROVED:
            continue
        held = await sells.holdings(connection, [signal.ticker])
        in_way = next((one.exit_signal_id for one in held if not one.state.live), None)
        closing = verdict.reason is Reason.ALREADY_CLOSING
        raise RefusedError(verdict.reason or "unfinished", in_way if closing else None)
