"""What callers may send about channels and attention, and how it becomes a domain value."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.attention import Cause, Severity
from domain.channel import (
    TERMS,
    Channel,
    ChannelError,
    ChannelKind,
    checked_name,
    checked_terms,
    checked_window,
)
from web.dependencies import Rules
from web.payloads import Word, invalid

Text = Annotated[str | None, Field(max_length=2_000)]


@contextmanager
def named_fields() -> Generator[None]:
    """Refuse what cannot be by the name of its field."""
    try:
        yield
    except ChannelError as error:
        raise invalid(error.field, str(error)) from None


class ChannelTerms(BaseModel):
    """What may be said of a channel; what is left out, or null, stays as it is.

    ``window`` is in seconds. ``url``, ``token``, ``chat_id``, ``to`` and ``sender`` are sealed, and
    never read out again.
    """

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=200)
    severity: Severity | None = None
    window: float | None = Field(None, strict=True, allow_inf_nan=False)
    enabled: bool | None = Field(None, strict=True)
    url: Text = None
    token: Text = None
    chat_id: Text = None
    to: Text = None
    sender: Text = None

    def secrets(self) -> dict[str, str]:
        """The terms that were given."""
        given = {name: getattr(self, name) for terms in TERMS.values() for name in terms}
        return {name: text for name, text in given.items() if text is not None}

    def applied_to(self, channel: Channel, rules: Rules) -> Channel:
        """The channel with these changes. Raises ProblemError naming the field that is wrong."""
        changed = self.applied_without_terms(channel)
        with named_fields():
            terms = {k: v for k, v in channel.secrets.items() if k in TERMS[channel.kind]}
            checked = checked_terms(
                channel.kind,
                terms | self.secrets(),
                private=rules.private_destinations,
                own_hosts=rules.own_hosts,
            )
        return replace(changed, secrets={**channel.secrets, **checked})

    def applied_without_terms(self, channel: Channel) -> Channel:
        """The same but for its terms, which stay as they are sealed. Raises ProblemError."""
        with named_fields():
            window = channel.window_sec if self.window is None else self.window
            return replace(
                channel,
                name=checked_name(channel.name if self.name is None else self.name),
                severity=self.severity or channel.severity,
                window_sec=checked_window(window),
                enabled=channel.enabled if self.enabled is None else self.enabled,
            )


class ChannelNew(ChannelTerms):
    """A new channel. Each kind has terms of its own."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "my phone",
                    "kind": "telegram",
                    "token": "123456789:AAF-a-token-of-BotFather-0123456789",
                    "chat_id": "123456789",
                    "severity": "urgent",
                },
                {"name": "mail", "kind": "email", "to": "me@example.com"},
            ]
        }
    )

    name: str = Field(max_length=200)  # pyright: ignore[reportIncompatibleVariableOverride]  it must be there
    kind: ChannelKind


class ChannelChange(ChannelTerms):
    """A change; with ``version``, of that version or not at all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"severity": "info", "version": 1}]})

    version: int | None = Field(None, strict=True)


class AttentionQuery(BaseModel):
    """Which items, and which page of them."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["open", "resolved", "all"] = "open"
    cause: Cause | None = None
    severity: Severity | None = None
    ticker: str | None = Field(None, max_length=64)
    source: str | None = Field(None, max_length=64)
    destination: UUID | None = None
    limit: int = Field(50, ge=1, le=500)
    cursor: str | None = Field(None, max_length=40)


class Settled(Word):
    """Which items are settled: these ``ids``, or all open ones of a ``cause``."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"cause": "near_limit", "reason": "a test of mine"}]}
    )

    ids: list[Annotated[int, Field(strict=True, ge=1, lt=2**63)]] | None = Field(
        None, min_length=1, max_length=1_000
    )
    cause: Cause | None = None

    @model_validator(mode="after")
    def one_of_them(self) -> "Settled":
        if (self.ids is None) == (self.cause is None):
            raise ValueError("give either ids or a cause")
        return self
