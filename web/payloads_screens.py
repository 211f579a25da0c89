"""What callers may send about screens and lists, and how it becomes a domain value."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from domain.screen import EXAMPLE_URL, ScreenError, ScreenKind
from domain.screen_terms import READERS
from domain.ticker import Ticker
from web.payloads import Word, invalid

VISIBLE = r"^[^\x00-\x1f\x7f]+$"


@contextmanager
def named_fields() -> Generator[None]:
    """Refuse what cannot be by the name of its field."""
    try:
        yield
    except ScreenError as error:
        raise invalid(error.field, str(error)) from None


class ScreenTerms(BaseModel):
    """What may be said of a screen; what is left out, or null, stays as it is.

    ``refresh`` and ``wait`` are in seconds. ``tickers`` and ``valid_until`` (a time with its zone)
    are for fixed lists: a list of texts, or one text as it was typed or uploaded.
    """

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=200)
    note: str | None = Field(None, max_length=2_000)
    kind: ScreenKind | None = None
    url: str | None = Field(None, max_length=10_000)
    top_n: int | None = Field(None, strict=True)
    refresh: float | None = Field(None, strict=True, allow_inf_nan=False)
    margin: int | None = Field(None, strict=True)
    wait: float | None = Field(None, strict=True, allow_inf_nan=False)
    tickers: object = Field(
        None,
        json_schema_extra={
            "anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {"type": "string"},
                {"type": "null"},
            ]
        },
    )
    valid_until: str | None = Field(None, max_length=64)
    whole_market: bool | None = Field(None, strict=True)
    slow_when_closed: bool | None = Field(None, strict=True)

    def terms(self) -> Mapping[str, object]:
        return {name: getattr(self, name) for name in READERS}


class ScreenNew(ScreenTerms):
    """A new screen; it is not in force until it is activated."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "gainers", "url": str(EXAMPLE_URL), "top_n": 15, "margin": 5},
                {
                    "name": "my own",
                    "tickers": "AAPL, MSFT, BRK.B",
                    "valid_until": "2027-01-31T21:00:00Z",
                },
            ]
        },
    )

    name: str = Field(max_length=200)  # pyright: ignore[reportIncompatibleVariableOverride]  it must be there


class ScreenChange(ScreenTerms):
    """A change; with ``version``, of that version or not at all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"top_n": 20, "version": 3}]})

    version: int | None = Field(None, strict=True)


class ScreenTry(ScreenTerms):
    """What to try: these terms, or with ``id`` those of a screen with these changes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": str(EXAMPLE_URL)}]})

    id: UUID | None = None


class Copy(BaseModel):
    """``name`` of the copy; "NAME copy" when it is left out."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=200)


class Import(BaseModel):
    """Screens as they were exported.

    ``replace``: change those whose name is taken. ``preview``: only say what would come of it.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"screens": [{"name": "gainers", "url": str(EXAMPLE_URL)}], "preview": True}
            ]
        },
    )

    screens: list[object]
    replace: bool = Field(default=False, strict=True)
    preview: bool = Field(default=False, strict=True)


class Seen(Word):
    """A word on the suspect list with these ``tickers``, and on no other."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"tickers": ["AAPL", "MSFT"], "reason": "checked it"}]}
    )

    tickers: list[Annotated[str, Field(pattern=r"^[A-Z0-9.!_-]{1,32}$")]] = Field(max_length=5_000)

    def names(self) -> list[Ticker]:
        return [Ticker(name) for name in self.tickers]


class PauseIn(BaseModel):
    """Why Finviz is not to be asked, for the audit trail and everybody who wonders."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "Finviz has a new layout"}]}
    )

    reason: str = Field(min_length=1, max_length=200, pattern=VISIBLE)
