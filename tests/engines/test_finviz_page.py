import gc
import json
import re
from decimal import Decimal
from typing import Any

import pytest
from bs4.element import Tag
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.finviz import EMPTY_PAGE, FAULTS, made_up_market, render_page
from domain.universe import FetchOutcome
from engines.universe.finviz_page import BOTH, LINKS, LIST_ALONE, TABLE_ALONE, read_page
from tests.engines.finviz_pages import CORPUS, LAYOUTS, NAMES, TABLES, page_in

needs_corpus = pytest.mark.skipif(
    not CORPUS.exists(), reason="the corpus of stored Finviz pages is not beside the repository"
)
EXPECTED: dict[str, Any] = (
    json.loads((CORPUS / "expected.json").read_text()) if CORPUS.exists() else {"no corpus": {}}
)
PAGES = [name for name in EXPECTED if not name.startswith("export_")]


def headers_of(name: str) -> dict[str, str]:
    beside = CORPUS / f"{name.rpartition('.')[0]}.headers.json"
    stored: dict[str, Any] = json.loads(beside.read_text())["headers"] if beside.exists() else {}
    return {key: value for key, value in stored.items() if isinstance(value, str)}


@needs_corpus
@pytest.mark.parametrize("name", PAGES)
def test_every_stored_page_reads_as_expected(name: str) -> None:
    expected = EXPECTED[name]
    page = read_page((CORPUS / name).read_bytes(), expected.get("status", 200), headers_of(name))
    assert (page.kind, page.total, page.start) == tuple(
        expected[key] for key in ("kind", "total", "start")
    )
    assert list(page.tickers) == expected["tickers"]
    assert page.complete == (page.kind.is_list and "first5rows" not in name)


@needs_corpus
def test_an_excerpt_of_five_rows_is_read_but_not_complete() -> None:
    page = read_page((CORPUS / "2023-06_v111_topgainers_p1_first5rows.html").read_bytes())
    assert (page.kind, page.step, page.complete) == (FetchOutcome.OK, 20, False)
    assert page.why == "5 rows where 20 were due"


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("layout", TABLES)
def test_every_layout_is_read_with_and_without_its_second_witness(layout: str, told: bool) -> None:  # noqa: FBT001  a parameter of the test
    page = read_page(page_in(layout, told=told))
    assert (page.kind, page.total, page.start, page.step) == (FetchOutcome.OK, 11, 1, 4)
    assert page.tickers == NAMES[:4]
    assert page.complete
    assert [row.rank for row in page.rows] == [1, 2, 3, 4]
    assert (page.rows[0].volume == 250_000) == told
    assert page.witness == (BOTH if told else TABLE_ALONE)


@pytest.mark.parametrize("layout", ["cards", "charts"])
def test_views_without_a_table_are_read_from_the_list_at_the_end(layout: str) -> None:
    page = read_page(page_in(layout, start=5))
    assert (page.kind, page.start, page.tickers) == (FetchOutcome.OK, 5, NAMES[4:8])
    assert (page.complete, page.witness) == (True, LINKS)
    bare = re.sub(r'<a href="quote.ashx.t=(?!TRAP).*?</a>', "", page_in(layout, start=5))
    assert (read_page(bare).tickers, read_page(bare).witness) == (NAMES[4:8], LIST_ALONE)
    other = page_in(layout, start=5).replace("?t=LUMI", "?t=LUMO")
    assert read_page(other).kind is FetchOutcome.BROKEN
    assert read_page(page_in(layout, told=False)).kind is FetchOutcome.BROKEN
    assert not read_page(page_in(layout, selector=False)).complete, "nothing tells how many are due"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_last_page_is_complete_with_fewer_rows(layout: str) -> None:
    page = read_page(page_in(layout, start=9))
    assert (page.tickers, page.complete) == (NAMES[8:], True)


@pytest.mark.parametrize("layout", TABLES)
def test_without_a_selector_the_total_or_the_list_at_the_end_must_prove_it(layout: str) -> None:
    assert read_page(page_in(layout, selector=False)).complete
    assert read_page(page_in(layout, selector=False, told=False, start=9)).complete
    unproven = read_page(page_in(layout, selector=False, told=False))
    assert (unproven.kind, unproven.complete) == (FetchOutcome.OK, False)


