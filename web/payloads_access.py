"""What callers may send about sources and tokens, and how it becomes a domain value."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.access import Scope, TokenError, checked_expiry
from domain.rules import Direction
from domain.source import MOST_SENDERS, NAME, READERS, SourceError
from web.moments import Moment
from web.payloads import invalid

SOURCE = rf"^{NAME.pattern}$"
"""Nothing else can be a source: it needs no look."""


@contextmanager
def named_fields() -> Generator[None]:
    """Refuse what cannot be by the name of its field."""
    try:
        yield
    except (SourceError, TokenError) as error:
        raise invalid(error.field, str(error)) from None


class SourceTerms(BaseModel):
    """What may be said of a source; what is left out stays, and null is "as the settings say".

    ``dedupe_sec`` 0: no alert is a repeat of another but by its `Idempotency-Key` or send time.
    ``time_field`` is a member of the body that says when it was sent. Silence longer than
    ``expected_every_sec`` is worth a look, outside market hours only without ``expected_in_hours``.
    ``senders`` are addresses, networks, or `tradingview`: an alert from elsewhere is refused like
    one with a wrong token. None, or an empty list: from anywhere.
    """

    model_config = ConfigDict(extra="forbid")

    note: str | None = Field(None, max_length=2_000)
    direction: Direction | None = None
    dedupe_sec: float | None = Field(None, strict=True, allow_inf_nan=False)
    buy_ttl_sec: float | None = Field(None, strict=True, allow_inf_nan=False)
    sell_ttl_sec: float | None = Field(None, strict=True, allow_inf_nan=False)
    time_field: str | None = Field(None, max_length=200)
    expected_every_sec: float | None = Field(None, strict=True, allow_inf_nan=False)
    expected_in_hours: bool | None = Field(None, strict=True)
    pairs: bool | None = Field(None, strict=True)
    senders: list[Annotated[str, Field(max_length=64)]] | None = Field(
        None, max_length=MOST_SENDERS
    )

    def terms(self) -> Mapping[str, object]:
        """What was given, null included."""
        return {name: getattr(self, name) for name in READERS if name in self.model_fields_set}


class SourceNew(SourceTerms):
    """A new source. It is answered with its first token, once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "momentum", "direction": "buy", "buy_ttl_sec": 20}]
        }
    )

    name: str = Field(max_length=200)


class SourceChange(SourceTerms):
    """A change; with ``version``, of that version or not at all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"direction": "sell", "version": 3}]})

    version: int | None = Field(None, strict=True)


class Expiry(BaseModel):
    """When a token ends, by a time with its zone or a number of days; left out: never."""

    model_config = ConfigDict(extra="forbid")

    expires_at: Moment | None = None
    expires_in_days: float | None = Field(default=None, strict=True, allow_inf_nan=False)

    def ends(self, now: datetime) -> datetime | None:
        """Raises ProblemError naming the field that is wrong."""
        with named_fields():
            return checked_expiry(self.expires_at, self.expires_in_days, now=now)


class SourceToken(Expiry):
    """One more token of a source; ``name`` is made up when it is left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"expires_in_days": 90}]})

    name: str | None = Field(default=None, max_length=200)


class TokenNew(Expiry):
    """A new token. One with a ``source`` posts alerts as that source, and does nothing else."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "dashboard", "scopes": ["read"], "expires_in_days": 90}]
        }
    )

    name: str = Field(max_length=200)
    scopes: list[Scope] = Field(max_length=20)
    source: str | None = Field(None, pattern=SOURCE)
