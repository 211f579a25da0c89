"""A market day: who leads the screen at every moment, by the seed alone."""

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from math import exp

from demo.chance import drawn
from demo.clock import CLOSES, DAY, OPENS, is_trading_day
from demo.finviz import Listing, made_up_market

SIZE = 60
LENGTH = CLOSES - OPENS
SLOW, QUICK = (45.0, 2.2), (10.0, 1.0)
"""Two tides in every price: of how much bustle, and how strong, in percent."""

CENT = Decimal("0.01")


def bustle(minute: float) -> float:
    """How much has happened by then: five times as much a minute at the open as at noon."""
    into = min(max(minute - OPENS, 0.0), LENGTH)
    at_open = 100 * (1 - exp(-into / 25))
    at_close = 60 * (exp((into - LENGTH) / 30) - exp(-LENGTH / 30))
    return into + at_open + at_close


A_DAY = bustle(CLOSES)


def sessions_before(day: int) -> int:
    """How many sessions were over when the day began."""
    return day // 7 * 5 + min(day % 7, 5)


def last_session(at: float) -> tuple[int, float]:
    """The session that is on, or was the last, by its number from 0; and how far it is."""
    day, minute = divmod(at, DAY)
    before = sessions_before(int(day))
    if is_trading_day(int(day)) and minute >= OPENS:
        return before, bustle(minute)
    return before - 1, A_DAY


@lru_cache(maxsize=16_384)
def _knot(seed: int, ticker: str, tide: float, number: int) -> float:
    return drawn(seed, "tide", ticker, tide, number).uniform(-1, 1)


def _tide(seed: int, ticker: str, length: float, happened: float) -> float:
    number, part = divmod(happened / length, 1)
    smooth = part * part * (3 - 2 * part)
    first, second = (_knot(seed, ticker, length, int(number) + one) for one in (0, 1))
    return first + (second - first) * smooth


@lru_cache(maxsize=1_024)
def _mood(seed: int, ticker: str, session: int) -> tuple[float, float]:
    """A company's day: few rise much, most do little; and how much it is traded."""
    chance = drawn(seed, "mood", ticker, session)
    return 18 * chance.random() ** 3 - 2, 10 ** chance.uniform(-0.7, 0.7)


@dataclass(frozen=True, slots=True)
class MarketDay:
    """A pure function of seed and demo time: `at` is the whole screen, best first."""

    seed: int
    companies: tuple[Listing, ...]

    @classmethod
    def of(cls, seed: int, size: int = SIZE) -> "MarketDay":
        return cls(seed, tuple(made_up_market(seed, size)))

    def at(self, at: float) -> list[Listing]:
        session, done = last_session(at)
        now = [self._then(one, session, done) for one in self.companies]
        return sorted(now, key=lambda one: (-one.change, one.ticker))

    def price(self, ticker: str, at: float) -> Decimal | None:
        """Of one company; None of a stranger."""
        session, done = last_session(at)
        known = (one for one in self.companies if one.ticker == ticker)
        return next((self._then(one, session, done).price for one in known), None)

    def _then(self, one: Listing, session: int, done: float) -> Listing:
        mood, traded = _mood(self.seed, one.ticker, session)
        happened = session * A_DAY + done
        tides = (
            much * _tide(self.seed, one.ticker, length, happened) for length, much in (SLOW, QUICK)
        )
        change = Decimal(mood + sum(tides)).quantize(CENT)
        price = (one.price * (1 + change / 100)).quantize(CENT)
        volume = int(one.volume * traded * done / A_DAY)
        return replace(one, change=change, price=max(price, CENT), volume=volume)

    def tickers(self, at: float, first: int = 0, last: int | None = None) -> list[str]:
        """Those from rank ``first`` (counted from 0) up to but not including ``last``."""
        return [one.ticker for one in self.at(at)[first:last]]


@dataclass(frozen=True, slots=True)
class Spell:
    """Something outside is not well from one moment to another."""

    begins: float
    ends: float
    what: str

    def lasts(self, at: float) -> bool:
        return self.begins <= at < self.ends


FINVIZ_TROUBLE = ("throttled", "failing", "half_the_rows", "throttled_429", "nothing")


@lru_cache(maxsize=16)
def weather(seed: int, day: int) -> tuple[Spell, ...]:
    """When Finviz does not answer as it should that day: three times, never for long."""
    chance = drawn(seed, "weather", day)
    begins = (day * DAY + OPENS + chance.uniform(40, 370) for _ in range(3))
    return tuple(Spell(at, at + 6, chance.choice(FINVIZ_TROUBLE)) for at in sorted(begins))


@lru_cache(maxsize=16)
def outage(seed: int, day: int) -> Spell:
    """When the destination is down that day: once, shortly before an hour's alerts come."""
    hour = drawn(seed, "outage", day).choice((60, 120))
    begins = day * DAY + OPENS + 28 + hour
    return Spell(begins, begins + 25, "down")


def trouble_of_finviz(seed: int, at: float) -> str | None:
    """Which of FAULTS it answers then."""
    spells = weather(seed, int(at // DAY))
    return next((spell.what for spell in spells if spell.lasts(at)), None)


def is_down(seed: int, at: float) -> bool:
    """Whether the destination is down then."""
    return outage(seed, int(at // DAY)).lasts(at)
