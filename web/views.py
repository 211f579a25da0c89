"""What each template is given: one frozen dataclass a template, and words made for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from database.audit import Facts
from database.statistics import Count, Snapshot, Standing
from database.universes import Current, LastFetch
from domain.breaker import BreakerState
from domain.destination import Mode
from domain.gate import Reason
from domain.screen import Screen
from domain.universe import FetchOutcome, Trust
from web.signals import said

NOTHING = "\N{EN DASH}"
"""Stands where there is nothing to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginView:
    """templates/login.html. Where signing in would be ``insecure``, no field asks for a token."""

    refused: str | None = None
    insecure: str | None = None


def iso(at: datetime) -> str:
    """A time in UTC, to the millisecond: 2026-01-02T15:04:05.678Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Moment:
    """A time: in words for reading, in UTC for hovering and for the browser's own zone."""

    at: datetime
    words: str

    @property
    def iso(self) -> str:
        return iso(self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedTicker:
    rank: int
    ticker: str
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListView:
    """The list: ``trusted_for`` and ``outcome_for`` tell how long it has been so.

    ``pending`` is why another list waits for a second look, ``quotes`` what Finviz says of the
    account, ``paused`` who stopped the looks and why.
    """

    screen: str
    trust: str
    trusted_for: str
    age: str
    outcome: str
    outcome_for: str
    detail: str
    next_try: str
    pending: str | None
    paused: str | None
    quotes: str
    version: int | None
    total: int | None
    top_n: int
    margin: int
    wait: str
    url: str
    ends: Moment | None
    tickers: Sequence[RankedTicker]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRow:
    id: str
    received: Moment
    ticker: str
    side: str
    price: str
    state: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRow:
    name: str
    url: str
    state: str
    waiting: int
    budget: str
    notes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewView:
    """templates/overview.html and templates/partials/overview.html."""

    sentence: str
    tone: str
    problems: Sequence[str]
    counts: Mapping[str, int]
    reasons: Sequence[Count]
    list: ListView
    destinations: Sequence[DestinationRow]
    positions: Mapping[str, int]
    signals: Sequence[SignalRow]
    attention: Sequence[SignalRow]
    webhook: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    at: Moment
    since_first: str
    event: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalView:
    """templates/signal.html."""

    row: SignalRow
    facts: Mapping[str, str]
    steps: Sequence[Step]
    attempts: Sequence[Mapping[str, str]]
    body: str
    version: str


def duration(span: timedelta | None) -> str:
    """A span in words: "14 s", "3 min", "2 h"."""
    if span is None:
        return NOTHING
    seconds = max(0, span.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(at: datetime, now: datetime) -> Moment:
    return Moment(at, f"{duration(now - at)} ago")


def list_view(
    current: Current, last: LastFetch | None, trust: Trust, since: datetime, *, elite: bool
) -> ListView:
    universe, screen, now = current.universe, current.screen, current.now
    return ListView(
        screen=current.name,
        trust=trust,
        trusted_for=duration(now - since),
        age=duration(now - universe.confirmed_at) if universe else NOTHING,
        outcome=last.outcome if last else "not fetched yet",
        outcome_for=duration(last.now - last.since) if last else NOTHING,
        detail=last.detail if last else "",
        next_try=_next_try(last),
        pending=_pending(last),
        paused=_paused(last),
        quotes=_quotes(last, elite=elite),
        version=universe.version if universe else None,
        total=universe.total if universe else None,
        top_n=screen.top_n,
        margin=screen.margin,
        wait=duration(screen.wait) if screen.wait else "off",
        url=screen.url,
        ends=_ends(screen),
        tickers=[
            RankedTicker(
                rank=rank,
                ticker=ticker,
                counts=rank <= universe.cutoff(ticker, screen.top_n, screen.margin),
            )
            for rank, ticker in enumerate(universe.tickers, start=1)
        ]
        if universe
        else [],
    )


def _ends(screen: Screen) -> Moment | None:
    if screen.valid_until is None:
        return None
    return Moment(screen.valid_until, f"{screen.valid_until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")


def _next_try(last: LastFetch | None) -> str:
    if last is None or last.pause:
        return NOTHING
    return duration(last.next_at - last.now)


def _pending(last: LastFetch | None) -> str | None:
    if last is None or last.pending is None:
        return None
    pending = last.pending
    shown = ", ".join(pending.tickers[:15]) or "no ticker at all"
    return f"{pending.reason} (seen for {duration(last.now - pending.at)}): {shown}"


def _paused(last: LastFetch | None) -> str | None:
    if last is None or last.pause is None:
        return None
    pause = last.pause
    return f"{pause.by}, {duration(last.now - pause.at)} ago: {pause.reason}"


def _quotes(last: LastFetch | None, *, elite: bool) -> str:
    """What Finviz says of the account, next to what the settings say."""
    if last is None or last.premium is None:
        return "not told by Finviz"
    if last.premium:
        return "real-time: Elite"
    return "delayed: this account is not Elite" if elite else "delayed: free pages"


def signal_row(row: Facts, now: datetime) -> SignalRow:
    return SignalRow(
        id=str(row["id"]),
        received=moment(row["received_at"], now),
        ticker=row["ticker"] or NOTHING,
        side=row["side"] or NOTHING,
        price=row["price_text"] or NOTHING,
        state=row["shown"],
        why=said(row),
    )


def destination_row(standing: Standing) -> DestinationRow:
    spent = [
        f"{used} of {window.limit} in {window.seconds} s"
        for used, window in zip(standing.used, standing.windows, strict=True)
    ]
    return DestinationRow(
        name=standing.name,
        url=standing.url_shown,
        state=standing.state,
        waiting=standing.waiting,
        budget=", ".join(spent) or "no limit",
        notes=_notes(standing),
    )


def _notes(standing: Standing) -> list[str]:
    """What is out of the ordinary at a destination."""
    words: list[str] = []
    if standing.mode == Mode.DRY_RUN:
        words.append("dry run: new buys are not sent")
    if standing.breaker != BreakerState.CLOSED:
        words.append(_breaker(standing))
    if standing.held:
        words.append(f"{standing.held} held: outcome unknown")
    return words


def _breaker(standing: Standing) -> str:
    state = "open" if standing.breaker == BreakerState.OPEN else "half open"
    since = f" since {iso(standing.breaker_since)}" if standing.breaker_since else ""
    return f"breaker {state}{since}: {standing.breaker_cause or 'being tried'}"


def summary(view: ListView, found: Snapshot) -> tuple[str, str]:
    """One sentence of state, and its tone: good, warn or bad."""
    listed = {
        Trust.FRESH: f"List fresh, {view.age} old.",
        Trust.STALE: f"List stale, {view.age} old: buys are rejected, sells go out.",
        Trust.UNKNOWN: "No list yet: buys are rejected, sells go out.",
    }[Trust(view.trust)]
    if not any(one.state == "enabled" for one in found.standings):
        return f"Not forwarding: no destination is set up. {listed}", "bad"
    waiting = counted(found.backlog.unfinished, "delivery", "deliveries")
    held = [one.name for one in found.standings if one.held_for]
    doing = f"Waiting for {', '.join(held)}." if held else "Forwarding."
    troubled = any(one.held or one.breaker != BreakerState.CLOSED for one in found.standings)
    doubtful = view.trust != Trust.FRESH or view.paused or view.pending
    calm = not (doubtful or held or troubled)
    return f"{doing} {listed} {waiting} waiting.", "good" if calm else "warn"


def problems(view: ListView, found: Snapshot, sick: Sequence[str]) -> list[str]:
    """What is wrong, each with what mends it."""
    return [
        *(f"{words}. The log says why." for words in sick),
        *_about_destinations(found),
        *_about_list(view),
        *_about_exits(found),
    ]


def _about_destinations(found: Snapshot) -> list[str]:
    if not found.standings:
        return ["No destination: set DEST_WEBHOOK_URL in .env and start again."]
    return [words for one in found.standings for words in _about_destination(one)]


def _about_destination(one: Standing) -> list[str]:
    words: list[str] = []
    if one.held_for:
        wait = duration(one.held_for)
        words.append(f"{one.name} asked us to wait: nothing more goes there for {wait}.")
    if one.breaker != BreakerState.CLOSED:
        words.append(f"{one.name}: {_breaker(one)}. It is tried now and then; the rest waits.")
    if one.held:
        held = counted(one.held, "delivery is", "deliveries are")
        words.append(
            f"{held} held for {one.name}, outcome unknown: look there, then resolve each"
            " (POST /api/deliveries/…/resolve), or it is given up after 24 hours."
        )
    return words


MEANWHILE = {
    Trust.FRESH: " Until then the last good list counts, as long as it is fresh.",
    Trust.STALE: " Until then nothing is bought.",
    Trust.UNKNOWN: " Until then nothing is bought.",
}
"""What a refusal of Finviz means for buys."""


def _about_list(view: ListView) -> list[str]:
    words: list[str] = []
    if view.paused:
        words.append(
            f"Finviz is not asked: paused by {view.paused}. POST /api/lookout/resume goes on."
        )
    if view.ends and view.trust != Trust.FRESH:
        words.append(f"The fixed list ended at {view.ends.words}: give it a new end, or another.")
    elif view.outcome not in {FetchOutcome.OK, FetchOutcome.EMPTY}:
        words.append(
            f"Finviz, for {view.outcome_for}: {view.outcome}. {view.detail.rstrip('.')}."
            f" Next try in {view.next_try}.{MEANWHILE[Trust(view.trust)]}"
        )
    if view.pending:
        words.append(
            f"A list waits to be believed: {view.pending}. It is taken when a second look agrees,"
            " or by POST /api/universe/accept; POST /api/universe/refuse keeps it away."
        )
    if view.quotes == "delayed: this account is not Elite":
        words.append("FINVIZ_USE_ELITE is set, but Finviz says this account is not Elite.")
    return words


def _about_exits(found: Snapshot) -> list[str]:
    """Sells that went nowhere: the trader may still hold what he believes is sold."""
    words: list[str] = []
    if found.dead:
        given_up = counted(found.dead, "delivery was", "deliveries were")
        words.append(f"{given_up} given up in the last 24 hours: see what wants a look below.")
    if without := found.of_reason(Reason.NO_POSITION):
        rejected = counted(without, "sell was", "sells were")
        words.append(
            f"{rejected} rejected in the last 24 hours because no position is open here"
            " (no_position). If you hold one from before, sell it at your broker."
        )
    return words


def counted(number: int, one: str, many: str) -> str:
    """A number and its noun: "1 delivery", "2 deliveries"."""
    return f"{number} {one if number == 1 else many}"
