"""Reads a Finviz Elite export: the whole screen as one CSV."""

import csv
import io
from collections.abc import Sequence
from itertools import islice

from domain.ticker import Ticker
from domain.universe import FetchOutcome, Row
from engines.universe.finviz_markup import BrokenError, asks_to_log_in
from engines.universe.finviz_page import (
    Headers,
    Page,
    finviz_ticker,
    price,
    refusal,
    volume,
)

NAMES = ("Ticker", "Price", "Volume")
WITNESS = "the export's rows"
MOST_LINES = 30_000
"""Of an export. All of Finviz's stocks and funds are about 11,000."""


def read_export(body: bytes | str, status: int = 200, headers: Headers | None = None) -> Page:
    """Read an answer to a request for an export. Never raises, whatever the bytes.

    Columns are found by their header. The header alone means that nothing matches; a repeated
    ticker counts once and a row without one not at all. ``total`` is the number of tickers. An
    export that can be read is proof of an Elite account.
    """
    text = body.decode("utf-8", errors="replace") if isinstance(body, bytes) else body
    text = text.removeprefix("\ufeff")
    turned_away = refusal(text, status, headers)
    if turned_away:
        return turned_away
    if text.lstrip().startswith("<"):
        return _a_page(text)
    try:
        return _read(text)
    except (BrokenError, csv.Error) as error:
        return Page(kind=FetchOutcome.BROKEN, why=f"the export is broken: {error}")


def _a_page(text: str) -> Page:
    if asks_to_log_in(text):
        return Page(kind=FetchOutcome.LOGIN, why="Finviz asks to log in")
    why = "a page instead of an export: the export token is wrong, or the account is not Elite"
    return Page(kind=FetchOutcome.WRONG_PAGE, why=why)


def _read(text: str) -> Page:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header, *lines = list(islice((line for line in reader if line), MOST_LINES + 1))
    if len(lines) == MOST_LINES:
        raise BrokenError(f"it has {MOST_LINES} rows or more")
    columns = [name.strip() for name in header]
    if "Ticker" not in columns:
        why = "no column named Ticker: the screen's view must have one (c= with 1)"
        return Page(kind=FetchOutcome.WRONG_PAGE, why=why)
    _check_whole(text, columns, lines)
    if not lines:
        return _whole(FetchOutcome.EMPTY, why="nothing matches the screen")
    rows = _rows(columns, lines)
    if not rows:
        raise BrokenError("no row has a ticker")
    return _whole(FetchOutcome.OK, rows)


def _whole(kind: FetchOutcome, rows: Sequence[Row] = (), why: str = "") -> Page:
    return Page(
        kind=kind,
        why=why,
        total=len(rows),
        start=1 if rows else None,
        rows=tuple(rows),
        complete=True,
        witness=WITNESS,
        premium=True,
    )


def _check_whole(text: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    if not text.endswith("\n"):
        raise BrokenError("its last line is cut off")
    if any(len(line) != len(columns) for line in lines):
        raise BrokenError("a row has not as many columns as the header")
    if columns.count("Ticker") > 1:
        raise BrokenError("two columns are named Ticker")
    if "No." in columns:
        numbers = [line[columns.index("No.")].strip() for line in lines]
        if numbers != [str(number) for number in range(1, len(lines) + 1)]:
            raise BrokenError("the row numbers do not continue")


def _rows(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> list[Row]:
    places = [columns.index(name) if name in columns else None for name in NAMES]
    listed: dict[Ticker, tuple[str, str]] = {}
    for line in lines:
        name, *told = ("" if place is None else line[place] for place in places)
        if name.strip():
            listed.setdefault(finviz_ticker(name.upper()), (told[0], told[1]))
    return [
        Row(rank=rank, ticker=ticker, price=price(told[0]), volume=volume(told[1]))
        for rank, (ticker, told) in enumerate(listed.items(), start=1)
    ]
