"""Tokens as a list shows them, and the one moment in which one is seen."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.access import Scope
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, duration, moment

SCOPES: Mapping[Scope, str] = {
    Scope.READ: "read lists, signals, status and metrics",
    Scope.INGEST: "post alerts, as the source of the settings",
    Scope.TRADE: "sell, pause buying, resolve and replay",
    Scope.CONFIG: "change screens, destinations, sources, rules and channels",
    Scope.ADMIN: "everything, signing in here included",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A token without itself. ``id`` is None for one of the settings."""

    id: str | None
    name: str
    hint: str
    scopes: str
    source: str | None
    made: Moment | None
    by: str
    used: Moment | None
    ends: Moment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeTick:
    """A scope that can be ticked, and what it allows."""

    name: str
    words: str
    ticked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeView:
    """A token that was just made: the only time it stands anywhere. ``webhook`` has it in it."""

    name: str
    token: str = field(repr=False)
    webhook: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensView:
    """templates/settings_tokens.html and templates/partials/settings_tokens.html.

    ``name`` and ``ends`` were typed before the form was ``refused``, ``tried`` names the form.
    """

    shell: Shell
    tokens: Sequence[TokenRow]
    made: MadeView | None
    scopes: Sequence[ScopeTick]
    name: str
    ends: str
    tried: str | None
    refused: str | None


def token_row(shown: Mapping[str, Any], now: datetime) -> TokenRow:
    """A token of the API's list."""
    made, used, ends = (shown[name] for name in ("made_at", "last_used_at", "expires_at"))
    return TokenRow(
        id=str(shown["id"]) if shown["id"] else None,
        name=shown["name"],
        hint=f"…{shown['hint']}" if shown["hint"] else NOTHING,
        scopes=", ".join(shown["scopes"]),
        source=shown["source"],
        made=made and moment(made, now),
        by=shown["made_by"] or NOTHING,
        used=used and moment(used, now),
        ends=ends and end_of(ends, now),
    )


def end_of(ends: datetime, now: datetime) -> Moment:
    """When a token ends, or ended."""
    ahead = ends > now
    return Moment(ends, f"in {duration(ends - now)}" if ahead else f"{duration(now - ends)} ago")


def scope_ticks(ticked: Collection[str]) -> list[ScopeTick]:
    return [
        ScopeTick(name=scope, words=words, ticked=scope in ticked)
        for scope, words in SCOPES.items()
    ]
