"""The search of the audit trail as people see it: filters, what they mean in words, rows, pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from database.audit import Facts
from database.saved_filters import SavedFilter
from database.searching import MOST_TICKERS, Choices, Cursor, Found
from domain import search
from domain.search import Kind, Part, Status
from domain.signal import Side
from web.errors import ProblemError
from web.searches import REASONS, Asked, moment_of
from web.signals import cursor
from web.views.shell import Shell
from web.views.signals import SignalRow, signal_row
from web.views.words import NOTHING, Moment, counted, moment

PATH = "/admin/signals"
PARTIAL = "/admin/partials/signals"
TIMES = {"hour": "the last hour", "today": "today (UTC)", "week": "the last 7 days"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a select's."""

    value: str
    words: str
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchForm:
    """What the filters hold; ``narrowed``: more than words and a time."""

    q: str
    ticker: str
    since: str
    until: str
    sides: Sequence[Choice]
    statuses: Sequence[Choice]
    reasons: Sequence[Choice]
    sources: Sequence[Choice]
    destinations: Sequence[Choice]
    times: Sequence[Choice]
    narrowed: bool


@dataclass(frozen=True, slots=True)
class Chip:
    """A part of a search in words, and the address without it."""

    words: str
    without: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Where a page leads: addresses, "" where there is nothing, and what is said of it.

    ``looked`` tells how far it looked where that was not to the end, ``further`` goes on there.
    """

    newer: str = ""
    older: str = ""
    further: str = ""
    counted: str = ""
    looked: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalsView:
    """templates/signals.html and templates/partials/signals.html.

    ``live`` is what the top of the first page reads again, "" on others; ``sealed``: a text was
    looked for, in what may be searched. ``tried`` is the name a filter was to have.
    """

    shell: Shell
    form: SearchForm
    chips: Sequence[Chip]
    rows: Sequence[SignalRow]
    ways: Ways
    sealed: bool
    live: str
    query: str
    saved: Sequence[SavedFilter]
    tried: str
    refused: str | None
    webhook: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRow:
    """A delivery of an unfolded signal, with how its last attempt ended."""

    destination: str
    state: str
    attempts: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfoldedView:
    """templates/partials/signals_unfolded.html."""

    id: str
    why: str
    received: Moment
    facts: Mapping[str, str]
    sent: Sequence[SentRow]


def form_of(asked: Asked, choices: Choices) -> SearchForm:
    return SearchForm(
        q=asked.q,
        ticker=asked.ticker,
        since=_typed_time(asked.since),
        until=_typed_time(asked.until),
        sides=_choices(asked.side, [*Side]),
        statuses=_choices(asked.status, [*Status]),
        reasons=_choices(asked.reason, REASONS),
        sources=_choices(asked.source, choices.sources),
        destinations=_choices(asked.destination, [*choices.destinations]),
        times=[Choice(name, words, name == asked.within) for name, words in TIMES.items()],
        narrowed=asked != Asked(q=asked.q, within=asked.within),
    )


def _choices(chosen: str, given: Sequence[str]) -> list[Choice]:
    """What there is, and what was chosen though it is not there."""
    names = list(dict.fromkeys([*given, *([chosen] if chosen else [])]))
    return [Choice(str(one), str(one).replace("_", " "), one == chosen) for one in names]


def _typed_time(given: str) -> str:
    """As a field for a time wants it; nothing where it is no time."""
    try:
        at = moment_of(given, "time")
    except ProblemError:
        return ""
    return f"{at:%Y-%m-%dT%H:%M:%S}" if at else ""


def chips_of(
    asked: Asked, parts: Sequence[Part], tickers: Mapping[str, Sequence[str]], now: datetime
) -> list[Chip]:
    """What is searched, in words, each with the address without it."""
    named = {
        "ticker": asked.ticker.upper(),
        "side": asked.side,
        "status": asked.status,
        "reason": asked.reason,
        "source": f"from {asked.source}" if asked.source else "",
        "destination": f"to {asked.destination}" if asked.destination else "",
        "within": TIMES.get(asked.within, ""),
        "since": f"since {clock_words(asked.since, now)}" if asked.since else "",
        "until": f"until {clock_words(asked.until, now)}" if asked.until else "",
    }
    chips = [Chip(words, _at(asked.without(name))) for name, words in named.items() if words]
    alternative = bool(asked.ticker)
    for part in parts:
        is_ticker = part.kind in {Kind.TICKER, Kind.BEGINNING}
        words = ("or " if is_ticker and alternative else "") + _part_words(part, tickers)
        alternative = alternative or is_ticker
        chips.append(Chip(words, _at(replace(asked, q=search.without(asked.q, part.word)))))
    return chips


def _part_words(part: Part, tickers: Mapping[str, Sequence[str]]) -> str:
    match part.kind:
        case Kind.SOURCE:
            return f"from {part.value}"
        case Kind.ID:
            return f"id begins with {part.value}"
        case Kind.TEXT:
            return f"“{part.value}” in the body"
        case Kind.BEGINNING:
            return _begins(part.value, tickers.get(part.value, ()))
        case _:
            return part.value


def _begins(start: str, found: Sequence[str]) -> str:
    if list(found) == [start]:
        return start
    if len(found) == 1:
        return f"{start}… ({found[0]})"
    many = f"more than {MOST_TICKERS}" if len(found) > MOST_TICKERS else str(len(found))
    return f"{start}… ({many} tickers)"


def clock_words(given: str, now: datetime) -> str:
    """A time near now as people say it: "yesterday 14:00 UTC"."""
    at = moment_of(given, "time")
    return told_at(at, now) if at else NOTHING


def told_at(at: datetime, now: datetime) -> str:
    """A time of day, with its day where that is not today."""
    at, today = at.astimezone(UTC), now.astimezone(UTC).date()
    if at.date() == today:
        return f"{at:%H:%M} UTC"
    if at.date() == today - timedelta(days=1):
        return f"yesterday {at:%H:%M} UTC"
    year = "" if at.year == today.year else f" {at.year}"
    return f"{at.day} {at:%b}{year} {at:%H:%M} UTC"


def _at(asked: Asked) -> str:
    query = asked.query()
    return f"{PATH}?{query}" if query else PATH


def rows_of(found: Found, now: datetime) -> list[SignalRow]:
    return [signal_row(one, now) for one in found.signals]


def ways_of(asked: Asked, found: Found, place: Cursor, now: datetime) -> Ways:
    """Newer and older ones of a page, and how far it looked where that was not to the end."""
    rows = [one["seq"] for one in found.signals]
    newest, oldest = (rows[0], rows[-1]) if rows else (None, None)
    counted_rows = _counted(len(rows), found, place)
    if place.after is not None:
        return Ways(
            newer=_page(asked, after=found.looked_to or newest) if found.more else "",
            older=_page(asked, before=place.after + 1 if oldest is None else oldest),
            counted=counted_rows,
            looked=_looked(found, now, "forward"),
        )
    newer = place.before and _page(asked, after=place.before - 1 if newest is None else newest)
    further = _page(asked, before=found.looked_to) if found.looked_to else ""
    return Ways(
        newer=newer or "",
        older=_page(asked, before=oldest) if found.more and not further else "",
        further=further,
        counted=counted_rows,
        looked=_looked(found, now, "back"),
    )


def _page(asked: Asked, *, before: int | None = None, after: int | None = None) -> str:
    places = {"before": before, "after": after}
    given = {name: cursor(seq) for name, seq in places.items() if seq is not None}
    return f"{PATH}?{asked.query(given)}"


def _counted(rows: int, found: Found, place: Cursor) -> str:
    """How many are shown; nobody counts the rest."""
    if not rows:
        return ""
    shown = f"{counted(rows, 'signal', 'signals')} shown"
    if found.more or place.after is not None:
        return f"{shown}, more below." if not found.looked_to else f"{shown}."
    return f"{shown}, the oldest last." if place.before else f"{shown}: all there are."


def _looked(found: Found, now: datetime, way: str) -> str:
    if found.looked_at is None:
        return ""
    upto, rest = told_at(found.looked_at, now), "older" if way == "back" else "newer"
    begins = "Looked" if found.signals else "Nothing found, looking"
    return f"{begins} {way} to {upto}: what is {rest} has not been looked through."


def unfolded(
    id: str, why: str, signal: Facts, sent: Sequence[SentRow], now: datetime
) -> UnfoldedView:
    facts = {
        "Price": signal["price_text"],
        "Symbol as sent": signal["symbol"],
        "Source": signal["source"],
        "List version": signal["universe_version"],
        "Rank": _rank(signal),
        "Reason": signal["reason"],
    }
    return UnfoldedView(
        id=id,
        why=why,
        received=moment(signal["received_at"], now),
        facts={name: str(value) for name, value in facts.items() if value is not None},
        sent=sent,
    )


def _rank(signal: Facts) -> str | None:
    if signal["rank"] is None:
        return None
    return f"{signal['rank']} of {signal['cutoff']}" if signal["cutoff"] else str(signal["rank"])
