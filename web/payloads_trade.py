"""What callers may send to sell, to pause buying, and to correct positions."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.ticker import Ticker
from web.moments import Moment
from web.payloads import Word, invalid
from web.payloads_screens import VISIBLE
from web.signals import normalised

LONGEST = 31 * 86_400
"""Seconds that a pause may last which has an end, and that an entry may stand on the sell list."""

Spelled = Annotated[str, Field(max_length=128)]
Price = Annotated[Decimal, Field(gt=0, max_digits=20, decimal_places=10)]


class SellAllIn(Word):
    """``token`` is for scripts of the original relay; `Authorization: Bearer` is better."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "leaving the desk"}]})

    token: str | None = Field(default=None, max_length=512, repr=False)


class SellIn(SellAllIn):
    """Which position is to be sold."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ticker": "AAPL"}]})

    ticker: Spelled | None = None

    def named(self) -> Ticker:
        if not self.ticker:
            raise invalid("ticker", "ticker: which position is to be sold?")
        return normalised(self.ticker)


class SellListIn(SellAllIn):
    """With ``pause_buying`` nothing is bought until somebody resumes."""

    pause_buying: bool = Field(default=False, strict=True)


class Listing(BaseModel):
    """Tickers for the sell list; an expired entry is never sold."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"tickers": ["AAPL", "BRK.B"], "expires_in_sec": 3600}]},
    )

    tickers: list[Spelled] = Field(min_length=1, max_length=1_000)
    expires_in_sec: float | None = Field(
        default=None, strict=True, allow_inf_nan=False, ge=1, le=LONGEST
    )
    note: str | None = Field(default=None, max_length=200, pattern=VISIBLE)

    def names(self) -> list[Ticker]:
        return [normalised(one) for one in self.tickers]

    @property
    def life(self) -> timedelta | None:
        return None if self.expires_in_sec is None else timedelta(seconds=self.expires_in_sec)


class BuyingPauseIn(Word):
    """Why nothing is to be bought, and for how long: ``for_sec``, ``until``, or until resumed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "FOMC at 14:00", "for_sec": 3600}]}
    )

    for_sec: float | None = Field(default=None, strict=True, allow_inf_nan=False, ge=1, le=LONGEST)
    until: Moment | None = None

    def end(self, now: datetime) -> datetime | None:
        """When it is to end by itself. Raises ProblemError 400."""
        if self.until is None:
            return None if self.for_sec is None else now + timedelta(seconds=self.for_sec)
        if self.for_sec is not None:
            raise invalid("until", "until: give either for_sec or until")
        if not now < self.until <= now + timedelta(seconds=LONGEST):
            raise invalid("until", "until must lie ahead, by 31 days at most")
        return self.until


class PositionIn(Word):
    """A position that is held though the relay did not open it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ticker": "AAPL", "price": "189.50"}]}
    )

    ticker: Spelled
    price: Price | None = None


class PositionClose(BaseModel):
    """Why a position counts as closed though nothing is sent for it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"price": "191.20", "reason": "sold at the broker"}]},
    )

    reason: str = Field(min_length=1, max_length=200, pattern=VISIBLE)
    price: Price | None = None
