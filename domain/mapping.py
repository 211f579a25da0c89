"""Body mappings: what a destination gets instead of the body as it came in."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from domain.body import Member, members_of, outgoing
from domain.parsed import canonical
from domain.signal import Side

Scalar: TypeAlias = str | int | float | bool | None

MOST_CHANGES = 50
LONGEST_NAME = 100
LONGEST_CONSTANT = 1_000


class Preset(StrEnum):
    """As received: the body's own bytes and our two members. TradersPost: its webhook's names."""

    AS_RECEIVED = "as_received"
    TRADERSPOST = "traderspost"


class MappingError(ValueError):
    """The mapping cannot be; the message says why."""


@dataclass(frozen=True, slots=True)
class BodyMapping:
    """Members renamed and added, after the preset; only an object's, never another body's.

    A member is not renamed to a name that stands there already, because what a receiver makes of a
    name that stands twice is anybody's guess. What is added wins over a member of its name.
    Raises MappingError.
    """

    preset: Preset = Preset.AS_RECEIVED
    rename: Mapping[str, str] = field(default_factory=dict[str, str])
    add: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar], repr=False)

    def __post_init__(self) -> None:
        new = [*self.rename.values()]
        if max(len(self.rename), len(self.add)) > MOST_CHANGES:
            raise MappingError(f"renames and adds at most {MOST_CHANGES} members each")
        if not all(map(_may_be_name, (*self.rename, *new, *self.add))):
            raise MappingError(f"a name has 1 to {LONGEST_NAME} characters, none of them unprinted")
        if len({*new}) < len(new) or {*new} & self.rename.keys():
            raise MappingError("each new name is given once, and is not renamed itself")
        if not all(map(_may_be_constant, self.add.values())):
            raise MappingError(
                f"a constant is text of at most {LONGEST_CONSTANT} characters, a finite number,"
                " true, false or null"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a mapping may say of a signal beside its body; ``received_at`` as in RFC 3339.

    ``replay_of`` is the signal that this one repeats at an operator's word.
    """

    signal_id: str
    received_at: str
    ticker: str
    side: Side
    partial: bool
    replay_of: str | None = None

    def beside(self, body: bytes) -> bytes:
        """An object with our own members added."""
        return outgoing(
            body,
            signal_id=self.signal_id,
            received_at=self.received_at,
            replay_of=self.replay_of,
        )


def mapped(body: bytes, mapping: BodyMapping, facts: Facts) -> bytes:
    """Return what the destination gets. Same input, same bytes: a resend must not differ.

    Values keep their text: 1.10 stays 1.10, and a number of forty digits its digits.
    """
    match mapping.preset:
        case Preset.AS_RECEIVED:
            sent = facts.beside(body)
        case Preset.TRADERSPOST:
            sent = _for_traderspost(body, facts)
    return _changed(sent, mapping) if mapping.rename or mapping.add else sent


def content_type(mapping: BodyMapping, received: str) -> str:
    """What a mapped body is labelled: TradersPost always gets JSON, others what came in."""
    return "application/json" if mapping.preset is Preset.TRADERSPOST else received


def _may_be_name(name: str) -> bool:
    return 1 <= len(name) <= LONGEST_NAME and name.isprintable()


def _may_be_constant(value: Scalar) -> bool:
    if isinstance(value, str):
        plain = value.replace("\n", "").replace("\t", "")
        return len(value) <= LONGEST_CONSTANT and (not plain or plain.isprintable())
    return value is None or abs(value) < 10**30


# ── Objects as text ─────────────────────────────────────────────────────────────────────────