def test_the_text_of_the_cell_would_be_wrong() -> None:
    cells = re.findall(r'class="tab-link">([^<]*)</a></span>', page_in("E"))
    logos = re.findall(r'class="company-ticker"><span>(.)</span>', page_in("E"))
    assert [logo + cell for logo, cell in zip(logos, cells, strict=True)][:2] == ["VVV", "AAA"]
    assert read_page(page_in("E")).tickers[:2] == ("VV", "AA")


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("layout", TABLES)
def test_two_names_in_one_row_break_the_page(layout: str, told: bool) -> None:  # noqa: FBT001  a parameter of the test
    page = page_in(layout, told=told)
    first = page.index("t=AA")
    for name in ("ZZ", "AAA", "VV"):
        two = read_page(f"{page[:first]}t={name}{page[first + 4 :]}")
        assert (two.kind, two.rows) == (FetchOutcome.BROKEN, ())


def test_a_name_of_any_length_is_told_in_short() -> None:
    """Found by fuzzing: what a page puts into an attribute is no text for a log."""
    page = render_page(made_up_market(3, 20))
    ticker = page.partition('data-boxover-ticker="')[2].partition('"')[0]
    long = page.replace(f'ticker="{ticker}"', f'ticker="{"</html>" * 5_000}"', 1)
    assert long != page
    read = read_page(long)
    assert read.kind is FetchOutcome.BROKEN
    assert len(read.why) < 200


def damaged(old: str, new: str, layout: str = "D") -> str:
    page = page_in(layout)
    assert old in page
    return page.replace(old, new)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (damaged(">2</a>", ">3</a>"), "row numbers do not continue"),
        (damaged("#1 / 11", "#2 / 11"), "its rows at 1"),
        (damaged("#1 / 11", "#1 / 3"), "4 rows where 3 fit"),
        (damaged("#1 / 11 Total", "11 Total"), "starts at None"),
        (damaged("AA|12.50", "AB|12.50"), "tell different tickers"),
        (damaged("VV|12.50|250000\n", ""), "tell different tickers"),
        (damaged("VV|12.50|250000\n", "VV|1\n"), "not whole"),
        (damaged("TE -->", ""), "not whole"),
        (damaged("<!-- TS", "<!-- "), "not whole"),
        (damaged("</body>", "<!-- TS\nTE --></body>"), "not whole"),
        (damaged("No.", "Nr"), "no row numbers"),
        (damaged("CC", "V*V"), "no ticker"),
        (damaged("t=BRK-B", "x=BRK-B", layout="C"), "names 0 tickers"),
        (damaged("value=5", "value=3").replace("value=9", "value=5"), "4 rows where 2 fit"),
        (damaged("</body>", '<div class="count-text">#1 / 12 Total</div></body>'), "two different"),
        (damaged("</body>", '<table class="screener_table"></table></body>'), "two tables"),
        (damaged("#1 / 11 Total", f"#1 / {'9' * 5000} Total"), "no number"),
        (re.sub(r"<tr class=.styled.*</tr>", "", page_in("D"), flags=re.DOTALL), "no rows where"),
        (EMPTY_PAGE.replace("js-screener-body-empty", ""), "not prove"),
        (EMPTY_PAGE.replace("0 Total", "#1 / 7 Total"), "not prove"),
        (EMPTY_PAGE.replace("<!-- TS\n", "<!-- TS\nAA|1|1\n"), "not prove"),
        ("", "nothing"),
        (page_in("D")[:150], "cut off before its count"),
        (page_in("D")[: page_in("D").index("<!-- TS")], "cut off"),
    ],
)
def test_a_page_that_contradicts_itself_is_broken(page: str, why: str) -> None:
    read = read_page(page)
    assert read.kind is FetchOutcome.BROKEN
    assert why in read.why
    assert (read.rows, read.complete) == ((), False)


def test_a_table_that_lost_its_rows_is_not_past_the_end() -> None:
    page = re.sub(r"<tr class=.styled.*</tr>", "", page_in("D", told=False), flags=re.DOTALL)
    read = read_page(page)
    assert (read.kind, read.why[:21]) == (FetchOutcome.BROKEN, "the table has no rows")


def test_a_ticker_that_stands_twice_breaks_the_page() -> None:
    assert "stands twice" in read_page(page_in("D", ("AA", "BB", "AA", "CC"))).why


