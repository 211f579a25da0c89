import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.alert import Alert, Invalid, InvalidCode, Number, Parsed, interpret, parse, read
from domain.signal import Side
from domain.ticker import normalise

CORPUS = Path(__file__).parents[3] / "shared" / "fixtures" / "tradingview"
CASES: list[dict[str, Any]] = (
    json.loads((CORPUS / "cases.json").read_text()) if CORPUS.exists() else []
)
FORM = "application/x-www-form-urlencoded"

WORDS = "buy sell exit long short flat AAPL NYSE:BRK.B 33% 0 -5 2026-03-17T17:30:00Z {{x}}"
NAMES = (
    "ticker symbol action side type sentiment market_position prev_market_position position_size"
    " price time timenow strategy order data message size id"
)
words = st.sampled_from(WORDS.split())
names = st.sampled_from(NAMES.split())
values = st.recursive(
    words | st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(names | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


def said(fields: dict[str, Any]) -> Alert:
    alert = read(json.dumps({"ticker": "AAPL"} | fields).encode())
    assert isinstance(alert, Alert), alert
    return alert


def refused(body: bytes | str | dict[str, Any], content_type: str = "") -> InvalidCode:
    if isinstance(body, dict):
        body = json.dumps(body)
    invalid = read(body.encode() if isinstance(body, str) else body, content_type)
    assert isinstance(invalid, Invalid), invalid
    return invalid.code


# ── The corpus ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not CASES, reason="the corpus of third-party bodies is not here")
@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
def test_corpus(case: dict[str, Any]) -> None:
    reading = read((CORPUS / case["file"]).read_bytes(), case["content_type"])
    if case["invalid"]:
        assert isinstance(reading, Invalid)
        assert reading.code == case["invalid"].partition(":")[0]
        return
    expected = case["expect"]
    assert isinstance(reading, Alert)
    assert reading.ticker == normalise(expected["ticker"])
    assert reading.exchange == expected["exchange"]
    assert reading.side == expected["side"]
    assert reading.closes is expected["closes"]
    assert (reading.price_text if reading.price is not None else None) == expected["price"]
    assert reading.time == (expected["time"] and datetime.fromisoformat(expected["time"]))


# ── Ticker ─────────────────────────────────────────────────────────────────────────────────


def test_names_of_the_ticker_and_of_the_exchange() -> None:
    for name in ("ticker", "Symbol", "tv_instrument", "underlying"):
        body = json.dumps({name: "NYSE_DL:BRK.B", "side": "buy", "exchange": "other"})
        alert = read(body.encode())
        assert isinstance(alert, Alert)
        assert (alert.ticker, alert.exchange, alert.symbol) == ("BRK-B", "NYSE", "NYSE_DL:BRK.B")


def test_the_exchange_may_have_its_own_field() -> None:
    assert said({"side": "buy", "exchange": "nasdaq_dly"}).exchange == "NASDAQ"
    assert said({"side": "buy", "tv_exchange": "AMEX"}).exchange == "AMEX"
    assert said({"side": "buy", "exchange": "no such"}).exchange is None
    assert said({"side": "buy", "exchange": {"a": 1}}).exchange is None


@pytest.mark.parametrize(
    ("ticker", "code"),
    [
        (None, "no_ticker"),
        ("", "no_ticker"),
        ("  ", "no_ticker"),
        ("A B", "invalid_ticker"),
        ({"a": 1}, "invalid_ticker"),
        (True, "invalid_ticker"),
        ("{{ticker}}", "unresolved_placeholder"),
        ("NASDAQ:{{ticker}}", "unresolved_placeholder"),
        ("%alert_symbol%", "unresolved_placeholder"),
    ],
)
def test_a_ticker_that_is_none(ticker: object, code: str) -> None:
    assert refused({"ticker": ticker, "action": "buy"}) == code


@pytest.mark.parametrize(
    "inner",
    [
        {"order": {"ticker": "MSFT"}},
        {"strategy": {"order": {"symbol": "MSFT"}, "ticker": "MSFT"}},
        {"message": '{"ticker": "MSFT", "action": "buy"}', "action": None},
    ],
)
@pytest.mark.parametrize("name", ["ticker", "symbol", "tv_instrument", "underlying"])
def test_the_outer_ticker_counts_by_whichever_name(name: str, inner: dict[str, Any]) -> None:
    """A receiver of the body as it came reads the outer one."""
    alert = read(json.dumps({"action": "buy", name: "AAPL", **inner}).encode())
    assert isinstance(alert, Alert)
    assert alert.ticker == "AAPL"


def test_a_blank_outer_ticker_gives_way_to_an_inner_one() -> None:
    alert = read(b'{"underlying":" ","action":"buy","order":{"symbol":"MSFT"}}')
    assert isinstance(alert, Alert)
    assert alert.ticker == "MSFT"


def test_a_blank_name_gives_way_to_the_next() -> None:
    alert = read(b'{"ticker":" ","symbol":"MSFT","side":"buy"}')
    assert isinstance(alert, Alert)
    assert alert.ticker == "MSFT"


# ── Price, time, identifier ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "price"),
    [
        ("195.50", "195.50"),
        (" 7 ", "7"),
        ("1e2", "1E+2"),
        ("1,234.50", None),
        ("$5", None),
        ("{{close}}", None),
        ("NaN", None),
        ("0", None),
        ("-3", None),
        ("1_000", None),
        ("٣", None),
    ],
)
def test_a_price_that_does_not_parse_does_not_lose_the_signal(
    value: str, price: str | None
) -> None:
    alert = said({"side": "sell", "price": value})
    assert alert.price == (None if price is None else Decimal(price))
    assert alert.price_text == value


def test_a_price_keeps_its_digits() -> None:
    alert = read(b'{"ticker":"AAPL","side":"buy","close":195.5000000000000000001}')
    assert isinstance(alert, Alert)
    assert alert.price_text == "195.5000000000000000001"
    assert type(alert.price_text) is str
    assert said({"side": "buy", "price": [1], "order_price": 5}).price == 5
    assert said({"side": "buy", "price": "9" * 200}).price_text is None


T = datetime(2026, 3, 17, 17, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2026-03-17T17:30:00Z", T),
        ("2026-03-17T20:30:00+03:00", T),
        (1773768600, T),
        ("1773768600", T),
        (1773768600000, T),
        ("1773768600.5", T.replace(microsecond=500_000)),
        (1773768600000001, T.replace(microsecond=1)),
        ("1773768600000000000", T),
        ("2026-03-17T17:30:00", None),
        ("2026-03-17", None),
        ("0001-01-01T00:00:00+14:00", None),
        (17, None),
        ("{{timenow}}", None),
        (True, None),
        ("9" * 20, None),
        ("9" * 39, None),
    ],
)
def test_times(value: object, time: datetime | None) -> None:
    assert said({"side": "buy", "time": value}).time == time


