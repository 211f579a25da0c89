"""Tickers: one spelling for the list, the alerts, the page and the storage."""

import re
import unicodedata
from typing import NewType

Ticker = NewType("Ticker", str)

_LONGEST_TEXT = 128
_SYMBOL = re.compile(r"(?=.*[A-Z0-9])[A-Z0-9.!_-]{1,32}", re.ASCII)
_EXCHANGE = re.compile(r"[A-Z0-9][A-Z0-9_]{0,31}", re.ASCII)
_SHARE_CLASS = re.compile(r"([A-Z]{1,5})[./]([A-Z])", re.ASCII)


def normalise(text: str) -> Ticker:
    """Return the ticker that ``text`` names, spelled as Finviz spells it.

    Blanks around it, letter case, full-width letters (Unicode NFKC) and an exchange prefix
    (TradingView's ``NASDAQ:AAPL``) make no difference. One letter after ``.`` or ``/`` is a share
    class when one to five letters stand before it: BRK.B and BRK/B are Finviz's BRK-B, while the
    perpetual future BTCUSDT.P stays itself. The class is read alike behind every exchange: a ticker
    is kept without its prefix, so a rule that looked at the prefix would give one share two names,
    and the sell of one would not find the position of the other.

    Raises ValueError, without repeating the text, when this is no ticker; that includes the ratios
    and spreads of TradingView (``NASDAQ:AAPL/NASDAQ:MSFT``).
    """
    _, symbol = split_symbol(text)
    symbol = symbol.upper()
    if share := _SHARE_CLASS.fullmatch(symbol):
        return Ticker(f"{share[1]}-{share[2]}")
    if _SYMBOL.fullmatch(symbol) is None:
        raise ValueError("a ticker is 1 to 32 of the letters A-Z, digits, and . ! _ -")
    return Ticker(symbol)


def split_symbol(text: str) -> tuple[str | None, str]:
    """Return the exchange before the last colon (None without one) and the symbol behind it.

    The exchange is cleaned (see ``exchange_name``); the symbol keeps its letter case. Raises
    ValueError when something other than an exchange stands before the colon.
    """
    if len(text) > _LONGEST_TEXT:
        raise ValueError("too long for a ticker")
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        if not text.isascii():
            raise ValueError("a ticker has only ASCII characters")
    prefix, _, symbol = text.rpartition(":")
    names = [exchange_name(part) for part in prefix.split(":")] if prefix.strip() else [None]
    if prefix.strip() and None in names:
        raise ValueError("an exchange is letters, digits and underscores")
    return names[-1], symbol.strip()


def exchange_name(text: str) -> str | None:
    """Return an exchange in upper case and without the mark of delayed prices, None if it is none.

    ``_DL`` or ``_DLY`` at the end of ``{{exchange}}`` marks delayed prices (TradingView support
    43000531021).
    """
    name = text.strip().upper().removesuffix("_DLY").removesuffix("_DL")
    return name if _EXCHANGE.fullmatch(name) else None
