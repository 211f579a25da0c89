"""Reads a Finviz screener page, and believes it only when its own witnesses agree."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

from bs4 import BeautifulSoup
from bs4.element import Tag
from bs4.exceptions import ParserRejectedMarkup

from domain.ticker import Ticker, normalise
from domain.universe import FetchOutcome

Headers: TypeAlias = Mapping[str, str]

REGION = re.compile(r"<[^<>]*\b(?:screener-total|count-text|js-screener-body-empty)\b")
COUNTS = (
    re.compile(r"(?:#(?P<start>[0-9,]+) ?/ ?)?(?P<total>[0-9,]+) Total"),
    re.compile(r"Total: ?(?P<total>[0-9,]+)(?: #(?P<start>[0-9,]+))?"),
)
QUOTE_PATH = re.compile(r"(?:^|/)(?:quote(?:\.ashx)?|stock)/?$")
FINVIZ_TICKER = re.compile(r"[A-Z0-9]{1,8}(?:[-.][A-Z0-9]{1,4})?")
TS_OPEN = re.compile(r"<!--\s*TS\s")
TS_CLOSE = re.compile(r"TE\s*-->")
HTML_CLOSE = re.compile(r"</html\s*>", re.IGNORECASE)
LOGIN_FORM = re.compile(r"<form\b[^>]*\baction\s*=\s*[\"']?[^\"'>]*login_submit", re.IGNORECASE)
SCREENER_TITLE = re.compile(r"<title>[^<]*\bstock screener\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the screener; price and volume are given only where the page's own list is."""

    rank: int
    ticker: Ticker
    price: Decimal | None = None
    volume: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What an answer of Finviz says. Only a ``complete`` one may become a list.

    ``start`` is the rank of its first row, ``total`` the rows of the screen in all, ``step`` the
    rows of a full page as the page's own selector tells; ``why`` is for people.
    """

    kind: FetchOutcome
    why: str = ""
    total: int | None = None
    start: int | None = None
    rows: tuple[Row, ...] = ()
    step: int | None = None
    complete: bool = False

    @property
    def tickers(self) -> tuple[Ticker, ...]:
        return tuple(row.ticker for row in self.rows)


class BrokenError(Exception):
    """The answer contradicts itself; the message says how."""


def read_page(body: str | bytes, status: int = 200, headers: Headers | None = None) -> Page:
    """Read an answer to a request for a screener page. Never raises, whatever the bytes.

    The rule for every layout since 2021: the ticker of a row is the one name that its quote links
    and its ``data-boxover-ticker`` agree on, never its text; the trailing ``TS … TE`` comment,
    where there is one, must tell the same list in the same order.
    """
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    turned_away = refusal(text, status, headers)
    if turned_away:
        return turned_away
    region = REGION.search(text)
    if region is None:
        return _no_screener(text)
    try:
        soup = BeautifulSoup(text[region.start() :], "lxml")
        count = _count(soup)
        if count is None:
            return _no_screener(text)
        _check_end(text)
        return _read(soup, count, _told(text))
    except (BrokenError, ParserRejectedMarkup) as error:
        return Page(kind=FetchOutcome.BROKEN, why=str(error))


def refusal(text: str, status: int, headers: Headers | None) -> Page | None:
    """The answers that are no page of the screener at all, whatever was asked for."""
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    head = text[:4_000].lower()
    if status == 429 or (len(text) < 200 and "too many requests" in head):
        return Page(kind=FetchOutcome.THROTTLED, why="Finviz says: too many requests")
    if lower.get("cf-mitigated") == "challenge" or "<title>just a moment" in head:
        return Page(kind=FetchOutcome.BLOCKED, why="Cloudflare wants a browser to prove itself")
    if status != 200:
        return _failed(status)
    if not text.strip():
        return Page(kind=FetchOutcome.BROKEN, why="Finviz answered with nothing")
    return None


def _failed(status: int) -> Page:
    if status in {401, 403, 503}:
        return Page(kind=FetchOutcome.BLOCKED, why=f"Finviz refused with status {status}")
    if status >= 500:
        return Page(kind=FetchOutcome.UNREACHABLE, why=f"Finviz failed with status {status}")
    return Page(kind=FetchOutcome.WRONG_PAGE, why=f"Finviz answered with status {status}")


def _no_screener(text: str) -> Page:
    if LOGIN_FORM.search(text):
        return Page(kind=FetchOutcome.LOGIN, why="Finviz asks to log in")
    if SCREENER_TITLE.search(text[:8_000]) and not HTML_CLOSE.search(text):
        return Page(kind=FetchOutcome.BROKEN, why="the page is cut off before its count")
    return Page(kind=FetchOutcome.WRONG_PAGE, why="another page: it has no screener count")


# ── What a page says of itself ──────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Count:
    total: int
    start: int | None


@dataclass(frozen=True, slots=True)
class _Told:
    ticker: Ticker
    price: Decimal | None
    volume: int | None


def _count(soup: BeautifulSoup) -> _Count | None:
    found = {
        _Count(_whole(match["total"]), _whole(match["start"]) if match["start"] else None)
        for node in soup.select("#screener-total, .count-text")
        for match in [_match_count(" ".join(node.get_text(" ", strip=True).split()))]
        if match
    }
    if len(found) > 1:
        raise BrokenError("the page gives two different counts")
    return found.pop() if found else None


def _match_count(text: str) -> re.Match[str] | None:
    return next((match for form in COUNTS if (match := form.fullmatch(text))), None)


def _whole(digits: str) -> int:
    plain = digits.replace(",", "")
    if not plain or len(plain) > 9:
        raise BrokenError(f"the count {digits[:20]!r} is no number")
    return int(plain)


def _check_end(text: str) -> None:
    if not HTML_CLOSE.search(text) and not TS_CLOSE.search(text):
        raise BrokenError("the page is cut off: neither its list nor the page is closed")


def _told(text: str) -> tuple[_Told, ...] | None:
    """The comment at the page's end that lists its rows as ticker, price and volume, in order."""
    opens, closes = list(TS_OPEN.finditer(text)), list(TS_CLOSE.finditer(text))
    if not opens and not closes:
        return None
    if len(opens) != 1 or len(closes) != 1 or opens[0].end() > closes[0].start():
        raise BrokenError("the list at the page's end is not whole")
    lines = text[opens[0].end() : closes[0].start()].split()
    return tuple(_told_line(line) for line in lines)


