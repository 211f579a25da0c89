"""One signal with its whole life: what happened when, where it went, what can be done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from database.audit import Facts
from web.views.shell import Shell
from web.views.signals import SignalRow
from web.views.story import rest, sentence
from web.views.words import Moment, moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happened: how long after it was received, and after the step before."""

    at: Moment
    since_first: str
    since_last: str
    event: str
    words: str
    detail: str
    by: str
    destination: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    number: int
    started: Moment
    outcome: str
    status: str
    took: str
    resend: bool
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """What can be done: why it is ``refused``, and whether a reason overrides that."""

    refused: str
    forced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SentView:
    """A delivery: how it stands, its attempts, and what can be done about it."""

    id: str
    destination: str
    version: int
    state: str
    reason: str
    until: Moment | None
    attempts: Sequence[AttemptRow]
    queued: bool
    held: bool
    resend: Hand | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relatives:
    """Signals, a position and a command that this one has to do with; "" where there are none."""

    previous: str
    next: str
    position: str
    batch: str
    replay_of: str
    replays: Sequence[Facts]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalView:
    """templates/signal.html and templates/partials/signal.html.

    ``live`` is what is read again while it is not over; ``refused`` why what was ``tried`` was not
    done; ``masked``: the body holds secrets, which ``curl`` has not.
    """

    shell: Shell
    row: SignalRow
    facts: Mapping[str, str]
    list_version: str
    steps: Sequence[Step]
    sent: Sequence[SentView]
    several: bool
    replay: Hand | None
    relatives: Relatives
    body: str
    curl: str
    masked: bool
    live: str
    refused: str | None
    tried: str


def steps_of(events: Sequence[Facts], places: Mapping[object, str], now: datetime) -> list[Step]:
    """Events in the order of time; ``places`` are destinations by their delivery."""
    ordered = sorted(events, key=lambda one: (one["at"], one["id"]))
    befores = [None, *ordered]
    return [
        Step(
            at=moment(one["at"], now),
            since_first=span_words(ordered[0]["at"], one["at"]),
            since_last=_gap(before["at"], one["at"]) if before else "",
            event=one["event"],
            words=sentence(one["event"], one["detail"], places.get(one["delivery_id"], "")),
            detail=rest(one["event"], one["detail"]),
            by=one["actor"] or "",
            destination=places.get(one["delivery_id"], ""),
        )
        for one, before in zip(ordered, befores, strict=False)
    ]


def _gap(before: datetime, at: datetime) -> str:
    """What passed since the step before, where that can be seen."""
    if at - before < timedelta(milliseconds=1):
        return ""
    return span_words(before, at).removeprefix("+")


def span_words(begin: datetime, end: datetime) -> str:
    """How much later: "+0.412 s", "+3 min 20 s", "+2 h 5 min"."""
    seconds = max(0.0, (end - begin).total_seconds())
    if seconds < 60:
        return f"+{seconds:.3f} s"
    minutes, rest_seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"+{minutes} min {rest_seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"+{hours} h {minutes} min" if hours < 48 else f"+{hours // 24} d {hours % 24} h"
