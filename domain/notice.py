"""A notice: items told to an operator in one message, as each kind of channel wants it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain import mail
from domain.attention import Severity
from domain.channel import Channel, ChannelKind
from domain.signature import key_of, sign

MOST_LINES = 10
LONGEST_LINE = 300
BACK_OFF = (5, 30, 120, 600)
"""Seconds after each failure; after the last the notice has failed."""

TEST = "test"
"""The cause of a line that only tries a channel out."""

TELEGRAM = "https://api.telegram.org"
_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is told of one item. ``over``: it was settled meanwhile."""

    id: int
    cause: str
    severity: Severity
    text: str
    at: datetime
    count: int = 1
    ticker: str | None = None
    source: str | None = None
    signal_id: UUID | None = None
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Lines for one channel, the worst first; ``id`` is the same whenever they are sent again."""

    id: str
    lines: Sequence[Line]
    at: datetime
    link: str | None = None

    @property
    def shown(self) -> Sequence[Line]:
        return self.lines[:MOST_LINES]

    @property
    def more(self) -> int:
        return len(self.lines) - len(self.shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A POST. The address is a secret, and often part of the body too."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A message and its envelope."""

    to: str
    sender: str
    content: bytes = field(repr=False)


def bundle(lines: Sequence[Line], *, at: datetime, link: str | None) -> Bundle:
    """Lines as one message: the worst first, then the oldest."""
    ordered = sorted(lines, key=lambda line: (line.severity.rank, line.at, line.id))
    told = ",".join(str(line.id) for line in sorted(lines, key=lambda line: line.id))
    id = f"notice_{hashlib.sha256(told.encode()).hexdigest()[:24]}"
    return Bundle(id=id, lines=ordered, at=at, link=link)


def retry_in(attempts: int, asked: timedelta | None = None) -> timedelta | None:
    """How long to wait after this many attempts, longer where we were asked to; None: give up."""
    if attempts > len(BACK_OFF):
        return None
    longest = timedelta(seconds=BACK_OFF[-1])
    return max(timedelta(seconds=BACK_OFF[attempts - 1]), min(asked or timedelta(0), longest))


# ── Words ───────────────────────────────────────────────────────────────────────────────────


def headline(told: Bundle) -> str:
    """How many of each severity, such as: 1 urgent, 2 warnings."""
    counts = {one: sum(line.severity is one for line in told.lines) for one in Severity}
    words = {Severity.URGENT: "urgent", Severity.WARNING: "warning", Severity.INFO: "note"}
    named = [
        f"{count} {words[one]}{'s' if count > 1 and one is not Severity.URGENT else ''}"
        for one, count in counts.items()
        if count
    ]
    return f"Trading relay: {', '.join(named)}"


def plain(told: Bundle, *, most: int = 4_000) -> str:
    """The message as text of at most so many characters: every line, each cut to its share."""
    tail = [f"and {told.more} more"] if told.more else []
    tail += [told.link] if told.link else []
    frame = sum(len(text) + 1 for text in (headline(told), *tail))
    share = min(LONGEST_LINE, (most - frame) // MOST_LINES - 1)
    return "\n".join([headline(told), *(_line(line, share) for line in told.shown), *tail])


def _line(line: Line, longest: int) -> str:
    again = f" (seen {line.count} times)" if line.count > 1 else ""
    mark = f"{again}{' (over)' if line.over else ''}"
    text = f"[{line.severity}] {' '.join(line.text.split())}"
    room = longest - len(mark)
    return (text if len(text) <= room else f"{text[: room - 1]}…") + mark


# ── Requests ────────────────────────────────────────────────────────────────────────────────


def request_of(channel: Channel, told: Bundle) -> Request:
    """The POST that tells a channel; of mail there is `mail_of`."""
    secrets = channel.secrets
    body: dict[str, Any]
    match channel.kind:
        case ChannelKind.TELEGRAM:
            chat, text = secrets["chat_id"], plain(told)
            body = {"chat_id": chat, "text": text, "disable_web_page_preview": True}
            return _posted(f"{TELEGRAM}/bot{secrets['token']}/sendMessage", body)
        case ChannelKind.DISCORD:
            body = {"content": plain(told, most=2_000), "allowed_mentions": {"parse": []}}
            return _posted(secrets["url"], body)
        case ChannelKind.SLACK:
            return _posted(secrets["url"], {"text": plain(told).translate(_SLACK)})
        case _:
            return _signed(channel, told)


def _posted(url: str, body: Mapping[str, Any], **headers: str) -> Request:
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    return Request(
        url=url,
        body=content,
        headers={"content-type": "application/json; charset=utf-8"} | headers,
    )


def _signed(channel: Channel, told: Bundle) -> Request:
    """Standard Webhooks: the id stays the same when it is sent again, so it can be recognised."""
    request = _posted(channel.secrets["url"], facts(told))
    timestamp = int(told.at.timestamp())
    signature = sign(
        key_of(channel.secrets["key"]), id=told.id, timestamp=timestamp, body=request.body
    )
    signed = {
        "webhook-id": told.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
    }
    return Request(url=request.url, body=request.body, headers={**request.headers, **signed})


def facts(told: Bundle) -> dict[str, Any]:
    """The body of a webhook: the worst item by its members, all of them in ``items``."""
    items = [_facts(line) for line in told.shown]
    link = {"link": told.link} if told.link else {}
    return items[0] | {
        "id": told.id,
        "at": told.at.isoformat(),
        "text": plain(told) if len(told.lines) > 1 else told.lines[0].text,
        "items": items,
        "more": told.more,
        **link,
    }


def _facts(line: Line) -> dict[str, Any]:
    return {
        "id": line.id,
        "cause": line.cause,
        "severity": line.severity,
        "text": line.text,
        "ticker": line.ticker,
        "source": line.source,
        "signal_id": line.signal_id and str(line.signal_id),
        "count": line.count,
        "over": line.over,
        "at": line.at.isoformat(),
    }


def mail_of(channel: Channel, told: Bundle, *, user: str | None) -> Mail:
    """The message for a channel of kind email; ``user`` is who we sign in as at the mail server."""
    to = channel.secrets["to"]
    sender = channel.secrets.get("sender") or (user if user and "@" in user else to)
    subject = f"{headline(told)}: {told.lines[0].text}" if told.lines else headline(told)
    content = mail.message(
        mail.Headers(to=to, sender=sender, subject=subject, id=told.id, at=told.at), plain(told)
    )
    return Mail(to=to, sender=sender, content=content)
