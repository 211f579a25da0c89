"""Chains made up in Python, by the byte form as docs/adr/0029-audit-chain.md has it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from domain.chain import Broken, Event, Examination, Link, Stretch
from domain.chain_file import Writing

NOON = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)
OLD = timedelta(days=100)


def an_event(id: int, kind: str = "signal.received") -> Event:
    at = f"{NOON + timedelta(seconds=id):%Y-%m-%dT%H:%M:%S.%fZ}"
    told = {"at": at, "id": id, "actor": None, "event": kind, "detail": {"n": id, "é": '"\\'}}
    return Event(id, json.dumps(told, ensure_ascii=False).encode())


def entry(event: Event) -> bytes:
    assert event.id is not None
    seconds = int((NOON + timedelta(seconds=event.id)).timestamp())
    digest = sha256(event.line).digest()[:16]
    return event.id.to_bytes(8, "big", signed=True) + seconds.to_bytes(4, "big") + digest


def a_link(number: int, previous: bytes, events: Sequence[Event], day: str) -> Link:
    entries = b"".join(map(entry, events))
    bound = previous + number.to_bytes(8, "big") + day.encode() + entries
    assert events[-1].id is not None
    return Link(
        number=number,
        day=day,
        previous=previous,
        hash=sha256(bound).digest(),
        count=len(events),
        last_id=events[-1].id,
        entries=entries,
    )


def a_chain(*ids: Sequence[int], days: int = 2) -> list[Stretch]:
    """A link for each sequence of ids."""
    made: list[Stretch] = []
    for number, some in enumerate(ids, start=1):
        events = [an_event(id) for id in some]
        day = f"{NOON + timedelta(days=(number - 1) * days // len(ids)):%Y-%m-%d}"
        previous = made[-1].link.hash if made else bytes(32)
        made.append(Stretch(a_link(number, previous, events, day), events))
    return made


def made_anew(chain: Sequence[Stretch], place: int, **changes: object) -> list[Stretch]:
    """A link changed, and its hash with it."""
    link = replace(chain[place].link, **changes)
    link = replace(link, hash=link.reckoned())
    return [*chain[:place], replace(chain[place], link=link), *chain[place + 1 :]]


def examined(chain: Sequence[Stretch], examination: Examination | None = None) -> Broken | None:
    examination = examination or Examination()
    for stretch in chain:
        if broken := examination.take(stretch):
            return broken
    return examination.end()


def a_file(chain: Sequence[Stretch], *waiting: int) -> bytes:
    writing = Writing()
    parts = [writing.begin(NOON), *map(writing.stretch, chain)]
    if waiting:
        parts.append(writing.waiting(map(an_event, waiting)))
    return b"".join([*parts, writing.end()])
