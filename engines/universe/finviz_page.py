"""Reads a Finviz screener page, and believes it only when its own witnesses agree."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeAlias

from bs4.element import Tag
from bs4.exceptions import ParserRejectedMarkup

from domain.ticker import Ticker, normalise
from domain.universe import FetchOutcome, Row
from engines.universe.finviz_markup import (
    MOST_ROWS,
    BrokenError,
    Seen,
    asks_to_log_in,
    attribute,
    classes,
    header_names,
    linked,
    walked,
)

Headers: TypeAlias = Mapping[str, str]

COUNTS = (
    re.compile(r"(?:#(?P<start>[0-9,]+) ?/ ?)?(?P<total>[0-9,]+) Total"),
    re.compile(r"Total: ?(?P<total>[0-9,]+)(?: #(?P<start>[0-9,]+))?"),
)
FINVIZ_TICKER = re.compile(r"[A-Z0-9]{1,8}(?:[-.][A-Z0-9]{1,4})?")
PRICE = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,8})?")
VOLUME = re.compile(r"[0-9]{1,18}")
TS_OPEN = re.compile(r"<!--\s*TS\s")
TS_CLOSE = re.compile(r"TE\s*-->")
HTML_CLOSE = re.compile(r"</html\s*>", re.IGNORECASE)
SCREENER_TITLE = re.compile(r"<title>[^<]*\bstock screener\b", re.IGNORECASE)
PREMIUM = re.compile(
    r"FinvizSettings\s*=\s*\{[^{}]*?\bhasUserPremium[\"']?\s*:\s*[\"']?(true|false)\b"
)

BOTH = "table and the page's own list agree"
TABLE_ALONE = "table alone: the page has no list of its own"
LINKS = "links and the page's own list agree"
LIST_ALONE = "the page's own list alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What an answer of Finviz says. Only a ``complete`` one may become a list.

    ``start`` is the rank of its first row, ``total`` the rows of the screen in all, ``step`` the
    rows of a full page as the page's own selector tells; ``why`` is for people, and so is
    ``witness``: what proves the rows. ``premium``: whether the page says it was made for an Elite
    account, which tells nothing of its rows.
    """

    kind: FetchOutcome
    why: str = ""
    total: int | None = None
    start: int | None = None
    rows: tuple[Row, ...] = ()
    step: int | None = None
    complete: bool = False
    witness: str = ""
    premium: bool | None = None

    @property
    def tickers(self) -> tuple[Ticker, ...]:
        return tuple(row.ticker for row in self.rows)


def read_page(body: str | bytes, status: int = 200, headers: Headers | None = None) -> Page:
    """Read an answer to a request for a screener page. Never raises, whatever the bytes.

    The rule for every layout since 2021: the ticker of a row is the one name that its quote links
    and its ``data-boxover-ticker`` agree on, never its text; the trailing ``TS … TE`` comment,
    where there is one, must tell the same list in the same order.
    """
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    turned_away = refusal(text, status, headers)
    return turned_away or replace(_read_text(text), premium=_premium(text))


def _read_text(text: str) -> Page:
    try:
        with walked(text) as seen:
            count = _count(seen)
            if count is None:
                return _no_screener(text)
            _check_end(text)
            return _read(seen, count, _told(text))
    except (BrokenError, ParserRejectedMarkup) as error:
        return Page(kind=FetchOutcome.BROKEN, why=str(error))


def _premium(text: str) -> bool | None:
    said = {match[1] for match in PREMIUM.finditer(text)}
    return said == {"true"} if len(said) == 1 else None


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
    if asks_to_log_in(text):
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


