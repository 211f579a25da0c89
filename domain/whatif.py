"""What-if: which verdicts of a past period would flip under other settings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.asked import Asked, Usual
from domain.gate import Verdict
from domain.past import Past, Recorded
from domain.replay import Pause, Replay, passes
from domain.signal import Side, SignalStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A signal that would have been approved and was turned away, or the other way round."""

    recorded: Recorded
    would: Verdict
    at: datetime

    @property
    def words(self) -> str:
        """What it was and would be, and for a buy at which rank."""
        side, given = self.recorded.signal.side, self.recorded.verdict
        after = f", after {self.waited.total_seconds():.0f} s" if self.waited else ""
        return f"{_told(given, side)}; would be {_told(self.would, side)}{after}"

    @property
    def waited(self) -> timedelta:
        """How long it would have waited for its ticker to come into the list."""
        return max(self.at - self.recorded.judged_at, timedelta(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How the verdicts of a period would differ, oldest first.

    ``unexplained`` are verdicts that do not come out of the records as they were given: they count
    as given and never as flips. ``known_rows``: of a longer list no more ranks were recorded, and
    more would be needed (None: there are enough).
    """

    recorded: Mapping[SignalStatus, int]
    would: Mapping[SignalStatus, int]
    flips: Sequence[Flip]
    unexplained: int
    known_rows: int | None


def compare(past: Past, asked: Asked, usual: Usual, pause: Pause = lambda: None) -> Comparison:
    """Judge the period twice, as it was and as ``asked``, so that only what is asked can flip.

    ``pause`` is called between any two steps.
    """
    as_it_was = Replay(past, Asked(), usual, pause).run()
    replay = Replay(past, asked, usual, pause)
    verdicts = replay.run()
    flips: list[Flip] = []
    statuses: Counter[SignalStatus] = Counter()
    unexplained = 0
    for one in past.signals:
        was, (would, at) = one.verdict, verdicts[one.signal.id]
        if passes(as_it_was[one.signal.id][0]) is not passes(was):
            unexplained += 1
            would = was
        statuses[would.status] += 1
        if passes(would) is not passes(was):
            flips.append(Flip(recorded=one, would=would, at=at))
    return Comparison(
        recorded=Counter(one.verdict.status for one in past.signals),
        would=statuses,
        flips=flips,
        unexplained=unexplained,
        known_rows=replay.lists.known_rows,
    )


def _told(verdict: Verdict, side: Side) -> str:
    reason = f" ({verdict.reason.replace('_', ' ')})" if verdict.reason else ""
    ranked = side is Side.BUY and verdict.rank
    return f"{verdict.status}{reason}" + (f", rank {ranked} of {verdict.cutoff}" if ranked else "")
