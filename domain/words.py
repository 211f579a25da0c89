"""What the words of an alert mean: buy or sell, and does it open a position or end one."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from functools import lru_cache
from typing import Any, TypeVar

from domain.parsed import (
    ACTION_NAMES,
    AFTER_NAMES,
    BEFORE_NAMES,
    LOOSE_ACTION_NAMES,
    InvalidCode,
    InvalidError,
    canonical,
)
from domain.signal import Side

_T = TypeVar("_T")

PLACEHOLDER = re.compile(r"\{\{|\$\{|^\s*%\w+%\s*$")

_CLOSE_FLAGS = ("closeposition", "closeall", "reduceonly", "flatten", "exit", "close")
_AMOUNT_NAMES = ("size", "quantity", "qty", "amount", "volume", "contracts", "ordercontracts")
_PERCENT_NAMES = ("percent", "percentage", "closepercent", "exitpercent", "quantitypercent")
_LONGEST_WORD = 40
_MOST_REMEMBERED = 8
_TELLING = frozenset(
    {
        *(*ACTION_NAMES, *LOOSE_ACTION_NAMES, *AFTER_NAMES, *BEFORE_NAMES),
        *(*_CLOSE_FLAGS, *_AMOUNT_NAMES, *_PERCENT_NAMES),
        *("message", "marketposition", "marketpositionsize", "prevmarketpositionsize"),
        *("quantitytype", "currencytype"),
    }
)
"""Every name that is asked for below: what else a message holds changes nothing."""
_YES = frozenset({"true", "yes"})
_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(%?)", re.ASCII)
_AMOUNT = re.compile(r"([+-]?)0*(\d{0,30})(?:\.(\d{0,30}))?", re.ASCII)


class Held(Enum):
    """A position: which way it faces."""

    LONG = auto()
    SHORT = auto()
    FLAT = auto()


class Intent(Enum):
    """What an order does to a position."""

    OPEN = auto()
    CLOSE = auto()


@dataclass(frozen=True, slots=True)
class Word:
    """What one word says; None where it does not say."""

    order: Side | None = None
    held: Held | None = None
    intent: Intent | None = None
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Instruction:
    """What an alert wants done; ``closes`` and ``partial`` as in ``Alert``."""

    side: Side
    closes: bool | None
    partial: bool


def _table(words: Mapping[str, Word]) -> dict[str, Word]:
    return {word: meaning for line, meaning in words.items() for word in line.split()}


_LONG_EXIT = Word(Side.SELL, Held.LONG, Intent.CLOSE)
_SHORT_EXIT = Word(Side.BUY, Held.SHORT, Intent.CLOSE)
WORDS = _table(
    {
        "buy": Word(Side.BUY),
        "sell": Word(Side.SELL),
        "long bullish": Word(held=Held.LONG),
        "short bearish": Word(held=Held.SHORT),
        "close exit flat flatten closeposition exitposition closeall exitall liquidate": Word(
            intent=Intent.CLOSE
        ),
        "sellall selltoclose closelong exitlong longexit longclose": _LONG_EXIT,
        "cover buytocover buytoclose closeshort exitshort shortexit shortclose": _SHORT_EXIT,
        "reduce trim scaleout partialclose partialexit closepartial exitpartial": Word(
            intent=Intent.CLOSE, partial=True
        ),
        "entry enter open add scalein increase": Word(intent=Intent.OPEN),
        "buytoopen openlong enterlong longentry longopen addlong buylong": Word(
            Side.BUY, Held.LONG, Intent.OPEN
        ),
        "sellshort selltoopen openshort entershort shortentry shortopen addshort": Word(
            Side.SELL, Held.SHORT, Intent.OPEN
        ),
    }
)
_UNSUPPORTED = _table(
    {
        "cancel cancelorder cancelorders cancelall cancelallorders cancelentry": Word(),
        "modify update replace movestop breakeven reverse hold wait": Word(),
    }
)
_POSITIONS = _table(
    {
        "long bullish": Word(held=Held.LONG),
        "short bearish": Word(held=Held.SHORT),
        "flat none closed": Word(held=Held.FLAT),
    }
)


def instruction(fields: Mapping[str, Any]) -> Instruction:
    """Read what fields with canonical names want done.

    ``action``, ``side`` and their like must hold words we know: reading around one we do not know
    could turn "move the stop" into a buy. ``signal``, ``type`` and their like count when they hold
    one. All words together make the instruction: buy and sell name the order, long and short the
    position it opens (or ends, next to a word that closes), entry and exit what it does.
    ``market_position`` alone is an instruction too: be in that position.

    Raises InvalidError: no, unknown, unsupported or contradicting words, or a placeholder in one.
    """
    said = tuple([item for item in fields.items() if item[0] in _TELLING])
    return _remembered(said) if _are_short(said) else _read(dict(said))


def _are_short(said: Collection[tuple[str, Any]]) -> bool:
    """Whether they may be remembered: templates say the same few words with every alert."""
    for _, value in said:
        is_short = isinstance(value, bool) or (
            isinstance(value, str) and len(value) <= _LONGEST_WORD
        )
        if not is_short:
            return False
    return len(said) <= _MOST_REMEMBERED


@lru_cache(maxsize=1_024)
def _remembered(said: tuple[tuple[str, Any], ...]) -> Instruction:
    return _read(dict(said))


def _read(fields: Mapping[str, Any]) -> Instruction:
    words = _words(fields)
    if not words:
        words = _from_position(fields)
    order = _only(word.order for word in words)
    held = _only(word.held for word in words)
    intent = _only(word.intent for word in words) or _flagged(fields)
    before, after = _first(fields, BEFORE_NAMES), _after(fields)
    side = order or _side(intent, (held, before, after))
    if side is Side.BUY:
        _refuse_placeholders(fields)
    closes = _closes(side, intent, (held, before), after)
    stated = any(word.partial for word in words) or _is_part(fields)
    leaves = after is not Held.FLAT and (after is _against(side) or stated)
    return Instruction(side, closes, closes is not False and leaves)


def _words(fields: Mapping[str, Any]) -> list[Word]:
    words = [_known(fields[name]) for name in ACTION_NAMES if name in fields]
    loose = [_loose(fields[name]) for name in LOOSE_ACTION_NAMES if name in fields]
    words += [word for word in loose if word]
    said = WORDS.get(_canonical_word(fields.get("message")))
    if words and said:
        words.append(Word(intent=said.intent))
    return words


def _known(value: object) -> Word:
    text = _text(value)
    if PLACEHOLDER.search(text):
        raise InvalidError(InvalidCode.UNRESOLVED_PLACEHOLDER)
    if word := _loose(value):
        return word
    raise InvalidError(InvalidCode.UNKNOWN_ACTION)


def _loose(value: object) -> Word | None:
    word = _canonical_word(value)
    if word in _UNSUPPORTED:
        raise InvalidError(InvalidCode.UNSUPPORTED_ACTION)
    return WORDS.get(word)


def _from_position(fields: Mapping[str, Any]) -> list[Word]:
    if "marketposition" not in fields:
        attempted = _text(fields.get("signal")) or _text(fields.get("data"))
        raise InvalidError(InvalidCode.UNKNOWN_ACTION if attempted else InvalidCode.NO_ACTION)
    wanted = _first(fields, ("marketposition",))
    if wanted is None:
        _refuse_placeholders(fields)
        raise InvalidError(InvalidCode.UNKNOWN_ACTION)
    if wanted is Held.FLAT:
        return [Word(intent=Intent.CLOSE)]
    if wanted is _first(fields, BEFORE_NAMES) and _shrank(fields):
        return [Word(held=wanted, intent=Intent.CLOSE, partial=True)]
    return [Word(held=wanted)]


def _shrank(fields: Mapping[str, Any]) -> bool:
    sizes = [_text(fields.get(n)) for n in ("prevmarketpositionsize", "marketpositionsize")]
    if not all(size and _AMOUNT.fullmatch(size) for size in sizes):
        return False
    return abs(Decimal(sizes[0])) > abs(Decimal(sizes[1]))


def _only(values: Iterable[_T | None]) -> _T | None:
    said = {value for value in values if value is not None}
    if len(said) > 1:
        raise InvalidError(InvalidCode.CONFLICTING_ACTIONS)
    return said.pop() if said else None


def _side(intent: Intent | None, positions: tuple[Held | None, ...]) -> Side:
    """The side of an order that does not name it: an exit sells what is long, an entry buys it."""
    known = next((held for held in positions if held not in (None, Held.FLAT)), Held.LONG)
    return Side.SELL if (intent is Intent.CLOSE) is (known is Held.LONG) else Side.BUY


def _closes(
    side: Side, intent: Intent | None, ended: tuple[Held | None, Held | None], after: Held | None
) -> bool | None:
    """Whether the order ends a position: what stands after it says most, then what stood before.

    A sell that turns a long into a short does both, so neither answer is given for it; a buy that
    turns a short into a long is judged as the purchase it is.
    """
    against = _against(side)
    if after in (Held.FLAT, against) or intent is Intent.CLOSE:
        return True
    if after is not None and against in ended:
        return False if side is Side.BUY else None
    if after is None and against in ended:
        return True
    opens = intent is Intent.OPEN or after is not None or ended != (None, None)
    return False if opens or side is Side.BUY else None


def _against(side: Side) -> Held:
    """The position that an order of this side reduces."""
    return Held.SHORT if side is Side.BUY else Held.LONG


def _is_part(fields: Mapping[str, Any]) -> bool:
    """Whether an amount is a share below 100 % ("33%", or a percentage by its name or type)."""
    units = (_canonical_word(fields.get(name)) for name in ("quantitytype", "currencytype"))
    of_position = any(unit in ("percentofposition", "positionpercent") for unit in units)
    amounts = [(_text(fields[name]), of_position) for name in _AMOUNT_NAMES if name in fields]
    amounts += [(_text(fields[name]), True) for name in _PERCENT_NAMES if name in fields]
    shares = [(_PERCENT.fullmatch(text.strip()), share) for text, share in amounts if text]
    return any(m and (share or m[2]) and 0 < Decimal(m[1]) < 100 for m, share in shares)


def _flagged(fields: Mapping[str, Any]) -> Intent | None:
    """CLOSE when a flag says so; "False" as a string is no flag."""
    flags = [fields.get(name) for name in _CLOSE_FLAGS]
    said = any(
        flag is True or (type(flag) is str and flag.strip().lower() in _YES) for flag in flags
    )
    return Intent.CLOSE if said else None


def _after(fields: Mapping[str, Any]) -> Held | None:
    """The position after the order: by its name, else by the sign of its size."""
    after = _first(fields, AFTER_NAMES)
    if after is None and _first(fields, ("marketpositionsize",)) is Held.FLAT:
        return Held.FLAT
    return after


def _first(fields: Mapping[str, Any], names: Iterable[str]) -> Held | None:
    positions = (_position(fields[name]) for name in names if name in fields)
    return next((held for held in positions if held is not None), None)


def _position(value: object) -> Held | None:
    if word := _POSITIONS.get(_canonical_word(value)):
        return word.held
    text = _text(value).strip()
    size = _AMOUNT.fullmatch(text)
    if size is None or not any(character.isdecimal() for character in text):
        return None
    if not size[2] and not (size[3] or "").strip("0"):
        return Held.FLAT
    return Held.SHORT if size[1] == "-" else Held.LONG


def _refuse_placeholders(fields: Mapping[str, Any]) -> None:
    """Refuse a buy whose position words arrived unfilled: it may be one that covers a short."""
    names = (*AFTER_NAMES, *BEFORE_NAMES)
    if any(PLACEHOLDER.search(_text(fields[name])) for name in names if name in fields):
        raise InvalidError(InvalidCode.UNRESOLVED_PLACEHOLDER)


def _canonical_word(value: object) -> str:
    text = _text(value)
    return canonical(text) if len(text) <= _LONGEST_WORD else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
