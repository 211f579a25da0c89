"""Made-up pages in the markup of every layout Finviz has had since 2021."""

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from demo.finviz import Listing, render_page

CORPUS = Path(__file__).parents[3] / "shared" / "fixtures" / "finviz"

NAMES = ("VV", "AA", "BRK-B", "CC", "ZETA", "KORA", "LUMI", "TALX", "Q", "NORD", "VEXO")
LAYOUTS = ("A", "B", "C", "D", "E", "cards", "charts")
TABLES = LAYOUTS[:5]


def page_in(
    layout: str,
    tickers: Sequence[str] = NAMES,
    *,
    start: int = 1,
    step: int = 4,
    told: bool = True,
    selector: bool = True,
) -> str:
    """The page of ``tickers`` from row ``start``; without its TS list or page selector if asked."""
    if layout in {"D", "E"}:
        listings = [_listing(ticker) for ticker in tickers]
        page = render_page(listings, start=start, step=step, logos=layout == "E")
    else:
        page = _older(layout, tickers, start, step)
    if not told:
        page = re.sub(r"<!-- TS.*?TE -->\n", "", page, flags=re.DOTALL)
    if not selector:
        page = re.sub(r"<select id=.pageSelect.*?</select>", "", page, flags=re.DOTALL)
    return page


def _listing(ticker: str) -> Listing:
    return Listing(ticker=ticker, price=Decimal("12.50"), volume=250_000)


def _older(layout: str, tickers: Sequence[str], start: int, step: int) -> str:
    shown = list(enumerate(tickers[start - 1 : start - 1 + step], start))
    total = len(tickers)
    count = {
        "B": f'<td class="count-text whitespace-nowrap">#{start} / {total} Total</td>',
        "C": f'<td><div id="screener-total" class="count-text">#{start} / {total} Total</div></td>',
    }.get(layout, f'<td width="140" class="count-text"><b>Total: </b>{total} #{start}</td>')
    options = "".join(f"<option value={first}>Page</option>" for first in range(1, total + 1, step))
    body = {"A": _table_a, "B": _table_b, "C": _table_c, "cards": _cards, "charts": _charts}[layout]
    told = "".join(f"{ticker}|12.50|250000\n" for _, ticker in shown)
    return (
        "<html>\n<head><title>Stock Screener - made up</title></head>\n<body>\n"
        '<a href="quote.ashx?t=TRAP" class="tab-link">somebody\'s preset</a>\n'
        f'<div id="screener-content"><table width="100%"><tr><td><table><tr>{count}<td>\n'
        f'<select id="pageSelect" class="pages-combo">\n{options}</select>\n'
        "</td></tr></table></td></tr>\n"
        f"<tr><td>\n{body(shown)}</td></tr>\n</table></div></tr></td><!-- TS\n{told}TE -->\n"
        "</body>\n</html>\n"
    )


def _table_a(shown: list[tuple[int, str]]) -> str:
    headers = "".join(f'<td class="table-top">{name}</td>\n' for name in ("No.", "Ticker", "Price"))
    rows = "".join(
        f'<tr valign="top" class="table-dark-row-cp">\n'
        f'<td class="screener-body-table-nw"><a href="quote.ashx?t={t}&ty=c&p=d&b=1">{n}</a></td>'
        f'<td title="body=[<b>{t} Corp</b>]"><a href="quote.ashx?t={t}&ty=c&p=d&b=1"'
        f' class="screener-link-primary">{t}</a></td>'
        f'<td><a href="quote.ashx?t={t}&ty=c">12.50</a></td></tr>'
        for n, t in shown
    )
    return f'<table width="100%" bgcolor="#d3d3d3">\n<tr align="center">\n{headers}{rows}</table>\n'


def _table_b(shown: list[tuple[int, str]]) -> str:
    headers = "".join(
        f'<td class="table-top cursor-pointer">{name}</td>\n' for name in ("No.", "Ticker", "Price")
    )
    rows = "".join(
        f'<tr valign="top">\n<td><a href="quote.ashx?t={t}&amp;ty=c">{n}</a></td>'
        f"<td data-boxover=\"body=[<img src='chart.ashx?t={t}'>]\">"
        f'<a href="quote.ashx?t={t}&amp;ty=c" class="screener-link-primary">{t}</a></td>'
        "<td>12.50</td></tr>"
        for n, t in shown
    )
    return (
        f'<table class="table-light is-new"><tbody><tr valign="middle">\n{headers}</tr>'
        f"{rows}</tbody></table>\n"
    )


def _table_c(shown: list[tuple[int, str]]) -> str:
    headers = "".join(
        f'<th class="table-header">{name}</th>\n' for name in ("No.", "Ticker", "Price")
    )
    rows = "".join(
        f'<tr class="styled-row" valign="top">\n<td><a href="quote.ashx?t={t}&ty=c">{n}</a></td>'
        f'<td><a href="quote.ashx?t={t}&ty=c" class="tab-link">{t}</a></td><td>12.50</td></tr>'
        for n, t in shown
    )
    return (
        f'<table class="styled-table-new screener_table">\n<thead>\n<tr>\n{headers}</thead>\n'
        f"{rows}</table>\n"
    )


def _cards(shown: list[tuple[int, str]]) -> str:
    return "".join(
        f'<table class="snapshot-table"><tr><td>Ticker</td><td><a href="quote.ashx?t={t}&ty=c"'
        f' class="tab-link">{t}</a> [NYSE]</td></tr></table>\n'
        for _, t in shown
    )


def _charts(shown: list[tuple[int, str]]) -> str:
    return "".join(f'<a href="quote.ashx?t={t}&ty=c"><img alt=""></a>\n' for _, t in shown)
