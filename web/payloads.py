"""What callers may send, and how it becomes a domain value."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from database.resolutions import Resolution
from domain.address import DestinationUrlError, check_destination_url
from domain.delivery import Guarantee
from domain.destination import (
    Destination,
    DestinationError,
    Mode,
    checked_concurrency,
    checked_connect_timeout,
    checked_headers,
    checked_name,
    checked_timeout,
    checked_windows,
)
from domain.mapping import BodyMapping, MappingError, Preset, Scalar
from domain.screen import EXAMPLE_URL, Screen, ScreenError, parse_screen_url
from web.dependencies import Rules
from web.errors import ProblemError

ETAG = re.compile(r'"?(\d{1,18})"?', re.ASCII)


class ScreenIn(BaseModel):
    """A change of the active screen; what is left out stays. ``refresh`` is in seconds.

    ``token`` is for scripts written for the original relay; `Authorization: Bearer` is better. Its
    `finviz_url` and `refresh_interval_sec` are read too.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": str(EXAMPLE_URL), "top_n": 15, "refresh": 180}],
        },
    )

    url: str | None = Field(
        None, max_length=2_000, validation_alias=AliasChoices("url", "finviz_url")
    )
    top_n: int | None = Field(None, strict=True)
    refresh: float | None = Field(
        None,
        strict=True,
        allow_inf_nan=False,
        validation_alias=AliasChoices("refresh", "refresh_interval_sec"),
    )
    token: str | None = Field(None, max_length=512)

    def applied_to(self, screen: Screen) -> Screen:
        """The screen with these changes. Raises ProblemError naming the field that is wrong."""
        try:
            return replace(
                screen,
                url=parse_screen_url(self.url) if self.url is not None else screen.url,
                top_n=screen.top_n if self.top_n is None else self.top_n,
                refresh=screen.refresh
                if self.refresh is None
                else timedelta(seconds=min(max(self.refresh, -1), 1e6)),
            )
        except ScreenError as error:
            raise ProblemError(400, "invalid_field", str(error), field=error.field) from error


def invalid(field: str, problem: str) -> ProblemError:
    return ProblemError(400, "invalid_field", problem, field=field)


def meant_version(if_match: str | None, given: int | None) -> int | None:
    """The version a change is meant for, from `If-Match` (RFC 9110 §13.1.1) or the body."""
    if if_match is None or if_match == "*":
        return given
    if not (tag := ETAG.fullmatch(if_match)):
        raise invalid("if-match", "if-match must be a version")
    return int(tag[1])


class MappingIn(BaseModel):
    """A body mapping, given as a whole."""

    model_config = ConfigDict(extra="forbid")

    preset: Preset = Preset.AS_RECEIVED
    rename: dict[str, str] = Field(default_factory=dict[str, str])
    add: dict[str, Scalar] = Field(default_factory=dict[str, Scalar])

    def value(self) -> BodyMapping:
        try:
            return BodyMapping(self.preset, self.rename, self.add)
        except MappingError as error:
            raise invalid("mapping", f"mapping {error}") from None


class Terms(BaseModel):
    """What may be said of a destination; what is left out, or null, stays as it is.

    A null ``concurrency`` means that of the settings. ``headers`` change one by one: null takes one
    away. ``windows`` are `60/60s,500/3600s`, and nothing between the quotes means no limit.
    """

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=200)
    url: str | None = Field(None, max_length=2_000, repr=False)
    windows: str | None = Field(None, max_length=200)
    concurrency: int | None = Field(None, strict=True)
    timeout: float | None = Field(None, strict=True, allow_inf_nan=False)
    connect_timeout: float | None = Field(None, strict=True, allow_inf_nan=False)
    mode: Mode | None = None
    guarantee: Guarantee | None = None
    headers: dict[str, str | None] | None = Field(None, repr=False)
    mapping: MappingIn | None = None

    def applied_to(self, destination: Destination, rules: Rules) -> Destination:
        """The destination with these changes. Raises ProblemError naming the field that is wrong.

        Nothing is looked up: whatever a name leads to, it is answered alike.
        """
        try:
            return replace(destination, **self._changes(destination, rules))
        except DestinationError as error:
            raise invalid(error.field, str(error)) from None
        except DestinationUrlError as error:
            raise invalid("url", f"url {error}") from None

    def _changes(self, destination: Destination, rules: Rules) -> dict[str, Any]:
        given: dict[str, Any] = {
            "name": None if self.name is None else checked_name(self.name),
            "url": None if self.url is None else _url(self.url, rules),
            "windows": None if self.windows is None else checked_windows(self.windows),
            "timeout": None if self.timeout is None else checked_timeout(self.timeout),
            "connect_timeout": None
            if self.connect_timeout is None
            else checked_connect_timeout(self.connect_timeout),
            "mode": self.mode,
            "guarantee": self.guarantee,
            "headers": None if self.headers is None else _merged(destination.headers, self.headers),
            "mapping": self.mapping and self.mapping.value(),
        }
        changes = {name: value for name, value in given.items() if value is not None}
        if "concurrency" in self.model_fields_set:
            changes["concurrency"] = checked_concurrency(self.concurrency)
        return changes


def _url(text: str, rules: Rules) -> str:
    return check_destination_url(
        text, private=rules.private_destinations, own_hosts=rules.own_hosts
    )


def _merged(kept: Mapping[str, str], given: Mapping[str, str | None]) -> dict[str, str]:
    named = checked_headers(
        {name: "-" if value is None else value for name, value in given.items()}
    )
    gone = {name.lower() for name, value in given.items() if value is None}
    return checked_headers(
        {name: value for name, value in {**kept, **named}.items() if name not in gone}
    )


class DestinationIn(Terms):
    """A new destination. It is answered with its signing secret, once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "paper account",
                    "url": "https://webhooks.traderspost.io/trading/webhook/…/…",
                    "windows": "60/60s,500/3600s",
                    "mode": "dry_run",
                    "mapping": {"preset": "traderspost"},
                }
            ]
        },
    )

    name: str = Field(max_length=200)  # pyright: ignore[reportIncompatibleVariableOverride]  it must be there
    url: str = Field(max_length=2_000, repr=False)  # pyright: ignore[reportIncompatibleVariableOverride]


class DestinationChange(Terms):
    """A change; with ``version``, of that version or not at all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"windows": "30/60s", "version": 3}]})

    version: int | None = Field(None, strict=True)


class Rotation(BaseModel):
    """``overlap``: for how many seconds the key before still signs beside the new one."""

    model_config = ConfigDict(extra="forbid")

    overlap: float = Field(default=86_400, strict=True, allow_inf_nan=False, ge=0, le=604_800)


class Word(BaseModel):
    """The operator's ``reason``, for the audit trail."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = Field(default=None, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")


class Cancellation(Word):
    """``all``: also what is queued for the current version."""

    all: bool = Field(default=False, strict=True)


class ResolutionIn(Word):
    """What became of a held delivery, or is to become of it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"as": "delivered", "reason": "seen at the broker"}]}
    )

    resolution: Resolution = Field(alias="as")
