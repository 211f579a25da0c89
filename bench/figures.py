"""Figures: what a benchmark says, from quiet rounds, as medians with their range."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

TIMES = "×"  # noqa: RUF001  the sign, not the letter
RATIOS = (TIMES, "%", "µs CPU", "ms CPU")
"""Units that say more about the relay than about the machine."""

FIFTH = 0.2
"""Cores' worth of work of others from which on a round does not count."""

TRIES = 2
"""So many times the rounds are run at most, until enough of them were quiet; a single one once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. ``most`` and ``least`` are its budget; ``low`` to ``high`` its range.

    ``noisy``: others worked meanwhile, and there were not enough quiet rounds.
    """

    what: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    most: float | None = None
    least: float | None = None
    noisy: bool = False

    @property
    def is_ratio(self) -> bool:
        return self.unit in RATIOS

    @property
    def met(self) -> bool | None:
        """Whether it keeps its budget; None when it has none."""
        if self.most is None and self.least is None:
            return None
        return (self.most is None or self.value <= self.most) and (
            self.least is None or self.value >= self.least
        )

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Line:
    """What a value of rounds is called, and its budget."""

    what: str
    unit: str = ""
    most: float | None = None
    least: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found, and how many cores' worth of work others did meanwhile."""

    values: Mapping[str, float]
    others: float

    @property
    def quiet(self) -> bool:
        return self.others <= FIFTH


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def quiet_rounds(once: Callable[[int], Round], rounds: int) -> tuple[list[Round], bool]:
    """Run rounds until so many were quiet; return those, or all with False when too few were."""
    made: list[Round] = []
    while len(made) < rounds * (TRIES if rounds > 1 else 1):
        made.append(once(len(made) + 1))
        if not made[-1].quiet:
            print(f"    not counted: others took {made[-1].others:.2f} of a core")
        quiet = [one for one in made if one.quiet]
        if len(quiet) == rounds:
            return quiet, True
    return made, False


def medians(
    rounds: Sequence[Round], lines: Mapping[str, Line], *, quiet: bool = True
) -> list[Figure]:
    """The median of each value over the rounds, with its range, in the order of the lines."""
    found: list[Figure] = []
    for name, line in lines.items():
        values = [one.values[name] for one in rounds if name in one.values]
        if values:
            middle = statistics.median(values)
            figure = Figure(what=line.what, value=middle, unit=line.unit, noisy=not quiet)
            budget = replace(figure, most=line.most, least=line.least)
            found.append(replace(budget, low=min(values), high=max(values)))
    return found


def tell(figures: Iterable[Figure]) -> None:
    for one in figures:
        verdict = {True: ", kept", False: ", MISSED", None: ""}[one.met]
        budget = f" (budget {budget_of(one)}{verdict})" if one.met is not None else ""
        print(f"  {one.what}: {number(one.value)} {one.unit}{budget}{' (noisy)' * one.noisy}")


def budget_of(figure: Figure) -> str:
    if figure.most is not None:
        return f"≤ {number(figure.most)}"
    return "" if figure.least is None else f"≥ {number(figure.least)}"


def number(value: float) -> str:
    """Three digits that count, thousands apart."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(digits, 4)}f}"
