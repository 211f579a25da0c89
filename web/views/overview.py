"""The overview: one sentence of state, what is wrong, what became of the day, what is at work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from database.audit import Facts
from database.statistics import Backlog, Count, Snapshot, Standing
from domain.destination import DestinationState, Mode
from domain.universe import Trust
from engines.worker import Health
from web.views.destinations import span
from web.views.first_steps import Checklist
from web.views.lists import ListView
from web.views.problems import Problem, breaker_words
from web.views.shell import PauseView, Shell
from web.views.signals import SignalRow
from web.views.words import Moment, counted, duration, moment

SPANS = ((60, "1 h"), (360, "6 h"), (1440, "24 h"))
"""Minutes that the charts of the page can go back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """So many signals, and where they are listed. ``state`` says what colour it has."""

    count: str
    words: str
    state: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DayView:
    """The signals of the last 24 hours: the three that lead on, and what became of the rest."""

    path: Sequence[Number]
    undecided: Sequence[Number]
    refused: Sequence[Number]
    undelivered: Sequence[Number]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstRow:
    """An open attention item; ``to`` is what it is about."""

    id: int
    severity: str
    text: str
    last: Moment
    times: str
    to: str
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRow:
    used: int
    limit: int
    span: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRow:
    id: str
    name: str
    state: str
    waiting: str
    windows: Sequence[WindowRow]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """What waits, and since when the oldest of it does."""

    name: str
    number: int
    oldest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    name: str
    stepped: Moment | None
    failed: Moment | None
    failure: str
    sick: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What was typed into the form that pauses buying, and why it was ``refused``."""

    refused: str | None = None
    reason: str = ""
    minutes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """How the relay stands: ``open`` attention items, of which ``worst`` are shown."""

    sentence: str
    tone: str
    problems: Sequence[Problem]
    worst: Sequence[WorstRow]
    open: int
    day: DayView
    positions: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is at work: the latest signals, where they go, what waits, the list and the workers."""

    signals: Sequence[SignalRow]
    webhook: str
    destinations: Sequence[DestinationRow]
    queue: Sequence[QueueRow]
    list: ListView
    workers: Sequence[WorkerRow]
    well: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewView:
    """templates/overview.html. ``minutes`` is how far the charts go back."""

    shell: Shell
    now: Now
    checklist: Checklist | None
    work: Work
    minutes: int
    spans: Sequence[tuple[int, str]]
    pausing: Form


@dataclass(frozen=True, slots=True, kw_only=True)
class NowView:
    """templates/partials/overview.html."""

    shell: Shell
    now: Now
    checklist: Checklist | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkView:
    """templates/partials/work.html."""

    work: Work


def summary(view: ListView, found: Snapshot, paused: PauseView | None) -> tuple[str, str]:
    """One sentence of state, and its tone: good, warn or bad."""
    listed = {
        Trust.FRESH: f"List fresh, {view.age} old.",
        Trust.STALE: f"List stale, {view.age} old: buys are rejected, sells go out.",
        Trust.UNKNOWN: "No list yet: buys are rejected, sells go out.",
    }[Trust(view.trust)]
    if not any(one.state == DestinationState.ENABLED for one in found.standings):
        return f"Not forwarding: no destination is in use. {listed}", "bad"
    waiting = counted(found.backlog.unfinished, "delivery", "deliveries")
    in_use = [one for one in found.standings if one.state != DestinationState.DISABLED]
    held = [one.name for one in in_use if one.held_for]
    doing = f"Waiting for {', '.join(held)}." if held else "Forwarding."
    troubled = any(one.held or one.fails for one in found.standings)
    doubtful = view.trust != Trust.FRESH or view.paused or view.pending or paused
    calm = not (doubtful or held or troubled)
    buying = " Buying is paused." if paused else ""
    return f"{doing}{buying} {listed} {waiting} waiting.", "good" if calm else "warn"


# ── The day ─────────────────────────────────────────────────────────────────────────────────


