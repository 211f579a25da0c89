"""The gate: may this signal pass? The whole admission policy is in this file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, TypeAlias, assert_never

from domain.book import Book, Standing
from domain.position import Position, PositionId
from domain.rules import Breach, Rulebook, Rules
from domain.signal import Side, Signal, SignalStatus, Wait
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
    """What an operator decides. ``list_max_age`` bounds how old the list may be for a buy.

    A ticker that is in the list stays in until its rank is beyond ``top_n`` plus ``margin``; a buy
    of one that is not waits up to ``wait`` for it to come in. ``market_open`` need only be true to
    the facts where the rulebook watches the hours.
    """

    top_n: int
    list_max_age: timedelta
    margin: int = 0
    wait: timedelta = timedelta(0)
    sell_policy: SellPolicy = SellPolicy.WITH_POSITION
    has_destination: bool = True
    buying_paused: bool = False
    market_open: bool = True
    rulebook: Rulebook = field(default_factory=Rulebook)


NOTHING_ELSE = Standing()


def list_max_age(refresh: timedelta, setting: timedelta | None) -> timedelta:
    """How old a list may be for a buy: LIST_MAX_AGE_SEC, or three refreshes and at least 180 s."""
    return setting or max(3 * refresh, timedelta(seconds=180))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision, with everything that explains it later.

    ``rank`` is the ticker's place in ``universe_version`` (None: not in it), ``cutoff`` the last
    rank that was in, ``list_age`` the time since that list was last confirmed. ``position_id`` is
    the position that an approved signal opens, adds to, or takes from. RECEIVED stands for no
    verdict yet: the signal waits as ``wait`` says. ``breach`` is the rule it broke.
    """

    status: SignalStatus
    reason: Reason | None = None
    universe_version: int | None = None
    rank: int | None = None
    cutoff: int | None = None
    list_age: timedelta | None = None
    position_id: PositionId | None = None
    wait: Wait | None = None
    breach: Breach | None = None


class Asked(NamedTuple):
    """What of a buy decides whether the list turns it away."""

    ticker: Ticker
    source: str
    closes: bool | None


class Place(NamedTuple):
    """Where a ticker stands in a list (None: not in it), and the last rank that was in."""

    rank: int | None
    cutoff: int


_Objection: TypeAlias = tuple[Reason | None, Breach | None]


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts in the order of the signals, and every position they made or changed.

    ``waiting`` are the signals that begin to wait; one that goes on waiting is in neither.
    """

    verdicts: tuple[tuple[Signal, Verdict], ...]
    positions: tuple[Position, ...]
    waiting: tuple[tuple[Signal, Verdict], ...] = ()


def judge_in_order(
    signals: Iterable[Signal],
    *,
    universe: Universe | None,
    positions: Iterable[Position],
    policy: GatePolicy,
    now: datetime,
    standing: Standing = NOTHING_ELSE,
) -> Judged:
    """Judge signals one after another, each seeing the positions its predecessors left.

    A buy with a sell of its ticker behind it does not wait any more: what came since decides.
    """
    batch = list(signals)
    book = Book.of(positions, standing)
    last_sell = {signal.ticker: signal.seq for signal in batch if signal.side is Side.SELL}
    verdicts: list[tuple[Signal, Verdict]] = []
    for signal in batch:
        verdict = judge(signal, universe=universe, book=book, policy=policy, now=now)
        overtaken = last_sell.get(signal.ticker, signal.seq) > signal.seq
        if signal.side is Side.BUY:
            verdict = hold_and_see(signal, verdict, universe, policy, now, overtaken=overtaken)
        if verdict.status is SignalStatus.APPROVED:
            verdict = replace(verdict, position_id=_apply(signal, book, now))
        verdicts.append((signal, verdict))
    return Judged(
        verdicts=tuple(one for one in verdicts if one[1].status is not SignalStatus.RECEIVED),
        positions=tuple(p for ps in book.changed.values() for p in ps),
        waiting=tuple(one for one in verdicts if one[1].wait and not one[0].wait),
    )


def judge(
    signal: Signal, *, universe: Universe | None, book: Book, policy: GatePolicy, now: datetime
) -> Verdict:
    """Decide one signal. Buys need a place in a fresh list; sells need something to sell."""
    breach: Breach | None = None
    match signal.side:
        case Side.BUY:
            reason, breach = _against_buy(signal, universe, book, policy, now)
        case Side.SELL:
            reason = _against_sell(signal, universe, book, policy)
        case _ as unreachable:
            assert_never(unreachable)
    if signal.expires_at <= now:
        reason, breach = Reason.EXPIRED, None
    elif reason is None and not policy.has_destination and not _exits(signal, book):
        reason = Reason.NO_DESTINATION
    return replace(_explained(signal, reason, universe, policy, now), breach=breach)


def _against_buy(
    signal: Signal, universe: Universe | None, book: Book, policy: GatePolicy, now: datetime
) -> _Objection:
    """The operator's word first, then the list, then what the rules count and measure."""
    told = _told_not_to(signal, policy)
    if told[0]:
        return told
    if reason := _against_list(signal, universe, policy, now):
        return reason, None
    for source, rules in policy.rulebook.applying(signal.source):
        broken = _broken(signal, rules, source, book, policy, now)
        if broken[0]:
            return broken
    return None, None


