import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.body import outgoing
from domain.mapping import BodyMapping, Facts, MappingError, Preset, Scalar, content_type, mapped
from domain.signal import Side

FACTS = Facts(
    signal_id="01a1fc1f-537e-78ef-a699-c5d9b4210879",
    received_at="2030-01-02T15:04:05Z",
    ticker="BRK-B",
    side=Side.BUY,
    partial=False,
)
SELL = replace(FACTS, side=Side.SELL)
PART = replace(SELL, partial=True)
OURS = {"signal_id": FACTS.signal_id, "received_at": FACTS.received_at}
TRADERSPOST = BodyMapping(Preset.TRADERSPOST)
NO_OBJECTS = [b"", b"order buy @ 33.33", b"ticker=AAPL&action=buy", b"[1]", b"\xff", b'{"a":1']

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def rename(**names: str) -> BodyMapping:
    return BodyMapping(rename=names)


def sent(body: object, mapping: BodyMapping = TRADERSPOST, facts: Facts = FACTS) -> Any:
    given = body if isinstance(body, bytes) else json.dumps(body).encode()
    return json.loads(mapped(given, mapping, facts))


# ── Renamed and added ───────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_as_received_is_what_it_was(body: bytes) -> None:
    as_it_was = outgoing(body, signal_id=FACTS.signal_id, received_at=FACTS.received_at)
    assert mapped(body, BodyMapping(), FACTS) == as_it_was


def test_values_keep_their_text() -> None:
    body = (
        b'{"price": 1.10, "n":12345678901234567890123456789012345678901, "e": 1E2, "s":"\\u00e4"}'
    )
    mapping = BodyMapping(rename={"price": "limitPrice"}, add={"tif": "gtc"})
    assert mapped(body, mapping, FACTS).startswith(
        b'{"limitPrice":1.10,"n":12345678901234567890123456789012345678901,"e":1E2,"s":"\\u00e4",'
    )


def test_names_change_at_the_top_level_alone() -> None:
    assert sent({"a": {"a": 1}, "b": 2}, rename(a="x")) == {"x": {"a": 1}, "b": 2} | OURS


def test_our_own_members_are_renamed_like_others() -> None:
    assert "clientOrderId" in sent({}, rename(signal_id="clientOrderId"))


def test_a_name_that_is_there_is_not_given_twice() -> None:
    body = b'{"qty":1,"quantity":2}'
    renamed = mapped(body, rename(qty="quantity"), FACTS)
    assert renamed.startswith(b'{"qty":1,"quantity":2,')


def test_a_member_that_stands_twice_stays_so() -> None:
    renamed = mapped(b'{"a":1,"a":2}', rename(a="b"), FACTS)
    assert renamed.startswith(b'{"b":1,"b":2,')


def test_constants_win() -> None:
    constants: dict[str, Scalar] = {"a": "x", "n": 1, "t": True, "z": None, "f": 0.5}
    mapping = BodyMapping(rename={"b": "n"}, add=constants)
    assert sent({"a": 7, "b": 8, "c": 9}, mapping) == {"c": 9} | OURS | constants


@pytest.mark.parametrize("body", NO_OBJECTS)
def test_what_is_no_object_goes_unchanged(body: bytes) -> None:
    assert mapped(body, BodyMapping(rename={"ticker": "t"}, add={"a": 1}), FACTS) == body


def test_the_order_of_a_mapping_does_not_matter() -> None:
    one, other = (
        BodyMapping(add=dict(pairs)) for pairs in ([("a", 1), ("b", 2)], [("b", 2), ("a", 1)])
    )
    assert mapped(b"{}", one, FACTS) == mapped(b"{}", other, FACTS)


def test_a_byte_order_mark_is_left_out() -> None:
    assert mapped(b'\xef\xbb\xbf{"a":1}', rename(a="b"), FACTS).startswith(b'{"b":1,')


@pytest.mark.parametrize(
    "wrong",
    [
        {"rename": {f"a{n}": f"b{n}" for n in range(51)}},
        {"add": {f"a{n}": n for n in range(51)}},
        {"rename": {"": "a"}},
        {"rename": {"a": ""}},
        {"rename": {"a": "x" * 101}},
        {"add": {"a\x00": 1}},
        {"rename": {"a": "x", "b": "x"}},
        {"rename": {"a": "b", "b": "a"}},
        {"rename": {"a": "a"}},
        {"add": {"a": "x" * 1_001}},
        {"add": {"a": "\x00"}},
        {"add": {"a": float("nan")}},
        {"add": {"a": float("inf")}},
        {"add": {"a": 10**400}},
    ],
)
def test_a_mapping_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MappingError):
        BodyMapping(**wrong)


# ── TradersPost ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("facts", "action"), [(FACTS, "buy"), (SELL, "exit"), (PART, "sell")], ids=str
)
def test_the_action_is_what_was_judged(facts: Facts, action: str) -> None:
    body = {"ticker": "NYSE:BRK.B", "action": "long", "quantity": 2}
    found = sent(body, facts=facts)
    assert (found["ticker"], found["action"]) == ("BRK.B", action)


