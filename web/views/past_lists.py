"""Lists of the past: one version, the list at a moment, and a ticker's ranks over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from database.audit import Facts
from domain.universe import Trust
from domain.why import REASONS
from web.views.list_now import Rows
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, counted, duration, iso, moment


@dataclass(frozen=True, slots=True, kw_only=True)
class ThenView:
    """templates/list_then.html.

    ``at`` is what stands in the field for a time, in UTC; ``before`` and ``after`` are versions.
    """

    shell: Shell
    title: str
    sentence: str
    tone: str
    facts: Mapping[str, str]
    version: int | None
    rows: Rows
    entered: Sequence[str]
    dropped: Sequence[str]
    before: int | None
    after: int | None
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A version among others."""

    version: int
    at: Moment
    confirmed: Moment
    screen: str
    size: int
    total: int
    entered: Sequence[str]
    dropped: Sequence[str]
    accepted_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryView:
    """templates/list_history.html."""

    shell: Shell
    at: str
    rows: Sequence[VersionRow]
    newest: str | None
    older: str | None
    refused: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpellRow:
    """A time in the list; an end outside the period is said so."""

    entered: str
    dropped: str
    lasted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CameRow:
    """A signal of the ticker."""

    id: str
    at: Moment
    side: str
    state: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksView:
    """templates/list_ranks.html. ``chart`` is where its numbers are; "" without a ticker."""

    shell: Shell
    ticker: str
    since: str
    until: str
    chart: str
    sentence: str
    note: str
    spells: Sequence[SpellRow]
    signals: Sequence[CameRow]
    tickers: Sequence[str]
    refused: str | None


def field(at: datetime) -> str:
    """A time as a field of a form holds it, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"


def then_sentence(found: Mapping[str, Any]) -> tuple[str, str]:
    """What buys met at a moment, as the API tells it, and the tone."""
    trust = Trust(found["trust"])
    if trust is Trust.UNKNOWN:
        return "There was no list of this screen's address yet: buys were rejected.", "bad"
    age = duration(timedelta(seconds=found["age_sec"]))
    tickers = counted(sum(row["counts"] for row in found["rows"]), "ticker", "tickers")
    if trust is Trust.STALE:
        return f"The list was stale, {age} old: buys were rejected.", "bad"
    return f"The list was fresh, {age} old: {tickers} could be bought.", "good"


def then_facts(found: Mapping[str, Any]) -> dict[str, str]:
    looked = found["last_fetch"]
    facts = {
        "Screen": found["screen"],
        "Top N": _top(found),
        "Rows on Finviz": NOTHING if found["total"] is None else str(found["total"]),
        "First came": _utc(found["fetched_at"]),
        "Confirmed": _utc(found["confirmed_at"]),
        "Last look": looked and f"{looked['outcome']}, {_utc(looked['at'])}",
        "Detail": looked and looked["detail"],
        "Address": found["url"],
    }
    return {name: value for name, value in facts.items() if value}


def version_sentence(found: Mapping[str, Any]) -> str:
    tickers = counted(sum(row["counts"] for row in found["rows"]), "ticker was", "tickers were")
    return f"{tickers} in, of {counted(found['size'], 'row', 'rows')} that were read."


def version_facts(found: Mapping[str, Any]) -> dict[str, str]:
    facts = {
        "Screen": found["screen"],
        "Top N": _top(found),
        "Rows on Finviz": str(found["total"]),
        "First came": _utc(found["fetched_at"]),
        "Last confirmed": _utc(found["confirmed_at"]),
        "Believed on the word of": found["accepted_by"],
    }
    return {name: value for name, value in facts.items() if value}


def _top(found: Mapping[str, Any]) -> str:
    margin = f" and {found['margin']} more to stay" if found["margin"] else ""
    return f"{found['top_n']}{margin}"


def _utc(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def version_row(row: Facts, now: datetime) -> VersionRow:
    return VersionRow(
        version=row["version"],
        at=moment(row["fetched_at"], now),
        confirmed=moment(row["confirmed_at"], now),
        screen=row["screen"],
        size=row["size"],
        total=row["total"],
        entered=row["entered"],
        dropped=row["dropped"],
        accepted_by=row["accepted_by"] or "",
    )


def ranks_sentence(found: Mapping[str, Any]) -> str:
    spells = found["spells"]
    if not spells:
        return f"{found['ticker']} was not in the list in this period."
    inside = duration(timedelta(seconds=sum(one["for_sec"] for one in spells)))
    times = counted(len(spells), "time", "times")
    return f"{found['ticker']} was in the list {times}, for {inside} in all."


def ranks_note(found: Mapping[str, Any]) -> str:
    """What is not exact about it."""
    if not found["sampled"]:
        return ""
    apart = duration(timedelta(seconds=found["every_sec"]))
    capped = " It came and went so often that only the newest of its spells are exact."
    return (
        f"Too many versions for every one of them: the curve has a point every {apart}, and one"
        f" wherever it came or went.{capped if found['capped'] else ''}"
    )


def spell_row(one: Mapping[str, Any]) -> SpellRow:
    entered, dropped = one["entered_at"], one["dropped_at"]
    return SpellRow(
        entered=_utc(entered) or "before the period",
        dropped=_utc(dropped) or "still in at its end",
        lasted=duration(timedelta(seconds=one["for_sec"])),
    )


def came_row(one: Facts, now: datetime) -> CameRow:
    return CameRow(
        id=str(one["id"]),
        at=moment(one["at"], now),
        side=one["side"] or NOTHING,
        state=one["status"],
        why=REASONS.get(one["reason"], ""),
    )


def chart_of(ticker: str, since: datetime, until: datetime | None) -> str:
    """Where the numbers of the curve are; without an end they go on."""
    end = f"&to={iso(until)}" if until else ""
    return f"/api/charts/rank?ticker={quote(ticker)}&from={iso(since)}{end}"
