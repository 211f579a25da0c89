import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.finviz import FAULTS, made_up_market, render_export
from domain.universe import FetchOutcome
from engines.universe.finviz_export import read_export
from tests.engines.finviz_pages import CORPUS

EXPECTED: dict[str, Any] = (
    json.loads((CORPUS / "expected.json").read_text()) if CORPUS.exists() else {"export_none": {}}
)
KINDS = {"csv": "ok", "csv_empty": "empty"}


@pytest.mark.skipif(
    not CORPUS.exists(), reason="the corpus of stored Finviz exports is not beside the repository"
)
@pytest.mark.parametrize("name", [name for name in EXPECTED if name.startswith("export_")])
def test_every_stored_export_reads_as_expected(name: str) -> None:
    expected = EXPECTED[name]
    export = read_export((CORPUS / name).read_bytes())
    assert export.kind == KINDS.get(expected["kind"], expected["kind"])
    assert list(export.tickers) == expected["tickers"]
    assert export.complete == export.kind.is_list


def test_a_made_up_export_is_read_whole() -> None:
    market = made_up_market(3, 250)
    export = read_export(render_export(market).encode())
    assert (export.kind, export.total, export.complete) == (FetchOutcome.OK, 250, True)
    assert list(export.tickers) == [listing.ticker for listing in market]
    assert [row.rank for row in export.rows] == list(range(1, 251))


@pytest.mark.parametrize(
    "text",
    [
        "Ticker,Price\nAA,1\nBRK-B,2\n",
        '\ufeff"No.","Ticker"\r\n1,"AA"\r\n2,"BRK-B"\r\n',
        'Company,Ticker\n"A, ""Inc""",AA\nB,brk-b\nC,\nD,aa\n',
        '"Ticker"\n"AA"\n"BRK-B"\n\n',
    ],
)
def test_columns_are_found_by_their_name(text: str) -> None:
    export = read_export(text.encode())
    assert (export.kind, export.total, export.tickers) == ("ok", 2, ("AA", "BRK-B"))


def test_price_and_volume_are_read_where_there_are_columns_of_them() -> None:
    text = 'Volume,Ticker,Price\n"1,234",AA,"1,187.10"\n-,BB,-\n,CC,\n7,AA,7\n'
    rows = [(row.ticker, row.price, row.volume) for row in read_export(text).rows]
    assert rows == [("AA", Decimal("1187.10"), 1234), ("BB", None, None), ("CC", None, None)]
    bare = read_export("Ticker\nAA\n")
    assert (bare.rows[0].price, bare.rows[0].volume) == (None, None)


def test_an_export_proves_an_elite_account_and_a_refusal_proves_nothing() -> None:
    assert read_export("Ticker\nAA\n").premium is True
    assert read_export("Ticker\n").premium is True
    assert read_export("<html>hasUserPremium: true</html>").premium is None


def test_the_header_alone_means_that_nothing_matches() -> None:
    export = read_export("\ufeffNo.,Ticker,Price\r\n")
    assert (export.kind, export.total, export.complete) == ("empty", 0, True)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "broken"),
        ("No.,Ticker,Price", "broken"),
        ("Ticker\nAA\nBR", "broken"),
        ("No.,Ticker\n1,AA\n3,BB\n", "broken"),
        ("No.,Ticker\n2,AA\n", "broken"),
        ("Ticker,Price\nAA\n", "broken"),
        ("Ticker,Price\nAA,1,2\n", "broken"),
        ("Ticker,Ticker\nAA,BB\n", "broken"),
        ("Ticker\n''\n", "broken"),
        ("Ticker\nnot a ticker\n", "broken"),
        ("Ticker,Price\n,1\n", "broken"),
        ('Ticker,Company\nAA,"open\n', "broken"),
        ("\n", "broken"),
        ("No.,Earnings\n1,Aug 26/a\n", "wrong_page"),
        ("some other words\n", "wrong_page"),
        ("<!DOCTYPE html><html>Please log in</html>", "wrong_page"),
        (' \n<html><form action="login_submit.ashx"></form></html>', "login"),
        ("Too many requests.", "throttled"),
    ],
)
def test_what_is_no_whole_export_has_its_name(text: str, kind: str) -> None:
    export = read_export(text)
    assert export.kind == kind
    assert (export.rows, export.complete) == ((), False)
    assert export.why


@pytest.mark.parametrize("fault", ["throttled_429", "blocked", "unauthorized", "failing"])
def test_a_refusal_is_no_export(fault: str) -> None:
    reply = FAULTS[fault]
    assert not read_export(reply.body, reply.status, reply.headers).kind.is_list
    assert not read_export("Ticker\nAA\n", reply.status, reply.headers).kind.is_list


@given(st.integers(1, 400))
def test_an_export_cut_off_within_a_line_is_never_a_list(cut: int) -> None:
    whole = render_export(made_up_market(5, 40))
    part = whole[:-cut]
    export = read_export(part)
    if not part.endswith("\n"):
        assert not export.complete


@given(st.text() | st.binary() | st.lists(st.sampled_from('Ticker,\n"A1<')).map("".join))
def test_nothing_makes_the_reader_raise(body: str | bytes) -> None:
    export = read_export(body)
    assert export.complete == export.kind.is_list
