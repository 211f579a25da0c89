"""Channels as people see them: where each leads, what was told there, and its fields as a form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.attention import Severity
from domain.channel import TERMS, ChannelKind
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, duration, moment

KINDS: Mapping[ChannelKind, str] = {
    ChannelKind.WEBHOOK: "Webhook",
    ChannelKind.EMAIL: "E-mail",
    ChannelKind.TELEGRAM: "Telegram",
    ChannelKind.DISCORD: "Discord",
    ChannelKind.SLACK: "Slack",
}
SEVERITIES: Mapping[Severity, str] = {
    Severity.URGENT: "urgent: money may be lost now",
    Severity.WARNING: "warning and urgent: look today",
    Severity.INFO: "everything, also what is good to know",
}
LABELS: Mapping[str, tuple[str, str]] = {
    "url": ("Address", "It is a secret: sealed, and never shown again."),
    "to": ("To", "One address, such as me@example.com."),
    "sender": ("From", "Empty: as the mail server says."),
    "token": ("Bot token", "As @BotFather gives it. A secret: sealed, and never shown again."),
    "chat_id": ("Chat", "A number, or @ and the name of a public channel."),
}
SECRET = frozenset({"url", "token"})
"""Terms that let somebody send there: what was typed is not shown again either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRow:
    """A channel, masked; ``waiting`` notices are not sent yet."""

    id: str
    name: str
    kind: str
    leads: str
    severity: str
    every: str
    state: str
    waiting: int
    tested: Moment | None
    warning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KindLink:
    kind: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TermField:
    """A field that only some kinds of channels have."""

    name: str
    label: str
    hint: str
    kind: str
    value: str
    needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SeverityChoice:
    value: str
    words: str
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelForm:
    """What is typed of a channel."""

    kind: str
    words: str
    name: str
    terms: Sequence[TermField]
    severities: Sequence[SeverityChoice]
    window: str
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRow:
    """What was told, or is to be."""

    id: int
    at: Moment
    severity: str
    text: str
    state: str
    attempts: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelsView:
    """templates/settings_channels.html and templates/partials/settings_channels.html."""

    shell: Shell
    channels: Sequence[ChannelRow]
    kinds: Sequence[KindLink]
    form: ChannelForm | None
    refused: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelView:
    """templates/settings_channel.html and templates/partials/settings_channel.html.

    ``secret`` signs what a webhook is sent, and is shown once.
    """

    shell: Shell
    channel: ChannelRow
    archived: bool
    version: int
    form: ChannelForm
    notices: Sequence[NoticeRow]
    secret: str | None = field(repr=False)
    tried: str | None
    refused: str | None


def kind_links() -> list[KindLink]:
    return [KindLink(kind=kind, words=words) for kind, words in KINDS.items()]


def channel_row(shown: Mapping[str, Any], now: datetime) -> ChannelRow:
    """A channel of the API's list."""
    state = "on" if shown["enabled"] else "off"
    return ChannelRow(
        id=str(shown["id"]),
        name=shown["name"],
        kind=KINDS[ChannelKind(shown["kind"])],
        leads=shown["shown"],
        severity=f"{shown['severity']} and worse" if shown["severity"] != "urgent" else "urgent",
        every=_span(shown["window"]),
        state="archived" if shown["archived_at"] else state,
        waiting=shown["queued"],
        tested=shown["tested_at"] and moment(shown["tested_at"], now),
        warning=shown["warning"] or "",
    )


def _span(seconds: float) -> str:
    for size, unit in ((3_600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def channel_form(kind: ChannelKind, given: Mapping[str, Any], *, new: bool) -> ChannelForm:
    """The fields of a kind; a secret is to be typed again, or left as it is."""
    severity = given.get("severity") or Severity.WARNING
    return ChannelForm(
        kind=kind,
        words=KINDS[kind],
        name=given.get("name") or "",
        terms=[_term(name, given, new=new) for name in TERMS[kind]],
        severities=[
            SeverityChoice(value=one, words=words, chosen=one == severity)
            for one, words in SEVERITIES.items()
        ],
        window=f"{given['window']:g}" if isinstance(given.get("window"), float) else _typed(given),
        enabled=bool(given.get("enabled")),
    )


def _typed(given: Mapping[str, Any]) -> str:
    return str(given.get("window") or 3600)


def _term(name: str, given: Mapping[str, Any], *, new: bool) -> TermField:
    label, hint = LABELS[name]
    kept = "" if new else " Empty: it stays as it is."
    return TermField(
        name=name,
        label=label,
        hint=hint + kept,
        kind="password" if name in SECRET else "text",
        value="" if name in SECRET else str(given.get(name) or ""),
        needed=new and name != "sender",
    )


def notice_row(row: Mapping[str, Any], now: datetime) -> NoticeRow:
    at = row["finished_at"] or row["made_at"]
    waits = row["state"] == "queued" and row["due_at"] > now
    return NoticeRow(
        id=row["id"],
        at=moment(at, now),
        severity=row["severity"],
        text=row["text"],
        state=row["state"],
        attempts=row["attempts"],
        error=(row["error"] or NOTHING)
        + (f"; again in {duration(row['due_at'] - now)}" if waits else ""),
    )
