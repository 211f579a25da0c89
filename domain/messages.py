"""Ready messages for TradingView's alerts: what to paste there, so that it is read here."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

# TradingView, support 43000531021: the names, and values as it fills them in.
FILLED: Mapping[str, str] = {
    "ticker": "AAPL",
    "exchange": "NASDAQ",
    "open": "188.40",
    "high": "190.10",
    "low": "188.05",
    "close": "189.95",
    "volume": "1200345",
    "time": "2026-01-05T15:30:00Z",
    "interval": "5",
    "timenow": "2026-01-05T15:30:02Z",
    "strategy.order.action": "buy",
    "strategy.order.contracts": "10",
    "strategy.order.price": "189.95",
    "strategy.order.id": "Long",
    "strategy.position_size": "10",
    "strategy.market_position": "long",
    "strategy.prev_market_position": "flat",
}
"""An entry that buys ten shares. Other orders differ in what `ORDERS` says."""

ORDERS: Mapping[str, Mapping[str, str]] = {
    "buy": {},
    "exit": {
        "strategy.order.action": "sell",
        "strategy.market_position": "flat",
        "strategy.prev_market_position": "long",
    },
    "part": {
        "strategy.order.action": "sell",
        "strategy.order.contracts": "4",
        "strategy.market_position": "long",
        "strategy.prev_market_position": "long",
    },
}

SENDERS = ("52.89.214.238", "34.212.75.30", "54.218.53.128", "52.32.178.7")
"""Where TradingView sends alerts from (support 43000529348, as of autumn 2026)."""

_PLACEHOLDER = re.compile(r"\{\{([a-z_.0-9]{1,60})\}\}")


class Shape(StrEnum):
    """Whose words a message has: those read here best, or those TradersPost reads by itself."""

    OURS = "ours"
    TRADERSPOST = "traderspost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to paste. ``where`` says into which alert."""

    name: str
    shape: Shape
    title: str
    where: str
    text: str


_INDICATOR = (
    "Create an alert on the indicator's condition to {do}, paste this into its Message, and the"
    " webhook address into Notifications."
)
_STRATEGY = (
    "Create one alert on the strategy (condition: the strategy itself, order fills), paste this"
    " into its Message, and the webhook address into Notifications. It serves every order."
)
_TITLES = {
    "indicator-buy": "Indicator: buy",
    "indicator-sell": "Indicator: sell",
    "strategy": "Strategy: every order",
}


def messages(sent: str = "timenow") -> Sequence[Message]:
    """Every ready message. ``sent`` is the member in which a source expects the send time."""
    return [
        _message(shape, name, fields)
        for shape, bodies in ((Shape.OURS, _ours(sent)), (Shape.TRADERSPOST, _traderspost()))
        for name, fields in bodies.items()
    ]


def filled(text: str, values: Mapping[str, str] | None = None) -> str:
    """A message as TradingView sends it: the placeholders of ``FILLED`` with plausible values."""
    known = {**FILLED, **(values or {})}
    return _PLACEHOLDER.sub(lambda one: known.get(one[1], one[0]), text)


def _message(shape: Shape, name: str, fields: Mapping[str, str]) -> Message:
    side = "buy" if name.endswith("buy") else "sell"
    return Message(
        name=name if shape is Shape.OURS else f"{shape}-{name}",
        shape=shape,
        title=_TITLES[name],
        where=_STRATEGY if name == "strategy" else _INDICATOR.format(do=side),
        text=json.dumps(fields, indent=2),
    )


def _ours(sent: str) -> Mapping[str, Mapping[str, str]]:
    """Everything that is read here. ``sentiment`` flat says that a sell ends the position."""
    share = {"ticker": "{{ticker}}", "exchange": "{{exchange}}"}
    rest = {"interval": "{{interval}}", sent: "{{timenow}}"}
    return {
        "indicator-buy": {**share, "action": "buy", "price": "{{close}}", **rest},
        "indicator-sell": {
            **share,
            "action": "sell",
            "sentiment": "flat",
            "price": "{{close}}",
            **rest,
        },
        "strategy": {
            **share,
            "action": "{{strategy.order.action}}",
            "market_position": "{{strategy.market_position}}",
            "prev_market_position": "{{strategy.prev_market_position}}",
            "contracts": "{{strategy.order.contracts}}",
            "price": "{{strategy.order.price}}",
            **rest,
        },
    }


def _traderspost() -> Mapping[str, Mapping[str, str]]:
    """What TradersPost's webhook reads by itself, for destinations that get the body as it came.

    docs.traderspost.io, "Signal Message Reference" and "TradingView strategy" (read 2026-06-12):
    ``ticker`` and ``action`` are required; ``exit`` ends a position and never enters the other
    side; ``sentiment`` is the position a strategy is in after its order; ``price`` and ``time`` are
    those of the signal. It names no member for the send time: ours is ``time`` there, and counts as
    one where the source names it so.
    """
    rest = {"price": "{{close}}", "time": "{{timenow}}", "interval": "{{interval}}"}
    return {
        "indicator-buy": {"ticker": "{{ticker}}", "action": "buy", **rest},
        "indicator-sell": {"ticker": "{{ticker}}", "action": "exit", **rest},
        "strategy": {
            "ticker": "{{ticker}}",
            "action": "{{strategy.order.action}}",
            "sentiment": "{{strategy.market_position}}",
            "quantity": "{{strategy.order.contracts}}",
            **rest,
        },
    }
