"""The operator's hands in the story that is told to both: sells, pauses, resends, corrections."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from database import gate, positions, verdicts
from database.batches import BatchKind
from database.selections import NotAsExpectedError, Selection
from database.verdicts import NoDestinationError
from domain.gate import GatePolicy, SellPolicy
from domain.position import PositionId
from domain.signal import Side, SignalId
from domain.ticker import Ticker
from domain.universe import Universe
from engines.clock import entropy, utc_now
from engines.failpoints import Point
from engines.metrics import Metrics
from engines.relay.desk import Command, Desk, RefusedError
from engines.relay.judge import CurrentList, Judge
from engines.relay.replayer import Order, Replayer
from tests.simulation import hands
from tests.simulation import verdicts as memory
from tests.simulation.both import HOUR, TICKERS, Both


class CrashError(Exception):
    """The transaction ends here, and nothing of it is kept."""


@dataclass(slots=True)
class Hands(Both):
    """Judged by the product's own judge, with its list, its pause and its desk."""

    crashes: list[Point] = field(default_factory=list[Point])

    async def begin(self) -> None:
        await super(Hands, self).begin()
        await self.rows.adopt(await self.rows.screen(), *TICKERS)

    @property
    def engine(self) -> Judge:
        return Judge(
            current=CurrentList(),
            sell_policy=SellPolicy.WITH_POSITION,
            list_max_age=HOUR,
            until_open=_always_open,
            reach=self.reach,
        )

    @property
    def desk(self) -> Desk:
        return Desk(
            database=self.rows.database,
            judge=self.engine,
            metrics=Metrics(),
            clock=utc_now,
            entropy=entropy,
            lifetime=HOUR,
            wake_forwarder=lambda: None,
            wake_gatekeeper=lambda: None,
            reach=self.reach,
        )

    def reach(self, point: Point) -> None:
        if point in self.crashes:
            raise CrashError

    async def judge(self) -> None:
        limit = self.chance.randint(1, 6)
        self.story.append(f"judge {limit}")
        async with self.rows.database.write() as connection:
            claimed = await verdicts.claim(connection, limit=limit)
            current = await self.engine.look(connection)
            judged = claimed and await self.engine.judge(connection, claimed, current)
        self.store.now = utc_now()
        mine = memory.judge(self.store, limit=limit, universe=self.listed, policy=self.policy)
        words = [
            one and [(s.id, v.reason, v.position_id) for s, v in one.verdicts]
            for one in (judged, mine)
        ]
        assert words[0] == words[1]

    @property
    def policy(self) -> GatePolicy:
        anywhere = memory.any_enabled(self.store)
        return GatePolicy(top_n=15, list_max_age=HOUR, has_destination=anywhere)

    @property
    def terms(self) -> hands.Terms:
        return hands.Terms(life=HOUR, universe=self.listed, policy=self.policy)

    @property
    def listed(self) -> Universe:
        now = self.store.now
        return Universe(version=1, tickers=TICKERS, total=2, fetched_at=now, confirmed_at=now)

    async def crash(self) -> None:
        """A command, a verdict or an ending that is rolled back with all its consequences."""
        self.crashes = [Point.GATEKEEPER_BEFORE_COMMIT, Point.SETTLER_BEFORE_COMMIT]
        what = self.chance.choice((self._command, self._verdict, self._ending))
        try:
            await what()
        except CrashError:
            self.story.append(f"a crash: {what.__name__}")
        finally:
            self.crashes = []

    async def _command(self) -> None:
        await self.desk.sell_all(Command(actor="a test"))

    async def _verdict(self) -> None:
        async with self.rows.database.write() as connection:
            claimed = await verdicts.claim(connection, limit=6)
            if claimed is None:
                return
            await self.engine.judge(connection, claimed, await self.engine.look(connection))
            self.reach(Point.GATEKEEPER_BEFORE_COMMIT)

    async def _ending(self) -> None:
        settler = self.settler()
        for delivery in self.leased[:2]:
            settler.put(self.ended(delivery))
        await settler.step()

    async def sell(self) -> None:
        ticker = self.chance.choice(TICKERS)
        try:
            placed = await self.desk.sell(ticker, Command(actor="a test"))
        except RefusedError as refused:
            made = {ticker: SignalId(UUID(int=0))}
            self.story.append(f"sell {ticker}: {refused}")
        else:
            made = await self._made(placed.batch.id)
            self.story.append(f"sell {ticker} by hand")
        self.store.now = utc_now()
        passed = hands.sell(self.store, made, self.terms)
        assert passed is (made[ticker].int > 0)

    async def sell_all(self) -> None:
        placed = await self.desk.sell_all(Command(actor="a test"))
        made = await self._made(placed.batch.id)
        self.store.now = utc_now()
        self.story.append(f"sell all: {', '.join(made)}")
        left = dict(made)
        hands.sell_all(self.store, lambda ticker, _: left.pop(ticker), self.terms)
        assert not left, "something else is sold"

    async def _made(self, batch: UUID) -> dict[Ticker, SignalId]:
        rows = await self.rows.sql(
            "SELECT ticker, id FROM signals WHERE batch_id = :batch ORDER BY seq", batch=batch
        )
        return {Ticker(row.ticker): SignalId(row.id) for row in rows}

    async def pause(self) -> None:
        async with self.rows.database.write() as connection:
            await gate.hold_alone(connection)
            await gate.pause(connection, actor="a test", reason=None, until=None)
        self.store.paused = True
        self.story.append("buying is paused")

    async def resume(self) -> None:
        async with self.rows.database.write() as connection:
            await gate.hold_alone(connection)
            await gate.resume(connection, actor="a test", reason=None)
        self.store.paused = False
        self.story.append("buying is resumed")

    async def enter(self) -> None:
        ticker, id = self.chance.choice(TICKERS), PositionId(UUID(bytes=entropy(16)))
        async with self.rows.database.write() as connection:
            refused = await positions.enter(
                connection, id, ticker, price=None, actor="a test", reason=None
            )
        self.store.now = utc_now()
        assert hands.enter(self.store, id, ticker) is (refused is None)
        self.story.append(f"{ticker} is entered by hand: {refused}")

    async def close(self) -> None:
        live = [id for id, row in self.store.positions.items() if row.state.unfinished]
        if not live:
            return
        id = self.chance.choice(live)
        async with self.rows.database.write() as connection:
            refused = await positions.close(
                connection, id, price=None, actor="a test", reason="a test"
            )
        self.store.now = utc_now()
        ticker = self.store.positions[id].position.ticker
        assert hands.close(self.store, id) is (refused is None)
        self.story.append(f"{ticker} is closed by hand: {refused}")

    async def resend(self) -> None:
        """Forced, as far as that goes; what is refused all the same leaves no trace."""
        over = [row for row in self.store.deliveries.values() if row.state.final]
        if not over:
            return
        row = self.chance.choice(sorted(over, key=self.place_of))
        replayer = Replayer(
            judge=self.engine,
            lifetimes=dict.fromkeys(Side, HOUR),
            metrics=Metrics(),
            clock=utc_now,
            entropy=entropy,
            wake_forwarder=lambda: None,
        )
        order = Order(kind=BatchKind.RESEND, actor="a test", force=True, reason="a test")
        selection = Selection(ids=[await self.id_of(row.key)])
        try:
            async with self.rows.database.write() as connection:
                done = await replayer.carry_out(connection, selection, order)
        except (NotAsExpectedError, NoDestinationError) as refused:
            self.story.append(f"resend {row.signal.side}: {type(refused).__name__}")
            return
        self.store.now = utc_now()
        [made] = done.signals
        judged = hands.resend(self.store, row.key, SignalId(made["id"]), self.terms)
        self.story.append(f"resend {row.signal.side} to {row.destination}: {made['status']}")
        assert [v.status for _, v in judged.verdicts] == [made["status"]]


async def _always_open(_now: datetime) -> timedelta | None:
    return None


HANDS: list[Callable[[Hands], Awaitable[None]]] = [
    *(Hands.sell, Hands.sell, Hands.sell_all, Hands.pause, Hands.resume, Hands.resume),
    *(Hands.enter, Hands.close, Hands.crash, Hands.resend),
]
