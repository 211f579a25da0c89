"""A source: who sends alerts, which of them it may send, and how they are taken."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, cast

from domain.messages import SENDERS
from domain.origin import Network, address_of, is_everybody, is_within
from domain.parsed import canonical
from domain.rules import Direction
from domain.signal import OPERATOR, WEBHOOK, Side

IMPORT = "import"
RESERVED = (OPERATOR, IMPORT)
"""Sources of signals that nobody posts."""

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
NOTE_MAX = 2_000
FIELD_MAX = 64
DAY = 86_400
NULLABLE = (
    *("dedupe_sec", "buy_ttl_sec", "sell_ttl_sec", "time_field", "expected_every_sec"),
    "senders",
)
TRADINGVIEW = "tradingview"
"""Among senders: the addresses that TradingView publishes."""

MOST_SENDERS = 50


class SourceError(ValueError):
    """What a source cannot be; ``field`` is what is wrong with it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source by its name, which its signals keep; None is "as the settings say".

    ``dedupe`` is how long the same bytes are the same alert, ``time_field`` the member of a body
    that says when it was sent. With ``expected_every`` a longer silence is worth a look; only while
    the market is open with ``expected_in_hours``. ``pairs``: each buy should have its sell.
    ``senders`` are the networks it posts from; None is anywhere.
    """

    name: str
    note: str = ""
    direction: Direction = Direction.BOTH
    dedupe: timedelta | None = None
    buy_ttl: timedelta | None = None
    sell_ttl: timedelta | None = None
    time_field: str | None = None
    expected_every: timedelta | None = None
    expected_in_hours: bool = True
    pairs: bool = False
    senders: tuple[str, ...] | None = None

    def posts_from(self, origin: str) -> bool:
        """Whether its alerts may come from this address. What is no address is nobody's."""
        if self.senders is None:
            return True
        address = address_of(origin)
        return address is not None and is_within(address, networks_of(self.senders))

    def lifetime(self, side: Side) -> timedelta | None:
        return self.buy_ttl if side is Side.BUY else self.sell_ttl

    @property
    def built_in(self) -> bool:
        """Whether it posts with the token of the settings, and cannot be put away."""
        return self.name == WEBHOOK


@lru_cache(maxsize=256)
def networks_of(senders: tuple[str, ...]) -> tuple[Network, ...]:
    """The networks that these words and CIDRs mean."""
    texts = (SENDERS if one == TRADINGVIEW else (one,) for one in senders)
    return tuple(ip_network(text) for group in texts for text in group)


def checked_name(text: str) -> str:
    """The name of a source that can be made. Raises SourceError, as do the functions below."""
    if not NAME.fullmatch(text):
        raise SourceError("name", "must be 1 to 40 of a-z, 0-9, - and _, and begin with neither")
    if text in (*RESERVED, WEBHOOK):
        raise SourceError("name", "is one of ours: choose another")
    return text


def new_source(name: str, given: Mapping[str, object]) -> Source:
    return changed_source(Source(name=checked_name(name)), given)


def changed_source(source: Source, given: Mapping[str, object]) -> Source:
    """The source with these terms, named as `told` names them; what is not given stays.

    None takes a term back to what the settings say; where they say nothing, it stays as well.
    """
    changes: dict[str, Any] = {}
    for name, read in READERS.items():
        if name in given and (given[name] is not None or name in NULLABLE):
            value = given[name]
            changes[name.removesuffix("_sec")] = None if value is None else read(name, value)
    return replace(source, **changes)


def told(source: Source) -> dict[str, Any]:
    """The terms of a source in plain words and seconds."""
    values = ((name, getattr(source, name.removesuffix("_sec"))) for name in READERS)
    return {name: _plain(value) for name, value in values}


def _plain(value: Any) -> object:
    match value:
        case timedelta():
            return value.total_seconds()
        case tuple():
            return list(cast("tuple[str, ...]", value))
        case _:
            return value


def _note(field: str, value: object) -> str:
    note = value.strip() if isinstance(value, str) else None
    if note is None or len(note) > NOTE_MAX or not note.replace("\n", "").isprintable():
        raise SourceError(field, f"must be at most {NOTE_MAX} visible characters")
    return note


def _direction(field: str, value: object) -> Direction:
    if value not in list(Direction):
        raise SourceError(field, f"must be one of {', '.join(Direction)}")
    return Direction(value)


def _member(field: str, value: object) -> str:
    name = value.strip() if isinstance(value, str) else ""
    if not (canonical(name) and len(name) <= FIELD_MAX and name.isprintable()):
        raise SourceError(field, f"must be the name of a member, of at most {FIELD_MAX} characters")
    return name


def _flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise SourceError(field, "must be true or false")
    return value


def _senders(field: str, value: Any) -> tuple[str, ...] | None:
    """Networks as they are usually written, each once; none at all is anywhere."""
    given = cast("Sequence[object]", value) if isinstance(value, list | tuple) else None
    if given is None or len(given) > MOST_SENDERS:
        raise SourceError(field, f"must be a list of at most {MOST_SENDERS} networks")
    return tuple(dict.fromkeys(_sender(field, one) for one in given)) or None


def _sender(field: str, one: object) -> str:
    text = one.strip().lower() if isinstance(one, str) else ""
    if text == TRADINGVIEW:
        return text
    try:
        network = ip_network(text, strict=True)
    except ValueError:
        words = f"must be addresses, networks such as 192.0.2.0/24, or {TRADINGVIEW}"
        raise SourceError(field, words) from None
    if is_everybody(network):
        raise SourceError(field, "must not be everybody: leave it empty instead")
    return str(network)


def _seconds(least: float, most: float) -> Callable[[str, object], timedelta]:
    def read(field: str, value: object) -> timedelta:
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and (least <= value <= most)
        ):
            return timedelta(seconds=value)
        raise SourceError(field, f"must be a number of seconds from {least:g} to {most:g}")

    return read


READERS: Mapping[str, Callable[[str, object], Any]] = {
    "note": _note,
    "direction": _direction,
    "dedupe_sec": _seconds(0, DAY),
    "buy_ttl_sec": _seconds(1, DAY),
    "sell_ttl_sec": _seconds(1, DAY),
    "time_field": _member,
    "expected_every_sec": _seconds(60, 31 * DAY),
    "expected_in_hours": _flag,
    "pairs": _flag,
    "senders": _senders,
}
