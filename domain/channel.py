"""A channel: where an operator is told, and what each kind of it must be given."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType
from urllib.parse import urlsplit
from uuid import UUID

from domain.address import DestinationUrlError, Network, check_destination_url, shown
from domain.attention import Severity

ChannelId = NewType("ChannelId", UUID)

MASK = "•••"
SHORTEST_WINDOW, LONGEST_WINDOW = 60.0, 86_400.0

_NAME = re.compile(r"[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]{0,62}[^\s\x00-\x1f\x7f])?")
_BOT = re.compile(r"\d{1,20}:[A-Za-z0-9_-]{20,100}", re.ASCII)
_CHAT = re.compile(r"-?\d{1,20}|@[A-Za-z]\w{3,63}", re.ASCII)
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}", re.ASCII)


class ChannelKind(StrEnum):
    """How a notice travels."""

    WEBHOOK = "webhook"
    EMAIL = "email"
    TELEGRAM = "telegram"
    DISCORD = "discord"
    SLACK = "slack"


TERMS: Mapping[ChannelKind, tuple[str, ...]] = {
    ChannelKind.WEBHOOK: ("url",),
    ChannelKind.EMAIL: ("to", "sender"),
    ChannelKind.TELEGRAM: ("token", "chat_id"),
    ChannelKind.DISCORD: ("url",),
    ChannelKind.SLACK: ("url",),
}
"""What each kind is given. Of these ``sender`` may be left out."""

HOSTS: Mapping[ChannelKind, tuple[str, ...]] = {
    ChannelKind.DISCORD: ("discord.com", "discordapp.com", "ptb.discord.com", "canary.discord.com"),
    ChannelKind.SLACK: ("hooks.slack.com", "hooks.slack-gov.com"),
}


class ChannelError(ValueError):
    """A channel cannot be so; ``field`` names what is wrong, no message repeats a secret."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """``secrets`` are its terms, and the signing key of a webhook; only ``shown`` is for people.

    There are none where they do not open: then nothing can be told there.

    Notices of ``severity`` and worse are sent, each at most once a cause, key and ``window_sec``.
    """

    id: ChannelId
    name: str
    kind: ChannelKind
    secrets: Mapping[str, str] = field(repr=False)
    severity: Severity = Severity.WARNING
    window_sec: float = 3_600
    enabled: bool = True
    version: int = 1

    @property
    def opens(self) -> bool:
        return bool(self.secrets)

    @property
    def shown(self) -> str:
        """Where it leads, without anything that lets somebody send there."""
        match self.kind:
            case ChannelKind.EMAIL:
                name, _, host = self.secrets["to"].partition("@")
                return f"{name[:1]}{MASK}@{host}"
            case ChannelKind.TELEGRAM:
                return f"chat {self.secrets['chat_id'][:3]}{MASK}"
            case _:
                return shown(self.secrets["url"])

    @property
    def hidden(self) -> set[str]:
        """What nobody is shown: the terms whole, and of an address every part of its path."""
        parts = urlsplit(self.secrets.get("url", ""))
        path = {one for one in re.split(r"[/?&=]", f"{parts.path}?{parts.query}") if len(one) >= 6}
        return {*self.secrets.values(), *path}


def checked_name(text: str) -> str:
    """A name, trimmed. Raises ChannelError, as do the functions below."""
    name = text.strip()
    if not _NAME.fullmatch(name):
        raise ChannelError("name", "must be 1 to 64 visible characters")
    return name


def checked_window(seconds: float) -> float:
    if not SHORTEST_WINDOW <= seconds <= LONGEST_WINDOW:
        raise ChannelError("window", "must be 60 to 86400 seconds")
    return seconds


def checked_terms(
    kind: ChannelKind,
    given: Mapping[str, str | None],
    *,
    private: Collection[Network] = (),
    own_hosts: Collection[str] = (),
) -> dict[str, str]:
    """What a channel of this kind is given, checked."""
    terms = {name: text.strip() for name, text in given.items() if text is not None}
    for name in terms:
        if name not in TERMS[kind]:
            raise ChannelError(name, f"is nothing that a channel of kind {kind} has")
    for name in TERMS[kind]:
        if name not in terms and name != "sender":
            raise ChannelError(name, f"must be given for a channel of kind {kind}")
    if "url" in terms:
        terms["url"] = _checked_url(kind, terms["url"], private, own_hosts)
    for name, pattern, problem in _PATTERNS:
        if name in terms and not pattern.fullmatch(terms[name]):
            raise ChannelError(name, problem)
    return terms


_PATTERNS = (
    ("token", _BOT, "must be a bot's token, such as 123456:ABC…, as @BotFather gives it"),
    ("chat_id", _CHAT, "must be a number, or @ and the name of a public channel"),
    ("to", _MAILBOX, "must be one address, such as me@example.com"),
    ("sender", _MAILBOX, "must be one address, such as relay@example.com"),
)


def _checked_url(
    kind: ChannelKind, text: str, private: Collection[Network], own_hosts: Collection[str]
) -> str:
    try:
        url = check_destination_url(text, private=private, own_hosts=own_hosts)
    except DestinationUrlError as error:
        raise ChannelError("url", str(error)) from None
    hosts, parts = HOSTS.get(kind), urlsplit(url)
    if hosts and (parts.scheme != "https" or parts.hostname not in hosts):
        raise ChannelError("url", f"must be an incoming webhook at https://{hosts[0]}/")
    return url


def masked(text: str, secrets: Collection[str]) -> str:
    """A text with nothing in it of these secrets: the other side may repeat what it was sent."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, MASK)
    return text
