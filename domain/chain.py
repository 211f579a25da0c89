"""The chain of the audit trail: what a link is, and which event or link is the first broken one.

The byte form is that of migration 0007. Nothing here trusts what the database reckoned: every
digest is made again, from the lines as they are.
"""

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple

BEFORE_ALL = bytes(32)
"""What the first link follows."""

ENTRY = struct.Struct(">qI16s")
"""Of one event: its id, the seconds of its time since 1970, the first half of its SHA-256."""

KEPT_AT_LEAST = timedelta(days=7)
"""Whatever is set: nothing younger is ever forgotten, so what is missing and younger was taken."""

_EVENT = re.compile(rb'\{"at": "([^"]*)", "id": (-?\d{1,19}), ')
_KIND = re.compile(rb', "event": "([^"\\]*)"')


class Entry(NamedTuple):
    """What a link holds of an event."""

    id: int
    seconds: int
    digest: bytes

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """An event by its line; ``id`` is None where the line does not say it."""

    id: int | None
    line: bytes

    @classmethod
    def read(cls, line: bytes) -> "Event":
        found = _EVENT.match(line)
        return cls(int(found[2]) if found else None, line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A stretch of the trail, as it was stored."""

    number: int
    day: str
    previous: bytes
    hash: bytes
    count: int
    last_id: int
    entries: bytes

    def reckoned(self) -> bytes:
        """The hash that its content has."""
        number = struct.pack(">q", self.number) if 0 <= self.number < 2**63 else b""
        return sha256(self.previous + number + self.day.encode() + self.entries).digest()

    def events(self) -> list[Entry]:
        whole = len(self.entries) - len(self.entries) % ENTRY.size
        return [Entry._make(entry) for entry in ENTRY.iter_unpack(self.entries[:whole])]

    def ids(self) -> list[int]:
        return [entry.id for entry in self.events()]

    def is_whole(self, after: int | None) -> bool:
        """Whether it is what it says: its hash, its count, ids that rise from the link before."""
        if self.hash != self.reckoned() or len(self.day) != 10 or not self.entries:
            return False
        if len(self.entries) != self.count * ENTRY.size:
            return False
        ids = self.ids()
        rising = all(one < next for one, next in pairwise(ids))
        return rising and ids[-1] == self.last_id and (after is None or ids[0] > after)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A link, the events there are between the link before and its end, and who was forgotten."""

    link: Link
    events: Sequence[Event]
    forgotten: Mapping[int, datetime] = field(default_factory=dict[int, datetime])


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a log outside says of a link."""

    link: int
    hash: str
    told: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The first thing that is not as the chain has it."""

    words: str
    event: int | None = None
    link: int | None = None


@dataclass(slots=True)
class Day:
    """One day of the chain; ``hash`` is its head."""

    links: int = 0
    events: int = 0
    hash: str = ""


@dataclass(slots=True)
class Examination:
    """Goes along a chain, a stretch at a time, and stops at the first broken thing.

    The events of a link are looked at once the next link is known: whoever changed a link and its
    hash with it is found there, and not taken for somebody who changed an event.
    """

    anchors: Mapping[int, Sequence[Anchor]] = field(default_factory=dict[int, Sequence[Anchor]])
    days: dict[str, Day] = field(default_factory=dict[str, Day], init=False)
    events: int = field(default=0, init=False)
    forgotten: int = field(default=0, init=False)
    waiting: int = field(default=0, init=False)
    waiting_since: str | None = field(default=None, init=False)
    broken: Broken | None = field(default=None, init=False)
    _held: Stretch | None = field(default=None, init=False)
    _before: int | None = field(default=None, init=False)
    _links: int = field(default=0, init=False)

    @property
    def links(self) -> int:
        return self._links

    @property
    def head(self) -> str | None:
        return self._held.link.hash.hex() if self._held else None

    @property
    def last_id(self) -> int | None:
        """How far the events are looked through."""
        return self._held.link.last_id if self._held else None

    def take(self, stretch: Stretch) -> Broken | None:
        """Look at the next stretch. Not to be called again after something was broken."""
        link, held = stretch.link, self._held
        follows = link.number == self._links + 1
        if held and follows and link.hash == link.reckoned() and link.previous != held.link.hash:
            return self._breaks(
                f"link {held.link.number} was changed: link {link.number} was made after another",
                link=held.link.number,
            )
        self.broken = self._examined() or self._misplaced(link)
        if self.broken is None:
            self._before = self.last_id
            self._held, self._links = stretch, link.number
            self._count(link)
        return self.broken

    def await_links(self, events: Iterable[Event]) -> None:
        """Events that no link holds yet: younger than all of them."""
        for event in events:
            self.waiting += 1
            self.waiting_since = self.waiting_since or _told(event.line)

    def end(self) -> Broken | None:
        """After the last stretch."""
        if self.broken is None:
            self.broken = self._examined() or self._cut()
        return self.broken

    def _breaks(self, words: str, *, event: int | None = None, link: int | None = None) -> Broken:
        self.broken = Broken(words, event, link)
        return self.broken

    def _misplaced(self, link: Link) -> Broken | None:
        number, expected = link.number, self._links + 1
        if number > expected:
            return Broken(f"link {expected} is missing", link=expected)
        if number < expected or not link.is_whole(self.last_id):
            return Broken(f"link {number} was changed", link=number)
        previous = self._held.link.hash if self._held else BEFORE_ALL
        if link.previous != previous or (self._held and link.day < self._held.link.day):
            return Broken(f"link {number} was changed", link=number)
        for anchor in self.anchors.get(number, ()):
            if anchor.hash != link.hash.hex():
                words = f"link {number} was changed: the log of {anchor.told} knows another"
                return Broken(words, link=number)
        return None

    def _cut(self) -> Broken | None:
        """Links that a log knows, and that are not there any more."""
        expected = self._links + 1
        known = min((number for number in self.anchors if number >= expected), default=None)
        if known is None:
            return None
        words = f"the log of {self.anchors[known][0].told} knows link {known}"
        return Broken(f"link {expected} is missing: {words}", link=expected)

    def _count(self, link: Link) -> None:
        day = self.days.setdefault(link.day, Day())
        day.links += 1
        day.events += link.count
        day.hash = link.hash.hex()

    def _examined(self) -> Broken | None:
        """The first of the events held that is not as its link has it."""
        if self._held is None:
            return None
        events = list(self._held.events[::-1])
        for entry in self._held.link.events():
            event = events[-1] if events else None
            if event and event.id is not None and event.id < entry.id:
                return _added(event)
            if event and event.id in (None, entry.id):
                if sha256(event.line).digest()[:16] != entry.digest:
                    return _changed(entry, event)
                self.events += 1
                events.pop()
            elif missing := self._missing(entry, self._held.forgotten.get(entry.id)):
                return missing
        return _added(events[-1]) if events else None

    def _missing(self, entry: Entry, forgotten: datetime | None) -> Broken | None:
        """Whether its absence is accounted for: only retention may take it, once it is old."""
        if forgotten is None:
            words = f"event {entry.id} of {_at(entry)} is missing"
            return Broken(words, event=entry.id)
        if forgotten - entry.at < KEPT_AT_LEAST:
            words = (
                f"event {entry.id} of {_at(entry)} is missing, and was too young to be forgotten"
            )
            return Broken(words, event=entry.id)
        self.forgotten += 1
        return None


def _changed(entry: Entry, event: Event) -> Broken:
    kind = _KIND.search(event.line)
    now = f"; it says {kind[1].decode(errors='replace')} now" if kind and event.id else ""
    return Broken(f"event {entry.id} of {_at(entry)} was changed{now}", event=entry.id)


def _added(event: Event) -> Broken:
    kind = _KIND.search(event.line)
    known = f" ({kind[1].decode(errors='replace')} of {_told(event.line)})" if kind else ""
    name = "an event" if event.id is None else f"event {event.id}{known}"
    return Broken(f"{name} was added later: it is in no link", event=event.id)


def _told(line: bytes) -> str:
    found = _EVENT.match(line)
    return found[1].decode(errors="replace") if found else "unknown time"


def _at(entry: Entry) -> str:
    return f"{entry.at:%Y-%m-%dT%H:%M:%SZ}"
