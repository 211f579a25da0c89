"""An alert: what a posted body says, read by general rules and never by its sender."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, cast

from domain.parsed import (
    ACTION_NAMES,
    DECISIVE,
    TICKER_NAMES,
    Invalid,
    InvalidCode,
    InvalidError,
    Number,
    Parsed,
    canonical,
    load,
    parse,
)
from domain.signal import Side
from domain.ticker import Ticker, exchange_name, normalise, split_symbol
from domain.words import PLACEHOLDER, WORDS, instruction

__all__ = ["Alert", "Invalid", "InvalidCode", "Number", "Parsed", "interpret", "parse", "read"]

_PRICE_NAMES = ("price", "signalprice", "triggerprice", "orderprice", "close")
_TIME_NAMES = ("time", "timenow", "timestamp", "date", "datetime", "sent", "sentat")
_SENT_NAMES = ("timenow", "sent", "sentat")
_ID_NAMES = ("id", "alertid", "signalid")
_TELLING_NAMES = (*ACTION_NAMES, "signal", "data", "marketposition")
_NESTED = ("strategy", "strategyinfo", "order", "data", "alert", "signal", "payload", "message")
_TEXTS = ("message", "alertmessage", "alert", "text", "payload", "body", "data")
_ORDER_FILLED = re.compile(
    r"order (buy|sell) @ \S{1,40} filled on (\S{1,80})\. New strategy position is (\S{1,40})"
)
_PRICE = re.compile(r"\+?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,2})?", re.ASCII)
_EPOCH = re.compile(r"(\d{9,19})(\.\d{1,9})?", re.ASCII)
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_TEXT = 128
_SHORT, _MOST_REMEMBERED = 48, 1_024
"""Templates repeat the same names with every alert: what is as short as these is remembered."""


class Alert(NamedTuple):
    """What a body says.

    ``ticker`` is normalised, ``symbol`` the sender's spelling. ``closes``: True ends a position,
    False opens or adds to one, None when the body does not say. ``partial``: an exit that leaves a
    part of the position open. ``price_text`` is the price as sent, also when it is none we can read
    (``price`` is None then). ``time`` is any time the sender gave and ``sent_at`` only one that
    says when the alert was sent, not the time of a bar; both are in UTC. ``alert_id`` is the
    sender's own identifier.
    """

    ticker: Ticker
    exchange: str | None
    symbol: str
    side: Side
    closes: bool | None
    partial: bool
    price: Decimal | None
    price_text: str | None
    time: datetime | None
    sent_at: datetime | None
    alert_id: str | None


def read(body: bytes, content_type: str = "") -> Alert | Invalid:
    """Return the alert that a body holds, or why it holds none. Never raises."""
    parsed = parse(body, content_type)
    return parsed if isinstance(parsed, Invalid) else interpret(parsed)


def interpret(parsed: Parsed, time_field: str | None = None) -> Alert | Invalid:
    """Return the alert that these fields, or this text, make.

    Names are compared without letter case, blanks and signs (``orderAction``, ``order_action``).
    The outer object counts first, then objects in it such as ``strategy`` and ``order``. When
    these name no ticker or no action, a ``message`` that is itself an object in JSON or
    TradingView's default text of a strategy is read as well. ``time_field`` names one more member
    that says when the alert was sent; it comes before those that say so by themselves.
    """
    try:
        return _alert(parsed, (canonical(time_field),) if time_field else ())
    except InvalidError as error:
        return Invalid.because(error.code)


def _alert(parsed: Parsed, sent: tuple[str, ...]) -> Alert:
    own = _named(parsed.fields) if parsed.fields is not None else _default_text(parsed.text)
    if own is None:
        raise InvalidError(InvalidCode.NOT_JSON)
    fields = _complete(own)
    symbol, ticker, exchange = _ticker(fields)
    instruct = instruction(fields)
    price_text = _price_text(fields)
    return Alert(  # by place: names cost the hot path more
        ticker,
        exchange,
        symbol,
        instruct.side,
        instruct.closes,
        instruct.partial,
        _price(price_text),
        price_text,
        _first_time(fields, (*sent, *_TIME_NAMES)),
        _first_time(own, (*sent, *_SENT_NAMES)),
        _alert_id(own),
    )


def _named(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields under canonical names, without empty ones. The same rule for twins as for repeats."""
    names, has_twins = _names(tuple(fields))
    told = zip(names, fields.values(), strict=True)
    if has_twins:
        return _first_of_twins(told)
    return {name: value for name, value in told if value is not None and value != ""}


