"""Stories of a few signals and lists, written down by hand, to be judged again."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.asked import Asked, Usual
from domain.gate import Reason, Verdict
from domain.past import Listed, Lists, Move, Past, Recorded, Terms
from domain.position import PositionId, PositionState
from domain.signal import Side, Signal, SignalId, SignalStatus, Wait
from domain.ticker import Ticker
from domain.whatif import Comparison, compare
from tests.domain.reality import KEY, START

BUY, SELL = Side.BUY, Side.SELL
SCREEN = Terms(
    since=START,
    key=KEY,
    top_n=15,
    margin=0,
    wait=timedelta(0),
    refresh=timedelta(seconds=180),
)
TOP = [f"T{n}" for n in range(1, 31)]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@dataclass
class Story:
    past: Past

    @classmethod
    def of(cls, *parts: Recorded | Listed | Terms | Move | tuple[datetime, int]) -> "Story":
        lists = [part for part in parts if isinstance(part, Listed)]
        return cls(
            Past(
                signals=[part for part in parts if isinstance(part, Recorded)],
                terms=[p for p in parts if isinstance(p, Terms)] or [SCREEN],
                lists=Lists(lists),
                looks=[part for part in parts if isinstance(part, tuple)],
                moves=[part for part in parts if isinstance(part, Move)],
            )
        )

    def under(self, usual: Usual | None = None, **asked: Any) -> Comparison:
        found = compare(self.past, Asked(**asked), usual or Usual())
        assert found.unexplained == 0
        return found

    def flipped(self, usual: Usual | None = None, **asked: Any) -> list[tuple[str, str]]:
        """What each flip was and would be: the reason, or that it was approved."""
        assert self.under(usual).flips == []
        return [
            (said(flip.recorded.verdict), said(flip.would))
            for flip in self.under(usual, **asked).flips
        ]


def said(verdict: Verdict) -> str:
    return str(verdict.reason or verdict.status)


def a_list(version: int, when: float, *tickers: str, total: int = 99, **given: Any) -> Listed:
    usual: dict[str, Any] = {
        "version": version,
        "key": KEY,
        "tickers": " ".join(tickers or TOP[:20]),
        "total": total,
        "at": at(when),
        "top_n": 15,
        "margin": 0,
        "kept": "",
        "fresh_since": START,
        "valid_until": None,
    }
    return Listed(**(usual | given))


def a_signal(number: int, ticker: str, came: float, side: Side = BUY, left: float = 30) -> Signal:
    return Signal(
        id=SignalId(UUID(int=number)),
        seq=number,
        ticker=Ticker(ticker),
        side=side,
        closes=None,
        partial=False,
        price=None,
        received_at=at(came),
        expires_at=at(came + left),
    )


def was(
    signal: Signal, reason: Reason | None = None, *, seen: int | None = 1, age: float = 10
) -> Recorded:
    """Judged in the moment it came."""
    late = reason is Reason.EXPIRED
    turned_away = SignalStatus.EXPIRED if late else SignalStatus.REJECTED
    verdict = Verdict(
        status=turned_away if reason else SignalStatus.APPROVED,
        reason=reason,
        universe_version=seen,
        list_age=None if seen is None else timedelta(seconds=age),
        cutoff=15,
    )
    return Recorded(signal=signal, verdict=verdict, at=signal.received_at)


def then(recorded: Recorded, judged: float, waited: Wait | None = None) -> Recorded:
    """Judged later."""
    return replace(recorded, at=at(judged), waited=waited)


def moved(
    number: int, state: str, when: float, *, ticker: str, before: str | None = None, by: int = 0
) -> Move:
    return Move(
        at=at(when),
        position=PositionId(UUID(int=number)),
        ticker=Ticker(ticker),
        state=PositionState(state),
        was=PositionState(before) if before else None,
        signal_id=SignalId(UUID(int=by or number)),
    )


APPROVED = "approved"
MISSED = Reason.NOT_IN_LIST
FELL = ["T1", "T2", *TOP[3:18], "T3", "T19", "T20"]


def entering(*more: Recorded, when: float = 30) -> Story:
    """T17 comes into the list 20 s after its buy."""
    return Story.of(
        a_list(1, 0),
        a_list(2, when, "T17", *TOP[:15]),
        was(a_signal(1, "T17", 10), MISSED),
        *more,
    )
