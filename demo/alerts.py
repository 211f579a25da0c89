"""A made-up stream of alerts: buys, their exits, repeats, strangers and nonsense, by seed."""

import json
import random  # noqa: TID251  made-up streams are drawn from a seed
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

NONSENSE = ('{"ticker": "AAPL", "action": "buy"', "Crossing 195.00", '{"ticker":"","side":"up"}')
STRANGERS = ("NYSE:GHOST", "NASDAQ:NOBODY", "AMEX:FADED", "BINANCE:BTCUSDT.P")


@dataclass(slots=True)
class AlertStream:
    """Deterministic for a seed and the lists it is shown."""

    chance: random.Random
    held: list[str] = field(default_factory=list[str])
    last: str = ""
    number: int = 0

    def next(self, listed: Sequence[str]) -> str:
        """The body of the next alert, given the tickers now in the list, best first."""
        roll = self.chance.random()
        if roll < 0.05 and self.last:
            return self.last
        if roll < 0.10:
            return self.chance.choice(NONSENSE)
        if roll < 0.40 and self.held:
            return self._sell(self.held.pop(self.chance.randrange(len(self.held))))
        if roll < 0.55 or not listed:
            return self._alert(self.chance.choice(STRANGERS), "buy")
        return self._buy(self.chance.choice(listed))

    def _buy(self, ticker: str) -> str:
        if ticker not in self.held:
            self.held.append(ticker)
        return self._alert(f"NASDAQ:{ticker}", "buy")

    def _sell(self, ticker: str) -> str:
        return self._alert(ticker, "sell", sentiment="flat")

    def _alert(self, symbol: str, action: str, **more: str) -> str:
        self.number += 1
        price = f"{self.chance.uniform(5, 400):.2f}"
        alert = {"ticker": symbol, "action": action, "price": price, "n": self.number}
        self.last = json.dumps(alert | more)
        return self.last


def bodies(seed: int, listed: Sequence[str], count: int) -> Iterator[str]:
    """``count`` alerts of one stream over one list."""
    stream = AlertStream(random.Random(seed))  # noqa: S311  made up, no secret
    for _ in range(count):
        yield stream.next(listed)
