"""A spell: the time in which a ticker was in the list without a break; its rank over time."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Point:
    """From ``at`` on the ticker had this rank (None: none) in this version (None: no list)."""

    at: datetime
    version: int | None
    rank: int | None
    is_in: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """None stands for an end that lies outside the period; ``lasted`` counts what lies within."""

    entered_at: datetime | None
    dropped_at: datetime | None
    lasted: timedelta


def spells(points: Iterable[Point], *, since: datetime, until: datetime) -> list[Spell]:
    """Spells of a period, oldest first, from the points of it in their order."""
    found: list[Spell] = []
    began: datetime | None = None
    for point in points:
        if point.is_in and began is None:
            began = point.at
        elif began is not None and not point.is_in:
            found.append(_spell(began, point.at, since, until))
            began = None
    return found if began is None else [*found, _spell(began, None, since, until)]


def _spell(began: datetime, ended: datetime | None, since: datetime, until: datetime) -> Spell:
    return Spell(
        entered_at=began if began > since else None,
        dropped_at=ended,
        lasted=(ended or until) - max(began, since),
    )