def _first_of_twins(told: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in told:
        if value is None or value == "":
            continue
        if named.setdefault(name, value) != value and name in DECISIVE:
            raise InvalidError(InvalidCode.REPEATED_KEY)
    return named


def _names(keys: tuple[str, ...]) -> tuple[Sequence[str], bool]:
    """Keys as canonical names, and whether two are the same then."""
    is_short = len("".join(keys)) <= _MOST_REMEMBERED
    return _remembered_names(keys) if is_short else _canonical_names(keys)


def _canonical_names(keys: tuple[str, ...]) -> tuple[Sequence[str], bool]:
    names = tuple(map(canonical, keys))
    return names, len(set(names)) < len(names)


_remembered_names = lru_cache(maxsize=256)(_canonical_names)


def _complete(own: dict[str, Any]) -> dict[str, Any]:
    """Add what nested objects and, where something is missing, texts say; what stands wins."""
    fields = own
    if dict in map(type, own.values()):
        fields = dict(own)
        _nested(own, fields, levels=3)
    if _has(fields, TICKER_NAMES) and _has(fields, _TELLING_NAMES):
        return fields
    fields = dict(fields)
    for name in _TEXTS:
        text = own.get(name)
        if isinstance(text, str) and (inner := _inner(text)):
            _add(fields, inner)
            _nested(inner, fields, levels=3)
    return fields


def _nested(outer: Mapping[str, Any], fields: dict[str, Any], *, levels: int) -> None:
    for name in _NESTED:
        value = outer.get(name)
        if isinstance(value, dict) and levels:
            inner = _named(cast("dict[str, Any]", value))
            _add(fields, inner)
            _nested(inner, fields, levels=levels - 1)


def _add(fields: dict[str, Any], more: Mapping[str, Any]) -> None:
    """What stands wins, and of the ticker's names any: a receiver reads the outer object, too."""
    settled = TICKER_NAMES if any(_says(fields.get(name)) for name in TICKER_NAMES) else ()
    for name, value in more.items():
        if name not in settled and not isinstance(fields.get(name), str | bool):
            fields[name] = value


def _says(value: object) -> bool:
    return isinstance(value, str) and not value.isspace()


def _inner(text: str) -> dict[str, Any] | None:
    """The fields of a text in a field: an object in JSON, or TradingView's default text."""
    if not text.lstrip().startswith("{"):
        return _default_text(text)
    try:
        value = load(text)
    except ValueError:
        return None
    return _named(cast("dict[str, Any]", value)) if isinstance(value, dict) else None


def _default_text(text: str) -> dict[str, Any] | None:
    """TradingView's default text of a strategy's alert.

    ``<strategy>: order buy @ 33.33 filled on SOLUSDT. New strategy position is 100``: what follows
    the @ is the quantity, not the price, and the position is the one after the order.
    """
    filled = _ORDER_FILLED.search(text)
    if filled is None:
        return None
    position = filled[3].replace("\N{MINUS SIGN}", "-").replace(",", "").rstrip(".")
    return {"action": filled[1], "ticker": filled[2], "newposition": position}


def _has(fields: Mapping[str, Any], names: Iterable[str]) -> bool:
    for name in names:  # noqa: SIM110  a generator costs the hot path as much again
        if isinstance(fields.get(name), str):
            return True
    return False


def _ticker(fields: Mapping[str, Any]) -> tuple[str, Ticker, str | None]:
    symbol: object = None
    for name in TICKER_NAMES:
        symbol = fields.get(name)
        if symbol is not None and not (isinstance(symbol, str) and symbol.isspace()):
            break
    else:
        raise InvalidError(InvalidCode.NO_TICKER)
    if not isinstance(symbol, str):
        raise InvalidError(InvalidCode.INVALID_TICKER)
    read = _remembered_symbol if len(symbol) <= _SHORT else _symbol
    try:
        ticker, exchange = read(symbol)
    except ValueError:
        raise InvalidError(InvalidCode.INVALID_TICKER) from None
    return str(symbol), ticker, exchange or _exchange(fields)


def _symbol(symbol: str) -> tuple[Ticker, str | None]:
    """A sender's spelling as ticker and exchange. Raises ValueError, InvalidError."""
    if PLACEHOLDER.search(symbol):
        raise InvalidError(InvalidCode.UNRESOLVED_PLACEHOLDER)
    return normalise(symbol), split_symbol(symbol)[0]


_remembered_symbol = lru_cache(maxsize=8_192)(_symbol)


def _exchange(fields: Mapping[str, Any]) -> str | None:
    named = fields.get("exchange") or fields.get("tvexchange")
    return exchange_name(named) if isinstance(named, str) and len(named) <= _LONGEST_TEXT else None


def _price_text(fields: Mapping[str, Any]) -> str | None:
    for name in _PRICE_NAMES:
        text = fields.get(name)
        if isinstance(text, str):
            return str(text) if text and len(text) <= _LONGEST_TEXT else None
    return None


def _price(text: str | None) -> Decimal | None:
    """The price of a share: a number above zero, with a point, without thousands separators."""
    bare = text and text.strip()
    return (Decimal(bare) or None) if bare and _PRICE.fullmatch(bare) else None


def _first_time(fields: Mapping[str, Any], names: Iterable[str]) -> datetime | None:
    for name in names:
        if name in fields and (time := _time(fields[name])):
            return time
    return None


def _time(value: object) -> datetime | None:
    """A time with its zone, in UTC: ISO 8601, or seconds, milli-, micro- or nanoseconds since 1970.

    TradingView's placeholders give ISO 8601 with Z, Pine code gives milliseconds (support
    43000531021). A time without a zone is none: there is nothing to tell which one was meant.
    """
    if not isinstance(value, str) or len(value) > 40:
        return None
    text = value.strip()
    try:
        if epoch := _EPOCH.fullmatch(text):
            return _since_epoch(epoch[1], epoch[2] or "")
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _since_epoch(digits: str, fraction: str) -> datetime:
    """Nine to eleven digits are seconds; every three more divide by a thousand."""
    power = max(0, (len(digits) - 9) // 3) * 3
    microseconds = Decimal(digits + fraction).scaleb(6 - power)
    return _EPOCH_START + timedelta(microseconds=int(microseconds))


def _alert_id(own: Mapping[str, Any]) -> str | None:
    """The sender's identifier. A word such as Long is a strategy's name for its order, none."""
    for name in _ID_NAMES:
        value = own.get(name)
        if not isinstance(value, str) or not 0 < len(value.strip()) <= _LONGEST_TEXT:
            continue
        unfit = PLACEHOLDER.search(value) or canonical(value) in WORDS or not value.isprintable()
        if not unfit:
            return str(value)
    return None