def unlisted(asked: Asked, universe: Universe, policy: GatePolicy) -> Place | None:
    """Where the ticker of a buy stands that `judge` rejects as NOT_IN_LIST while the list is fresh.

    None where anything else counts: the order that `judge` asks in, a wait for the ticker, or what
    came before. Neither time nor positions are asked for, so that it stays so until the list, the
    screen or the rules change.
    """
    if policy.wait or _told_not_to(asked, policy)[0] or _is_listed(asked, universe, policy):
        return None
    ticker = asked.ticker
    return Place(universe.rank(ticker), universe.cutoff(ticker, policy.top_n, policy.margin))


def _told_not_to(signal: Signal | Asked, policy: GatePolicy) -> _Objection:
    """What keeps a buy out wherever its ticker stands."""
    rulebook = policy.rulebook
    if signal.closes:
        return Reason.COVERS_SHORT, None
    if not rulebook.permits(signal.source, Side.BUY):
        return Reason.SOURCE_DIRECTION, None
    for source, rules in rulebook.applying(signal.source):
        if signal.ticker in rules.refused:
            return Reason.REFUSED_TICKER, Breach(of=source)
    return (Reason.BUYING_PAUSED if policy.buying_paused else None), None


def _against_list(
    signal: Signal, universe: Universe | None, policy: GatePolicy, now: datetime
) -> Reason | None:
    match trust(universe, now, policy.list_max_age):
        case Trust.UNKNOWN:
            return Reason.LIST_UNKNOWN
        case Trust.STALE:
            return Reason.LIST_STALE
        case Trust.FRESH:
            return None if _is_listed(signal, universe, policy) else Reason.NOT_IN_LIST
        case _ as unreachable:
            assert_never(unreachable)


def _is_listed(signal: Signal | Asked, universe: Universe | None, policy: GatePolicy) -> bool:
    allowed = policy.rulebook.allows(signal.source, signal.ticker)
    return allowed or _in_list(signal.ticker, universe, policy)


def _broken(
    signal: Signal, rules: Rules, of: str | None, book: Book, policy: GatePolicy, now: datetime
) -> _Objection:
    """What of one rule set a buy breaks; ``of`` is whose positions and buys it counts."""
    if rules.market_hours and not policy.market_open:
        return Reason.OUTSIDE_MARKET_HOURS, Breach(of=of)
    if limit := rules.against_price(signal.price):
        return Reason.PRICE_LIMIT, Breach(of=of, limit=limit)
    last = book.last_bought(signal.ticker, of)
    if rules.cooldown and last is not None and now < last + rules.cooldown:
        return Reason.COOLDOWN, Breach(of=of, until=last + rules.cooldown)
    most = rules.max_positions
    opens = book.live(signal.ticker) is None
    if opens and most is not None and book.unfinished(of) >= most:
        return Reason.MAX_POSITIONS, Breach(of=of, limit=str(most))
    return None, None


