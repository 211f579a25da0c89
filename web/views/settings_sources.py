"""Sources as people see them: what came, what is expected, and their policy as a form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from web.views.settings_tokens import MadeView, TokenRow, token_row
from web.views.shell import Shell
from web.views.words import Moment, counted, moment

DIRECTIONS: Mapping[str, str] = {
    "both": "buys and sells",
    "buy": "buys only",
    "sell": "sells only",
}
SECONDS = ("dedupe_sec", "buy_ttl_sec", "sell_ttl_sec", "expected_every_sec")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A source: what came from it today and lately, and what is wrong with it."""

    name: str
    note: str
    sends: str
    today: str
    lately: int
    heard: Moment | None
    tokens: str
    archived: bool
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """A choice of what a source may send."""

    value: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceForm:
    """The policy of a source as typed; empty: as the settings say. ``usual`` says what that is."""

    note: str
    direction: str
    directions: Sequence[Direction]
    dedupe_sec: str
    buy_ttl_sec: str
    sell_ttl_sec: str
    time_field: str
    expected_every_sec: str
    expected_in_hours: bool
    pairs: bool
    senders: str
    usual: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesView:
    """templates/settings_sources.html and templates/partials/settings_sources.html."""

    shell: Shell
    sources: Sequence[SourceRow]
    name: str
    form: SourceForm
    archived: bool
    refused: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """templates/settings_source.html.

    ``tried`` is the form that was ``refused``; ``built_in``: it posts with the settings' token.
    """

    shell: Shell
    source: SourceRow
    version: int
    built_in: bool
    form: SourceForm
    tokens: Sequence[TokenRow]
    webhook: str
    made: MadeView | None
    tried: str | None
    refused: str | None


def source_row(shown: Mapping[str, Any], warnings: Sequence[str], now: datetime) -> SourceRow:
    """A source of the API's list."""
    today = [f"{number} {status}" for status, number in sorted(shown["today"].items())]
    return SourceRow(
        name=shown["name"],
        note=shown["note"],
        sends=DIRECTIONS[shown["direction"]],
        today=", ".join(today) or "nothing",
        lately=shown["last_3_min"],
        heard=shown["last_signal_at"] and moment(shown["last_signal_at"], now),
        tokens=_tokens(shown),
        archived=shown["archived_at"] is not None,
        warnings=warnings,
    )


def _tokens(shown: Mapping[str, Any]) -> str:
    own = counted(len(shown["tokens"]), "token", "tokens")
    return f"{own} and that of the settings" if shown["built_in"] else own


def source_form(given: Mapping[str, Any], usual: Mapping[str, str]) -> SourceForm:
    """The policy of a source, as it is kept or as it was typed."""
    typed = {name: _typed(given.get(name)) for name in SECONDS}
    return SourceForm(
        note=_typed(given.get("note")),
        direction=_typed(given.get("direction")) or "both",
        directions=[Direction(value=one, words=words) for one, words in DIRECTIONS.items()],
        time_field=_typed(given.get("time_field")),
        expected_in_hours=bool(given.get("expected_in_hours")),
        pairs=bool(given.get("pairs")),
        senders=_senders(given.get("senders")),
        usual=usual,
        dedupe_sec=typed["dedupe_sec"],
        buy_ttl_sec=typed["buy_ttl_sec"],
        sell_ttl_sec=typed["sell_ttl_sec"],
        expected_every_sec=typed["expected_every_sec"],
    )


def _senders(value: object) -> str:
    """As kept, or as typed."""
    kept: list[str] = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]  texts
    return value if isinstance(value, str) else ", ".join(kept)


def _typed(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def source_tokens(shown: Mapping[str, Any], now: datetime) -> list[TokenRow]:
    return [token_row(one, now) for one in shown["tokens"]]
