"""Sources: what they may be named, what may be said of them, and the time of their alerts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.alert import Alert, interpret
from domain.parsed import Parsed, parse
from domain.rules import Direction
from domain.signal import Side
from domain.source import (
    READERS,
    Source,
    SourceError,
    changed_source,
    checked_name,
    new_source,
    told,
)

FULL: dict[str, Any] = {
    "note": "Pine script of mine",
    "direction": "buy",
    "dedupe_sec": 0,
    "buy_ttl_sec": 20,
    "sell_ttl_sec": 900.5,
    "time_field": "fired at",
    "expected_every_sec": 3600,
    "expected_in_hours": False,
    "pairs": True,
    "senders": ["tradingview", "192.0.2.0/24"],
}


@pytest.mark.parametrize("name", ["a", "0", "momentum-2", "a_b", "a" * 40])
def test_a_name_is_plain(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "A", "-a", "_a", "a b", "a" * 41, "ä", "a\0", "a\n", "a/b"),
        *("webhook", "operator", "import"),
    ],
)
def test_no_other_name_is_taken(name: str) -> None:
    with pytest.raises(SourceError, match=r"^name ") as refused:
        checked_name(name)
    assert refused.value.field == "name"


def test_everything_that_may_be_said_is_said_again() -> None:
    source = new_source("momentum", FULL)
    assert source.dedupe == timedelta(0)
    assert source.lifetime(Side.BUY) == timedelta(seconds=20)
    assert source.lifetime(Side.SELL) == timedelta(seconds=900.5)
    assert source.expected_every == timedelta(hours=1)
    assert told(source) == FULL
    assert told(source).keys() == READERS.keys()
    assert changed_source(source, told(source)) == source


def test_a_new_source_is_taken_as_the_settings_say() -> None:
    plain = new_source("plain", {})
    assert plain == Source(name="plain")
    assert (plain.direction, plain.dedupe, plain.lifetime(Side.BUY)) == (Direction.BOTH, None, None)
    assert not plain.built_in
    assert Source(name="webhook").built_in


@given(st.dictionaries(st.sampled_from(sorted(FULL)), st.none()))
def test_nothing_said_goes_back_to_the_settings(nothing: dict[str, None]) -> None:
    """Where the settings say something; a direction and the like stay."""
    before = new_source("momentum", FULL)
    after = told(changed_source(before, nothing))
    optional = {"dedupe_sec", "buy_ttl_sec", "sell_ttl_sec", "time_field", "expected_every_sec"}
    optional.add("senders")
    for name, value in told(before).items():
        assert after[name] == (None if name in nothing and name in optional else value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("note", bad) for bad in ("x" * 2_001, "\0", 1)),
        *(("direction", bad) for bad in ("up", "", 1)),
        *(("dedupe_sec", bad) for bad in (-0.1, 86_401, "1", True, float("nan"), float("inf"))),
        *(("buy_ttl_sec", bad) for bad in (0, 0.9, 86_401)),
        *(("sell_ttl_sec", bad) for bad in (0, 86_401)),
        *(("time_field", bad) for bad in ("", " ", "--", "é", "x" * 65, "a\0", 1)),
        *(("expected_every_sec", bad) for bad in (59, 31 * 86_400 + 1)),
        *((name, bad) for name in ("expected_in_hours", "pairs") for bad in (0, "no")),
        *(("senders", bad) for bad in ("x", ["x"], [1], ["::/0"], ["10.0.0.1/8"], ["::1"] * 51)),
    ],
)
def test_what_cannot_be_is_named(field: str, value: object) -> None:
    with pytest.raises(SourceError, match=f"^{field} ") as refused:
        changed_source(Source(name="a"), {field: value})
    assert refused.value.field == field


# ── Its own name of a send time ─────────────────────────────────────────────────────────────

NOON, ONE = datetime(2030, 1, 2, 12, tzinfo=UTC), datetime(2030, 1, 2, 13, tzinfo=UTC)


def read(body: str, time_field: str | None) -> Alert:
    parsed = parse(body.encode())
    assert isinstance(parsed, Parsed)
    alert = interpret(parsed, time_field)
    assert isinstance(alert, Alert)
    return alert


@pytest.mark.parametrize("field", ["fired_at", "firedAt", "Fired at"])
def test_a_named_member_is_the_send_time(field: str) -> None:
    body = '{"ticker":"AAPL","action":"buy","Fired_At":"2030-01-02T12:00:00Z"}'
    assert read(body, field).sent_at == read(body, field).time == NOON
    assert read(body, None).sent_at is None


def test_it_comes_before_those_that_say_so_by_themselves() -> None:
    body = (
        '{"ticker":"AAPL","action":"buy","timenow":"2030-01-02T13:00:00Z",'
        '"fired":"2030-01-02T12:00:00Z"}'
    )
    assert read(body, "fired").sent_at == NOON
    assert read(body, None).sent_at == ONE


@pytest.mark.parametrize("value", ['"soon"', "null", "12", '"2030-01-02T12:00:00"', '["x"]'])
def test_where_it_is_no_time_the_others_count(value: str) -> None:
    body = f'{{"ticker":"AAPL","action":"buy","fired":{value},"timenow":"2030-01-02T13:00:00Z"}}'
    assert read(body, "fired").sent_at == ONE


def test_only_the_operator_makes_a_bars_time_a_send_time() -> None:
    body = '{"ticker":"AAPL","action":"buy","time":"2030-01-02T12:00:00Z"}'
    assert read(body, None).sent_at is None
    assert read(body, "time").sent_at == NOON
