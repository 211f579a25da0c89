"""Advice: every code has its sentence, common mistakes are found, and nothing is ever echoed."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import advice
from domain.advice import FIXES, Member, hints, members, mistakes, normalising, unfilled
from domain.alert import Alert, Invalid, InvalidCode, Parsed, interpret, parse, read
from domain.messages import FILLED, ORDERS, Shape, filled, messages
from domain.signal import Side

GOOD = {"ticker": "AAPL", "action": "buy"}

BROKEN = {
    "{“ticker”: “AAPL”, “action”: “buy”}": "straight ones",
    "{'ticker': 'AAPL', 'action': 'buy'}": "double quotes: JSON knows",
    '{"ticker": "AAPL", "action": "buy",}': "comma behind the last member",
    '{"ticker": "AAPL"\n"action": "buy"}': "comma between every two",
    '{"ticker": "AAPL" "action": "buy"}': "comma between every two",
    '{"ticker": AAPL, "action": "buy"}': "text and placeholders into quotes",
    '{"ticker": {{ticker}}, "action": "buy"}': "text and placeholders into quotes",
    '{"ticker": "AAPL", "action": "buy", "timenow": 2026-01-05T15:30:02Z}': "time into quotes",
    '{"ticker": "AAPL", "action": "buy", "rsi": NaN}': "NaN",
    '{"ticker": "AAPL", // mine\n "action": "buy"}': "comments",
    '{"ticker": "AAPL", "action": "buy"': "does not end with }",
    '```json\n{"ticker": "AAPL", "action": "buy"}\n```': "lines with ```",
    "ticker: AAPL, action: buy": "between braces",
    'ticker = "AAPL"': "between braces",
}


def alert(**fields: object) -> tuple[Parsed, Alert]:
    parsed = parse(json.dumps(GOOD | fields).encode())
    assert isinstance(parsed, Parsed)
    reading = interpret(parsed)
    assert isinstance(reading, Alert)
    return parsed, reading


@pytest.mark.parametrize("code", InvalidCode)
def test_every_code_says_what_to_change(code: InvalidCode) -> None:
    assert FIXES[code].endswith((".", "}."))
    assert advice.fix(code) == FIXES[code]
    assert len(set(FIXES.values())) == len(InvalidCode)


@pytest.mark.parametrize(("body", "words"), BROKEN.items(), ids=BROKEN.values())
def test_a_common_mistake_is_found_alone(body: str, words: str) -> None:
    assert isinstance(read(body.encode()), Invalid)
    (found,) = mistakes(body.encode())
    assert words in found


def test_several_mistakes_are_found_one_after_another() -> None:
    found = mistakes("{'ticker': “AAPL”, 'action': buy,}".encode())
    assert len(found) == 4


def test_what_reads_has_no_mistakes() -> None:
    for body in (json.dumps(GOOD), '{"note": "it\'s // fine, \\"quoted\\" {{x}}"}', "[1, 2]"):
        assert mistakes(body.encode()) == []


def test_placeholders_are_named_when_they_are_tradingviews_own() -> None:
    found = unfilled(b'{"ticker": "{{ticker}}", "action": "{{strategy.order.action}}"}')
    assert "{{ticker}}, {{strategy.order.action}}" in found[0]
    assert "alerts on an indicator" in found[1]
    (other,) = unfilled(b'{"ticker": "{{my_password}}", "action": "buy"}')
    assert "my_password" not in other
    assert unfilled(json.dumps(GOOD).encode()) == []


def test_a_price_that_is_not_read_is_explained() -> None:
    (found, *_) = hints(*alert(price="1,234.5", timenow="2026-01-05T15:30:02Z"))
    assert "commas between its thousands" in found
    (found, *_) = hints(*alert(price="cheap", timenow="2026-01-05T15:30:02Z"))
    assert "no number above zero" in found
    assert hints(*alert(price="1234.5", timenow="2026-01-05T15:30:02Z")) == []


def test_the_time_of_a_bar_is_not_taken_for_when_it_was_sent() -> None:
    (found,) = hints(*alert(time="2026-01-05T15:30:02Z"))
    assert "taken for that of a bar" in found
    (found,) = hints(*alert(time="2026-01-05 15:30"))
    assert "with its zone" in found
    (found,) = hints(*alert())
    assert "does not say when it was sent" in found


def test_a_bare_sell_is_explained() -> None:
    sent = {"timenow": "2026-01-05T15:30:02Z"}
    assert "exit of the whole position" in hints(*alert(action="sell", **sent))[0]
    assert hints(*alert(action="sell", sentiment="flat", **sent)) == []


def test_members_tell_what_is_read_otherwise_without_them() -> None:
    parsed, _ = alert(
        price="10", close="11", side="buy", timenow="2026-01-05T15:30:02Z", note="x", apikey="hush"
    )
    assert members(parsed) == [
        Member("ticker", ("ticker",)),
        Member("action", ("side",)),
        Member("price", ("price",)),
        Member("close", ()),
        Member("side", ()),
        Member("timenow", ("time", "when it was sent")),
        Member("note", ()),
        Member("apikey", (), secret=True),
    ]


def test_a_time_field_of_its_source_counts() -> None:
    parsed, _ = alert(fired="2026-01-05T15:30:02Z")
    assert members(parsed)[-1].tells == ()
    assert members(parsed, "fired")[-1].tells == ("time", "when it was sent")


def test_what_contradicts_is_pointed_at() -> None:
    parsed = parse(json.dumps(GOOD | {"side": "sell", "note": 1}).encode())
    assert isinstance(parsed, Parsed)
    wrong = [one.name for one in members(parsed) if one.tells]
    assert wrong
    assert "note" not in wrong


@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        ("AAPL", ""),
        ("NASDAQ:AAPL", "NASDAQ before the colon"),
        ("aapl", "capitals"),
        (" AAPL ", "blanks"),
        ("BRK.B", "share class"),
    ],
)
def test_how_a_ticker_was_normalised_is_told(symbol: str, words: str) -> None:
    _, reading = alert(ticker=symbol)
    told = normalising(reading)
    assert words in told
    assert bool(told) == bool(words)


names = st.sampled_from(["ticker", "action", "price", "time", "timenow", "token", "side", "a b"])
bodies = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")),
    st.dictionaries(names | st.text(max_size=9), st.text(max_size=20) | st.integers() | st.none())
    .map(json.dumps)
    .map(str.encode),
    st.lists(st.sampled_from([*BROKEN, "{", "'", '"', ",", "{{", "//", "\n"])).map(
        lambda parts: "".join(parts).encode()
    ),
)


@given(bodies)
def test_it_never_raises_whatever_comes(body: bytes) -> None:
    said = [*mistakes(body), *unfilled(body)]
    parsed = parse(body)
    if isinstance(parsed, Parsed):
        told = members(parsed)
        assert len(told) <= advice.MOST_NAMES
        reading = interpret(parsed)
        said += hints(parsed, reading) if isinstance(reading, Alert) else []
    assert all(one.endswith((".", '".', ":")) or one[-1].isalpha() for one in said)


@given(st.text(alphabet="qxzj", min_size=8, max_size=30), st.sampled_from([*BROKEN]))
def test_nothing_of_a_body_is_repeated(secret: str, body: str) -> None:
    for told in (mistakes, unfilled):
        assert secret not in "".join(told(body.replace("AAPL", secret).encode()))


@given(st.integers(1, 2_000), st.sampled_from(["{", "[", '"', ",'", "{{", "// ", ": a", '""\n"']))
def test_long_bodies_are_read_in_good_time(count: int, part: str) -> None:
    mistakes((part * count * 20).encode())


# ── Ready messages ──────────────────────────────────────────────────────────────────────────

READY = {one.name: one for one in (*messages(), *messages("fired_at"))}


@pytest.mark.parametrize("name", READY)
@pytest.mark.parametrize("order", ORDERS)
def test_a_ready_message_is_read_as_it_is_meant(name: str, order: str) -> None:
    text = filled(READY[name].text, ORDERS[order])
    assert "{{" not in text
    reading = read(text.encode())
    assert isinstance(reading, Alert), reading
    strategy = name.endswith("strategy")
    buys = order == "buy" if strategy else name.endswith("buy")
    assert reading.side is (Side.BUY if buys else Side.SELL)
    assert reading.closes is not buys
    assert reading.partial is (strategy and order == "part")
    assert (reading.ticker, str(reading.price)) == ("AAPL", "189.95")


def test_a_ready_message_says_when_it_was_sent_where_its_source_looks() -> None:
    for sent in ("timenow", "fired_at"):
        for one in messages(sent):
            parsed = parse(filled(one.text).encode())
            assert isinstance(parsed, Parsed)
            reading = interpret(parsed, sent if one.shape is Shape.OURS else "time")
            assert isinstance(reading, Alert)
            assert reading.sent_at is not None


def test_a_ready_message_as_it_is_pasted_is_no_alert() -> None:
    for one in messages():
        assert isinstance(read(one.text.encode()), Invalid)


def test_every_placeholder_has_a_value() -> None:
    used = {name for one in messages() for name in re.findall(r"\{\{([^}]+)\}\}", one.text)}
    assert used <= FILLED.keys()
    assert filled("{{unknown}} {{ticker}}") == "{{unknown}} AAPL"
