import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.alert import Alert, Invalid, InvalidCode, read
from domain.signal import Side

words = st.sampled_from(
    ["buy", "sell", "exit", "add", "reduce", "long", "short", "flat", "33%", "0", "5", "-5"]
)


def said(fields: dict[str, Any]) -> Alert:
    alert = read(json.dumps({"ticker": "AAPL"} | fields).encode())
    assert isinstance(alert, Alert), alert
    return alert


def refusal(fields: dict[str, Any]) -> InvalidCode:
    invalid = read(json.dumps({"ticker": "AAPL"} | fields).encode())
    assert isinstance(invalid, Invalid), invalid
    return invalid.code


LONG, SHORT, FLAT = "long", "short", "flat"


@pytest.mark.parametrize(
    ("fields", "side", "closes", "partial"),
    [
        ({"action": "buy"}, "buy", False, False),
        ({"side": " SELL "}, "sell", None, False),
        ({"action": "add"}, "buy", False, False),
        ({"action": "exit"}, "sell", True, False),
        ({"order_action": "flat"}, "sell", True, False),
        ({"direction": "long"}, "buy", False, False),
        ({"direction": "short"}, "sell", False, False),
        ({"orderAction": "exit_long"}, "sell", True, False),
        ({"action": "Exit Short"}, "buy", True, False),
        ({"action": "enter_long"}, "buy", False, False),
        ({"action": "enter_short"}, "sell", False, False),
        ({"action": "sell_to_close"}, "sell", True, False),
        ({"action": "buy to cover"}, "buy", True, False),
        ({"data": "close"}, "sell", True, False),
        ({"signal": "entry", "dir": "sell"}, "sell", False, False),
        ({"signal": "exit", "dir": "sell"}, "sell", True, False),
        ({"signal": "exit", "dir": "buy"}, "buy", True, False),
        ({"action": "exit", "side": "long"}, "sell", True, False),
        ({"action": "exit", "side": "short"}, "buy", True, False),
        ({"action": "ENTRY", "signal": "BUY", "type": "LONG"}, "buy", False, False),
        ({"action": "buy", "type": "limit"}, "buy", False, False),
        ({"action": "sell", "message": "exit"}, "sell", True, False),
        ({"action": "sell", "message": "the trend is over"}, "sell", None, False),
        ({"action": "sell", "position_side": "LONG"}, "sell", True, False),
        ({"action": "buy", "positionSide": "SHORT"}, "buy", True, False),
        ({"action": "sell", "close_position": "False"}, "sell", None, False),
        ({"action": "sell", "close_position": "True"}, "sell", True, False),
        ({"action": "buy", "reduceOnly": True}, "buy", True, False),
        # What stands after the order.
        ({"action": "sell", "sentiment": "flat"}, "sell", True, False),
        ({"action": "sell", "sentiment": "bearish"}, "sell", False, False),
        ({"action": "sell", "sentiment": "bullish"}, "sell", True, True),
        ({"action": "buy", "sentiment": "flat"}, "buy", True, False),
        ({"action": "buy", "market_position": "short"}, "buy", True, True),
        ({"action": "buy", "market_position": "long"}, "buy", False, False),
        ({"action": "sell", "position_size": 0}, "sell", True, False),
        ({"action": "sell", "position_size": "0.0"}, "sell", True, False),
        ({"action": "sell", "position_size": "50"}, "sell", True, True),
        ({"action": "sell", "position_size": -50}, "sell", False, False),
        ({"action": "buy", "position_size": 50}, "buy", False, False),
        ({"action": "sell", "market_position_size": "0"}, "sell", True, False),
        # What stood before it.
        ({"action": "sell", "prev_position": "long"}, "sell", True, False),
        ({"action": "buy", "prev_position": "short"}, "buy", True, False),
        ({"action": "sell", "prev_position": "flat"}, "sell", False, False),
        ({"action": "exit", "prev_market_position": "short"}, "buy", True, False),
        # A reversal: the sell ends the long, too, so it must not count as a mere short entry.
        (
            {"action": "sell", "prev_market_position": LONG, "market_position": SHORT},
            *("sell", None, False),
        ),
        (
            {"action": "buy", "prev_market_position": SHORT, "market_position": LONG},
            *("buy", False, False),
        ),
        # The position alone.
        ({"market_position": "long"}, "buy", False, False),
        ({"market_position": "flat"}, "sell", True, False),
        ({"market_position": "flat", "prev_market_position": SHORT}, "buy", True, False),
        ({"market_position": "short"}, "sell", False, False),
        (
            {
                "market_position": LONG,
                "market_position_size": 5,
                "prev_market_position": LONG,
                "prev_market_position_size": 10,
            },
            *("sell", True, True),
        ),
        # A part.
        ({"action": "close", "size": "33%"}, "sell", True, True),
        ({"action": "close", "size": "100%"}, "sell", True, False),
        ({"action": "close", "percent": 25}, "sell", True, True),
        ({"action": "close", "quantity": 33}, "sell", True, False),
        ({"action": "sell", "qty": "50 %"}, "sell", None, True),
        ({"action": "sell", "qty": "50%", "sentiment": "flat"}, "sell", True, False),
        ({"action": "sell", "qty": "50%", "sentiment": "short"}, "sell", False, False),
        (
            {"action": "exit", "quantityType": "percent_of_position", "quantity": 40},
            *("sell", True, True),
        ),
        (
            {"action": "exit", "order": {"amount": "40", "currency_type": "position_percent"}},
            *("sell", True, True),
        ),
        ({"action": "reduce"}, "sell", True, True),
        ({"action": "buy", "size": "33%"}, "buy", False, False),
        # Nested.
        ({"strategy": {"order_action": "sell", "market_position": FLAT}}, "sell", True, False),
        ({"strategy": {"order": {"action": "buy"}}}, "buy", False, False),
        ({"strategy.order.action": "buy"}, "buy", False, False),
        ({"action": "sell", "takeProfit": {"action": "buy"}}, "sell", None, False),
    ],
)
def test_what_the_words_mean(
    fields: dict[str, Any],
    side: str,
    closes: bool | None,  # noqa: FBT001  a column of the table
    partial: bool,  # noqa: FBT001  a column of the table
) -> None:
    alert = said(fields)
    assert (alert.side, alert.closes, alert.partial) == (side, closes, partial)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "no_action"),
        ({"type": "market"}, "no_action"),
        ({"action": None}, "no_action"),
        ({"action": ""}, "no_action"),
        ({"action": "bu"}, "unknown_action"),
        ({"action": 1}, "unknown_action"),
        ({"action": ["buy"]}, "unknown_action"),
        ({"action": "b" * 10_000}, "unknown_action"),
        ({"signal": "RSI cross"}, "unknown_action"),
        ({"market_position": "up"}, "unknown_action"),
        ({"action": "bracket", "side": "buy"}, "unknown_action"),
        ({"action": "cancel"}, "unsupported_action"),
        ({"action": "cancel", "side": "buy"}, "unsupported_action"),
        ({"action": "buy", "type": "modify"}, "unsupported_action"),
        ({"action": "buy", "side": "sell"}, "conflicting_actions"),
        ({"action": "long", "side": "short"}, "conflicting_actions"),
        ({"action": "exit", "signal": "entry"}, "conflicting_actions"),
        ({"action": "buy", "strategy": {"order_action": "sell"}}, "conflicting_actions"),
        ({"action": "{{strategy.order.action}}"}, "unresolved_placeholder"),
        ({"action": "%action%"}, "unresolved_placeholder"),
        ({"action": "buy", "sentiment": "{{strategy.market_position}}"}, "unresolved_placeholder"),
        ({"market_position": "{{strategy.market_position}}"}, "unresolved_placeholder"),
    ],
)
def test_what_cannot_be_done_is_refused(fields: dict[str, Any], code: str) -> None:
    assert refusal(fields) == code


def test_a_sell_is_not_lost_to_an_unfilled_position() -> None:
    alert = said({"action": "sell", "sentiment": "{{strategy.market_position}}"})
    assert (alert.side, alert.closes) == (Side.SELL, None)


@given(
    st.fixed_dictionaries(
        {"ticker": st.just("AAPL")},
        optional=dict.fromkeys(
            [
                "action",
                "sentiment",
                "prev_position",
                "position_size",
                "direction",
                "signal",
                "size",
            ],
            words,
        ),
    )
)
def test_a_sell_that_leaves_a_long_position_never_opens_a_short(fields: dict[str, Any]) -> None:
    alert = read(json.dumps(fields | {"market_position": "long"} | {"sentiment": "long"}).encode())
    if isinstance(alert, Alert) and alert.side is Side.SELL:
        assert alert.closes is not False
        assert alert.partial
