"""Search: what somebody types becomes filters where its words are known, else text to look for."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from domain.signal import Side
from domain.ticker import normalise

LONGEST = 200
"""Characters of a search; what is longer is cut off."""

_WORD = re.compile(r'"([^"]*)"?|[^\s"]+')
_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]*")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ID_DIGITS = 32


class Status(StrEnum):
    """What a signal can be shown as: its own status, or the state of its deliveries."""

    RECEIVED = "received"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    INVALID = "invalid"
    QUEUED = "queued"
    SENDING = "sending"
    HELD = "held"
    DELIVERED = "delivered"
    DEAD = "dead"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


class Kind(StrEnum):
    """What a word is taken for."""

    SIDE = "side"
    STATUS = "status"
    REASON = "reason"
    SOURCE = "source"
    ID = "id"
    TICKER = "ticker"
    BEGINNING = "beginning"
    TEXT = "text"


SINGLE = (Kind.SIDE, Kind.STATUS, Kind.REASON, Kind.SOURCE, Kind.ID)
"""A signal has one of each: a second, other word of the same kind is text."""


@dataclass(frozen=True, slots=True)
class Part:
    """A word as it was typed, and what it means."""

    kind: Kind
    value: str
    word: str


@dataclass(frozen=True, slots=True)
class Known:
    """The words that have a meaning here."""

    reasons: Collection[str] = ()
    sources: Collection[str] = ()


def read(typed: str, known: Known, given: Sequence[Part] = ()) -> list[Part]:
    """What was typed, word by word, beside what is ``given``; nothing typed is refused."""
    parts: list[Part] = []
    for word in words(typed):
        part = _part(word, known)
        if part.kind in SINGLE and _contradicts(part, [*given, *parts]):
            part = as_text(part)
        if part.value and part not in parts:
            parts.append(part)
    return parts


def words(typed: str) -> list[str]:
    """The words and quoted texts of a search, as they were typed."""
    clean = _UNPRINTABLE.sub(" ", typed[:LONGEST])
    return [found[0] for found in _WORD.finditer(clean)]


def without(typed: str, word: str) -> str:
    """A search without one of its words."""
    return " ".join(one for one in words(typed) if one != word)


def as_text(part: Part) -> Part:
    """The same word, looked for in the bodies."""
    return Part(Kind.TEXT, part.word, part.word)


def ids(beginning: str) -> tuple[UUID, UUID]:
    """The first and the last id that begin so."""
    digits = beginning.replace("-", "").lower()
    return UUID(digits.ljust(_ID_DIGITS, "0")), UUID(digits.ljust(_ID_DIGITS, "f"))


def _contradicts(part: Part, parts: Sequence[Part]) -> bool:
    return any(one.kind == part.kind and one.value != part.value for one in parts)


def _part(word: str, known: Known) -> Part:
    if word.startswith('"'):
        return Part(Kind.TEXT, word.strip('"').strip(), word)
    lower = word.lower()
    for kind, given in (
        (Kind.SIDE, [*Side]),
        (Kind.STATUS, [*Status]),
        (Kind.REASON, known.reasons),
        (Kind.SOURCE, known.sources),
    ):
        if lower in given:
            return Part(kind, lower, word)
    if _is_id(lower):
        return Part(Kind.ID, lower, word)
    return _ticker(word)


def _is_id(word: str) -> bool:
    return bool(_ID.fullmatch(word)) and len(word.replace("-", "")) <= _ID_DIGITS


def _ticker(word: str) -> Part:
    try:
        ticker = normalise(word)
    except ValueError:
        return Part(Kind.TEXT, word, word)
    return Part(Kind.TICKER if ":" in word else Kind.BEGINNING, ticker, word)