def test_a_row_of_advertising_is_no_result() -> None:
    page = page_in("C").replace(
        "<tr class=", '<tr><td colspan="3">Advertising</td></tr><tr class=', 2
    )
    assert read_page(page).tickers == NAMES[:4]


def test_past_the_end_and_nothing_matches_are_told_apart() -> None:
    past = read_page(page_in("E", start=12))
    assert (past.kind, past.total, past.start, past.complete) == ("past_end", 11, 11, False)
    empty = read_page(EMPTY_PAGE)
    assert (empty.kind, empty.total, empty.complete) == ("empty", 0, True)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("throttled", "throttled"),
        ("throttled_429", "throttled"),
        ("blocked", "blocked"),
        ("unauthorized", "blocked"),
        ("maintenance", "blocked"),
        ("login", "login"),
        ("wrong_page", "wrong_page"),
        ("nothing", "broken"),
        ("failing", "unreachable"),
        ("empty", "empty"),
    ],
)
def test_every_refusal_has_its_name(fault: str, kind: str) -> None:
    reply = FAULTS[fault]
    page = read_page(reply.body, reply.status, reply.headers)
    assert page.kind == kind
    assert page.why


@pytest.mark.parametrize(
    ("settings", "premium"),
    [
        ("FinvizSettings = {hasUserPremium: true, name: ''};", True),
        ("FinvizSettings = {hasUserPremium: false, name: ''};", False),
        ("window.FinvizSettings={\n  versionImages: 22,\n  hasUserPremium : true,", True),
        ('FinvizSettings = {"hasUserPremium":"true"}', True),
        ("FinvizSettings = {'hasUserPremium' : false}", False),
        ("FinvizSettings = {name: ''}; Other = {hasUserPremium: true}", None),
        ("FinvizSettings = {hasUserPremium: trueish}", None),
        ("FinvizSettings = {hasUserPremium: true}; FinvizSettings = {hasUserPremium: false}", None),
        ("", None),
    ],
)
def test_a_page_may_say_whether_the_account_is_elite(settings: str, premium: object) -> None:
    page = read_page(page_in("C").replace("</head>", f"<script>{settings}</script></head>"))
    assert (page.kind, page.premium) == (FetchOutcome.OK, premium)
    assert read_page(f"{EMPTY_PAGE}<script>{settings}</script>").premium is premium


@needs_corpus
def test_the_stored_pages_say_whether_the_account_is_elite() -> None:
    said = {name: read_page((CORPUS / name).read_bytes()).premium for name in PAGES}
    assert [name for name, premium in said.items() if premium] == [
        "2025-06_v111_elite_overview_p1_50rows.html"
    ]
    assert sum(premium is False for premium in said.values()) >= 9


@pytest.mark.parametrize(
    ("told", "price"),
    [("1,187.10", "1187.10"), ("0.0001", "0.0001"), ("-", None), ("", None), ("1e999999", None)],
)
def test_a_price_is_a_plain_number_or_none(told: str, price: str | None) -> None:
    page = read_page(page_in("D").replace("VV|12.50|250000", f"VV|{told}|x"))
    assert page.rows[0].price == (price and Decimal(price))
    assert page.rows[0].volume is None


def test_a_good_page_with_a_bad_status_is_not_read() -> None:
    for status in (301, 400, 403, 404, 429, 500, 503):
        assert read_page(page_in("D"), status).rows == ()


def tags() -> int:
    return sum(isinstance(one, Tag) for one in gc.get_objects())


@pytest.mark.parametrize("page", [page_in("D"), page_in("cards"), page_in("D", ("AA", "AA"))])
def test_a_page_that_was_read_leaves_no_garbage(page: str) -> None:
    """What the collector must look through stops the event loop for as long."""
    gc.collect()
    gc.disable()
    try:
        before = tags()
        read_page(page)
        assert tags() - before <= 1, "the root stays"
    finally:
        gc.enable()


@settings(max_examples=200)
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_nothing_makes_the_reader_raise(body: str | bytes) -> None:
    assert not read_page(body).complete
    tail = body.decode(errors="replace") if isinstance(body, bytes) else body
    page = page_in("E")
    read_page(page.replace("AA", tail))
    read_page(f'<td class="count-text">{tail}</td></html>')
