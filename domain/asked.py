"""What a replay is judged by: the settings, rules and pauses of the time, or what is asked."""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from domain.gate import GatePolicy, Reason, SellPolicy, list_max_age
from domain.market import DaysOff, until_open
from domain.past import Listed, ListKey, Orders, Past, Terms
from domain.rules import Direction, Rulebook
from domain.signal import Side

_T = TypeVar("_T")

MOMENT = timedelta(seconds=1)
"""A verdict is recorded within a moment after it was reached. Where a pause, a cooldown or the
session ended in that moment, the recorded reason tells on which side of the end it was reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What no record holds: those of today stand for those then.

    Settings of the environment, the sides that sources may send, the days off of the exchange.
    """

    list_max_age: timedelta | None = None
    sell_policy: SellPolicy = SellPolicy.WITH_POSITION
    directions: Mapping[str, Direction] = field(default_factory=dict[str, Direction])
    days_off: DaysOff = field(default_factory=DaysOff)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be otherwise; None: as it was at the time. ``longer``: how much longer lives are.

    Those of buys and sells apart; shorter where it is negative. Of ``rules``, the directions are
    not asked for.
    """

    top_n: int | None = None
    margin: int | None = None
    wait: timedelta | None = None
    list_max_age: timedelta | None = None
    sell_policy: SellPolicy | None = None
    rules: Rulebook | None = None
    longer: Mapping[Side, timedelta] = field(default_factory=dict[Side, timedelta])


class Policies:
    """The policy at any moment: what is asked, and else what was in force."""

    def __init__(self, past: Past, asked: Asked, usual: Usual) -> None:
        self._terms, self._orders = past.terms, past.orders
        self._asked, self._usual = asked, usual
        self._since = [one.since for one in past.terms]
        self._ordered = [one.since for one in past.orders]
        self._policies = [self._policy(one) for one in past.terms]
        self._rulebooks = [self._rulebook(one) for one in past.orders]
        self._none_yet = self._rulebook(None)

    def _policy(self, terms: Terms) -> GatePolicy:
        asked, usual = self._asked, self._usual
        return GatePolicy(
            top_n=_or(asked.top_n, terms.top_n),
            margin=_or(asked.margin, terms.margin),
            wait=_or(asked.wait, terms.wait),
            list_max_age=asked.list_max_age or list_max_age(terms.refresh, usual.list_max_age),
            sell_policy=asked.sell_policy or usual.sell_policy,
        )

    def _rulebook(self, orders: Orders | None) -> Rulebook:
        rules = self._asked.rules or (orders.rulebook if orders else Rulebook())
        return replace(rules, directions=self._usual.directions)

    def _index(self, at: datetime) -> int:
        """The first terms known stand for those before them."""
        return max(bisect_right(self._since, at) - 1, 0)

    def key(self, at: datetime) -> ListKey:
        return self._terms[self._index(at)].key

    def list_max_age(self, at: datetime) -> timedelta:
        return self._policies[self._index(at)].list_max_age

    def depth(self, listed: Listed) -> tuple[int, int]:
        """The top N and the margin a version comes under."""
        return _or(self._asked.top_n, listed.top_n), _or(self._asked.margin, listed.margin)

    def policy(self, at: datetime, given: Collection[Reason | None]) -> GatePolicy:
        """What signals are judged by that were ``given`` these reasons then."""
        place = bisect_right(self._ordered, at) - 1
        orders = self._orders[place] if place >= 0 else None
        rulebook = self._rulebooks[place] if place >= 0 else self._none_yet
        return replace(
            self._policies[self._index(at)],
            rulebook=rulebook,
            buying_paused=_paused(orders, at, given),
            market_open=not rulebook.watches_hours or self._open(at, given),
        )

    def _open(self, at: datetime, given: Collection[Reason | None]) -> bool:
        was, is_ = (self._trades(moment) for moment in (at - MOMENT, at))
        return was and is_ if Reason.OUTSIDE_MARKET_HOURS in given else was or is_

    def _trades(self, at: datetime) -> bool:
        return until_open(at, self._usual.days_off) is None


def _paused(orders: Orders | None, at: datetime, given: Collection[Reason | None]) -> bool:
    if orders is None or not orders.paused:
        return False
    reached = at - MOMENT if Reason.BUYING_PAUSED in given else at
    return orders.paused_until is None or orders.paused_until > reached


def _or(asked: _T | None, recorded: _T) -> _T:
    return recorded if asked is None else asked


def longest_cooldown(orders: Sequence[Orders], asked: Rulebook | None) -> timedelta:
    """How long before a period buys count in it."""
    rulebooks = [one.rulebook for one in orders] + ([asked] if asked else [])
    return max((one.longest_cooldown for one in rulebooks), default=timedelta(0))
