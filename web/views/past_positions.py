"""What the page of past positions is given, and its words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from web.views.shell import Shell
from web.views.trade import PositionRow, position_row
from web.views.words import NOTHING, Moment, counted, duration, moment


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRow:
    """A position, and when it ended; None while it has not."""

    position: PositionRow
    ended: Moment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastPositionsView:
    """templates/past_positions.html. ``told`` is how those went that have both prices."""

    shell: Shell
    refused: str | None
    ticker: str
    state: str
    states: Sequence[str]
    told: str
    rows: Sequence[PastRow]
    older: str | None


def past_row(shown: Mapping[str, Any], now: datetime) -> PastRow:
    ended = shown["closed_at"]
    return PastRow(position=position_row(shown, now), ended=ended and moment(ended, now))


def figures_told(priced: Mapping[str, Any]) -> str:
    """How the closed ones with both prices went. Fees are not known here, nor how many shares."""
    closed = priced["closed"]
    if not closed:
        return "None was closed yet with a price at both ends."
    held = priced["mean_held_sec"]
    return (
        f"{counted(closed, 'position', 'positions')} closed with a price at both ends:"
        f" {priced['winners']} above the entry, {_percent(priced['mean_return_percent'])} on"
        f" average, {_percent(priced['median_return_percent'])} in the middle, held for"
        f" {duration(timedelta(seconds=held)) if held is not None else NOTHING} on average."
        " Without fees and slippage, which are not known here."
    )


def _percent(number: float | None) -> str:
    return NOTHING if number is None else f"{number:+.2f} %"