def day_view(recent: Sequence[Count], fates: Mapping[str, int], since: str) -> DayView:
    """``since`` is the moment from which the signals are counted, as their list takes it."""
    totals: dict[str, int] = {}
    for one in recent:
        totals[one.status] = totals.get(one.status, 0) + one.signals
    received, approved = sum(totals.values()), totals.get("approved", 0)
    return DayView(
        path=[
            _number(received, "received", since),
            _number(approved, "approved", since, status="approved"),
            _number(fates.get("delivered", 0), "delivered", since, status="delivered"),
        ],
        undecided=[
            _number(n, "undecided", since, status="received") for n in _there(totals, "received")
        ],
        refused=[
            _number(one.signals, _refused(one), since, status=one.status, reason=_other(one))
            for one in recent
            if one.status not in {"received", "approved"}
        ],
        undelivered=[
            _number(count, state, since, status=state)
            for state, count in sorted(fates.items(), key=lambda fate: -fate[1])
            if state != "delivered"
        ],
    )


def _there(totals: Mapping[str, int], name: str) -> list[int]:
    return [totals[name]] if totals.get(name) else []


def _refused(one: Count) -> str:
    """What it was, and why: "rejected: not in list", "invalid: no ticker", "expired"."""
    why = _other(one)
    return f"{one.status}: {why.replace('_', ' ')}" if why else one.status


def _other(one: Count) -> str | None:
    """The reason, where it says more than the status."""
    return one.reason if one.reason != one.status else None


def _number(count: int, words: str, since: str, **given: str | None) -> Number:
    filters = {"since": since} | {name: value for name, value in given.items() if value}
    return Number(
        count=f"{count:,}",
        words=words,
        state=given.get("status") or "received",
        to=f"/admin/signals?{urlencode(filters)}",
    )


# ── What wants a look, and what is at work ──────────────────────────────────────────────────


def worst_row(row: Facts, now: datetime) -> WorstRow:
    to, about = _about(row)
    return WorstRow(
        id=row["id"],
        severity=row["severity"],
        text=row["text"],
        last=moment(row["last_at"], now),
        times=f"{row['count']:,} times" if row["count"] > 1 else "",
        to=to,
        about=about,
    )


def _about(row: Facts) -> tuple[str, str]:
    """The page of what an item is about, and the words that lead there."""
    for name, words, page in (
        ("signal_id", "its signal", "signals"),
        ("position_id", "its position", "positions"),
        ("destination_id", row["destination"], "destinations"),
    ):
        if row[name]:
            return f"/admin/{page}/{row[name]}", words or "it"
    return "/admin/list" if row["cause"].startswith("list_") else "/admin/attention", "it"


def destination_row(one: Standing, now: datetime) -> DestinationRow:
    oldest = f", oldest {duration(now - one.oldest)}" if one.oldest else ""
    return DestinationRow(
        id=str(one.id),
        name=one.name,
        state=one.state,
        waiting=f"{one.waiting:,} waiting{oldest}",
        windows=[
            WindowRow(used=used, limit=window.limit, span=f"in the last {span(window.seconds)}")
            for used, window in zip(one.used, one.windows, strict=True)
        ],
        notes=_notes(one, now),
    )


def _notes(one: Standing, now: datetime) -> list[str]:
    """What is out of the ordinary at a destination."""
    words: list[str] = []
    if one.mode == Mode.DRY_RUN:
        words.append("dry run: new buys are not sent")
    if one.held_for and one.state != DestinationState.DISABLED:
        words.append(f"asked us to wait: {duration(one.held_for)} more")
    if one.fails:
        words.append(breaker_words(one, now))
    if one.held:
        words.append(f"{one.held} held: outcome unknown")
    return words


def queue_rows(backlog: Backlog) -> list[QueueRow]:
    return [
        QueueRow(name="undecided", number=backlog.undecided, oldest=_oldest(backlog.undecided_for)),
        QueueRow(name="waiting for the list", number=backlog.waiting, oldest=""),
        QueueRow(
            name="deliveries on their way",
            number=backlog.unfinished,
            oldest=_oldest(backlog.unfinished_for),
        ),
    ]


def _oldest(waited: timedelta | None) -> str:
    return f"oldest {duration(waited)}" if waited is not None else ""


def worker_row(name: str, health: Health, now: datetime, *, sick: bool) -> WorkerRow:
    return WorkerRow(
        name=name,
        stepped=moment(health.stepped_at, now) if health.stepped_at else None,
        failed=moment(health.failed_at, now) if health.failed_at else None,
        failure=health.failure or "",
        sick=sick,
    )
