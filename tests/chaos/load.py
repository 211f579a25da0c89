"""An open-loop stream of alerts, repeated as TradingView repeats; remembers every answer."""

import asyncio
import json
import random  # noqa: TID251  chance is handed in, drawn from the run's seed
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.axis import now
from tests.chaos.records import Alert, Send
from tests.chaos.wire import ask
from tests.end_to_end.stage import WEBHOOK_TOKEN

SENDS, PAUSE, PATIENCE = 4, 5.0, 3.0
"""TradingView sends an alert at most four times, five seconds apart, and waits three for each."""
NOISE = 0.12
DOUBLE = 0.03
STRANGERS = ("GHOSTA", "GHOSTB")


@dataclass(frozen=True, slots=True)
class Door:
    """Where a replica listens."""

    name: str
    port: int


@dataclass(slots=True, kw_only=True)
class Load:
    """``rate`` alerts a second, whatever becomes of them. A ticker has one at a time, so that the
    order of its acknowledgements is known; alerts of different tickers are under way together.
    """

    tickers: Sequence[str]
    doors: Callable[[], Sequence[Door]]
    chance: random.Random
    rate: float
    most: int | None = None
    sends: int = SENDS
    alerts: list[Alert] = field(default_factory=list[Alert])
    skipped: int = 0
    begun: int = 0
    _busy: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, asyncio.Task[None]])
    _held: set[str] = field(default_factory=set[str])

    @property
    def acknowledged(self) -> int:
        return sum(1 for alert in self.alerts if alert.acknowledged_at is not None)

    @property
    def exhausted(self) -> bool:
        return self.most is not None and self.begun >= self.most

    async def run(self) -> None:
        """Begin alerts at random moments until told to end by cancellation, or there were most."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self.exhausted:
            due += self.chance.expovariate(self.rate)
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._begin()

    async def finished(self) -> None:
        """Return when nothing is under way."""
        while self._busy:
            await asyncio.wait(list(self._busy.values()))

    def _begin(self) -> None:
        free = [ticker for ticker in (*self.tickers, *STRANGERS) if ticker not in self._busy]
        if not free:
            self.skipped += 1
            return
        ticker = self.chance.choice(free)
        task = asyncio.create_task(self.post(ticker, self._side(ticker)))
        self._busy[ticker] = task
        task.add_done_callback(lambda _: self._busy.pop(ticker))

    async def post(self, ticker: str, side: str) -> None:
        """One alert, with its repeats; of a ticker one at a time."""
        self.begun += 1
        body = json.dumps({"ticker": f"NASDAQ:{ticker}", "action": side, "n": self.begun})
        await self._post(self.begun, ticker, side, body.encode())

    def _side(self, ticker: str) -> str:
        sell = (ticker in self._held) is not (self.chance.random() < NOISE)
        return "sell" if sell else "buy"

    async def _post(self, number: int, ticker: str, side: str, body: bytes) -> None:
        senders = 2 if self.chance.random() < DOUBLE else 1
        found = await asyncio.gather(*(self._repeat(body) for _ in range(senders)))
        sends = tuple(sorted((send for each in found for send in each), key=lambda s: s.at))
        alert = Alert(number=number, ticker=ticker, side=side, sends=sends)
        self.alerts.append(alert)
        if alert.acknowledged_at is not None:
            (self._held.add if side == "buy" else self._held.discard)(ticker)

    async def _repeat(self, body: bytes) -> list[Send]:
        sends: list[Send] = []
        while True:
            sends.append(await self._send(body))
            status = sends[-1].status
            if len(sends) == self.sends or (status is not None and status < 500):
                return sends
            await asyncio.sleep(max(0.0, sends[-1].at + PAUSE - now()))

    async def _send(self, body: bytes) -> Send:
        doors = self.doors()
        began = now()
        if not doors:
            return Send(at=began, latency=0, replica="", problem="nobody is up")
        door = self.chance.choice(doors)
        headers = {"content-type": "application/json", "authorization": f"Bearer {WEBHOOK_TOKEN}"}
        reply = await ask(
            door.port, "POST", "/webhook/in", body=body, headers=headers, within=PATIENCE
        )
        took = now() - began
        read: dict[str, Any] = reply.json if reply.status in {200, 202} else {}
        return Send(
            at=began,
            latency=took,
            replica=door.name,
            status=reply.status,
            id=read.get("signal_id"),
            duplicate=bool(read.get("duplicate")),
            problem=reply.problem,
        )