def _count(seen: Seen) -> _Count | None:
    found = {
        _Count(_whole(match["total"]), _whole(match["start"]) if match["start"] else None)
        for node in seen.counts
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
    if not TS_CLOSE.search(text) and not HTML_CLOSE.search(text):
        raise BrokenError("the page is cut off: neither its list nor the page is closed")


def _told(text: str) -> tuple[_Told, ...] | None:
    """The comment at the page's end that lists its rows as ticker, price and volume, in order."""
    opens, closes = list(TS_OPEN.finditer(text)), list(TS_CLOSE.finditer(text))
    if not opens and not closes:
        return None
    if len(opens) != 1 or len(closes) != 1 or opens[0].end() > closes[0].start():
        raise BrokenError("the list at the page's end is not whole")
    lines = text[opens[0].end() : closes[0].start()].split()
    _check_number(lines)
    return tuple(_told_line(line) for line in lines)


def _check_number(rows: Sequence[object]) -> None:
    if len(rows) > MOST_ROWS:
        raise BrokenError(f"the page has more than {MOST_ROWS} rows")


def _told_line(line: str) -> _Told:
    fields = line.split("|")
    if len(fields) < 3:
        raise BrokenError("a line of the list at the page's end is not whole")
    return _Told(finviz_ticker(fields[0]), price(fields[1]), volume(fields[2]))


def price(text: str) -> Decimal | None:
    """A price as Finviz writes it, or None where it writes none."""
    plain = text.strip().replace(",", "")
    return Decimal(plain) if PRICE.fullmatch(plain) else None


def volume(text: str) -> int | None:
    """A number of shares as Finviz writes it, or None where it writes none."""
    plain = text.strip().replace(",", "")
    return int(plain) if VOLUME.fullmatch(plain) else None


def finviz_ticker(text: str) -> Ticker:
    """A ticker as Finviz spells it, or BrokenError: share classes and units after a dash."""
    name = text.strip()
    if not FINVIZ_TICKER.fullmatch(name):
        raise BrokenError(f"{name[:20]!r} is no ticker")
    try:
        return normalise(name)
    except ValueError as error:
        raise BrokenError(f"{name[:20]!r} is no ticker") from error


def _step(seen: Seen) -> int | None:
    """The rows of a full page: how far apart the first rows in the page selector are."""
    options = [option for selector in seen.selectors for option in selector.find_all("option")]
    firsts = [attribute(option, "value") for option in options]
    if len(firsts) < 2 or not all(re.fullmatch(r"[0-9]{1,9}", first) for first in firsts):
        return None
    numbers = [int(first) for first in firsts]
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    step = steps.pop()
    return step if not steps and step > 0 and numbers[0] == 1 else None


# ── The rows ────────────────────────────────────────────────────────────────────────────────


def _read(seen: Seen, count: _Count, told: tuple[_Told, ...] | None) -> Page:
    table = _table(seen)
    if count.total == 0 or seen.empty:
        return _empty(count, proven=bool(seen.empty) and table is None and not told)
    if table is None:
        return _page_of(count, _step(seen), _without_table(seen, told), told)
    numbered = _numbered(table)
    if not numbered:
        return _no_rows(count, told)
    first = numbered[0][0]
    if [number for number, _ in numbered] != list(range(first, first + len(numbered))):
        raise BrokenError("the row numbers do not continue")
    if count.start != first:
        raise BrokenError(f"the page says it starts at {count.start}, its rows at {first}")
    shown = _Shown([ticker for _, ticker in numbered], TABLE_ALONE if told is None else BOTH)
    return _page_of(count, _step(seen), shown, told)


def _empty(count: _Count, *, proven: bool) -> Page:
    if count.total or not proven:
        raise BrokenError("the page does not prove that nothing matches")
    return Page(
        kind=FetchOutcome.EMPTY,
        why="nothing matches the screen",
        total=0,
        complete=True,
        witness="the page says so itself",
    )


def _no_rows(count: _Count, told: tuple[_Told, ...] | None) -> Page:
    if told or count.start is None or count.start < count.total:
        raise BrokenError("the table has no rows where there should be some")
    why = f"past the end: the screen has {count.total} rows"
    return Page(kind=FetchOutcome.PAST_END, why=why, total=count.total, start=count.start)


@dataclass(frozen=True, slots=True)
class _Shown:
    tickers: list[Ticker]
    witness: str


def _page_of(
    count: _Count, step: int | None, shown: _Shown, told: tuple[_Told, ...] | None
) -> Page:
    start, found = _agreed_start(count, shown.tickers, told), len(shown.tickers)
    left = count.total - start + 1
    if found > min(step or left, left):
        raise BrokenError(f"the page has {found} rows where {min(step or left, left)} fit")
    due = min(step, left) if step else found if shown.witness == BOTH else left
    return Page(
        kind=FetchOutcome.OK,
        why="" if found == due else f"{found} rows where {due} were due",
        total=count.total,
        start=start,
        rows=_rows(start, shown.tickers, told),
        step=step,
        complete=found == due,
        witness=shown.witness,
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


def _table(seen: Seen) -> Tag | None:
    """The results: the table of that name, or before 2023-09 the one with their headers."""
    tables = [table for table in seen.tables if "screener_table" in classes(table)] or [
        table for table in seen.tables if {"No.", "Ticker"} <= header_names(table)
    ]
    if len(tables) > 1:
        raise BrokenError("the page has two tables of results")
    return tables[0] if tables else None


def _numbered(table: Tag) -> list[tuple[int, Ticker]]:
    if "No." not in header_names(table):
        raise BrokenError("the table has no row numbers")
    rows = [row for row in table.find_all("tr") if row.find_parent("table") is table]
    _check_number(rows)
    return [read for row in rows[1:] if (read := _row(row))]


def _row(row: Tag) -> tuple[int, Ticker] | None:
    """The number and ticker of a row, or None for one that is no result: spacers, advertising."""
    cells = row.find_all("td", recursive=False)
    number = cells[0].get_text(strip=True) if cells else ""
    boxes = {attribute(cell, "data-boxover-ticker").strip() for cell in cells} - {""}
    names = boxes | set(linked(row.find_all("a")))
    is_number = re.fullmatch(r"[0-9]{1,9}", number)
    if not is_number and not names:
        return None
    if not is_number or len(names) != 1:
        few = [name[:20] for name in sorted(names)[:3]]
        raise BrokenError(f"row {number[:20]!r} names {len(names)} tickers: {few}")
    return int(number), finviz_ticker(names.pop())


def _without_table(seen: Seen, told: tuple[_Told, ...] | None) -> _Shown:
    """Card, chart and ticker views: the list at the end, in the order of the page's own links."""
    if not told:
        raise BrokenError("the page has no table of results and no list at its end")
    tickers = [line.ticker for line in told]
    names = linked(seen.links)
    if names and [name for name in names if name in tickers] != tickers:
        raise BrokenError("the links and the list at the page's end tell different tickers")
    return _Shown(tickers, LINKS if names else LIST_ALONE)
