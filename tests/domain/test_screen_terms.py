"""Screens as plain values: what is read, what is refused by name, and that it comes back."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.screen import EXAMPLE_URL, Screen, ScreenError, ScreenKind
from domain.screen_terms import (
    NAME_MAX,
    changed_screen,
    checked_name,
    checked_note,
    copy_name,
    named_screen,
    new_screen,
    told,
)

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
REFRESH = timedelta(seconds=180)
LATER = "2030-01-31T21:00:00+01:00"
FIXED = {"tickers": ["AAPL", "BRK.B"], "valid_until": LATER}


def new(**given: object) -> Screen:
    return new_screen(given, refresh=REFRESH, now=NOW)


def wrong(**given: object) -> str:
    with pytest.raises(ScreenError) as refusal:
        new(**({"url": EXAMPLE_URL} | given))
    return refusal.value.field


def test_what_is_left_out_is_usual() -> None:
    assert new(url=EXAMPLE_URL, margin=None) == Screen(url=EXAMPLE_URL, top_n=15, refresh=REFRESH)


def test_tickers_make_a_fixed_list_and_all_of_them_count() -> None:
    screen = new(**FIXED)
    assert screen.kind is ScreenKind.FIXED
    assert (screen.top_n, screen.tickers) == (2, ("AAPL", "BRK-B"))
    assert screen.valid_until == datetime(2030, 1, 31, 20, tzinfo=UTC)
    assert new(**FIXED, top_n=1).top_n == 1


@pytest.mark.parametrize(
    "text",
    [
        "AAPL,MSFT,BRK-B",
        " AAPL ; MSFT\tBRK.B ",
        "aapl\r\nNASDAQ:MSFT\r\n\r\nNYSE:BRK.B\r\nAAPL",
        '"AAPL","MSFT","BRK-B"',
        "\ufeffTicker\nAAPL\nMSFT\nBRK-B\n",
        'No.,Ticker,Company\r\n1,AAPL,"Apple, Inc"\r\n2,MSFT,Microsoft\r\n3,BRK-B,"B ""x"""\r\n',
        'Company;"Symbol"\nApple;AAPL\nMicrosoft;MSFT\n\nBerkshire;BRK.B',
    ],
)
def test_a_list_is_read_from_any_text(text: str) -> None:
    assert new(**FIXED | {"tickers": text}).tickers == ("AAPL", "MSFT", "BRK-B")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "csv"),
        ("kind", []),
        ("url", 5),
        ("url", "https://example.com/"),
        ("top_n", 0),
        ("top_n", 2.5),
        ("top_n", True),
        ("refresh", 0),
        ("refresh", float("nan")),
        ("refresh", "180"),
        ("margin", -1),
        ("margin", 986),
        ("wait", 3601),
        ("tickers", ["AAPL"]),
        ("valid_until", LATER),
        ("whole_market", 1),
        ("slow_when_closed", "no"),
    ],
)
def test_a_wrong_term_is_refused_by_its_name(field: str, value: object) -> None:
    given = {"kind": "finviz"} | {field: value}
    assert wrong(**given) == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", EXAMPLE_URL),
        ("tickers", []),
        ("tickers", " ,\n"),
        ("tickers", "AAPL/MSFT*"),
        ("tickers", [5]),
        ("tickers", {"AAPL": 1}),
        ("tickers", "Ticker\n" + '"' + "x" * 200_000),
        ("valid_until", "tomorrow"),
        ("valid_until", "2030-01-03"),
        ("valid_until", "2030-01-03T10:00:00"),
        ("valid_until", "2030-01-02T15:04:05Z"),
        ("valid_until", "2031-01-04T00:00:00Z"),
        ("valid_until", "9999-12-31T23:59:59-14:00"),
        ("valid_until", "0001-01-01T00:00:00+14:00"),
        ("valid_until", 1_900_000_000),
        ("valid_until", None),
    ],
)
def test_a_wrong_term_of_a_fixed_list_is_refused_by_its_name(field: str, value: object) -> None:
    assert wrong(**{"url": None, "kind": "fixed"} | FIXED | {field: value}) == field


