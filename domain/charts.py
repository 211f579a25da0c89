"""Charts: numbers over time as they are drawn, and what is reckoned before they are. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

STEPS = (60, 300, 900, 3600)
"""Seconds that a step of a chart may have."""

MOST_STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point with words of its own; without a ``y`` it stands at the foot of the chart."""

    x: float
    y: float | None
    label: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line, or one colour of a stack: a value for each x, None where there is none.

    ``tone`` is one of good, warn, bad, accent, info, ink and soft.
    """

    name: str
    unit: str
    tone: str
    values: Sequence[float | None]
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What every chart is drawn from. ``x`` are seconds since 1970, rising."""

    x: Sequence[float]
    series: Sequence[Series]
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A period in equal steps of ``step`` seconds, the last of which is not over yet."""

    since: int
    step: int
    count: int

    @property
    def until(self) -> int:
        return self.since + self.step * self.count

    @property
    def x(self) -> list[int]:
        return list(range(self.since, self.until, self.step))


def grid(minutes: int, now: float) -> Grid:
    """The last ``minutes`` until now, in steps that begin with the minute or the hour."""
    step = next((s for s in STEPS if minutes * 60 <= s * MOST_STEPS), STEPS[-1])
    count = -(-minutes * 60 // step)
    return Grid(since=int(now // step + 1 - count) * step, step=step, count=count)


def spread(counts: Iterable[tuple[int, int]], count: int) -> list[int]:
    """Numbers by place, with a nought where there is none."""
    values = [0] * count
    for place, number in counts:
        if 0 <= place < count:
            values[place] += number
    return values


def peaks(sent: Mapping[int, int], span: int, slots: int, steps: int) -> list[int]:
    """The most that was sent within any ``span`` slots that end in each step of ``slots`` slots.

    Slot 0 is the first of the first step; the ones before it are negative.
    """
    first = 1 - span
    total = list(accumulate((sent.get(n, 0) for n in range(first, slots * steps)), initial=0))
    used = [total[n + span] - total[n] for n in range(slots * steps)]
    return [max(used[n * slots : (n + 1) * slots]) for n in range(steps)]


def ages(
    confirmed: Mapping[int, tuple[float, float]], before: float | None, grid: Grid, now: float
) -> list[float | None]:
    """How old the list grew in each step.

    ``confirmed`` has of the steps in which it was: the longest it had not been until then, and when
    it was last; ``before`` is when it was last before the first step.
    """
    found: list[float | None] = []
    last = before
    for place, start in enumerate(grid.x):
        waited, last = confirmed.get(place, (0.0, last))
        end = min(start + grid.step, now)
        found.append(None if last is None else max(waited, end - last))
    return found
