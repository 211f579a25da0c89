from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.screen import (
    EXAMPLE_URL,
    HOSTS,
    Screen,
    ScreenError,
    export_url,
    page_url,
    parse_screen_url,
    warnings,
)


def a_screen(query: str = "v=111&f=cap_midover&o=-change", refresh: float = 180) -> Screen:
    url = parse_screen_url(f"https://finviz.com/screener.ashx?{query}")
    return Screen(url=url, top_n=15, refresh=timedelta(seconds=refresh))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://finviz.com/screener.ashx", "https://finviz.com/screener.ashx"),
        (" https://FINVIZ.com:443/screener?v=111#top ", "https://finviz.com/screener?v=111"),
        ("https://elite.finviz.com/screener?v=111&r=21&f=a,b|c&ar=10", "f=a,b|c"),
        ("https://www.finviz.com/screener?&&v=111&&R=5&%61r=3&auth=s3cret", "?v=111"),
        ("https://finviz.com/screener?v=111&range=1&r", "?v=111&range=1"),
    ],
)
def test_an_address_is_kept_but_for_what_is_ours_to_choose(text: str, kept: str) -> None:
    url = parse_screen_url(text)
    assert url.endswith(kept)
    assert parse_screen_url(url) == url


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must be an address"),
        ("https://finviz.com/screener?f=" + "a" * 2000, "1 to 2000 characters"),
        ("http://finviz.com/screener.ashx", "begin with https"),
        ("finviz.com/screener.ashx", "begin with https"),
        ("javascript:alert(1)", "begin with https"),
        ("https://finviz.com.example.org/screener.ashx", "must be on"),
        ("https://xfinviz.com/screener.ashx", "must be on"),
        ("https://finviz.com./screener.ashx", "must be on"),
        ("https:///screener.ashx", "must be on"),
        ("https://finviz.com@example.org/screener.ashx", "user name"),
        ("https://me:pw@finviz.com/screener.ashx", "user name"),
        ("https://@finviz.com/screener.ashx", "user name"),
        ("https://finviz.com:8443/screener.ashx", "port"),
        ("https://finviz.com:x/screener.ashx", "not an address"),
        ("https://[finviz.com/screener.ashx", "not an address"),
        ("https://finviz.com/export.ashx?v=111", "path is /screener.ashx"),
        ("https://finviz.com/screener.ashx/../quote.ashx", "path is /screener.ashx"),
        ("https://finviz.com/", "path is /screener.ashx"),
        ("https://finviz.com/screener?f=a b", "blank"),
        ("https://finviz.com/screener?f=a\nb", "blank"),
        ("https://finviz.com\\@example.org/screener", "blank"),
        ("https://fínviz.com/screener", "blank"),
    ],
)
def test_an_address_that_is_no_screener_is_refused_in_words(text: str, problem: str) -> None:
    with pytest.raises(ScreenError) as error:
        parse_screen_url(text)
    assert error.value.field == "url"
    assert problem in error.value.problem
    assert str(error.value) == f"url {error.value.problem}"


@given(st.text() | st.from_regex(r"https://[^ ]*finviz\.com[^ ]*/screener[^ ]*"))
def test_what_is_accepted_leads_to_finviz_and_nowhere_else(text: str) -> None:
    try:
        parts = urlsplit(parse_screen_url(text))
    except ScreenError:
        return
    assert (parts.scheme, parts.netloc in HOSTS) == ("https", True)
    assert parts.path in {"/screener", "/screener.ashx"}


def test_pages_and_exports_are_asked_for_at_the_base() -> None:
    url = a_screen("v=111&f=exch_nasd|nyse").url
    assert page_url(url, "https://elite.finviz.com", 1) == (
        "https://elite.finviz.com/screener.ashx?v=111&f=exch_nasd|nyse"
    )
    assert page_url(url, "http://127.0.0.1:9000/", 41) == (
        "http://127.0.0.1:9000/screener.ashx?v=111&f=exch_nasd|nyse&r=41"
    )
    bare = parse_screen_url("https://finviz.com/screener")
    assert page_url(bare, "https://finviz.com", 21) == "https://finviz.com/screener?r=21"
    assert export_url(bare, "https://elite.finviz.com") == "https://elite.finviz.com/export.ashx"


@pytest.mark.parametrize("top_n", [0, -1, 1001])
def test_top_n_has_bounds(top_n: int) -> None:
    with pytest.raises(ScreenError, match="top_n must be a whole number from 1 to 1000"):
        Screen(url=EXAMPLE_URL, top_n=top_n, refresh=timedelta(minutes=3))


@pytest.mark.parametrize("seconds", [0, 0.99, -5, 86_401])
def test_refresh_has_bounds(seconds: float) -> None:
    with pytest.raises(ScreenError, match="refresh must be from 1 second"):
        Screen(url=EXAMPLE_URL, top_n=15, refresh=timedelta(seconds=seconds))


def test_the_example_is_a_screen_without_warnings() -> None:
    assert parse_screen_url(EXAMPLE_URL) == EXAMPLE_URL
    screen = Screen(url=EXAMPLE_URL, top_n=15, refresh=timedelta(minutes=3))
    assert warnings(screen, elite=False, total=200) == []


@pytest.mark.parametrize(
    ("screen", "elite", "words"),
    [
        (a_screen(refresh=59), False, "every 180 s"),
        (a_screen(refresh=9.5), True, "every 9.5 s is faster than Finviz Elite's own page"),
        (a_screen("v=111&f=cap_midover"), False, "names no order"),
        (a_screen("v=111&f=cap_midover&o="), False, "names no order"),
        (a_screen("v=111&f=cap_midover&o=pe"), False, "o=-pe"),
        (a_screen("v=111&o=-change"), False, "the whole market"),
        (a_screen("v=152&c=0,65&f=a&o=-change"), False, "no Ticker column"),
        (a_screen("v=151&c=1,65&f=a&o=-change"), False, "no row numbers"),
    ],
)
def test_what_is_probably_not_meant_is_said(screen: Screen, elite: bool, words: str) -> None:  # noqa: FBT001  a parameter of the test
    (said,) = warnings(screen, elite=elite)
    assert words in said


def test_what_is_fine_is_not_warned_of() -> None:
    assert warnings(a_screen(refresh=60), elite=False) == []
    assert warnings(a_screen(refresh=10), elite=True) == []
    assert warnings(a_screen("v=111&s=ta_topgainers&o=-change"), elite=False) == []
    assert warnings(a_screen("v=411&t=AAPL,MSFT&o=-change"), elite=False) == []
    assert warnings(a_screen("v=152&c=0,1,65&f=a&o=-change"), elite=False, total=7_999) == []


def test_a_filtered_screen_that_answers_the_whole_market_is_said() -> None:
    (said,) = warnings(a_screen(), elite=False, total=10_188)
    assert "nearly the whole market" in said
