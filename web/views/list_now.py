"""The list as its own page shows it now, and the log of the looks at Finviz."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from database.audit import Facts
from database.lookout import Lookout
from database.movements import Waiting
from database.universes import Current, LastFetch, Pending
from domain.ticker import Ticker
from domain.universe import FetchOutcome, Trust
from web.views.lists import ListView
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, counted, duration, moment

OUTCOMES = {
    FetchOutcome.OK: "A whole list was read.",
    FetchOutcome.EMPTY: "The screen has no ticker just now, and that is certain.",
    FetchOutcome.SUSPECT: "A whole list, but too surprising to believe at once: looked at again.",
    FetchOutcome.PAST_END: "Finviz answered with other rows than those that were asked for.",
    FetchOutcome.THROTTLED: "Finviz says that it was asked too often (429): we wait longer.",
    FetchOutcome.BLOCKED: "Finviz refuses us, or asks for a proof that we are human.",
    FetchOutcome.LOGIN: "Finviz asks for a sign-in: the account or the export token is not taken.",
    FetchOutcome.WRONG_PAGE: "A page, but not that of a screener.",
    FetchOutcome.BROKEN: "The screener's page is cut off, or built in a way we do not know.",
    FetchOutcome.UNREACHABLE: "No answer, or none that came in time.",
}
"""What each outcome of a look means, in words."""


@dataclass(frozen=True, slots=True)
class Ticking:
    """A span that goes on while the page is open: ``seconds`` at the moment it was drawn."""

    seconds: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRow:
    """A row of a list. ``change`` since the version before: ranks up or down, or "new".

    ``kept``: it is beyond the top N, and in.
    """

    rank: int
    ticker: str
    change: int | str
    price: str
    volume: str
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What is in, and what stands below it; ``more`` are not shown."""

    counting: Sequence[ListRow]
    below: Sequence[ListRow]
    more: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Who came into the list and went out of it with a version."""

    version: int
    at: Moment
    entered: Sequence[str]
    dropped: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRow:
    """A buy that waits for its ticker (hold-and-see)."""

    id: str
    ticker: str
    since: Moment
    left: Ticking


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingView:
    """A suspect list that waits for a second look or a word.

    ``size`` of its tickers stand also in the list in force ``shared`` times, of ``in_force``.
    """

    reason: str
    since: Moment
    tickers: Sequence[str]
    total: int
    shared: int
    in_force: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNowView:
    """templates/list.html and templates/partials/list.html.

    ``lasts`` is how long the list counts without another look; ``again`` when a look may be asked
    for by hand. ``tried`` is the form that was ``refused``, ``typed`` the reason given with it.
    """

    shell: Shell
    list: ListView
    sentence: str
    tone: str
    age: Ticking | None
    lasts: Ticking | None
    next_look: Ticking | None
    looked: Moment | None
    refresh: str
    rows: Rows
    moves: Sequence[Move]
    waiting: Sequence[WaitingRow]
    pending: PendingView | None
    again: Ticking | None
    refused: str | None
    tried: str | None
    typed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookRow:
    """One look at Finviz."""

    id: int
    at: Moment
    outcome: str
    rows: str
    requests: int
    took: str
    version: int | None
    detail: str
    screen: str
    rest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeCount:
    outcome: str
    looks: int
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LooksView:
    """templates/looks.html and templates/partials/looks.html.

    ``query`` is that of the filter; ``newest`` and ``older`` are addresses of other rows.
    """

    shell: Shell
    outcome: str
    meaning: str
    query: str
    counts: Sequence[OutcomeCount]
    rows: Sequence[LookRow]
    newest: str | None
    older: str | None


def ticking(span: timedelta) -> Ticking:
    return Ticking(round(span.total_seconds(), 1), duration(span))


def rows_of(
    shown: Sequence[Mapping[str, Any]], former: Sequence[Ticker] | None, *, most: int
) -> Rows:
    """The rows of a list as the API tells them, with what moved since the one before."""
    ranks = {ticker: rank for rank, ticker in enumerate(former or (), start=1)}
    rows = [(one["counts"], _row(one, ranks)) for one in shown[:most]]
    return Rows(
        counting=[row for counts, row in rows if counts],
        below=[row for counts, row in rows if not counts],
        more=max(len(shown) - most, 0),
    )


def _row(one: Mapping[str, Any], former: Mapping[Ticker, int]) -> ListRow:
    rank, ticker, price, volume = (one[name] for name in ("rank", "ticker", "price", "volume"))
    was = former.get(ticker)
    moved = was - rank if was else "new" if former else 0
    return ListRow(
        rank=rank,
        ticker=ticker,
        change=moved,
        price=NOTHING if price is None else f"{price:,.2f}",
        volume=NOTHING if volume is None else f"{volume:,.0f}",
        kept=one["kept"] and one["counts"],
    )


def move(row: Facts, now: datetime) -> Move:
    return Move(
        version=row["version"],
        at=moment(row["at"], now),
        entered=row["entered"],
        dropped=row["dropped"],
    )


def waiting_row(one: Waiting, now: datetime) -> WaitingRow:
    return WaitingRow(
        id=str(one.id),
        ticker=one.ticker,
        since=moment(one.since, now),
        left=ticking(max(one.until - now, timedelta(0))),
    )


def pending_view(pending: Pending | None, current: Current) -> PendingView | None:
    if pending is None:
        return None
    in_force = current.universe.tickers if current.universe else ()
    return PendingView(
        reason=pending.reason,
        since=moment(pending.at, current.now),
        tickers=pending.tickers,
        total=pending.total,
        shared=len(frozenset(in_force) & frozenset(pending.tickers)),
        in_force=len(in_force),
    )


def sentence_of(view: ListView, members: int) -> tuple[str, str]:
    """Whether buys pass by this list, in a sentence, and its tone."""
    tickers = counted(members, "ticker", "tickers")
    if view.trust == Trust.UNKNOWN:
        return "No list yet: every buy is rejected, sells go out.", "bad"
    if view.trust == Trust.STALE:
        words = f"The list is stale for {view.trusted_for}: every buy is rejected, sells go out."
        return words, "bad"
    if view.paused:
        return f"The list is fresh, but Finviz is not asked: {tickers} may be bought.", "warn"
    doubtful = view.pending or view.outcome not in {FetchOutcome.OK, FetchOutcome.EMPTY}
    return f"The list is fresh: {tickers} may be bought.", "warn" if doubtful else "good"


def next_look(last: LastFetch | None) -> Ticking | None:
    """None while nobody looks."""
    if last is None or last.pause:
        return None
    return ticking(max(last.next_at - last.now, timedelta(0)))


def again_in(lookout: Lookout, apart: timedelta, now: datetime) -> Ticking | None:
    """When people may have Finviz asked again; None: now."""
    by_hand = lookout.by_hand_at and lookout.by_hand_at + apart
    ends = [end - now for end in (by_hand, lookout.asked_until) if end]
    wait = max(ends, default=timedelta(0))
    return ticking(wait) if wait > timedelta(0) else None


def look_row(row: Facts, now: datetime) -> LookRow:
    read, total = row["tickers"], row["total"]
    return LookRow(
        id=row["id"],
        at=moment(row["at"], now),
        outcome=row["outcome"],
        rows=NOTHING if read is None else f"{read} of {NOTHING if total is None else total}",
        requests=row["pages"],
        took=f"{row['duration_ms'] / 1000:.1f} s",
        version=row["version"],
        detail=row["detail"],
        screen=row["screen"],
        rest=duration(row["next_at"] - row["at"]),
    )


def outcome_counts(found: Mapping[str, int]) -> list[OutcomeCount]:
    """Every outcome there is, and how many looks ended so; first all of them."""
    each = [
        OutcomeCount(outcome=one, looks=found.get(one, 0), query=f"?outcome={one}")
        for one in FetchOutcome
    ]
    return [OutcomeCount(outcome="", looks=sum(found.values()), query=""), *each]
