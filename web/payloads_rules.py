"""What callers may send about rules, and how it becomes a rulebook."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from domain.rulebook import (
    HIGHEST_PRICE,
    LONGEST_COOLDOWN,
    MOST_POSITIONS,
    MOST_TICKERS,
    RuleError,
    checked_rulebook,
    merged,
    shown_rulebook,
)
from domain.rules import Rulebook
from web.payloads import invalid
from web.payloads_screens import VISIBLE

Tickers = Annotated[
    list[Annotated[str, Field(strict=True, min_length=1, max_length=64)]],
    Field(max_length=MOST_TICKERS),
]
Price = Annotated[Decimal, Field(gt=0, le=HIGHEST_PRICE, max_digits=20, decimal_places=8)]
Reason = Annotated[str, Field(min_length=1, max_length=200, pattern=VISIBLE)]

EXAMPLE: dict[str, JsonValue] = {
    "refused": ["GME"],
    "cooldown_sec": 300,
    "max_positions": 10,
    "min_price": "5",
}


class RulesIn(BaseModel):
    """A rule set; what is left out is no rule. A price may be a number or a text of digits."""

    model_config = ConfigDict(extra="forbid")

    refused: Tickers = []
    allowed: Tickers = []
    cooldown_sec: float = Field(
        default=0, strict=True, ge=0, le=LONGEST_COOLDOWN.total_seconds(), allow_inf_nan=False
    )
    max_positions: int | None = Field(default=None, strict=True, ge=0, le=MOST_POSITIONS)
    market_hours: bool = Field(default=False, strict=True)
    min_price: Price | None = None
    max_price: Price | None = None


class RulebookIn(BaseModel):
    """The rules of every source, and those that a source has in addition."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"every": EXAMPLE, "sources": {"webhook": {}}}]},
    )

    every: RulesIn = RulesIn()
    sources: dict[str, RulesIn] = Field(default_factory=dict[str, RulesIn], max_length=1_000)

    def rulebook(self, sources: Collection[str], under: str = "") -> Rulebook:
        """For these sources. Raises ProblemError naming the field, which stands ``under`` one."""
        try:
            return checked_rulebook(self.model_dump(include={"every", "sources"}), sources)
        except RuleError as error:
            raise invalid(f"{under}{error.field}"[:64], str(error)) from None


class RulebookPut(RulebookIn):
    """A whole rulebook in place of ``version``, and why."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"every": EXAMPLE, "version": 3, "reason": "earnings"}]}
    )

    version: int | None = Field(None, strict=True)
    reason: Reason | None = None


class RulebookPatch(BaseModel):
    """What is to be otherwise (a JSON merge patch): what is left out stays, null takes away."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"every": {"max_positions": 5}, "sources": {"webhook": None}}]
        },
    )

    every: dict[str, Any] | None = None
    sources: dict[str, Any] | None = None
    version: int | None = Field(None, strict=True)
    reason: Reason | None = None

    def applied_to(self, current: Rulebook) -> RulebookIn:
        """The whole rulebook with this change. Raises RequestValidationError."""
        change: Mapping[str, Any] = self.model_dump(
            include={"every", "sources"}, exclude_unset=True
        )
        try:
            return RulebookIn.model_validate(merged(shown_rulebook(current), change))
        except ValidationError as error:
            named = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
            raise RequestValidationError(named) from None