def test_a_change_changes_what_is_given_alone() -> None:
    screen = new(url=EXAMPLE_URL, margin=5, wait=20, whole_market=True, slow_when_closed=False)
    changed = changed_screen(screen, {"top_n": 20, "margin": None, "kind": "finviz"}, now=NOW)
    assert told(changed) == told(screen) | {"top_n": 20}
    assert changed_screen(screen, {}, now=NOW) == screen
    with pytest.raises(ScreenError) as refusal:
        changed_screen(screen, {"kind": "fixed"} | FIXED, now=NOW)
    assert refusal.value.field == "kind"


def test_all_of_a_fixed_list_go_on_counting_when_it_grows() -> None:
    wanted = {"tickers": "A B C D"}
    assert changed_screen(new(**FIXED), wanted, now=NOW).top_n == 4
    assert changed_screen(new(**FIXED), wanted | {"top_n": 3}, now=NOW).top_n == 3
    assert changed_screen(new(**FIXED, top_n=1), wanted, now=NOW).top_n == 1


def test_a_list_that_has_ended_can_be_changed_but_not_end_in_the_past_anew() -> None:
    over = NOW + timedelta(days=60)
    ended = new(**FIXED)
    same = told(ended)["valid_until"].isoformat()
    assert changed_screen(ended, {"margin": 1, "valid_until": same}, now=over).margin == 1
    with pytest.raises(ScreenError, match="valid_until"):
        changed_screen(ended, {"valid_until": "2030-02-01T00:00:00Z"}, now=over)


@pytest.mark.parametrize("given", [{"url": EXAMPLE_URL, "wait": 7.5}, FIXED])
def test_what_is_told_can_be_read_again(given: dict[str, Any]) -> None:
    screen = new(**given)
    text = json.dumps({"name": "x", "note": "a\nb"} | told(screen), default=datetime.isoformat)
    again = named_screen(json.loads(text), refresh=timedelta(seconds=1), now=NOW)
    assert (again.name, again.note, again.active, again.screen) == ("x", "a\nb", False, screen)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], ""),
        ({}, "name"),
        ({"name": "x", "active": 1}, "active"),
        ({"name": "x", "note": 5}, "note"),
        ({"name": "x"}, "url"),
        ({"name": "x", "url": EXAMPLE_URL, "id": "y"}, "id"),
        ({"name": "x", "url": EXAMPLE_URL, "\x00\n": "y"}, ""),
    ],
)
def test_a_wrong_screen_is_refused_by_what_is_wrong(given: object, field: str) -> None:
    with pytest.raises(ScreenError) as refusal:
        named_screen(given, refresh=REFRESH)
    assert refusal.value.field == field


def test_names_and_notes_are_visible_characters() -> None:
    assert checked_name("  Größte Gewinner 🚀 ") == "Größte Gewinner 🚀"
    assert checked_note(" two\nlines ") == "two\nlines"
    for name in (None, 5, "", " ", "a\nb", "a\x00", "\ud800", "x" * 81, "\u200b"):
        with pytest.raises(ScreenError, match="name"):
            checked_name(name)
    for note in (None, "x" * 501, "\x00", "\ud800"):
        with pytest.raises(ScreenError, match="note"):
            checked_note(note)


def test_a_copy_has_a_name_of_its_own() -> None:
    assert copy_name("mine", frozenset({"mine"})) == "mine copy"
    assert copy_name("mine", frozenset({"MINE COPY", "mine copy 2"})) == "mine copy 3"
    long = copy_name("x" * NAME_MAX, frozenset({"x" * (NAME_MAX - 5) + " copy"}))
    assert long == "x" * (NAME_MAX - 7) + " copy 2"
