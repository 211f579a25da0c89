"""The gate: may this signal pass? The whole admission policy is in this file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from domain.position import Position, PositionId, PositionState
from domain.signal import Side, Signal, SignalStatus
from domain.ticker import Ticker
from domain.universe import Trust, Universe, trust


class Reason(StrEnum):
    """Why a signal was turned away: the only list, the same word in SQL, API and pages."""

    EXPIRED = "expired"
    NOT_IN_LIST = "not_in_list"
    LIST_STALE = "list_stale"
    LIST_UNKNOWN = "list_unknown"
    BUYING_PAUSED = "buying_paused"
    NO_POSITION = "no_position"
    ALREADY_CLOSING = "already_closing"
    OPENS_SHORT = "opens_short"
    COVERS_SHORT = "covers_short"
    REFUSED_TICKER = "refused_ticker"
    COOLDOWN = "cooldown"
    MAX_POSITIONS = "max_positions"
    OUTSIDE_MARKET_HOURS = "outside_market_hours"
    PRICE_LIMIT = "price_limit"
    SOURCE_DIRECTION = "source_direction"
    NO_DESTINATION = "no_destination"


class SellPolicy(StrEnum):
    """What a sell needs: a position, nothing, or a place in the list."""

    WITH_POSITION = "with_position"
    ALWAYS = "always"
    TOP_N = "top_n"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """What an operator decides. ``list_max_age`` bounds how old the list may be for a buy."""

    top_n: int
    list_max_age: timedelta
    sell_policy: SellPolicy = SellPolicy.WITH_POSITION
    has_destination: bool = True


def list_max_age(refresh: timedelta, setting: timedelta | None) -> timedelta:
    """How old a list may be for a buy: LIST_MAX_AGE_SEC, or three refreshes and at least 180 s."""
    return setting or max(3 * refresh, timedelta(seconds=180))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision, with everything that explains it later.

    ``rank`` is the ticker's place in ``universe_version`` (None: not in it), ``cutoff`` the top N
    in force, ``list_age`` the time since that list was last confirmed. ``position_id`` is the
    position that an approved signal opens, adds to, or takes from.
    """

    status: SignalStatus
    reason: Reason | None = None
    universe_version: int | None = None
    rank: int | None = None
    cutoff: int | None = None
    list_age: timedelta | None = None
    position_id: PositionId | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts in the order of the signals, and every position they made or changed."""

    verdicts: tuple[tuple[Signal, Verdict], ...]
    positions: tuple[Position, ...]


@dataclass(slots=True)
class Book:
    """Positions as they stand between two verdicts of one batch."""

    held: dict[Ticker, list[Position]]
    changed: dict[Ticker, list[Position]]

    @classmethod
    def of(cls, positions: Iterable[Position]) -> "Book":
        held: dict[Ticker, list[Position]] = {}
        for position in positions:
            held.setdefault(position.ticker, []).append(position)
        return cls(held, {})

    def live(self, ticker: Ticker) -> Position | None:
        return next((p for p in self.held.get(ticker, []) if p.state.live), None)

    def closing(self, ticker: Ticker) -> bool:
        return any(p.state is PositionState.CLOSING for p in self.held.get(ticker, []))

    def put(self, position: Position) -> None:
        for book in (self.held, self.changed):
            others = [p for p in book.get(position.ticker, []) if p.id != position.id]
            book[position.ticker] = [*others, position]


def judge_in_order(
    signals: Iterable[Signal],
    *,
    universe: Universe | None,
    positions: Iterable[Position],
    policy: GatePolicy,
    now: datetime,
) -> Judged:
    """Judge signals one after another, each seeing the positions its predecessors left."""
    book = Book.of(positions)
    verdicts: list[tuple[Signal, Verdict]] = []
    for signal in signals:
        verdict = judge(signal, universe=universe, book=book, policy=policy, now=now)
        if verdict.status is SignalStatus.APPROVED:
            verdict = replace(verdict, position_id=_apply(signal, book))
        verdicts.append((signal, verdict))
    return Judged(tuple(verdicts), tuple(p for ps in book.changed.values() for p in ps))


def judge(
    signal: Signal, *, universe: Universe | None, book: Book, policy: GatePolicy, now: datetime
) -> Verdict:
    """Decide one signal. Buys need a place in a fresh list; sells need something to sell."""
    match signal.side:
        case Side.BUY:
            reason = _against_buy(signal, universe, policy, now)
        case Side.SELL:
            reason = _against_sell(signal, universe, book, policy)
        case _ as unreachable:
            assert_never(unreachable)
    if signal.expires_at <= now:
        reason = Reason.EXPIRED
    elif reason is None and not policy.has_destination and not _exits(signal, book):
        reason = Reason.NO_DESTINATION
    return _explained(signal, reason, universe, policy, now)


def _against_buy(
    signal: Signal, universe: Universe | None, policy: GatePolicy, now: datetime
) -> Reason | None:
    if signal.closes:
        return Reason.COVERS_SHORT
    match trust(universe, now, policy.list_max_age):
        case Trust.UNKNOWN:
            return Reason.LIST_UNKNOWN
        case Trust.STALE:
            return Reason.LIST_STALE
        case Trust.FRESH:
            return None if _in_list(signal.ticker, universe, policy) else Reason.NOT_IN_LIST
        case _ as unreachable:
            assert_never(unreachable)


def _against_sell(
    signal: Signal, universe: Universe | None, book: Book, policy: GatePolicy
) -> Reason | None:
    if signal.closes is False:
        return Reason.OPENS_SHORT
    match policy.sell_policy:
        case SellPolicy.ALWAYS:
            return None
        case SellPolicy.TOP_N:
            return None if _in_list(signal.ticker, universe, policy) else Reason.NOT_IN_LIST
        case SellPolicy.WITH_POSITION:
            if book.live(signal.ticker):
                return None
            closing = book.closing(signal.ticker)
            return Reason.ALREADY_CLOSING if closing else Reason.NO_POSITION
        case _ as unreachable:
            assert_never(unreachable)


def _exits(signal: Signal, book: Book) -> bool:
    """Whether it sells what we bought: then it goes where that is, also to one out of use."""
    live = book.live(signal.ticker)
    return signal.side is Side.SELL and live is not None and live.entry_signal_id is not None


def _in_list(ticker: Ticker, universe: Universe | None, policy: GatePolicy) -> bool:
    rank = universe.rank(ticker) if universe else None
    return rank is not None and rank <= policy.top_n


def _explained(
    signal: Signal,
    reason: Reason | None,
    universe: Universe | None,
    policy: GatePolicy,
    now: datetime,
) -> Verdict:
    statuses: Mapping[Reason | None, SignalStatus] = {
        None: SignalStatus.APPROVED,
        Reason.EXPIRED: SignalStatus.EXPIRED,
    }
    return Verdict(
        status=statuses.get(reason, SignalStatus.REJECTED),
        reason=reason,
        universe_version=universe.version if universe else None,
        rank=universe.rank(signal.ticker) if universe else None,
        cutoff=policy.top_n,
        list_age=now - universe.confirmed_at if universe else None,
    )


def _apply(signal: Signal, book: Book) -> PositionId | None:
    """Put what an approved signal does to its position; return which one that is, if any."""
    live = book.live(signal.ticker)
    if signal.side is Side.BUY and live is None:
        live = Position.opened_by(signal)
        book.put(live)
    elif signal.side is Side.SELL and live is not None and not signal.partial:
        book.put(live.closed_by(signal))
    return live and live.id
