"""`python -m tests.chaos.crowd`: a flood of alerts, from a process of its own.

Reads what to do as JSON from standard input; writes one alert a line to a file, and then in one
line to standard output what it did.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from tests.chaos.axis import now
from tests.chaos.load import PATIENCE, PAUSE, SENDS
from tests.chaos.records import Alert, Send
from tests.chaos.wire import NOWHERE, length_of
from tests.end_to_end.stage import WEBHOOK_TOKEN

SELL_EVERY = 10
FEW = 0.05
IDLE = 2.0
"""So long is a connection kept that nobody uses; the server keeps it for five seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """``rate`` alerts a second are due, or as many as the sockets carry; ``first`` numbers them.

    Every tenth is a sell, until ``sells_for`` seconds have passed; its sender repeats as
    TradingView does. The senders of the buys do not.
    """

    port: int
    replica: str
    tickers: Sequence[str]
    sockets: int
    seconds: float
    sells_for: float
    file: str
    first: int = 1
    rate: float | None = None


@dataclass(slots=True)
class Post:
    """An alert under way."""

    number: int
    ticker: str
    side: str
    sends: list[Send] = field(default_factory=list[Send])

    @property
    def request(self) -> bytes:
        fields = {"ticker": f"NASDAQ:{self.ticker}", "action": self.side, "n": self.number}
        body = json.dumps(fields).encode()
        lines = ["POST /webhook/in HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
        lines += ["content-type: application/json", f"authorization: Bearer {WEBHOOK_TOKEN}"]
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(slots=True)
class Crowd:
    """Open loop: what is due and finds no socket free is counted, and not sent later."""

    order: Order
    done: list[Post] = field(default_factory=list[Post])
    began: float = field(default_factory=now)
    taken: int = 0
    _again: list[tuple[float, int, Post]] = field(default_factory=list[tuple[float, int, Post]])
    _busy: int = 0

    async def run(self) -> None:
        self.began = now()
        await asyncio.gather(*(self._worker() for _ in range(self.order.sockets)))

    @property
    def due(self) -> int:
        rate = self.order.rate
        return self.taken if rate is None else round(rate * self.order.seconds)

    async def _worker(self) -> None:
        line = Line(self.order.port, self.order.replica)
        while (post := await self._next()) is not None:
            self._busy += 1
            post.sends.append(await line.send(post.request))
            self._busy -= 1
            self._settle(post)
        line.close()

    async def _next(self) -> Post | None:
        """A repeat that is due, else a new one that is due; None when there will be no more."""
        while True:
            at = now()
            if self._again and self._again[0][0] <= at:
                return heappop(self._again)[2]
            if at < self.began + self.order.seconds:
                wait = self._early(at)
                if wait <= 0:
                    return self._new(at)
                await asyncio.sleep(min(wait, FEW))
            elif self._again or self._busy:
                await asyncio.sleep(FEW)
            else:
                return None

    def _early(self, at: float) -> float:
        rate = self.order.rate
        return 0.0 if rate is None else self.began + self.taken / rate - at

    def _new(self, at: float) -> Post:
        number = self.order.first + self.taken
        self.taken += 1
        tickers = self.order.tickers
        sells = number % SELL_EVERY == 0 and at < self.began + self.order.sells_for
        ticker = tickers[number // SELL_EVERY % len(tickers)] if sells else ""
        return Post(number, ticker or tickers[number % len(tickers)], "sell" if sells else "buy")

    def _settle(self, post: Post) -> None:
        last = post.sends[-1]
        fails = last.status is None or last.status >= 500
        if post.side == "sell" and fails and len(post.sends) < SENDS:
            heappush(self._again, (last.at + PAUSE, post.number, post))
        else:
            self.done.append(post)


@dataclass(slots=True)
class Line:
    """One connection, made anew when it broke."""

    port: int
    replica: str
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    _used: float = 0.0

    async def send(self, request: bytes) -> Send:
        began = now()
        if began > self._used + IDLE:
            self.close()
        status, body, problem = None, b"", ""
        try:
            async with asyncio.timeout(PATIENCE):
                status, body = await self._exchange(request)
        except ConnectionRefusedError:
            problem = NOWHERE
        except TimeoutError:
            problem = "no answer in time"
        except (OSError, asyncio.IncompleteReadError) as error:
            problem = type(error).__name__
        if problem:
            self.close()
        self._used = now()
        read: dict[str, Any] = json.loads(body) if status in {200, 202} else {}
        return Send(
            at=began,
            latency=now() - began,
            replica=self.replica,
            status=status,
            id=read.get("signal_id"),
            duplicate=bool(read.get("duplicate")),
            problem=problem,
        )

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(length_of(head))
        if b"connection: close" in head.lower():
            self.close()
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def alert_of(line: str) -> Alert:
    """An alert as it was written."""
    read = json.loads(line)
    sends = tuple(Send(**send) for send in read.pop("sends"))
    return Alert(**read, sends=sends)


def main() -> None:
    crowd = Crowd(Order(**json.loads(sys.stdin.readline())))
    asyncio.run(crowd.run())
    took = now() - crowd.began
    with Path(crowd.order.file).open("w") as file:
        file.writelines(json.dumps(asdict(post)) + "\n" for post in crowd.done)
    told = {"due": crowd.due, "begun": crowd.taken, "seconds": took, "cpu": time.process_time()}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
