"""Advice on an alert: what was made of each of its members, and what its writer should change."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from domain.alert import Alert, Invalid, InvalidCode, Parsed, interpret
from domain.body import MASK, masked
from domain.parsed import MOST_BYTES, canonical
from domain.ticker import split_symbol
from domain.words import PLACEHOLDER

LONGEST_NAME = 60
MOST_NAMES = 60

FIXES: Mapping[InvalidCode, str] = {
    InvalidCode.EMPTY_BODY: "Write a message into the alert, such as"
    ' {"ticker": "{{ticker}}", "action": "buy"}. TradingView sends nothing else.',
    InvalidCode.TOO_LARGE: "Send less: a ticker, an action and a price are enough.",
    InvalidCode.INVALID_UTF8: "Save and send the message as UTF-8.",
    InvalidCode.INVALID_JSON: "Put it into a JSON checker: every name and every text stands in"
    " straight double quotes, a comma between members, none after the last.",
    InvalidCode.NOT_JSON: 'Write it as JSON: {"ticker": "{{ticker}}", "action": "buy"}.',
    InvalidCode.BODY_IS_ARRAY: "Take the square brackets away and send one object: several signals"
    " are several requests.",
    InvalidCode.BODY_NOT_AN_OBJECT: 'Put it into an object: {"ticker": …, "action": …}.',
    InvalidCode.TOO_DEEP: "Write ticker and action into the outermost object.",
    InvalidCode.TOO_MANY_KEYS: "Leave out what is not needed: 200 members are the most.",
    InvalidCode.NON_FINITE_NUMBER: "Put the number into quotes, or leave it out.",
    InvalidCode.FORBIDDEN_CHARACTER: "Type the message again: it holds an invisible sign that"
    " cannot be stored, often brought along by copying.",
    InvalidCode.REPEATED_KEY: "Keep one of the two: name ticker and action once.",
    InvalidCode.NO_TICKER: 'Add "ticker": "{{ticker}}".',
    InvalidCode.INVALID_TICKER: "Send one symbol, such as AAPL or NASDAQ:AAPL. Ratios and spreads"
    " have no ticker.",
    InvalidCode.NO_ACTION: 'Add "action": "buy" or "sell"; in a strategy'
    ' "action": "{{strategy.order.action}}".',
    InvalidCode.UNKNOWN_ACTION: 'Say buy, sell, exit or add as "action".',
    InvalidCode.UNSUPPORTED_ACTION: "Send it to your broker's own webhook: orders cannot be"
    " cancelled or changed through here.",
    InvalidCode.CONFLICTING_ACTIONS: "Say it once: leave out the member that contradicts.",
    InvalidCode.UNRESOLVED_PLACEHOLDER: "Placeholders of strategies are filled in alerts made from"
    " a strategy only: make the alert on the strategy, or write buy or sell yourself.",
    InvalidCode.TIME_IN_FUTURE: "Set the sender's clock, or send {{timenow}}; a time without its"
    " zone, or of another one, is hours off.",
}
"""What to change, for each way in which an alert is none."""

_KNOWN_PLACEHOLDERS = re.compile(
    r"\{\{\s*((?:strategy\.[a-z_.]{1,40})|ticker|exchange|close|open|high|low|volume|time|timenow"
    r"|interval|plot_\d{1,2}|syminfo\.[a-z_.]{1,40})\s*\}\}"
)
_TYPOGRAPHIC = re.compile("[\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019]")
_SINGLE = re.compile(r"[{,]\s{0,20}'")
_TRAILING = re.compile(r",\s{0,200}([}\]])")
_MISSING = re.compile(r'(["\d}\]]|true|false|null)(\s{1,200})(?="[^"\n]{1,80}"\s{0,5}:)')
_BARE = re.compile(r"([:,]\s{0,20})(\{\{[^{}\"]{1,80}\}\}|[A-Za-z][\w./:-]{0,60})(?=\s{0,20}[,}])")
_FILLED_TIME = re.compile(r"(:\s{0,20})(\d{4}-\d\d-\d\dT[\d:.]{5,15}Z)(?=\s{0,20}[,}])")
_NOT_A_NUMBER = re.compile(r"([:,]\s{0,20})(-?Infinity|NaN|nan)(?=\s{0,20}[,}])")
_COMMENT = re.compile(r"(?:^|[,{\s])//[^\n]{0,500}")
_FENCE = re.compile(r"```[a-z]{0,10}")
_NAMED = re.compile(r"\b(ticker|symbol|action|side)\b[\"']?\s{0,5}[:=]")
_LITERALS = frozenset({"true", "false", "null"})
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an alert by its name, and what it told us: nothing where it was ignored."""

    name: str
    tells: tuple[str, ...]
    secret: bool = False


