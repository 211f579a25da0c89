"""Reads a Finviz Elite export: the whole screen as one CSV."""

import csv
import io
from collections.abc import Sequence

from domain.ticker import Ticker
from domain.universe import FetchOutcome
from engines.universe.finviz_page import (
    LOGIN_FORM,
    BrokenError,
    Headers,
    Page,
    Row,
    finviz_ticker,
    refusal,
)


def read_export(body: bytes | str, status: int = 200, headers: Headers | None = None) -> Page:
    """Read an answer to a request for an export. Never raises, whatever the bytes.

    Columns are found by their header. The header alone means that nothing matches; a repeated
    ticker counts once and a row without one not at all. ``total`` is the number of tickers.
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
    if LOGIN_FORM.search(text):
        return Page(kind=FetchOutcome.LOGIN, why="Finviz asks to log in")
    why = "a page instead of an export: the export token is wrong, or the account is not Elite"
    return Page(kind=FetchOutcome.WRONG_PAGE, why=why)


def _read(text: str) -> Page:
    header, *lines = [
        line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line
    ]
    columns = [name.strip() for name in header]
    if "Ticker" not in columns:
        why = "no column named Ticker: the screen's view must have one (c= with 1)"
        return Page(kind=FetchOutcome.WRONG_PAGE, why=why)
    _check_whole(text, columns, lines)
    tickers = _tickers([line[columns.index("Ticker")] for line in lines])
    if not lines:
        why = "nothing matches the screen"
        return Page(kind=FetchOutcome.EMPTY, why=why, total=0, complete=True)
    if not tickers:
        raise BrokenError("no row has a ticker")
    rows = tuple(Row(rank=rank, ticker=ticker) for rank, ticker in enumerate(tickers, start=1))
    return Page(kind=FetchOutcome.OK, total=len(rows), start=1, rows=rows, complete=True)


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


def _tickers(names: Sequence[str]) -> list[Ticker]:
    return list(dict.fromkeys(finviz_ticker(name.upper()) for name in names if name.strip()))
