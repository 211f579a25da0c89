"""A day of alerts as several strategies send them: a pure function of seed and day."""

import json
import random  # noqa: TID251  a type: what is drawn comes from `chance`
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from demo.chance import drawn
from demo.clock import CLOSES, DAY, OPENS, is_trading_day
from demo.market import MarketDay

BREAKOUT, HOURLY, SWING, SCALPER, SCANNER, BY_HAND = (
    *("breakout-5m", "momentum-1h", "swing-daily", "scalper", "scanner"),
    "webhook",
)
TRADERS = (BREAKOUT, HOURLY, SWING, SCALPER)
STRATEGIES = (BREAKOUT, HOURLY, SWING, SCALPER, SCANNER)
NONSENSE = (
    '{"ticker": "AAPL", "action": "buy"',
    "Crossing 195.00",
    '{"ticker": "", "side": "up"}',
    '{"ticker": "{{ticker}}", "action": "buy"}',
    "[]",
    '{"ticker": "NASDAQ:MSFT", "price": "411.20"}',
)
STRANGERS = ("NYSE:GHOST", "NASDAQ:NOBODY", "AMEX:FADED", "BINANCE:BTCUSDT.P", "OANDA:EURUSD")
SENT = "@sent@"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One posting. ``kind`` is what is special about it; ``late`` how old it is by its own word."""

    at: float
    source: str
    text: str
    kind: str = ""
    late: timedelta | None = None

    def body(self, now: datetime) -> str:
        """What is posted: of a late one the time it claims is real time, because its age counts."""
        return self.text.replace(SENT, (now - self.late).isoformat()) if self.late else self.text


@lru_cache(maxsize=4)
def alerts_of(seed: int, day: int) -> tuple[Alert, ...]:
    """All alerts of a day, in the order they are posted; none when the exchange is closed."""
    if not is_trading_day(day):
        return ()
    book = _Day(seed, day, MarketDay.of(seed), drawn(seed, "alerts", day))
    for write in (book.breakouts, book.hours, book.swings, book.scalps, book.scans, book.by_hand):
        write()
    book.repeats()
    return tuple(sorted(book.alerts, key=lambda alert: alert.at))


@dataclass(slots=True)
class _Day:
    """What is written down of a day, strategy by strategy."""

    seed: int
    day: int
    market: MarketDay
    chance: random.Random
    alerts: list[Alert] = field(default_factory=list[Alert])
    busy: dict[str, float] = field(default_factory=dict[str, float])
    """Until when a ticker is traded already: nobody buys it twice."""

    def breakouts(self) -> None:
        """On closes of five-minute bars: a few buys at once; each is sold later, some in halves."""
        for ticker in self._some(BREAKOUT, OPENS + 1, 24, 6):
            self._trade(BREAKOUT, ticker, OPENS + 1, self.chance.randrange(3, 20))
        for bar in range(OPENS + 5, CLOSES - 20, 5):
            if self.chance.random() < (0.8 if bar < OPENS + 40 else 0.3):
                for ticker in self._some(BREAKOUT, bar, 22, self.chance.choice((1, 1, 2, 3))):
                    self._trade(BREAKOUT, ticker, bar, self.chance.randrange(15, 90, 5))

    def hours(self) -> None:
        """On closes of hours: four buys at once, all sold together before the close."""
        out = CLOSES - 10
        for bar in range(OPENS + 30, CLOSES - 60, 60):
            for ticker in self._some(HOURLY, bar, 30, 4):
                self.busy[ticker] = out
                self._add(HOURLY, bar, ticker, "buy", bar=_hour(bar))
                self._add(HOURLY, out, ticker, "sell", market_position="flat", of=_hour(bar))

    def swings(self) -> None:
        """Bought before the close, sold after the next open: pairs over a night."""
        yesterday = self.day - 1 if self.day % 7 else self.day - 3
        for ticker in self._swing(yesterday) if self.day else ():
            self._add(SWING, OPENS + 6, ticker, "sell", market_position="flat")
        for ticker in self._swing(self.day):
            self._add(SWING, CLOSES - 5, ticker, "buy")

    def scalps(self) -> None:
        """Once a day an indicator flickers: more alerts of one ticker than TradingView allows."""
        begins = OPENS + self.chance.uniform(8, 18)
        for ticker in self._some(SCALPER, begins, 40, 1):
            for number in range(14):
                at, side = begins + number * 0.6, ("buy", "sell")[number % 2]
                self._add(SCALPER, at, ticker, side, kind="flickers", tick=number)

    def scans(self) -> None:
        """A scanner that knows more tickers than the list, and does not always speak JSON."""
        for _ in range(18):
            at = OPENS + self.chance.uniform(1, 385)
            if self.chance.random() < 0.6:
                self._add(SCANNER, at, self.chance.choice(STRANGERS), "buy", kind="stranger")
            else:
                self._keep(SCANNER, at, self.chance.choice(NONSENSE), "malformed")

    def by_hand(self) -> None:
        """Alerts in TradingView's own words, and some that come long after they were sent."""
        for number in range(8):
            at = OPENS + self.chance.uniform(1, 385)
            ticker = self.chance.choice(self.market.tickers(self.day * DAY + at, 0, 30))
            price = self._price(ticker, at)
            if number % 2:
                filled = f"order buy @ {price} filled on {ticker}."
                self._keep(BY_HAND, at, f"{filled} New strategy position is 100", "in words")
            else:
                told = {"ticker": f"NASDAQ:{ticker}", "action": "buy", "price": price}
                told["timenow"] = SENT
                late = timedelta(seconds=self.chance.uniform(60, 400))
                self._keep(BY_HAND, at, json.dumps(told), "late", late)

    def repeats(self) -> None:
        """TradingView sends again what it had no answer to; some alerts exist twice."""
        for alert in list(self.alerts):
            if self.chance.random() < 0.06 and not alert.kind:
                at = alert.at + self.chance.uniform(0.2, 2)
                again = Alert(at=at, source=alert.source, text=alert.text, kind="repeated")
                self.alerts.append(again)

    def _trade(self, source: str, ticker: str, bar: int, lasts: int) -> None:
        self._add(source, bar, ticker, "buy", bar=_hour(bar))
        ends = min(bar + lasts, CLOSES - 15)
        self.busy[ticker] = ends
        if self.chance.random() < 0.25:
            half = (bar + ends) / 2
            self._add(source, half, ticker, "sell", kind="half", market_position="long")
        self._add(source, ends, ticker, "sell", market_position="flat", of=_hour(bar))

    def _swing(self, day: int) -> list[str]:
        chance = drawn(self.seed, "swing", day)
        known = self.market.tickers(day * DAY + CLOSES - 5, 0, 40)
        own = [ticker for ticker in known if _trader(self.seed, ticker) == SWING]
        return chance.sample(own, min(3, len(own)))

    def _some(self, source: str, minute: float, ranks: int, count: int) -> list[str]:
        """Of the tickers that the source trades, some that are not held."""
        known = self.market.tickers(self.day * DAY + minute, 0, ranks)
        own = [ticker for ticker in known if _trader(self.seed, ticker) == source]
        free = [ticker for ticker in own if self.busy.get(ticker, 0) < minute]
        return self.chance.sample(free, min(count, len(free)))

    def _price(self, ticker: str, minute: float) -> str:
        return str(self.market.price(ticker, self.day * DAY + minute) or "1.23")

    def _add(
        self,
        source: str,
        minute: float,
        ticker: str,
        action: str,
        kind: str = "",
        **more: str | int,
    ) -> None:
        symbol = ticker if ":" in ticker else f"NASDAQ:{ticker}"
        price = self._price(ticker, minute)
        told = {"ticker": symbol, "action": action, "price": price, "strategy": source}
        self._keep(source, minute + self.chance.uniform(0, 0.15), json.dumps(told | more), kind)

    def _keep(
        self, source: str, minute: float, text: str, kind: str, late: timedelta | None = None
    ) -> None:
        at = self.day * DAY + minute
        self.alerts.append(Alert(at=at, source=source, text=text, kind=kind, late=late))


@lru_cache(maxsize=1_024)
def _trader(seed: int, ticker: str) -> str:
    """Each strategy has tickers of its own, so that none sells what another bought."""
    return drawn(seed, "trader", ticker).choices(TRADERS, (6, 3, 1, 1))[0]


def _hour(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
