"""What a search asks for: its address as filters, with the words of its text in their places."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import urlencode
from uuid import UUID

from database import searching
from database.pool import ReadConnection
from database.searching import MOST_TICKERS, Choices, Wanted
from domain import search
from domain.alert import InvalidCode
from domain.gate import Reason
from domain.search import Kind, Known, Part, Status
from domain.signal import Side
from domain.ticker import normalise
from web.errors import ProblemError
from web.payloads import invalid

REASONS = (*map(str, Reason), *map(str, InvalidCode))
LONGEST_FIELD = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The filters of an address, as they were written there; "" is none.

    ``q`` is what was typed; ``within`` a time that ends now.
    """

    q: str = ""
    ticker: str = ""
    side: str = ""
    status: str = ""
    reason: str = ""
    source: str = ""
    destination: str = ""
    within: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """From the fields of an address or a form, blanks and what cannot be printed left out."""
        names = [one.name for one in fields(cls)]
        clean = {name: " ".join(search.words(given.get(name, ""))) for name in names}
        longest = {name: search.LONGEST if name == "q" else LONGEST_FIELD for name in names}
        return cls(**{name: value[: longest[name]] for name, value in clean.items()})

    def query(self, more: Mapping[str, str] | None = None) -> str:
        """As the query of an address."""
        given = {one.name: str(getattr(self, one.name)) for one in fields(self)} | dict(more or {})
        return urlencode({name: value for name, value in given.items() if value})

    def without(self, name: str) -> Self:
        return replace(self, **{name: ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """What a search comes to: the filter, and each part of it as it was understood.

    ``tickers`` are those that begin like a part of that kind.
    """

    wanted: Wanted
    parts: Sequence[Part]
    tickers: Mapping[str, Sequence[str]]


async def meant(connection: ReadConnection, asked: Asked, choices: Choices, now: datetime) -> Meant:
    """What a search comes to. Raises ProblemError 400 for what no filter can be."""
    given = _given(asked, choices)
    known = Known(reasons=REASONS, sources=choices.sources)
    typed = search.read(asked.q, known, given)
    parts, tickers = await _begun(connection, typed)
    since, until = _times(asked, now)
    wanted = _wanted([*given, *parts], tickers, since=since, until=until)
    there = choices.destinations.get(asked.destination) if asked.destination else None
    return Meant(wanted=replace(wanted, destination=there), parts=parts, tickers=tickers)


def _given(asked: Asked, choices: Choices) -> list[Part]:
    """The filters that were chosen. Raises ProblemError 400 for one there is not."""
    known: dict[Kind, Sequence[str]] = {
        Kind.SIDE: [*map(str, Side)],
        Kind.STATUS: [*map(str, Status)],
    }
    parts: list[Part] = []
    for kind in (Kind.SIDE, Kind.STATUS, Kind.REASON, Kind.SOURCE):
        value: str = getattr(asked, kind)
        if value and value not in known.get(kind, [value]):
            raise invalid(kind, f"{kind}: there is none of this name")
        parts += [Part(kind, value, "")] if value else []
    if asked.destination and asked.destination not in choices.destinations:
        raise invalid("destination", "destination: there is none of this name")
    return [*parts, *([Part(Kind.TICKER, _ticker(asked.ticker), "")] if asked.ticker else [])]


def _ticker(given: str) -> str:
    try:
        return normalise(given)
    except ValueError as error:
        raise invalid("ticker", f"ticker: {error}") from None


async def _begun(
    connection: ReadConnection, typed: Sequence[Part]
) -> tuple[list[Part], dict[str, Sequence[str]]]:
    """Which tickers begin as was typed. A word with which none begins is text."""
    parts, tickers = list[Part](), dict[str, Sequence[str]]()
    for part in typed:
        found = part.kind is Kind.BEGINNING and await searching.beginning(connection, part.value)
        if found:
            tickers[part.value] = found
        parts.append(search.as_text(part) if found == [] else part)
    return parts, tickers


def _wanted(
    parts: Sequence[Part],
    tickers: Mapping[str, Sequence[str]],
    *,
    since: datetime | None,
    until: datetime | None,
) -> Wanted:
    of: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for part in parts:
        of[part.kind].append(part.value)
    exact = {*of[Kind.TICKER], *(one for found in tickers.values() for one in found)}
    many = len(exact) > MOST_TICKERS
    single: dict[str, Any] = {kind: next(iter(of[kind]), None) for kind in search.SINGLE}
    id = single.pop(Kind.ID)
    return Wanted(
        **single,
        tickers=of[Kind.TICKER] if many else sorted(exact),
        beginnings=list(tickers) if many else (),
        ids=search.ids(id) if id else None,
        since=since,
        until=until,
        texts=of[Kind.TEXT],
    )


def _times(asked: Asked, now: datetime) -> tuple[datetime | None, datetime | None]:
    since, until = moment_of(asked.since, "since"), moment_of(asked.until, "until")
    if asked.within:
        begin = _within(asked.within, now)
        since = max(since, begin) if since else begin
    return since, until


def _within(name: str, now: datetime) -> datetime:
    match name:
        case "hour":
            return now - timedelta(hours=1)
        case "today":
            return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        case "week":
            return now - timedelta(days=7)
        case _:
            raise invalid("within", "within: one of hour, today, week")


def moment_of(text: str, name: str) -> datetime | None:
    """A time; without a zone it is UTC. Raises ProblemError 400."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(name, f"{name}: not a time; write 2026-01-31T14:00") from None


def destination_named(given: str, choices: Choices) -> str:
    """A destination by its name or id. Raises ProblemError 400."""
    if given in choices.destinations:
        return given
    try:
        id = UUID(given)
    except ValueError:
        id = None
    for name, one in choices.destinations.items():
        if one == id:
            return name
    raise ProblemError(400, "invalid_field", "destination: there is none", field="destination")