def test_only_a_send_time_says_when_an_alert_was_sent() -> None:
    now = "2026-03-17T17:30:00Z"
    assert said({"side": "buy", "time": now}).sent_at is None
    assert said({"side": "buy", "timestamp": now}).sent_at is None
    assert said({"side": "buy", "timenow": now}).sent_at == T
    assert said({"side": "buy", "sent": now}).time == T
    assert said({"side": "buy", "strategy": {"timenow": now}}).sent_at is None
    assert said({"side": "buy", "bar": {"time": now}}).time is None


@pytest.mark.parametrize(
    ("fields", "id"),
    [
        ({"id": "evt-17"}, "evt-17"),
        ({"alert_id": 17}, "17"),
        ({"signalId": "a" * 128}, "a" * 128),
        ({"id": "a" * 129}, None),
        ({"id": ""}, None),
        ({"id": "Long Entry"}, None),
        ({"id": "exit"}, None),
        ({"id": "{{strategy.order.id}}"}, None),
        ({"id": "a\nb"}, None),
        ({"id": {"a": 1}}, None),
        ({"id": True}, None),
        ({"strategy": {"id": "evt-17"}}, None),
        ({"order_id": "evt-17"}, None),
    ],
)
def test_an_identifier_is_explicit_and_on_top(fields: dict[str, Any], id: str | None) -> None:
    assert said({"side": "buy"} | fields).alert_id == id