def fix(code: InvalidCode) -> str:
    """What to change where an alert has this code."""
    return FIXES[code]


def normalising(alert: Alert) -> str:
    """How the sender's spelling became our ticker; "" where it is that already."""
    try:
        exchange, symbol = split_symbol(alert.symbol)
    except ValueError:
        return ""
    steps = [
        (exchange is not None, f"{exchange} before the colon is the exchange"),
        (symbol != symbol.upper(), "letters are capitals"),
        (symbol.upper() != alert.ticker, "the share class stands behind a dash, as Finviz has it"),
        (symbol != alert.symbol and exchange is None, "blanks around it go"),
    ]
    return "; ".join(words for happened, words in steps if happened)


# ── What was made of each member ────────────────────────────────────────────────────────────

_TELLS = {
    "ticker": "ticker",
    "symbol": "ticker",
    "exchange": "exchange",
    "side": "side",
    "closes": "whether it ends a position",
    "partial": "whether a part stays",
    "price": "price",
    "price_text": "price",
    "time": "time",
    "sent_at": "when it was sent",
    "alert_id": "its id",
}
_MISSED = {InvalidCode.NO_TICKER: ("ticker",), InvalidCode.NO_ACTION: ("side",)}


def members(parsed: Parsed, time_field: str | None = None) -> Sequence[Member]:
    """What each member of an object told us: whatever is read otherwise, or not, without it.

    Members that say the same are taken away one after another, so that one of them counts.
    """
    if parsed.fields is None:
        return ()
    kept, tells = dict(parsed.fields), dict[str, tuple[str, ...]]()
    whole = interpret(parsed, time_field)
    for name in reversed(list(kept)[:MOST_NAMES]):
        without = {key: value for key, value in kept.items() if key != name}
        told = _told(whole, interpret(parsed._replace(fields=without), time_field))
        tells[name] = told
        if not told:
            kept = without
    return [
        Member(_shown(name), tells[name], _is_secret(name, parsed.fields[name]))
        for name in list(parsed.fields)[:MOST_NAMES]
    ]


def _told(whole: Alert | Invalid, without: Alert | Invalid) -> tuple[str, ...]:
    """What is lost without a member."""
    if isinstance(whole, Invalid):
        return () if whole == without else ("what is wrong",)
    if isinstance(without, Invalid):
        return _MISSED.get(without.code, ("what is traded",))
    changed = [name for name in Alert._fields if getattr(whole, name) != getattr(without, name)]
    return tuple(dict.fromkeys(_TELLS[name] for name in changed))


def _shown(name: str) -> str:
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain if len(plain) <= LONGEST_NAME else f"{plain[:LONGEST_NAME]}…"


def _is_secret(name: str, value: object) -> bool:
    try:
        plain = json.dumps({name: value})
    except (ValueError, RecursionError):
        return True
    return MASK in masked(plain.encode(), len(plain)) and MASK not in plain


# ── What to change in what cannot be read ───────────────────────────────────────────────────


def mistakes(body: bytes) -> Sequence[str]:
    """Common mistakes in a body that cannot be read, each with what to change. Never raises.

    They are those that mend it, alone or after one another. Nothing of the body is repeated.
    """
    return list(_broken(_text(body)))


def unfilled(body: bytes) -> Sequence[str]:
    """Placeholders that came as they were written; named are those of TradingView alone."""
    return list(_unfilled(_text(body)))


def _text(body: bytes) -> str:
    return body[:MOST_BYTES].decode("utf-8", "replace").strip("\ufeff \t\r\n")


def _broken(text: str) -> Iterator[str]:
    """What keeps a text from being JSON: whatever mends it, alone or after what came before."""
    if not text or _reads(text):
        return
    if "`" * 3 in text:
        yield "Take the lines with ``` away: they are how a page shows code."
        text = _FENCE.sub("", text).strip()
    if not text.startswith(("{", "[")):
        if _NAMED.search(text):
            yield "Put it between braces and quote the names: this looks like JSON without them."
        return
    for finds, mend, words in _MENDS:
        if finds(text) and (mended := mend(text)) != text:
            yield words
            text = mended
    if text.startswith("{") and not text.endswith("}"):
        yield "It does not end with }: its end is missing, or something stands behind it."


