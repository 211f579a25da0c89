"""The past as it is recorded: signals with their verdicts, lists, screens, and positions."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from domain.gate import Verdict
from domain.position import PositionId, PositionState
from domain.rules import Rulebook
from domain.signal import OPERATOR, Signal, SignalId, Wait
from domain.ticker import Ticker

ListKey: TypeAlias = tuple[UUID, str]
"""A screen and the address it had: its lists follow one another."""

_CameUnder: TypeAlias = tuple[ListKey, int, int, datetime | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the screen in force said from ``since`` on."""

    since: datetime
    key: ListKey
    top_n: int
    margin: int
    wait: timedelta
    refresh: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What the operator had the gate obey from ``since`` on: rules, and a buying pause or none."""

    since: datetime
    rulebook: Rulebook
    paused: bool = False
    paused_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A version of the list, and the ``top_n`` and ``margin`` it came under.

    ``tickers``, best first, and ``kept`` are parted by blanks.
    """

    version: int
    key: ListKey
    tickers: str
    total: int
    at: datetime
    top_n: int
    margin: int
    kept: str
    fresh_since: datetime
    valid_until: datetime | None


class Lists:
    """Versions in order of time, as small as can be: a day may hold 86,400.

    What is kept of each is a plain tuple of plain values, which no garbage collection looks into;
    as many objects would stop everybody for a tenth of a second at a time.
    """

    def __init__(self, listed: Iterable[Listed] = ()) -> None:
        self._rows: dict[int, tuple[str, int, datetime, str, datetime, int]] = {}
        self._came_under: list[_CameUnder] = []
        for one in listed:
            self.add(one)

    def add(self, one: Listed) -> None:
        came_under = (one.key, one.top_n, one.margin, one.valid_until)
        if came_under not in self._came_under:
            self._came_under.append(came_under)
        place = self._came_under.index(came_under)
        row = (one.tickers, one.total, one.at, one.kept, one.fresh_since, place)
        self._rows[one.version] = row

    def get(self, version: int) -> Listed | None:
        row = self._rows.get(version)
        if row is None:
            return None
        tickers, total, at, kept, fresh_since, place = row
        key, top_n, margin, valid_until = self._came_under[place]
        return Listed(
            version=version,
            key=key,
            tickers=tickers,
            total=total,
            at=at,
            top_n=top_n,
            margin=margin,
            kept=kept,
            fresh_since=fresh_since,
            valid_until=valid_until,
        )

    def moments(self) -> Iterator[tuple[datetime, int]]:
        """When each version came."""
        return ((row[2], version) for version, row in self._rows.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A signal as it came, and the verdict it got: ``at`` once, or after it had ``waited``."""

    signal: Signal
    verdict: Verdict
    at: datetime
    waited: Wait | None = None

    @property
    def judged_at(self) -> datetime:
        """When it was judged for the first time."""
        return self.waited.since if self.waited else self.at


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A position went into ``state``: by the verdict on a signal, or (``was``) by its deliveries.

    ``signal_id`` is its exit, or its entry while it has none; None: it was entered by hand.
    ``source`` is who sent its entry.
    """

    at: datetime
    position: PositionId
    ticker: Ticker
    state: PositionState
    was: PositionState | None
    signal_id: SignalId | None
    source: str = OPERATOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is recorded of a period, each part in order of time; ``terms`` has one at least.

    ``looks`` confirmed a version. Lists, looks and moves begin before the signals do. Without
    ``orders`` there were neither rules nor pauses. ``bought`` says when a source bought a ticker by
    a signal that is not among these. ``undecided`` signals had no verdict yet, and are not either.
    """

    signals: Sequence[Recorded]
    terms: Sequence[Terms]
    lists: Lists
    looks: Sequence[tuple[datetime, int]]
    moves: Sequence[Move]
    orders: Sequence[Orders] = ()
    bought: Sequence[tuple[datetime, Ticker, str]] = ()
    undecided: int = 0
