"""A forwarder and a settler at work, and every destination there is."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from database.pool import Database
from database.vault import Vault
from domain.breaker import BreakerPolicy
from domain.delivery import Answer
from domain.destination import Destination
from domain.signal import SignalId
from engines.clock import Clock, utc_now
from engines.metrics import Metrics
from engines.relay.forwarder import Forwarder
from engines.relay.leasing import Leasing
from engines.relay.settler import Settler
from engines.supervisor import running
from engines.worker import Worker
from tests.database.rows import BUY, OK, SELL, WITHHELD, Rows, an_entry
from tests.engines.conditions import until_rows

GRACE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Post:
    at: float
    url: str
    body: bytes
    headers: dict[str, str]

    @property
    def ticker(self) -> str:
        return json.loads(self.body)["ticker"]

    @property
    def side(self) -> str:
        return json.loads(self.body)["side"]


Script = Callable[[Post], Answer | Exception]


def fine(_: Post) -> Answer:
    return OK


async def at_once(_: str) -> None:
    """Connecting takes no time."""


@dataclass(slots=True)
class Outside:
    """Every destination there is: how one connects, what arrived, and how it is answered."""

    answer: Script = fine
    connecting: Callable[[str], Awaitable[None]] = at_once
    posts: list[Post] = field(default_factory=list[Post])
    open: asyncio.Event = field(default_factory=asyncio.Event)
    closed: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.open.set()

    def answers(self, *answers: Answer | Exception) -> None:
        """Answer so, one after another; the last one again and again."""
        left = list(answers)
        self.answer = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def connect(self, destination: Destination) -> "Line":
        return Line(self, destination.url)

    @property
    def told(self) -> list[str]:
        return [f"{post.side} {post.ticker}" for post in self.posts]


@dataclass(frozen=True, slots=True)
class Line:
    outside: Outside
    url: str

    async def post(
        self, body: bytes, headers: dict[str, str], leaves: Callable[[], bool]
    ) -> Answer:
        await self.outside.connecting(self.url)
        if not leaves():
            return WITHHELD
        post = Post(asyncio.get_running_loop().time(), self.url, body, headers)
        self.outside.posts.append(post)
        answer = self.outside.answer(post)
        await self.outside.open.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.outside.closed.append(self.url)


@dataclass(frozen=True, slots=True)
class Running:
    forwarder: Forwarder
    settler: Settler
    wake: Callable[[], None]


@asynccontextmanager
async def forwarding(
    rows: Rows,
    outside: Outside,
    *,
    vault: Vault | None = None,
    database: Database | None = None,
    breaker: BreakerPolicy | None = None,
    clock: Clock = utc_now,
) -> AsyncGenerator[Running]:
    workers: dict[str, Worker] = {}
    database = database or rows.database

    def waking(name: str) -> Callable[[], None]:
        def wake() -> None:
            workers[name].wake()

        return wake

    policy = breaker or BreakerPolicy()
    settler = Settler(
        database=database,
        wake=waking("settler"),
        wake_forwarder=waking("forwarder"),
        dice=lambda: 0.5,
        breaker=policy,
    )
    forwarder = Forwarder(
        database=database,
        leasing=Leasing(vault=vault or rows.vault, sell_share=0.1, breaker=policy),
        connect=outside.connect,
        records=settler,
        metrics=Metrics(),
        clock=clock,
        dice=lambda: 0.0,
        workers=5,
    )
    soon = timedelta(milliseconds=20)
    workers["settler"] = Worker("settler", settler.step, utc_now, soon)
    workers["forwarder"] = Worker("forwarder", forwarder.step, utc_now, soon)
    async with running([workers["settler"]], grace=GRACE):
        async with running([workers["forwarder"]], grace=GRACE):
            yield Running(forwarder, settler, waking("forwarder"))
        outside.open.set()
        await forwarder.drain(GRACE)
    await settler.flush()


async def queued(rows: Rows, *alerts: str) -> list[SignalId]:
    """Approve alerts given as `buy AAPL`, `sell AAPL`, or `trim AAPL`: sell a part of it."""
    split = [alert.split() for alert in alerts]
    entries = [
        an_entry(ticker, BUY if side == "buy" else SELL, partial=side == "trim")
        for side, ticker in split
    ]
    await rows.append(*entries)
    await rows.decide()
    assert await rows.sql("SELECT DISTINCT status FROM signals") == ["approved"]
    return [entry.id for entry in entries]


PATIENT = BreakerPolicy(in_a_row=1_000, at_least=1_000)
"""A breaker for tests of what is below it."""


async def ended(rows: Rows, state: str, count: int = 1) -> None:
    async def are() -> bool:
        return (await rows.states("deliveries")).count(state) == count

    await until_rows(are)
