"""The live feed: how far somebody has followed the events, and what is said on the wire."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Self, TypeAlias

Facts: TypeAlias = Mapping[str, Any]

MOST_EVENTS = 500
"""In one passage; whoever is further behind reads what is there instead of what happened."""

LONGEST_CURSOR = 2_000
LONGEST_FRAME = 131_072

FORM = re.compile(r"([0-9]{1,18}):([0-9]{1,18}):((?:[0-9]{1,18}(?:,[0-9]{1,18})*)?)")


class Why(StrEnum):
    """Why a client is told to read everything again."""

    CURSOR = "cursor"
    BEHIND = "behind"
    MANY = "many"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Which transactions were over at a moment: those below ``end``, but for the ``running``.

    It is written as PostgreSQL writes a snapshot. What is new since then is what was running then
    or began later: nobody has to wait until old transactions are over.
    """

    oldest: int
    end: int
    running: tuple[int, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self | None:
        """What PostgreSQL wrote, or a client says it did; None for what cannot be one."""
        found = FORM.fullmatch(text)
        if found is None:
            return None
        running = tuple(int(one) for one in found[3].split(",") if one)
        cursor = cls(int(found[1]), int(found[2]), running)
        return cursor if cursor._can_be() else None

    def _can_be(self) -> bool:
        """Ascending, and nothing outside of what its ends say."""
        steps = [self.oldest - 1, *self.running, self.end]
        ordered = all(one < after for one, after in pairwise(steps))
        return self.oldest > 0 and (ordered if self.running else self.oldest <= self.end)

    def __str__(self) -> str:
        return f"{self.oldest}:{self.end}:{','.join(map(str, self.running))}"


def cursor_of(text: str) -> Cursor | None:
    """What a stranger gives as his cursor; None for anything that is none."""
    return Cursor.read(text) if len(text) <= LONGEST_CURSOR else None


@dataclass(frozen=True, slots=True)
class Frame:
    """A text for any number of clients: put into words once, and into a WebSocket frame once."""

    text: str
    wire: bytes


def frame(said: Facts) -> Frame:
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return Frame(text, _on_the_wire(text.encode()))


def _on_the_wire(payload: bytes) -> bytes:
    """One unmasked text frame, as a server sends it (RFC 6455 §5.2)."""
    length = len(payload)
    if length < 126:
        head = bytes((0x81, length))
    elif length < 65_536:
        head = b"\x81\x7e" + length.to_bytes(2, "big")
    else:
        head = b"\x81\x7f" + length.to_bytes(8, "big")
    return head + payload


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


PING = frame({"type": "ping"})


def hello(cursor: Cursor, version: str) -> Frame:
    return frame({"type": "hello", "cursor": str(cursor), "version": version})


def reread(cursor: Cursor, why: Why) -> Frame:
    return frame({"type": "reread", "cursor": str(cursor), "why": why})


def told(cursor: Cursor, events: Sequence[Facts]) -> Frame | None:
    """Events, and how far whoever has them has followed; None for too long a story."""
    made = frame({"type": "events", "cursor": str(cursor), "events": events})
    return made if len(made.wire) <= LONGEST_FRAME else None


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose socket it is: the digest of a session, or else of a token."""

    digest: bytes
    by_session: bool