# ── Bodies ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "code", "readable"),
    [
        (b"", "empty_body", False),
        (b" \r\n", "empty_body", False),
        (b"\xef\xbb\xbf", "empty_body", False),
        (b'{"a":"\xe9"}', "invalid_utf8", False),
        (b'{"ticker":"A",}', "invalid_json", False),
        (b'{"ticker":"A"} {}', "invalid_json", False),
        (b'{"ticker":"A","price":NaN}', "invalid_json", False),
        (b'{"ticker":"A","price":-Infinity}', "invalid_json", False),
        (b'{"a":"\x01"}', "invalid_json", False),
        (b"[1,", "invalid_json", False),
        (b"AAPL Crossing 195.00", "not_json", False),
        (b"buy,AAPL,1", "not_json", False),
        (b"[]", "body_is_array", True),
        (b'[{"ticker":"A","side":"buy"}]', "body_is_array", True),
        (b"null", "body_not_an_object", True),
        (b"17", "body_not_an_object", True),
        (b'"buy"', "body_not_an_object", True),
        (b"{}", "no_ticker", True),
        (b'{"a":1e999}', "non_finite_number", True),
        (b'{"a":[-1e999]}', "non_finite_number", True),
        (b'{"a":"\\u0000"}', "forbidden_character", True),
        (b'{"\\ud800":1}', "forbidden_character", True),
        (b'{"a":[{"b":"\\udc00"}]}', "forbidden_character", True),
        (b"order buy\0", "forbidden_character", True),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "too_deep", True),
        (b'{"a":' + b"[" * 32 + b"]" * 32 + b"}", "too_deep", True),
        (b"[" * 60_000, "too_deep", True),
        (b'{"a":' * 10_000, "too_deep", True),
        (json.dumps(dict.fromkeys(map(str, range(201)))).encode(), "too_many_keys", True),
        (json.dumps([{str(i): 1} for i in range(201)]).encode(), "too_many_keys", True),
        (b" " * 65_537, "too_large", True),
    ],
)
def test_bodies_that_hold_no_alert(body: bytes, code: str, readable: bool) -> None:  # noqa: FBT001
    invalid = read(body)
    assert isinstance(invalid, Invalid)
    assert (invalid.code, invalid.readable) == (code, readable)


def test_the_limits_themselves_are_allowed() -> None:
    deep = b'{"ticker":"A","side":"buy","a":' + b"[" * 31 + b"]" * 31 + b"}"
    assert isinstance(read(deep), Alert)
    wide = {"ticker": "A", "side": "buy"} | {f"{i}:[{{": i for i in range(198)}
    assert isinstance(read(json.dumps(wide).encode()), Alert)


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", FORM])
def test_json_is_json_whatever_it_is_called(content_type: str) -> None:
    body = '\ufeff {"ticker":"AAPL","side":"buy"}\n'.encode()
    assert isinstance(read(body, content_type), Alert)


def test_a_form_is_read_when_it_is_called_one() -> None:
    form = b"ticker=NASDAQ%3AAAPL&action=sell&price=195.5&note=a+b"
    alert = read(form, FORM + "; charset=utf-8")
    assert isinstance(alert, Alert)
    assert (alert.ticker, alert.side, alert.price_text) == ("AAPL", "sell", "195.5")
    assert refused(form, "text/plain") == "not_json"
    assert refused(b"ticker=A&side=buy&side=sell", FORM) == "repeated_key"
    assert refused(b"ticker=A&note=%00", FORM) == "forbidden_character"
    assert refused(b"ticker=A&note=%ff", FORM) == "invalid_utf8"
    assert refused(b"a=1&" * 300, FORM) == "too_many_keys"
    assert refused(b'{"ticker"="A"}', FORM) == "invalid_json"


@pytest.mark.parametrize(
    ("order", "side", "closes", "partial"),
    [
        ("buy @ 33.33 filled on SOLUSDT. New strategy position is 100", "buy", False, False),
        ("buy @ 1 filled on SOLUSDT. New strategy position is 0", "buy", True, False),
        ("sell @ 1 filled on SOLUSDT. New strategy position is 0", "sell", True, False),
        ("sell @ 1 filled on SOLUSDT. New strategy position is 0.5", "sell", True, True),
        ("sell @ 1 filled on SOLUSDT. New strategy position is -1", "sell", False, False),
        ("sell @ 1 filled on SOLUSDT. New strategy position is \u22121", "sell", False, False),
    ],
)
def test_the_default_text_of_a_strategy(
    order: str,
    side: str,
    closes: bool,  # noqa: FBT001  a column of the table
    partial: bool,  # noqa: FBT001  a column of the table
) -> None:
    text = f"My (14, 3) strategy: order {order}"
    for body in (text, json.dumps({"message": text})):
        alert = read(body.encode())
        assert isinstance(alert, Alert)
        assert (alert.ticker, alert.price) == ("SOLUSDT", None)
        assert (alert.side, alert.closes, alert.partial) == (side, closes, partial)


