"""The trail with its chain as one file: JSON lines; those of events are the proven bytes."""

import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from domain.chain import Broken, Event, Examination, Link, Stretch

FORMAT = 1
_HEADER = b'{"trail":'
_EVENT = b'{"at": "'


class NotATrailError(Exception):
    """The file is none of ours, or of a format that this version does not know."""


@dataclass(slots=True)
class Writing:
    """Turns stretches into lines; the last one has the digest of all before it."""

    links: int = 0
    events: int = 0
    _sum: Any = field(default_factory=sha256)

    def begin(self, made_at: datetime) -> bytes:
        return self._line({"trail": FORMAT, "made_at": made_at.isoformat()})

    def stretch(self, one: Stretch) -> bytes:
        """The link, its events, and whom of them retention took."""
        link = one.link
        self.links += 1
        first = self._line(
            {
                "link": link.number,
                "day": link.day,
                "previous": link.previous.hex(),
                "hash": link.hash.hex(),
                "count": link.count,
                "last_id": link.last_id,
                "entries": b64encode(link.entries).decode(),
            }
        )
        gone = [[id, at.isoformat()] for id, at in sorted(one.forgotten.items())]
        return first + (self._line({"forgotten": gone}) if gone else b"") + self._events(one.events)

    def waiting(self, events: Iterable[Event]) -> bytes:
        """Events that are in no link yet."""
        return self._line({"waiting": True}) + self._events(events)

    def end(self) -> bytes:
        told = {"links": self.links, "events": self.events, "sha256": self._sum.hexdigest()}
        return self._line({"end": told})

    def _events(self, events: Iterable[Event]) -> bytes:
        lines = [event.line for event in events]
        self.events += len(lines)
        return self._summed(b"".join(line + b"\n" for line in lines))

    def _line(self, told: Mapping[str, object]) -> bytes:
        return self._summed(json.dumps(told, separators=(",", ":")).encode() + b"\n")

    def _summed(self, lines: bytes) -> bytes:
        self._sum.update(lines)
        return lines


@dataclass(slots=True)
class Reading:
    """Has an examination look at a file, line by line."""

    examination: Examination
    _sum: Any = field(default_factory=sha256)
    _lines: int = 0
    _link: Link | None = None
    _events: list[Event] = field(default_factory=list[Event])
    _forgotten: dict[int, datetime] = field(default_factory=dict[int, datetime])
    _waiting: bool = False

    def whole(self, lines: Iterator[bytes]) -> Broken | None:
        """Read to the end, or to the first broken thing. Raises NotATrailError."""
        first = next(lines, b"")
        if not first.startswith(_HEADER) or _parsed(first).get("trail") != FORMAT:
            raise NotATrailError
        self._pass(first)
        last: bytes | None = None
        for line in lines:
            if last is not None:
                self._lines += 2
                return self._bad("there is more after its end")
            if line.startswith(b'{"end":'):
                last = line
            elif broken := self._take(line):
                return broken
        return self._finished(last)

    def _take(self, line: bytes) -> Broken | None:
        self._pass(line)
        if not line.endswith(b"\n"):
            return self._bad("it is cut off")
        told = {} if line.startswith(_EVENT) else _parsed(line)
        try:
            if "link" in told:
                broken = self._stretched()
                self._link = _link(told)
                return broken
            if "forgotten" in told:
                self._forgotten = {id: datetime.fromisoformat(at) for id, at in told["forgotten"]}
                return None
        except (KeyError, TypeError, ValueError):
            return self._bad("it cannot be read")
        if "waiting" in told:
            self._waiting = True
            return self._stretched()
        event = Event.read(line[:-1])
        return self._bad("it cannot be read") if self._is_beside(event) else self._event(event)

    def _is_beside(self, event: Event) -> bool:
        """Whether this cannot be read, and no event is looked for here that it could have been."""
        there = len(self._events) + len(self._forgotten)
        return event.id is None and (self._link is None or there >= self._link.count)

    def _event(self, event: Event) -> Broken | None:
        if not self._waiting:
            if self._link is None:
                return self._bad("it is an event before any link")
            self._events.append(event)
            return None
        last = self.examination.last_id
        if last is not None and event.id is not None and event.id <= last:
            return self._bad("it stands where it does not belong")
        self.examination.await_links([event])
        return None

    def _stretched(self) -> Broken | None:
        """Have the stretch before this line looked at."""
        if self._link is None:
            return None
        stretch = Stretch(self._link, self._events, self._forgotten)
        self._link, self._events, self._forgotten = None, [], {}
        return self.examination.take(stretch)

    def _finished(self, last: bytes | None) -> Broken | None:
        broken = self._stretched() or self.examination.end()
        if broken:
            return broken
        told = _parsed(last or b"").get("end")
        if not isinstance(told, dict):
            return Broken("the file is cut off: its end is missing")
        summed = Writing(self.examination.links, self._told, self._sum)
        return None if summed.end() == last else Broken("the file was changed: its sum is another")

    @property
    def _told(self) -> int:
        return self.examination.events + self.examination.waiting

    def _pass(self, line: bytes) -> None:
        self._lines += 1
        self._sum.update(line)

    def _bad(self, why: str) -> Broken:
        """What is broken before this line comes first."""
        words = f"line {self._lines} of the file was changed: {why}"
        return self._stretched() or self.examination.end() or Broken(words)


def _parsed(line: bytes) -> dict[str, Any]:
    """An object; none where it is something else."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}  # pyright: ignore[reportUnknownVariableType]  JSON


def _link(told: Mapping[str, Any]) -> Link:
    """Raises KeyError, TypeError or ValueError."""
    try:
        entries = b64decode(told["entries"], validate=True)
    except binascii.Error:
        entries = b""
    return Link(
        number=int(told["link"]),
        day=str(told["day"]),
        previous=bytes.fromhex(told["previous"]),
        hash=bytes.fromhex(told["hash"]),
        count=int(told["count"]),
        last_id=int(told["last_id"]),
        entries=entries,
    )