def _against_sell(
    signal: Signal, universe: Universe | None, book: Book, policy: GatePolicy
) -> Reason | None:
    if signal.closes is False:
        return Reason.OPENS_SHORT
    if not policy.rulebook.permits(signal.source, signal.side):
        return Reason.SOURCE_DIRECTION
    match _sell_policy(signal, policy):
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


def _sell_policy(signal: Signal, policy: GatePolicy) -> SellPolicy:
    """An operator sells what there is, wherever it stands in the list."""
    if signal.by_hand and policy.sell_policy is SellPolicy.TOP_N:
        return SellPolicy.WITH_POSITION
    return policy.sell_policy


def hold_and_see(
    signal: Signal,
    verdict: Verdict,
    universe: Universe | None,
    policy: GatePolicy,
    now: datetime,
    *,
    overtaken: bool,
) -> Verdict:
    """What becomes of the verdict on a buy that may wait, or has waited, for its ticker.

    It is judged once when the ticker came into a list that stayed fresh all the while: a list that
    is back after an outage tells of no entering. A rule, or a pause, that is against it then is
    against it for good. ``overtaken``: a sell of the ticker came since.
    """
    if signal.wait is None:
        if verdict.reason is not Reason.NOT_IN_LIST or overtaken or not policy.wait:
            return verdict
        wait = Wait(now, min(now + policy.wait, signal.expires_at))
        return replace(verdict, status=SignalStatus.RECEIVED, reason=None, wait=wait)
    if overtaken or now >= signal.expires_at:
        return _waited_in_vain(verdict)
    fresh = trust(universe, now, policy.list_max_age) is Trust.FRESH
    listed = fresh and _in_list(signal.ticker, universe, policy)
    if listed and _entered(signal.wait, universe):
        return verdict
    if now >= signal.wait.until:
        return _waited_in_vain(verdict)
    return replace(verdict, status=SignalStatus.RECEIVED, reason=None, wait=signal.wait)


def _entered(wait: Wait, universe: Universe | None) -> bool:
    if universe is None or universe.fresh_since is None:
        return False
    return universe.fresh_since <= wait.since and universe.fetched_at <= wait.until


def _waited_in_vain(verdict: Verdict) -> Verdict:
    unsaid = {None, Reason.EXPIRED}
    reason = Reason.NOT_IN_LIST if verdict.reason in unsaid else verdict.reason
    return replace(verdict, status=SignalStatus.EXPIRED, reason=reason)


def _exits(signal: Signal, book: Book) -> bool:
    """Whether it sells what we bought: then it goes where that is, also to one out of use."""
    live = book.live(signal.ticker)
    return signal.side is Side.SELL and live is not None and live.entry_signal_id is not None


def _in_list(ticker: Ticker, universe: Universe | None, policy: GatePolicy) -> bool:
    rank = universe.rank(ticker) if universe else None
    return rank is not None and rank <= _cutoff(ticker, universe, policy)


def _cutoff(ticker: Ticker, universe: Universe | None, policy: GatePolicy) -> int:
    return universe.cutoff(ticker, policy.top_n, policy.margin) if universe else policy.top_n


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
        cutoff=_cutoff(signal.ticker, universe, policy),
        list_age=now - universe.confirmed_at if universe else None,
    )


def _apply(signal: Signal, book: Book, now: datetime) -> PositionId | None:
    """Put what an approved signal does to its position; return which one that is, if any."""
    live = book.live(signal.ticker)
    if signal.side is Side.BUY:
        book.buy(signal.ticker, signal.source, now)
    if signal.side is Side.BUY and live is None:
        live = Position.opened_by(signal)
        book.put(live)
    elif signal.side is Side.SELL and live is not None and not signal.partial:
        book.put(live.closed_by(signal))
    return live and live.id