def test_json_in_a_message_is_read_when_something_is_missing() -> None:
    inner = {"ticker": "MSFT", "action": "buy", "strategy": {"market_position": "flat"}}
    alert = read(json.dumps({"message": json.dumps(inner)}).encode())
    assert isinstance(alert, Alert)
    assert (alert.ticker, alert.closes) == ("MSFT", True)
    assert said({"message": json.dumps(inner)}).ticker == "AAPL"
    assert said({"side": "sell", "message": json.dumps(inner)}).side is Side.SELL
    assert refused({"message": '{"ticker":'}) == "no_ticker"
    assert refused({"message": "[1]"}) == "no_ticker"
    assert refused({"message": '{"a":1e999}'}) == "non_finite_number"


def test_a_repeated_key_is_refused_where_it_decides_what_is_traded() -> None:
    assert refused('{"ticker":"A","ticker":"B","side":"buy"}') == "repeated_key"
    assert refused('{"ticker":"A","Ticker":"B","side":"buy"}') == "repeated_key"
    assert refused('{"ticker":"A","strategy":{"action":"buy","action":"sell"}}') == "repeated_key"
    for harmless in ('"side":"buy"', '"Side":"buy","note":1,"note":2'):
        assert isinstance(read(f'{{"ticker":"A","side":"buy",{harmless}}}'.encode()), Alert)


def test_huge_integers_stay_text() -> None:
    parsed = parse(b'{"ticker":"A","side":"buy","n":' + b"9" * 50_000 + b"}")
    assert isinstance(parsed, Parsed)
    assert parsed.fields is not None
    assert isinstance(parsed.fields["n"], Number)
    assert isinstance(interpret(parsed), Alert)


def test_parsed_gives_the_fields_as_they_came() -> None:
    parsed = parse(b'\xef\xbb\xbf{"Token":"x","token":"y","n":1.50,"o":{"a":null}}')
    assert isinstance(parsed, Parsed)
    assert parsed.fields == {"Token": "x", "token": "y", "n": "1.50", "o": {"a": None}}
    text = parse(b"order buy @ 1 filled on A. New strategy position is 1")
    assert isinstance(text, Parsed)
    assert text.fields is None


# ── Whatever comes ─────────────────────────────────────────────────────────────────────────


@given(st.binary() | st.text().map(str.encode), st.sampled_from(["", FORM]))
@example(b"=&ticker=A&action=buy&=", FORM)
@example(b"NaN", "")
def test_no_bytes_make_it_raise(body: bytes, content_type: str) -> None:
    check(read(body, content_type), body)


@given(st.dictionaries(names | st.text(), values, max_size=8) | values)
def test_no_json_makes_it_raise(value: object) -> None:
    body = json.dumps(value).encode()
    check(read(body), body)


def check(reading: Alert | Invalid, body: bytes) -> None:
    if isinstance(reading, Invalid):
        assert reading == Invalid.because(reading.code), "a detail of ours, alike for every body"
        return
    assert normalise(reading.ticker) == reading.ticker
    assert reading.price is None or reading.price > 0
    for time in (reading.time, reading.sent_at):
        assert time is None or time.tzinfo is UTC
    assert len(reading.symbol) <= len(body)


@given(
    st.text(alphabet="qxzQXZ{}%", min_size=4, max_size=12), st.sampled_from(["ticker", "action"])
)
def test_a_refusal_repeats_nothing_of_the_body(text: str, name: str) -> None:
    invalid = read(json.dumps({"ticker": "AAPL", "action": "buy"} | {name: text}).encode())
    if isinstance(invalid, Invalid):
        assert text not in invalid.detail