def _told_line(line: str) -> _Told:
    fields = line.split("|")
    if len(fields) < 3:
        raise BrokenError("a line of the list at the page's end is not whole")
    return _Told(finviz_ticker(fields[0]), _price(fields[1]), _volume(fields[2]))


def _price(text: str) -> Decimal | None:
    try:
        price = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
    return price if price.is_finite() else None


def _volume(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def finviz_ticker(text: str) -> Ticker:
    """A ticker as Finviz spells it, or BrokenError: share classes and units after a dash."""
    name = text.strip()
    if not FINVIZ_TICKER.fullmatch(name):
        raise BrokenError(f"{name[:20]!r} is no ticker")
    try:
        return normalise(name)
    except ValueError as error:
        raise BrokenError(f"{name[:20]!r} is no ticker") from error


def _step(soup: BeautifulSoup) -> int | None:
    """The rows of a full page: how far apart the first rows in the page selector are."""
    firsts = [_attribute(option, "value") for option in soup.select("#pageSelect option")]
    if len(firsts) < 2 or not all(re.fullmatch(r"[0-9]{1,9}", first) for first in firsts):
        return None
    numbers = [int(first) for first in firsts]
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    step = steps.pop()
    return step if not steps and step > 0 and numbers[0] == 1 else None


# ── The rows ────────────────────────────────────────────────────────────────────────────────


def _read(soup: BeautifulSoup, count: _Count, told: tuple[_Told, ...] | None) -> Page:
    table = _table(soup)
    marked_empty = soup.select_one("#js-screener-body-empty") is not None
    if count.total == 0 or marked_empty:
        return _empty(count, proven=marked_empty and table is None and not told)
    if table is None:
        return _page_of(soup, count, _without_table(soup, told), told, witnessed=False)
    numbered = _numbered(table)
    if not numbered:
        return _no_rows(count, told)
    first = numbered[0][0]
    if [number for number, _ in numbered] != list(range(first, first + len(numbered))):
        raise BrokenError("the row numbers do not continue")
    if count.start != first:
        raise BrokenError(f"the page says it starts at {count.start}, its rows at {first}")
    tickers = [ticker for _, ticker in numbered]
    return _page_of(soup, count, tickers, told, witnessed=told is not None)


def _empty(count: _Count, *, proven: bool) -> Page:
    if count.total or not proven:
        raise BrokenError("the page does not prove that nothing matches")
    return Page(kind=FetchOutcome.EMPTY, why="nothing matches the screen", total=0, complete=True)


def _no_rows(count: _Count, told: tuple[_Told, ...] | None) -> Page:
    if told or count.start is None or count.start < count.total:
        raise BrokenError("the table has no rows where there should be some")
    why = f"past the end: the screen has {count.total} rows"
    return Page(kind=FetchOutcome.PAST_END, why=why, total=count.total, start=count.start)


def _page_of(
    soup: BeautifulSoup,
    count: _Count,
    tickers: Sequence[Ticker],
    told: tuple[_Told, ...] | None,
    *,
    witnessed: bool,
) -> Page:
    start = _agreed_start(count, tickers, told)
    step, left = _step(soup), count.total - start + 1
    if len(tickers) > min(step or left, left):
        raise BrokenError(f"the page has {len(tickers)} rows where {min(step or left, left)} fit")
    due = min(step, left) if step else len(tickers) if witnessed else left
    complete = len(tickers) == due
    return Page(
        kind=FetchOutcome.OK,
        why="" if complete else f"{len(tickers)} rows where {due} were due",
        total=count.total,
        start=start,
        rows=_rows(start, tickers, told),
        step=step,
        complete=complete,
    )


def _agreed_start(count: _Count, tickers: Sequence[Ticker], told: tuple[_Told, ...] | None) -> int:
    if count.start is None or count.start < 1:
        raise BrokenError("the page does not say where it starts")
    if len(set(tickers)) != len(tickers):
        raise BrokenError("a ticker stands twice on the page")
    if told is not None and [line.ticker for line in told] != list(tickers):
        raise BrokenError("the rows and the list at the page's end tell different tickers")
    return count.start


def _rows(start: int, tickers: Sequence[Ticker], told: tuple[_Told, ...] | None) -> tuple[Row, ...]:
    if told is None:
        return tuple(Row(rank=rank, ticker=name) for rank, name in enumerate(tickers, start))
    return tuple(
        Row(rank=rank, ticker=line.ticker, price=line.price, volume=line.volume)
        for rank, line in enumerate(told, start)
    )


def _table(soup: BeautifulSoup) -> Tag | None:
    """The results: the table of that name, or before 2023-09 the one with their headers."""
    tables = soup.select("table.screener_table") or [
        table for table in soup.select("table") if {"No.", "Ticker"} <= _headers(table)
    ]
    if len(tables) > 1:
        raise BrokenError("the page has two tables of results")
    return tables[0] if tables else None


def _headers(table: Tag) -> set[str]:
    first = table.find("tr")
    if first is None:
        return set()
    cells = first.find_all(["td", "th"], recursive=False)
    return {cell.get_text(strip=True) for cell in cells}


def _numbered(table: Tag) -> list[tuple[int, Ticker]]:
    if "No." not in _headers(table):
        raise BrokenError("the table has no row numbers")
    rows = [row for row in table.find_all("tr") if row.find_parent("table") is table]
    return [read for row in rows[1:] if (read := _row(row))]


def _row(row: Tag) -> tuple[int, Ticker] | None:
    """The number and ticker of a row, or None for one that is no result: spacers, advertising."""
    cells = row.find_all("td", recursive=False)
    number = cells[0].get_text(strip=True) if cells else ""
    boxes = {_attribute(cell, "data-boxover-ticker").strip() for cell in cells} - {""}
    names = boxes | {name for link in row.find_all("a") for name in _linked(link)}
    is_number = re.fullmatch(r"[0-9]{1,9}", number)
    if not is_number and not names:
        return None
    if not is_number or len(names) != 1:
        raise BrokenError(f"row {number[:20]!r} names {len(names)} tickers: {sorted(names)[:3]}")
    return int(number), finviz_ticker(names.pop())


def _without_table(soup: BeautifulSoup, told: tuple[_Told, ...] | None) -> list[Ticker]:
    """Card, chart and ticker views: the list at the end, in the order of the page's own links."""
    if not told:
        raise BrokenError("the page has no table of results and no list at its end")
    tickers = [line.ticker for line in told]
    shown = dict.fromkeys(name for link in soup.find_all("a") for name in _linked(link))
    in_order = [name for name in shown if name in tickers]
    if in_order and in_order != tickers:
        raise BrokenError("the links and the list at the page's end tell different tickers")
    return tickers


def _linked(link: Tag) -> list[str]:
    try:
        parts = urlsplit(_attribute(link, "href"))
    except ValueError:
        return []
    return parse_qs(parts.query).get("t", []) if QUOTE_PATH.search(parts.path) else []


def _attribute(tag: Tag, name: str) -> str:
    value = tag.get(name)
    return value if isinstance(value, str) else ""