def _reads(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _constant(_: str) -> object:
    raise ValueError("NaN and Infinity are no JSON")


def _unquoted(text: str) -> bool:
    return any(one[2] not in _LITERALS for one in _BARE.finditer(text))


def _quote_bare(text: str) -> str:
    return _BARE.sub(lambda one: one[0] if one[2] in _LITERALS else f'{one[1]}"{one[2]}"', text)


def _found(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.search(text) is not None


_MENDS: Sequence[tuple[Callable[[str], bool], Callable[[str], str], str]] = (
    (
        _found(_TYPOGRAPHIC),
        lambda text: _TYPOGRAPHIC.sub('"', text),
        'Type the quotes again as straight ones ("): word processors and chat programs bend them.',
    ),
    (
        _found(_SINGLE),
        lambda text: text.replace("'", '"'),
        "Use double quotes: JSON knows no single ones.",
    ),
    (
        _found(_COMMENT),
        lambda text: _COMMENT.sub("", text),
        "Take the comments away: JSON has none.",
    ),
    (
        _found(_NOT_A_NUMBER),
        lambda text: _NOT_A_NUMBER.sub(r"\1null", text),
        "A value was not there (NaN): put such a placeholder into quotes, or send another one.",
    ),
    (
        _found(_FILLED_TIME),
        lambda text: _FILLED_TIME.sub(r'\1"\2"', text),
        'Put the time into quotes: "timenow": "{{timenow}}".',
    ),
    (
        _unquoted,
        _quote_bare,
        'Put text and placeholders into quotes: "ticker": "{{ticker}}".',
    ),
    (
        _found(_TRAILING),
        lambda text: _TRAILING.sub(r"\1", text),
        "Take the comma behind the last member away.",
    ),
    (
        _found(_MISSING),
        lambda text: _MISSING.sub(r"\1,\2", text),
        "Put a comma between every two members: one is missing.",
    ),
)


def _unfilled(text: str) -> Iterator[str]:
    """Placeholders that came as they were written."""
    names = list(dict.fromkeys(one[1] for one in _KNOWN_PLACEHOLDERS.finditer(text)))
    if names:
        shown = ", ".join(f"{{{{{name}}}}}" for name in names[:5])
        yield (
            f"TradingView fills in {shown} when it sends the alert: here it has not. What is judged"
            " below is the message as it stands."
        )
        if any(name.startswith("strategy.") for name in names):
            yield "The placeholders of strategies stay unfilled in alerts on an indicator."
    elif PLACEHOLDER.search(text):
        yield "It holds a placeholder that TradingView does not know, so it came as it is written."


# ── What could be better in what is read ────────────────────────────────────────────────────


def hints(parsed: Parsed, alert: Alert, time_field: str | None = None) -> Sequence[str]:
    """What the writer of an alert that is read may want to know."""
    named = {canonical(name): value for name, value in (parsed.fields or {}).items()}
    return [
        *_about_price(alert),
        *_about_time(alert, named, time_field),
        *_about_rest(alert, named),
    ]


def _about_price(alert: Alert) -> Iterator[str]:
    if alert.price is not None or alert.price_text is None:
        return
    if _THOUSANDS.fullmatch(alert.price_text.strip()):
        yield (
            "The price has commas between its thousands and is not read: write it without. Rules"
            " about prices cannot be checked, which turns a buy away where there are some."
        )
    else:
        yield "The price is no number above zero: it is passed on, and not read."


def _about_time(alert: Alert, named: Mapping[str, object], time_field: str | None) -> Iterator[str]:
    times = [name for name in ("time", "timestamp", "date", "datetime") if name in named]
    if alert.sent_at is not None:
        return
    if alert.time is not None:
        yield (
            "Its time is taken for that of a bar, and not for when it was sent: a late alert is not"
            ' known as one. Add "timenow": "{{timenow}}"'
            + ("." if time_field else ", or name the member as the time field of its source.")
        )
    elif times or "timenow" in named:
        yield "Its time is not read: write it with its zone, as in 2026-01-05T15:30:02Z."
    else:
        yield (
            'It does not say when it was sent. With "timenow": "{{timenow}}" a late alert is known'
            " as one, and two alerts at different times are never taken for a repeat."
        )


def _about_rest(alert: Alert, named: Mapping[str, object]) -> Iterator[str]:
    if alert.side == "sell" and alert.closes is None:
        yield (
            "It says sell, and not whether that ends a position: it is taken as the exit of the"
            " whole position."
        )
    if "exchange" in named and alert.exchange is None:
        yield "Its exchange is not read as one."