@pytest.mark.parametrize(
    ("ticker", "theirs"),
    [("AAPL", "AAPL"), ("BTCUSDT.P", "BTCUSDT.P"), ("BTC-USD", "BTC-USD"), ("LEN-B", "LEN.B")],
)
def test_a_ticker_is_spelled_as_tradingview_does(ticker: str, theirs: str) -> None:
    assert sent({}, facts=replace(FACTS, ticker=ticker))["ticker"] == theirs


def test_what_it_knows_passes_with_its_text() -> None:
    body = (
        b'{"quantity":"10.50","limitPrice":1.10,"orderType":"limit","takeProfit":{"percent": 10},'
        b'"stopLoss":{"type":"stop","stopPrice":9.90},"interval":"5","cancel":true,"other":1}'
    )
    out = mapped(body, TRADERSPOST, FACTS)
    for part in (b'"quantity":"10.50"', b'"limitPrice":1.10', b'"takeProfit":{"percent": 10}'):
        assert part in out
    assert b'"stopPrice":9.90' in out
    assert b"other" not in out


def test_another_spelling_or_an_alias_stands_in() -> None:
    assert sent({"Order_Type": "market", "qty": 3, "close": "1.10", "timenow": "t"}) == {
        "ticker": "BRK.B",
        "action": "buy",
        "orderType": "market",
        "quantity": 3,
        "price": "1.10",
        "time": "t",
        "extras": OURS,
    }
    assert sent({"quantity": 1, "qty": 2, "contracts": 3})["quantity"] == 1
    assert "price" not in sent({"signalPrice": 1, "close": 2})


def test_beside_an_exit_stands_no_sentiment() -> None:
    """TradersPost refuses it (invalid-sentiment-action), and the sell would be lost."""
    body = {
        "action": "sell",
        "sentiment": "flat",
        "quantity": "7",
        "quantityType": "fixed_quantity",
    }
    found = sent(body, facts=SELL)
    assert found == {"ticker": "BRK.B", "action": "exit", "extras": OURS}
    assert sent({"quantity": "7"}, facts=SELL)["quantity"] == "7"


def test_a_partial_sell_cannot_open_a_short() -> None:
    assert sent({"quantity": 5}, facts=PART)["sentiment"] == "long"
    assert sent({"quantity": 5, "sentiment": "bullish"}, facts=PART)["sentiment"] == "bullish"


def test_a_part_in_percent_is_one_of_the_position() -> None:
    for percent in (25, "25", "25%"):
        found = sent({"percent": percent}, facts=PART)
        assert (found["quantity"], found["quantityType"]) == (25, "percent_of_position")
    assert sent({"percent": 25, "qty": 3}, facts=PART)["quantity"] == 3
    assert "quantity" not in sent({"percent": "most"}, facts=PART)
    assert "quantity" not in sent({"percent": 25})


def test_adding_stays_adding() -> None:
    found = sent({"action": "add", "sentiment": "long"})
    assert found == {"ticker": "BRK.B", "action": "add", "extras": OURS}


def test_extras_keep_what_is_in_them() -> None:
    body = b'{"extras":{"rsi": 23.10}}'
    assert b'"extras":{"rsi": 23.10,"signal_id"' in mapped(body, TRADERSPOST, FACTS)
    assert sent({"extras": "a note"})["extras"] == "a note"


@pytest.mark.parametrize("body", NO_OBJECTS)
def test_what_is_no_object_becomes_the_least_one(body: bytes) -> None:
    assert sent(body, facts=SELL) == {"ticker": "BRK.B", "action": "exit", "extras": OURS}


def test_renaming_comes_after_the_preset() -> None:
    mapping = BodyMapping(Preset.TRADERSPOST, {"price": "limitPrice"}, {"test": True})
    found = sent({"close": 5}, mapping)
    assert (found["limitPrice"], found["test"]) == (5, True)


@given(st.dictionaries(st.text(max_size=6) | st.sampled_from(["qty", "extras"]), JSON, max_size=5))
def test_whatever_comes_it_is_the_same_json_each_time(body: dict[str, Any]) -> None:
    given = json.dumps(body).encode()
    for facts in (FACTS, SELL, PART):
        first = mapped(given, TRADERSPOST, facts)
        assert first == mapped(given, TRADERSPOST, facts)
        found = json.loads(first)
        assert (found["ticker"], found["action"]) == (
            "BRK.B",
            "buy" if facts is FACTS else "sell" if facts is PART else "exit",
        ) or body.get("action") == "add"
        assert found["action"] in {"buy", "sell"} or "sentiment" not in found


def test_the_label_follows_the_body() -> None:
    assert content_type(TRADERSPOST, "text/plain") == "application/json"
    assert content_type(BodyMapping(), "text/plain") == "text/plain"