def _read(body: bytes) -> tuple[str, list[Member]] | None:
    """The text of a body and its members; None when it is no object."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    members = members_of(text)
    return None if members is None else (text, members)


def _written(members: Mapping[str, str] | list[tuple[str, str]]) -> bytes:
    """An object of these names and the texts of their values."""
    pairs = members.items() if isinstance(members, Mapping) else members
    return f"{{{','.join(f'{json.dumps(name)}:{value}' for name, value in pairs)}}}".encode()


def _changed(sent: bytes, mapping: BodyMapping) -> bytes:
    read = _read(sent)
    if read is None:
        return sent
    text, members = read
    there = {member.name for member in members}
    names = {old: new for old, new in mapping.rename.items() if new not in there}
    kept = [
        (names.get(member.name, member.name), text[member.value_at : member.end])
        for member in members
    ]
    added = [(name, json.dumps(value)) for name, value in sorted(mapping.add.items())]
    return _written([*(pair for pair in kept if pair[0] not in mapping.add), *added])


# ── TradersPost ─────────────────────────────────────────────────────────────────────────────

# docs.traderspost.io, "Signal Message Reference". The names are case-sensitive.
TRADERSPOST_FIELDS = (
    *("sentiment", "signalPrice", "price", "limitPrice", "stopPrice", "quantity", "quantityType"),
    *("orderType", "trailAmount", "trailPercent", "interval", "timeInForce", "extendedHours"),
    *("time", "ignoreTradingWindows", "cancel", "delay", "expiresAt", "test"),
    *("takeProfit", "stopLoss"),
    *("optionType", "intrinsicValue", "expiration", "strikeCount", "strikesAway", "strikePrice"),
    "extras",
)
ALIASES = {"quantity": ("contracts", "qty"), "price": ("close",), "time": ("timenow",)}
PERCENTS = ("percent", "percentage")

_SHARE_CLASS = re.compile(r"([A-Z]{1,5})-([A-Z])", re.ASCII)
_NUMBER = re.compile(r"\d{1,3}(\.\d{1,6})?", re.ASCII)


def _for_traderspost(body: bytes, facts: Facts) -> bytes:
    """An object as TradersPost's webhook reads it.

    From its reference (docs.traderspost.io, "Signal Message Reference"): ``ticker`` and ``action``
    are required; the names; a ``sentiment`` beside any other action than buy and sell is refused
    (400, invalid-sentiment-action); ``sell`` with the sentiment ``flat`` exits everything, whatever
    the ``quantity``; ``exit`` never enters the other side, ``sell`` may; percent_of_position.

    Our choices. Ticker and action are what we judged: a ticker without exchange, its share class
    behind a dot as TradingView writes it; ``buy`` for a buy (the sender's own ``add`` stays: where
    nothing is held it buys nothing); ``exit`` for a full sell, which can never open a short, with
    no quantity where the sentiment was ``flat``; ``sell`` for a partial one, with the sentiment
    ``long`` where there is none, for the same reason. A field keeps the text of its value; one that
    is missing is taken from a name that differs in letter case or signs alone, or from an alias.
    Members it does not know are left out: they may be meant for somebody else. Our two members
    stand in ``extras`` where that is an object. A body that is no object becomes one of ticker,
    action and extras.
    """
    fields = _fields(body)
    action = _action(facts, fields)
    if facts.side is Side.SELL and facts.partial:
        _part(fields)
        fields.setdefault("sentiment", '"long"')
    elif action not in {"buy", "sell"}:
        _unsentimental(fields)
    extras = fields.pop("extras", "{}").encode()
    share = _SHARE_CLASS.fullmatch(facts.ticker)
    return _written(
        {
            "ticker": json.dumps(f"{share[1]}.{share[2]}" if share else facts.ticker),
            "action": json.dumps(action),
            **{name: fields[name] for name in TRADERSPOST_FIELDS if name in fields},
            "extras": facts.beside(extras).decode(),
        }
    )


def _fields(body: bytes) -> dict[str, str]:
    """The texts of the values of TradersPost's fields; of a name that stands twice, the last."""
    text, members = _read(body) or ("", [])
    exact = {member.name: text[member.value_at : member.end] for member in members}
    loose = {canonical(name): value for name, value in exact.items()}
    found: dict[str, str] = {}
    for name in (*TRADERSPOST_FIELDS, "action", *PERCENTS):
        others = (canonical(name), *ALIASES.get(name, ()))
        if name == "price" and "signalPrice" in found:
            others = ()
        values = [exact[name]] if name in exact else [loose[o] for o in others if o in loose]
        if values:
            found[name] = values[0]
    return found


def _action(facts: Facts, fields: Mapping[str, str]) -> str:
    if facts.side is Side.BUY:
        return "add" if fields.get("action") == '"add"' else "buy"
    return "sell" if facts.partial else "exit"


def _unsentimental(fields: dict[str, str]) -> None:
    flat = fields.pop("sentiment", "").strip('"').lower() == "flat"
    for name in ("quantity", "quantityType") if flat else ():
        fields.pop(name, None)


def _part(fields: dict[str, str]) -> None:
    """Say how much of a position to sell where the sender said it in percent."""
    percents = [fields[name].strip('"').rstrip("% ") for name in PERCENTS if name in fields]
    if "quantity" not in fields and percents and _NUMBER.fullmatch(percents[0]):
        fields["quantity"], fields["quantityType"] = percents[0], '"percent_of_position"'
