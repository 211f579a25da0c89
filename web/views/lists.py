"""The list as people see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from database.universes import Current, LastFetch
from domain.screen import Screen
from domain.universe import Trust
from web.views.words import NOTHING, Moment, duration


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedTicker:
    rank: int
    ticker: str
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListView:
    """The list: ``trusted_for`` and ``outcome_for`` tell how long it has been so.

    ``pending`` is why another list waits for a second look, ``quotes`` what Finviz says of the
    account, ``paused`` who stopped the looks and why.
    """

    screen: str
    trust: str
    trusted_for: str
    age: str
    outcome: str
    outcome_for: str
    detail: str
    next_try: str
    pending: str | None
    paused: str | None
    quotes: str
    version: int | None
    total: int | None
    top_n: int
    margin: int
    wait: str
    url: str
    ends: Moment | None
    tickers: Sequence[RankedTicker]


def list_view(
    current: Current, last: LastFetch | None, trust: Trust, since: datetime, *, elite: bool
) -> ListView:
    universe, screen, now = current.universe, current.screen, current.now
    return ListView(
        screen=current.name,
        trust=trust,
        trusted_for=duration(now - since),
        age=duration(now - universe.confirmed_at) if universe else NOTHING,
        outcome=last.outcome if last else "not fetched yet",
        outcome_for=duration(last.now - last.since) if last else NOTHING,
        detail=last.detail if last else "",
        next_try=_next_try(last),
        pending=_pending(last),
        paused=_paused(last),
        quotes=_quotes(last, elite=elite),
        version=universe.version if universe else None,
        total=universe.total if universe else None,
        top_n=screen.top_n,
        margin=screen.margin,
        wait=duration(screen.wait) if screen.wait else "off",
        url=screen.url,
        ends=_ends(screen),
        tickers=[
            RankedTicker(
                rank=rank,
                ticker=ticker,
                counts=rank <= universe.cutoff(ticker, screen.top_n, screen.margin),
            )
            for rank, ticker in enumerate(universe.tickers, start=1)
        ]
        if universe
        else [],
    )


def _ends(screen: Screen) -> Moment | None:
    if screen.valid_until is None:
        return None
    return Moment(screen.valid_until, f"{screen.valid_until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")


def _next_try(last: LastFetch | None) -> str:
    if last is None or last.pause:
        return NOTHING
    return duration(last.next_at - last.now)


def _pending(last: LastFetch | None) -> str | None:
    if last is None or last.pending is None:
        return None
    pending = last.pending
    shown = ", ".join(pending.tickers[:15]) or "no ticker at all"
    return f"{pending.reason} (seen for {duration(last.now - pending.at)}): {shown}"


def _paused(last: LastFetch | None) -> str | None:
    if last is None or last.pause is None:
        return None
    pause = last.pause
    return f"{pause.by}, {duration(last.now - pause.at)} ago: {pause.reason}"


def _quotes(last: LastFetch | None, *, elite: bool) -> str:
    """What Finviz says of the account, next to what the settings say."""
    if last is None or last.premium is None:
        return "not told by Finviz"
    if last.premium:
        return "real-time: Elite"
    return "delayed: this account is not Elite" if elite else "delayed: free pages"
